"""A small Django project whose jobs leave traces in files, so that tests can count what really happened."""

import os
from datetime import timedelta
from pathlib import Path

import django

from crm.database import from_url

SECRET_KEY = "acceptance"
USE_TZ = True
TIME_ZONE = "UTC"
DEBUG = False
INSTALLED_APPS = ["crons", "tests.acceptance.project"]
if os.environ.get("TEST_BEAT"):
    INSTALLED_APPS.append("django_celery_beat")
DATABASES = {"default": from_url(os.environ["DATABASE_URL"], base=Path("/"))}
if busy_seconds := os.environ.get("TEST_BUSY_SECONDS"):
    # SQLite's patience with a stranger's write lock.
    DATABASES["default"]["OPTIONS"] = {"timeout": float(busy_seconds)}
if os.environ.get("TEST_READ_ONLY"):
    on_sqlite = DATABASES["default"]["ENGINE"].endswith("sqlite3")
    read_only = (
        {"init_command": "PRAGMA query_only = 1"} if on_sqlite else {"options": "-c default_transaction_read_only=on"}
    )
    DATABASES["default"]["OPTIONS"] = {**DATABASES["default"].get("OPTIONS", {}), **read_only}
if os.environ.get("TEST_POOL"):
    INSTALLED_APPS[1] = "tests.acceptance.project.apps.AsksAtStart"
    DATABASES["default"] |= {"CONN_MAX_AGE": 0, "OPTIONS": {"pool": {"min_size": 2, "max_size": 4}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CRONS = {
    "LEASE": timedelta(seconds=float(os.environ.get("TEST_LEASE", "60"))),
    "DRAIN": timedelta(seconds=float(os.environ.get("TEST_DRAIN", "30"))),
    "MAX_RUNNING": int(os.environ.get("TEST_MAX_RUNNING", "4")),
    "IDENTITY": os.environ.get("TEST_IDENTITY", ""),
    "STATE_DIR": os.environ.get("TEST_STATE_DIR", ""),
}
if secret_file := os.environ.get("TEST_TICK_SECRET_FILE"):
    ROOT_URLCONF = "tests.acceptance.project.urls"
    ALLOWED_HOSTS = ["127.0.0.1"]
    CRONS["HTTP_TICK"] = {"SECRET": Path(secret_file)}
if executor := os.environ.get("TEST_EXECUTOR"):
    CRONS["DEFAULTS"] = {"executor": executor}
    CRONS["EXECUTORS"] = {
        "celery": {
            "BACKEND": "crons.contrib.celery.executor.CelerySender",
            "OPTIONS": {"app": "tests.acceptance.project.celery.app"},
        }
    }
if queues := os.environ.get("TEST_TASKS"):
    INSTALLED_APPS += ["django_tasks_db"]
    TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": queues.split(",")}}
ADMINS = [("Ada", "ada@example.com")] if os.environ.get("TEST_MAILS") else []
if django.VERSION >= (6, 1):
    MAILERS = {
        "default": {
            "BACKEND": "django.core.mail.backends.filebased.EmailBackend",
            "OPTIONS": {"file_path": os.environ.get("TEST_MAILS", os.devnull)},
        }
    }
else:
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = os.environ.get("TEST_MAILS", os.devnull)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
if dsn := os.environ.get("TEST_SENTRY_DSN"):
    import sentry_sdk

    # At its end a process waits two seconds for what is not sent yet: too little where the machine is busy.
    sentry_sdk.init(dsn, default_integrations=True, auto_enabling_integrations=False, shutdown_timeout=60)
