"""The CRM with twenty more jobs, all due each hour: the project for target A."""

from crm.settings import *  # noqa: F403 (a settings module takes all of its base)
from crm.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.twenty_jobs"]
