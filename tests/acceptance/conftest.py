"""A test project on a database of its own, driven through its command line only."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import pytest

from tests.databases import OwnDatabase

ROOT = Path(__file__).resolve().parents[2]
# For what takes a second or two on an idle machine: it costs nothing where all goes well.
PATIENCE_SECONDS = 180
NEVER = "9999-01-01 00:00:00+00:00"
HOURLY = "0 * * * *"


@dataclass
class Site:
    """The test project: its environment, its traces, and its command line."""

    database: OwnDatabase
    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)
    manage_py: Path = ROOT / "manage.py"

    def __post_init__(self) -> None:
        self.env = {
            **self.database.env,
            "DJANGO_SETTINGS_MODULE": "tests.acceptance.project.settings",
            "TRACES": str(self.folder / "traces"),
            "GATE": str(self.folder / "gate"),
            "ORDERS": str(self.folder / "orders"),
            **self.env,
        }

    def crons(self, *arguments: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `manage.py crons …` to its end."""
        done = self._run([str(self.manage_py), "crons", *arguments], env)
        if check:
            assert done.returncode == 0, done.stderr
        return done

    def faketime(self, shift: str, *arguments: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `manage.py crons …` on a machine whose clock is wrong by *shift*."""
        command = ["faketime", "-f", shift, sys.executable, str(self.manage_py), "crons", *arguments]
        done = self._call(command, env)
        assert not check or done.returncode == 0, done.stderr
        return done

    def crash(self, point: str, *arguments: str, **env: str) -> None:
        """Run `manage.py crons …` in a process that kills itself at *point*; it must get there."""
        done = self._run(["-m", "tests.acceptance.crash", point, "crons", *arguments], env)
        assert done.returncode == -signal.SIGKILL, f"ended {done.returncode} before {point!r}: {done.stderr}"

    def python(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run Python with *arguments* to its end."""
        return self._run(list(arguments), env)

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start `manage.py crons …`; it is killed when the test ends, should it still run."""
        return self.start_python(str(self.manage_py), "crons", *arguments, **env)

    def command(self, *arguments: str) -> list[str]:
        """Return the words of `manage.py crons …`."""
        return [sys.executable, str(self.manage_py), "crons", *arguments]

    def start_python(
        self, *arguments: str, pass_fds: tuple[int, ...] = (), output: IO[str] | None = None, **env: str
    ) -> subprocess.Popen[str]:
        """Start Python with *arguments*; it is killed when the test ends, should it still run."""
        return self.start_program(sys.executable, *arguments, pass_fds=pass_fds, output=output, **env)

    def start_program(
        self, *command: str, pass_fds: tuple[int, ...] = (), output: IO[str] | None = None, **env: str
    ) -> subprocess.Popen[str]:
        """Start *command*; it is killed when the test ends, should it still run."""
        process = subprocess.Popen(
            command,
            env={**self.env, **env},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=output or subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=pass_fds,
        )
        self.stack.callback(_end, process)
        return process

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run SQL on the site's database from outside, as an operator would; %s marks values."""
        if self.database.vendor == "sqlite":
            import sqlite3

            path = self.database.url.removeprefix("sqlite:///")
            with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
                return connection.execute(statement.replace("%s", "?"), values).fetchall()
        import psycopg

        with psycopg.connect(self.database.url, autocommit=True) as connection:
            cursor = connection.execute(statement, values)  # type: ignore[arg-type] # SQL written in tests
            return cursor.fetchall() if cursor.description else []

    def wait_until_nothing_runs(self) -> None:
        """Return when no process of this site is left; the kernel is asked, nothing is timed."""
        while found := self._processes():
            for descriptor in found:
                assert is_readable(descriptor), "a process of this site does not end"
                os.close(descriptor)

    def wait_for_row(self, statement: str, process: subprocess.Popen[str], seconds: float = PATIENCE_SECONDS) -> None:
        """Return when *statement* finds a row; fail when *process*, which should write it, ends before."""
        until = time.monotonic() + seconds
        while not self.sql(statement):
            assert process.poll() is None, "it ended before"
            assert time.monotonic() < until, f"nothing came: {statement}"
            time.sleep(0.05)  # sleeps: a database tells nobody of a row

    def traces(self) -> list[tuple[str, str, int]]:
        """Return what jobs really did: (entry, key, token) per effect, in order."""
        try:
            lines = (self.folder / "traces").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [(entry, key, int(token)) for entry, key, token in (line.split() for line in lines)]

    def verdicts(self, entry: str) -> list[tuple[str, int, str]]:
        """Return (verdict or state, tries, outcomes of its attempts) of the entry's runs, by slot."""
        runs = self.sql(
            "SELECT r.id, r.verdict, r.state, r.tries FROM crons_run r JOIN crons_entry e ON e.id = r.entry_id "
            "WHERE e.name = %s ORDER BY r.slot_at, r.id",
            entry,
        )
        return [(verdict or state, tries, self._outcomes(pk)) for pk, verdict, state, tries in runs]

    def make_due(self, *entries: str) -> None:
        """Have exactly one slot of these entries be due, and none of any other, whatever the clock shows.

        The hourly ones are put half an hour from now on either side, as a person would: a sync leaves it so.
        """
        self.sql("UPDATE crons_entry SET wake_at = %s", NEVER)
        for name in entries:
            self._set_back("name = %s", name)

    def make_all_due(self, pattern: str) -> None:
        """Have one slot of each entry be due whose name is LIKE *pattern*, and none of any other."""
        self.make_due()
        self._set_back("name LIKE %s", pattern)

    def start_afresh(self) -> None:
        """Have every entry be first seen now, and sleep: the database may be a copy of one made an hour ago."""
        now = f"first_seen_at = {self._ago('0 hours')}, accounted_until = {self._ago('0 hours')}"
        self.sql(f"UPDATE crons_entry SET {now}, wake_at = %s", NEVER)

    def keep_off_the_hour(self, which: str = "name LIKE %s", value: str = "%") -> datetime:
        """Put the hourly entries half an hour from now on either side, as a person would; return the next slot."""
        slot = (datetime.now(UTC) + timedelta(minutes=30)).replace(second=0, microsecond=0)
        schedule = f"{slot.minute} * * * *"
        self.sql(
            f"UPDATE crons_entry SET schedule = %s, overrides = %s WHERE schedule = %s AND {which}",
            schedule, json.dumps({"schedule": schedule, "zone": "UTC"}), HOURLY, value,
        )  # fmt: skip
        return slot

    def _set_back(self, which: str, value: str) -> None:
        self.keep_off_the_hour(which, value)
        self.sql(f"UPDATE crons_entry SET accounted_until = {self._ago('1 hour')}, wake_at = NULL WHERE {which}", value)

    def _processes(self) -> list[int]:
        """Return a descriptor that tells the end of each process that was started with this site's environment."""
        mark = f"TRACES={self.env['TRACES']}".encode()
        found = []
        for each in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (each / "environ").read_bytes().split(b"\0"):
                    found.append(os.pidfd_open(int(each.name)))
        return found

    def _ago(self, span: str) -> str:
        if self.database.vendor == "sqlite":
            return f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-{span}')"
        return f"now() - interval '{span}'"

    def _outcomes(self, run: int) -> str:
        rows = self.sql("SELECT outcome FROM crons_attempt WHERE run_id = %s ORDER BY number", run)
        return " ".join(outcome or "running" for (outcome,) in rows)

    def _run(self, arguments: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return self._call([sys.executable, *arguments], env)

    def _call(self, command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env={**self.env, **env},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )


@pytest.fixture
def site(own_database: OwnDatabase, tmp_path: Path) -> Iterator[Site]:
    """A migrated and synced test project, whose entries sleep."""
    made = Site(own_database.prepared("site", _synced), tmp_path)
    made.start_afresh()
    with made.stack:
        yield made


def _synced(database: OwnDatabase) -> None:
    site = Site(database, database.log_dir)
    site.crons("sync")
    forget_where_it_lives(site)


def forget_where_it_lives(site: Site) -> None:
    """Let copies of this database fire; as it is, they are copies of production that must not."""
    site.sql("DELETE FROM crons_deployment")


def moment(value: str | datetime) -> datetime:
    """Read a moment as Site.sql returns it: a text from SQLite, in UTC."""
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def wait_for_line(process: subprocess.Popen[str], pattern: str) -> str:
    """Read *process*'s output until a line matches; fail with what it said when it ends before."""
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        told.append(line)
        if re.search(pattern, line):
            return line
    raise AssertionError(f"{process.args} ended {process.wait()} without {pattern!r}: {''.join(told)}")


def is_readable(descriptor: int, seconds: float = PATIENCE_SECONDS) -> bool:
    """Wait until there is something to read, or the other side is gone; False when that does not come."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def wait_until_nobody_reads(gate: int) -> None:
    """Return when the job that reads the pipe is gone."""
    poller = select.poll()
    poller.register(gate, select.POLLERR)
    assert poller.poll(PATIENCE_SECONDS * 1000), "the job still runs"


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


os.environ.setdefault("PYTHONUNBUFFERED", "1")
