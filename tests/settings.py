"""Settings of the tests: those of the CRM as in production, made quick, and kept away from real data.

CRONS_TEST_DATABASE=postgres runs the tests on PostgreSQL: the server of DATABASE_URL, else one of their own.
"""

import os
from datetime import timedelta
from importlib.util import find_spec

import django

from tests import run

if run.is_first_process():
    # Nothing that the shell or a developer's var/crm.env says of the CRM may change a test.
    # Later processes keep theirs: a test that starts one says with them what it wants.
    for name in [name for name in os.environ if name.startswith("CRM_")]:
        del os.environ[name]
for name, value in {
    "CRM_ENV_FILE": os.devnull,
    "CRM_SECRET_KEY": "only-for-tests-" + "0123456789" * 5,
    "CRM_HTTPS": "0",  # the test client speaks plain HTTP
    "CRM_LOG_DIR": str(run.directory() / "log"),
    "CRM_ARCHIVE_DIR": str(run.directory() / "archives"),
}.items():
    os.environ.setdefault(name, value)
os.environ["DATABASE_URL"] = run.database_url()

from crm.settings import *  # noqa: E402, F403 (a settings module takes all of its base)
from crm.settings import CRONS, DATABASES, INSTALLED_APPS, STORAGES  # noqa: E402 (named: changed below)


def _is_there(name: str) -> bool:
    """Say whether the folder of crons/contrib that *name* lies in was not deleted (scripts/test_without.sh)."""
    return not name.startswith("crons.contrib.") or find_spec(".".join(name.split(".")[:3])) is not None


_IN_MEMORY = "django.core.mail.backends.locmem.EmailBackend"
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": _IN_MEMORY}}
else:
    EMAIL_BACKEND = _IN_MEMORY
# What is tested of an answer is the whole answer: the tests of the budget set one.
CRM_COST_PER_MINUTE = CRM_STRANGER_COST_PER_MINUTE = 0
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Pages are rendered without a collectstatic before.
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}

_database = DATABASES["default"]
if _database["ENGINE"].endswith("sqlite3"):
    # A file, so that several connections and processes see one database. It may be lost with the machine.
    _options = _database["OPTIONS"]
    _options["init_command"] = _options["init_command"].replace("synchronous=FULL", "synchronous=OFF")
    _database["TEST"] = {"NAME": str(run.directory() / "test.sqlite3")}

# A test of stopping must not wait for the half minute of production.
CRONS = {**CRONS, "DRAIN": timedelta(seconds=2)}
INSTALLED_APPS = [app for app in INSTALLED_APPS if _is_there(app)]
CRONS["EXECUTORS"] = {name: spec for name, spec in CRONS["EXECUTORS"].items() if _is_there(spec["BACKEND"])}
