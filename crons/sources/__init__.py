"""Where declarations are read from: code, django-crontab's CRONJOBS, crontab files."""

from crons.sources.code import CodeSource
from crons.sources.cronjobs import CronjobsSource
from crons.sources.crontab_files import CrontabFilesSource

SOURCES = (CodeSource(), CronjobsSource(), CrontabFilesSource())

__all__ = ["SOURCES"]
