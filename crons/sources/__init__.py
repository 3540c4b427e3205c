"""Where declarations are read from: code, django-crontab's CRONJOBS, django-cron's CRON_CLASSES, crontab files."""

from crons.sources.base import Source
from crons.sources.code import CodeSource
from crons.sources.cron_classes import CronClassesSource
from crons.sources.cronjobs import CronjobsSource
from crons.sources.crontab_files import CrontabFilesSource

# A list, and one for all that read it: crons.testing.sandbox empties it of what is not code.
SOURCES: list[Source] = [CodeSource(), CronjobsSource(), CronClassesSource(), CrontabFilesSource()]

__all__ = ["SOURCES"]
