"""The CRM whose pages of crons are measured: `python -m benchmarks pages`."""

from crm.settings import *  # noqa: F403 (a settings module takes all of its base)
from crm.settings import CRONS, STORAGES

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Pages are rendered without a collectstatic before.
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
# The rights hook narrows one person only; see benchmarks/pages.py.
CRONS = {**CRONS, "RIGHTS": "benchmarks.pages_rights.of_a_team"}
LOGGING_CONFIG = None
