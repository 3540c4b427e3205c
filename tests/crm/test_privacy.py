"""The data and the secrets are for the account that runs the CRM, whatever its umask."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.exceptions import ImproperlyConfigured

from crm import checks, environment, privacy
from crm.settings import _secret_key

PROJECT = Path(__file__).parents[2]
KEY = "only-for-tests-" * 5


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_data_is_for_its_account_under_any_umask(tmp_path, umask):
    """Another account once read the database, and with a session key from it was the admin."""
    shutil.copytree(PROJECT / "crm", tmp_path / "real" / "crm", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "real" / "crons").symlink_to(PROJECT / "crons")
    write = (
        "from django.db import connection; c = connection.cursor(); c.execute('CREATE TABLE t (a)'); "
        "from pathlib import Path; "
        "print(sorted((p.name, oct(p.stat().st_mode)[-3:]) for p in Path('var').glob('crm*')))"
    )

    done = subprocess.run(
        [sys.executable, "-c", f"import os; os.umask({umask}); import django; django.setup(); {write}"],
        env={"PATH": os.defpath, "CRM_DEBUG": "1", "DJANGO_SETTINGS_MODULE": "crm.settings"},
        cwd=tmp_path / "real",
        capture_output=True,
        text=True,
        check=True,
    )

    files = [("crm.sqlite3", "600"), ("crm.sqlite3-shm", "600"), ("crm.sqlite3-wal", "600")]
    assert done.stdout == f"{files}\n"
    assert mode(tmp_path / "real" / "var") == 0o700
    assert mode(tmp_path / "real" / "var" / "secret_key") == 0o600


def test_a_folder_that_was_open_is_closed(tmp_path):
    (tmp_path / "var").mkdir(mode=0o755)

    privacy.make_private_directory(tmp_path / "var")

    assert mode(tmp_path / "var") == 0o700


def test_what_others_can_read_is_a_warning(tmp_path, monkeypatch):
    """Of another owner, it cannot be closed from here."""
    database = tmp_path / "crm.sqlite3"
    sqlite3.connect(database).close()
    database.touch()
    databases = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": database}}
    monkeypatch.setattr(checks, "settings", SimpleNamespace(VAR_DIR=tmp_path, DATABASES=databases))
    tmp_path.chmod(0o755)
    database.chmod(0o644)

    told = [(each.id, each.hint) for each in checks.data_is_private()]
    tmp_path.chmod(0o700)
    database.chmod(0o600)

    assert told == [
        ("crm.W001", f"Run, as its owner: chmod 700 {tmp_path}"),
        ("crm.W001", f"Run, as its owner: chmod 600 {database}"),
    ]
    assert checks.data_is_private() == []


@pytest.mark.parametrize("given", [0o640, 0o604, 0o622])
def test_a_file_of_variables_that_others_can_read_is_refused(tmp_path, given):
    file = tmp_path / "crm.env"
    file.write_text("CRM_T1=hunter2\n")
    file.chmod(given)

    with pytest.raises(ImproperlyConfigured) as refusal:
        environment.load(file)

    assert str(refusal.value) == (
        f"{file} has mode {given:04o}: other accounts can read or change the secrets in it. Run: chmod 600 {file}; "
        "if others may have read it, change the secrets too."
    )
    assert "CRM_T1" not in os.environ


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("hunter", "has 6 characters, 6 different ones"),
        (KEY[:49], "has 49 characters"),
        ("x" * 60, "has 60 characters, 1 different ones"),
    ],
)
def test_a_short_key_does_not_start_in_production(tmp_path, monkeypatch, key, said):
    """Django's own check says so only to who asks for it."""
    monkeypatch.setenv("CRM_SECRET_KEY", key)

    with pytest.raises(ImproperlyConfigured, match=said) as refusal:
        _secret_key(tmp_path / "key", generate=False)

    assert key not in str(refusal.value)
    assert _secret_key(tmp_path / "key", generate=True) == key  # with CRM_DEBUG=1


def test_a_key_in_an_open_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("CRM_SECRET_KEY", raising=False)
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(0o644)

    with pytest.raises(ImproperlyConfigured, match="has mode 0644"):
        _secret_key(tmp_path / "key", generate=False)
