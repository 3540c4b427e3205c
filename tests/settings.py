"""Settings of the tests: those of the CRM, fast and closed off from the machine's own."""

import os
import tempfile
from pathlib import Path

# A developer's own var/crm.env must not change what the tests see.
os.environ["CRM_ENV_FILE"] = os.devnull
os.environ.setdefault("CRM_SECRET_KEY", "used-by-tests-only-" + "x" * 40)

from crm.settings import *  # noqa: F403 - after the environment is set
from crm.settings import DATABASES

_scratch = tempfile.TemporaryDirectory(prefix="crons-tests-")

SECURE_SSL_REDIRECT = False
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
CRM_LOG_DIR = Path(_scratch.name) / "log"

if "sqlite" in DATABASES["default"]["ENGINE"]:
    # A file: threads that race on a database in memory meet locks that no real one has.
    DATABASES["default"]["TEST"] = {"NAME": str(Path(_scratch.name) / "test.sqlite3")}
    DATABASES["default"]["OPTIONS"]["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
