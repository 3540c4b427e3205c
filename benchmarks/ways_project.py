"""The CRM with one more job, which every way of scheduling can fire: the project for `python -m benchmarks ways`."""

import os

from crm.settings import *  # noqa: F403 (a settings module takes all of its base)
from crm.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.ways_jobs"]
if os.environ.get("BENCH_AS_SHIPPED"):
    INSTALLED_APPS.remove("crons.contrib.django_crontab")
# For serve the job has a schedule in seconds, which a crontab line cannot say.
CRONJOBS = [] if os.environ.get("BENCH_EVERY") else [("*/5 * * * *", "benchmarks.ways_jobs.cron.beat")]
CRON_CLASSES = ["benchmarks.ways_jobs.cron_classes.Beat"]
LOGGING = {"version": 1, "disable_existing_loggers": False}
