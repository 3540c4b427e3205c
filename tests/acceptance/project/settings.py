"""A small Django project whose jobs leave traces in files, so that tests can count what really happened."""

import os
from datetime import timedelta
from pathlib import Path

from crm.database import from_url

SECRET_KEY = "acceptance"
USE_TZ = True
TIME_ZONE = "UTC"
DEBUG = False
INSTALLED_APPS = ["crons", "tests.acceptance.project"]
DATABASES = {"default": from_url(os.environ["DATABASE_URL"], base=Path("/"))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CRONS = {
    "LEASE": timedelta(seconds=float(os.environ.get("TEST_LEASE", "45"))),
    "DRAIN": timedelta(seconds=float(os.environ.get("TEST_DRAIN", "30"))),
    "MAX_RUNNING": int(os.environ.get("TEST_MAX_RUNNING", "4")),
    "IDENTITY": os.environ.get("TEST_IDENTITY", ""),
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
