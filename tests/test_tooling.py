"""The ground that the other tests stand on: own databases, left-over processes, skips by name."""

import os
import signal
import subprocess
import sys

import pytest
from django.db import connection

from tests import leftovers, run
from tests.databases import OwnDatabase


@pytest.mark.django_db
def test_tests_run_on_the_database_asked_for():
    """A leg that silently fell back to SQLite would prove nothing about PostgreSQL."""
    wanted = os.environ.get("CRONS_TEST_DATABASE") or "sqlite"

    assert connection.vendor == {"postgres": "postgresql"}.get(wanted, wanted)


@pytest.mark.postgres
@pytest.mark.django_db
def test_marked_postgres_runs_on_postgres_only():
    """Row locks with SKIP LOCKED cannot be asked of SQLite."""
    assert connection.vendor == "postgresql"


def test_subprocess_commits_where_the_test_looks(own_database: OwnDatabase):
    """A command in another process and its test must see one database."""
    own_database.migrate()

    made = own_database.manage("shell", "-c", _MAKE_USER)
    seen = own_database.manage("shell", "-c", _COUNT_USERS)

    assert (made.returncode, made.stderr) == (0, "")
    assert seen.stdout.splitlines()[-1] == "1 user"


def test_migrate_again_forgets_the_rows(own_database: OwnDatabase):
    """A test may start over: the template is copied, not patched."""
    own_database.migrate()
    own_database.manage("shell", "-c", _MAKE_USER)

    own_database.migrate()

    assert own_database.manage("shell", "-c", _COUNT_USERS).stdout.splitlines()[-1] == "0 user"


def test_leftovers_name_a_child_that_lives():
    """A run that leaves a scheduler or a server behind must not pass."""
    there = "print(flush=True); input()"  # a process shows no environment until it has begun
    child = subprocess.Popen(
        [sys.executable, "-c", there], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    try:
        command = leftovers.find()[child.pid]
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()

    assert command.endswith(f"-c {there} ")
    assert child.pid not in leftovers.find()


def test_leftovers_leave_other_runs_alone():
    """Two runs on one machine must not kill each other's processes."""
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={**os.environ, run.NAME: "another"}
    )
    try:
        found = leftovers.find()
    finally:
        child.kill()
        child.communicate()

    assert child.pid not in found


_MAKE_USER = "from django.contrib.auth.models import User; User.objects.create(username='a')"
_COUNT_USERS = "from django.contrib.auth.models import User; print(User.objects.count(), 'user')"
