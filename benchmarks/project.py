"""The Django project that is measured: crons alone, on the database of DATABASE_URL."""

import os
from datetime import timedelta
from pathlib import Path

from crm.database import from_url

SECRET_KEY = "benchmarks"
USE_TZ = True
TIME_ZONE = "UTC"
INSTALLED_APPS = ["crons"]
DATABASES = {"default": from_url(os.environ["DATABASE_URL"], base=Path("/"))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CRONS = {"MAX_RUNNING": int(os.environ.get("BENCH_MAX_RUNNING", "4")), "GRACE": timedelta(minutes=5)}
LOGGING_CONFIG = None
