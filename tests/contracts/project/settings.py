"""The project whose scheduler and workers the contracts are held to: its jobs are those of jobs_under_test."""

import os
from datetime import timedelta
from pathlib import Path

from crm.database import from_url

SECRET_KEY = "contracts"
USE_TZ = True
TIME_ZONE = "UTC"
DEBUG = False
INSTALLED_APPS = ["crons", "tests.contracts.project", "django_tasks_db"]
DATABASES = {"default": from_url(os.environ["DATABASE_URL"], base=Path("/"))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# What the jobs print of these two, and of a variable that the workers are started with, must never be stored.
PAYMENT_API_KEY = "pk-live-0123456789"
CRONS = {
    "DISCOVER": False,
    "MODULES": ["tests.contracts.project.jobs"],
    "REDACT": ["mother's maiden name"],
    "LEASE": timedelta(seconds=float(os.environ["CONTRACT_LEASE_SECONDS"])),
    "ALERTS": {"ROUTES": [{"TO": []}]},
    "EXECUTORS": {
        "celery": {
            "BACKEND": "crons.contrib.celery.executor.CelerySender",
            "OPTIONS": {"app": "tests.contracts.project.celery.app"},
        },
        "tasks": {"BACKEND": "crons.contrib.django_tasks.executor.TasksSender"},
    },
}
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": []}}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
