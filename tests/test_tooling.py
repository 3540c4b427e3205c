"""The ground that the other tests stand on: own databases, left-over processes, skips by name."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from tests import conftest, leftovers, run
from tests.databases import OwnDatabase

ROOT = Path(__file__).resolve().parents[1]


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


@pytest.mark.parametrize(
    ("marks", "on_sqlite", "rest", "on_postgres"),
    [
        ((), True, True, False),
        (("sqlite",), True, True, False),
        (("django_db",), True, False, True),
        (("django_db", "sqlite"), True, True, False),
        (("django_db", "postgres"), False, False, True),
    ],
)
def test_each_test_has_its_database(marks: tuple[str, ...], on_sqlite: bool, rest: bool, on_postgres: bool) -> None:
    """A test that no leg runs would pass for ever: with --rest on SQLite each runs on exactly one of the two."""

    class Item:
        get_closest_marker = marks.__contains__

    item: Any = Item()

    assert conftest.is_wanted(item, on_postgres=False, shares=False) == on_sqlite
    assert conftest.is_wanted(item, on_postgres=False, shares=True) == rest
    assert conftest.is_wanted(item, on_postgres=True, shares=True) == on_postgres


def test_a_mark_that_its_file_does_not_say_is_refused(tmp_path: Path) -> None:
    """scripts/test.sh has only the files collected that say it: such a test would run in no leg."""

    class Item:
        nodeid, path = "test_x.py::test_it", tmp_path / "test_x.py"
        get_closest_marker = "slow".__eq__

    item: Any = Item()
    item.path.write_text("from tests.marks import takes_minutes")

    with pytest.raises(pytest.UsageError, match=r"does not say mark\.slow"):
        conftest._must_be_found(item)


def test_each_worker_begins_with_one_of_the_longest() -> None:
    """Two minutes were spent on the longest slow test alone, because it stood at the end."""

    class Item:
        def __init__(self, *seconds: int) -> None:
            self.get_closest_marker = {"slow": pytest.mark.slow(*seconds).mark}.get

    items: Any = [Item(), Item(20), Item(), Item(), Item(170), Item(60)]  # without a number: ten seconds

    dealt = conftest.dealt_out(items, 2)

    assert [items.index(each) for each in dealt] == [4, 1, 2, 5, 0, 3]


def test_half_of_the_workers_begin_with_what_waits() -> None:
    """Four that compute at once on two cores, and then four that wait, took two minutes more for the same tests."""

    class Item:
        config = type("Config", (), {"rootpath": ROOT})
        fixturenames = ()

        def __init__(self, place: str, *marks: str) -> None:
            self.path = ROOT / "tests" / place / "test_x.py"
            self.get_closest_marker = marks.__contains__

    rows, values = [Item("crons", "django_db") for _ in range(5)], [Item("crons") for _ in range(3)]
    waiting = [Item("acceptance"), Item("contracts"), Item("deploy")]
    in_this_process = Item("acceptance", "django_db")
    items: Any = [*rows, in_this_process, *waiting, *values]

    found = conftest.spread(items, 4)

    # In stretches of three, one a worker.
    assert found == [*rows, in_this_process, *waiting[:2], values[0], waiting[2], *values[1:]]
    assert conftest.spread(items, 1) == [*rows, in_this_process, *values, *waiting]


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


@pytest.mark.sqlite  # what it shows has nothing to do with the database
@pytest.mark.parametrize("place", ["bin", "libexec"])
def test_interpreters_of_pyenv_are_found(tmp_path, place):
    """Its shims put libexec before bin: the newest Python of a CI run was missing, and nothing failed."""
    versions = tmp_path / "versions" / "3.99.0" / "bin"
    for folder in (versions, tmp_path / place):
        folder.mkdir(parents=True)
    (tmp_path / place / "pyenv").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / place / "pyenv").chmod(0o755)
    # A name that is nowhere else; what it leads to is a Python that can make an environment.
    (versions / "python3.99").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (versions / "python3.99").chmod(0o755)

    found = subprocess.run(
        ["scripts/find_python.sh", "python3.99"],
        env={"PATH": f"{tmp_path / place}:/usr/bin:/bin"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (found.stdout, found.stderr) == (f"{sys.executable}\n", "")


def test_what_tests_need_is_installed_before_them():
    """A package that somebody once installed by hand hides that `.ci/run` is red on a new machine."""
    script = (ROOT / "scripts" / "test.sh").read_text()

    installed = script.split("\npackages=(")[1].split(")")[0].split()

    assert installed == sorted(conftest._COMMANDS)


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_a_stage_beside_the_others_is_shown_whole_and_fails_the_run(tmp_path: Path) -> None:
    """Its lines among those of the others could not be read, and its failure must not be missed."""
    script = """
        source .ci/stages.sh
        begin "beside" bash -c 'cat gate; echo one; echo two >&2; exit 4'
        stage "quick" echo quick
        stage "broken" false
        echo opened >gate
        finish
        end
    """

    done = _bash(tmp_path, script)

    heads = [re.sub(r" \(at .*| at \d.*", "", line) for line in done.stdout.splitlines() if line]
    assert heads == [
        *["beside begins beside the following", "═══ quick", "quick", "═══ broken"],
        *["═══ beside", "opened", "one", "two", "beside: ended 4"],
        *["═══ end", "FAILED: broken", "FAILED: beside"],
    ]
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_a_run_that_is_interrupted_ends_the_stage_beside_it(tmp_path: Path) -> None:
    """It would test on for minutes, with nobody to read it."""
    script = """
        source .ci/stages.sh
        begin "beside" bash -c 'exec cat gate'
        exit 7
    """

    done = _bash(tmp_path, script)

    assert (done.returncode, done.stderr) == (7, "")
    assert not [line for line in leftovers.find().values() if line.startswith("cat gate")]


def _bash(folder: Path, script: str) -> "subprocess.CompletedProcess[str]":
    (folder / ".ci").symlink_to(ROOT / ".ci")
    os.mkfifo(folder / "gate")
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
