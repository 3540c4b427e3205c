"""Where declarations are read from: code, django-crontab's CRONJOBS, django-cron's CRON_CLASSES, crontab files."""

from crons.sources.code import CodeSource
from crons.sources.cron_classes import CronClassesSource
from crons.sources.cronjobs import CronjobsSource
from crons.sources.crontab_files import CrontabFilesSource

SOURCES = (CodeSource(), CronjobsSource(), CronClassesSource(), CrontabFilesSource())

__all__ = ["SOURCES"]
