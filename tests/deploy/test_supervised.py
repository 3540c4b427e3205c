"""`make run-celery`: what it starts, and that killing any of it leaves no hole in the ledger."""

from __future__ import annotations

import configparser
import importlib
import os
import random
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from django.core.management import get_commands

from crons.schedules import parse
from tests import ports, seeds
from tests.acceptance.installation import Installation

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "deploy" / "supervisord.conf"
REQUIRED = re.findall(r"^[\w-]+", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
PATIENCE_SECONDS = 400
REIGN_SECONDS = 120
PARTS = {"web": 2, "scheduler": 2, "worker": 2, "beat": 2}
JOBS = """

import os
import time
from crons import every


@job(every(seconds=3), catch_up="all", cap=1000)
def pulse(context):
    time.sleep(1)
    with open(os.environ["TRACES"], "a") as traces:
        traces.write(f"pulse {context.key}\\n")


@job(every(seconds=4), catch_up="all", cap=1000, executor="celery", idempotent=True)
def far_pulse(context):
    time.sleep(1)
    with open(os.environ["TRACES"], "a") as traces:
        traces.write(f"far_pulse {context.key}\\n")
"""


def config() -> configparser.RawConfigParser:
    """Read the configuration as it stands."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=())
    parser.read(CONF)
    return parser


def test_two_of_each_part_are_kept_alive() -> None:
    """One that supervisord gives up on is down for good; the default is three tries."""
    conf = config()

    programs = {name.partition(":")[2]: conf[name] for name in conf.sections() if name.startswith("program:")}

    assert {name: int(each["numprocs"]) for name, each in programs.items()} == PARTS
    for each in programs.values():
        assert each["autorestart"] == "true"
        assert int(each["startretries"]) >= 1_000_000
        python = "%(ENV_SUPERVISED_PYTHON)s"
        assert each["command"].startswith(f"{python} deploy/die_with_parent.py TERM {python} ")


def test_what_is_supervised_exists() -> None:
    """A name that is wrong would be tried a million times."""
    conf = config()

    commands = {
        name: conf[f"program:{name}"]["command"].partition(" TERM %(ENV_SUPERVISED_PYTHON)s ")[2].split()
        for name in PARTS
    }

    assert (ROOT / "deploy" / "die_with_parent.py").is_file()
    assert commands["scheduler"][0] == "manage.py"
    assert commands["scheduler"][1] in get_commands()
    for name in ("web", "worker", "beat"):
        assert commands[name][0] == "-m"
        assert commands[name][1] in REQUIRED
        module = re.search(r"crm\.\w+", " ".join(commands[name]))
        assert module is not None
        assert find_spec(module[0]) is not None


def test_nobody_else_may_tell_supervisord() -> None:
    """Who reaches its socket starts programs as this account; there is none that listens on the network."""
    conf = config()

    assert conf["unix_http_server"]["chmod"] == "0700"
    assert "inet_http_server" not in conf


def test_nobody_else_may_read_what_make_run_celery_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For root the folder above lets PostgreSQL's account through, and with it everybody."""
    monkeypatch.syspath_prepend(ROOT / "deploy")
    run_celery = importlib.import_module("run_celery")
    monkeypatch.setattr(run_celery, "private_folder", lambda: tmp_path)
    monkeypatch.setattr(run_celery, "VAR", tmp_path)

    run_celery.Demo(1)._write()

    found = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
    assert found == {
        "lock": 0o600, "log": 0o700, "postgres": 0o700, "redis.conf": 0o600, "redis_password": 0o600,
        "supervisord.conf": 0o600,
    }  # fmt: skip


def test_what_is_to_die_with_its_parent_does() -> None:
    """A supervisord that was killed must leave nobody who holds a port or answers for a slot."""
    command = [sys.executable, str(ROOT / "deploy" / "die_with_parent.py"), "TERM"]
    child = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    code = f"import subprocess; subprocess.run({[*command, sys.executable, '-c', child]!r})"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    watched = os.pidfd_open(int(parent.stdout.readline()))

    parent.kill()
    parent.wait()

    assert has_ended(watched)


def test_who_is_started_by_one_that_is_gone_does_not_begin(tmp_path: Path) -> None:
    """Killed while Python starts: it then was not seen to go, and a Redis held its port for ever."""
    begun = tmp_path / "begun"
    command = [sys.executable, str(ROOT / "deploy" / "die_with_parent.py"), "TERM", "touch", str(begun)]
    heard, said = os.pipe()
    os.close(heard)  # as the death of whoever read it does
    with os.fdopen(said, "wb") as nobody:
        done = subprocess.run(command, stdout=nobody, stderr=subprocess.PIPE, text=True)

    assert done.returncode == 1
    assert done.stderr == "die_with_parent: the parent was gone before the kernel could be asked.\n"
    assert not begun.exists()


@pytest.mark.parametrize("stdout", ["file", "nothing", "closed"])
def test_who_writes_to_no_pipe_begins(tmp_path: Path, stdout: str) -> None:
    begun = tmp_path / "begun"
    command = [sys.executable, str(ROOT / "deploy" / "die_with_parent.py"), "TERM", "touch", str(begun)]
    if stdout == "closed":
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    with (Path(os.devnull) if stdout == "nothing" else tmp_path / "log").open("wb") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True)

    assert done.stderr == ""
    assert done.returncode == 0
    assert begun.exists()


class Demo:
    """A running `make run-celery` in a copy of the project with two more jobs, and all its processes."""

    def __init__(self, place: Path) -> None:
        self.place = place
        Installation.make(place)
        shutil.copytree(ROOT / "deploy", place / "deploy")
        (place / "var" / "crm.env").unlink()
        with (place / "crm" / "cron.py").open("a") as file:
            file.write(JOBS)
        self.traces = place / "traces"
        env = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "CRM_BROKER_URL")}
        env |= {"PORT": str(ports.free()), "TRACES": str(self.traces), "PYTHONPATH": "", "HOME": str(place)}
        env["DJANGO_SETTINGS_MODULE"] = "crm.settings"
        self.process = subprocess.Popen(
            [sys.executable, str(place / "deploy" / "run_celery.py")],
            env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.output = ""
        for line in self.process.stdout or ():
            self.output += line
            if line == "Ctrl-C stops all.\n":
                break
        else:
            pytest.fail(f"it did not start:\n{self.output}")
        found = re.search(r"Logs +(\S+)/log$", self.output, re.MULTILINE)
        assert found is not None
        self.folder = Path(found[1])
        database = re.search(r"Database (\S+)$", self.output, re.MULTILINE)
        assert database is not None
        self.database = database[1]

    def processes(self) -> dict[int, str]:
        """Return pid and command of all that it started, whoever is its parent now."""
        found = {}
        for each in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"TRACES={self.traces}".encode() in (each / "environ").read_bytes().split(b"\0"):
                    found[int(each.name)] = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        found.pop(self.process.pid, None)
        return {pid: command for pid, command in found.items() if command}

    def states(self) -> dict[str, str]:
        """Return what supervisord says of each."""
        command = [sys.executable, "-m", "supervisor.supervisorctl", "-s", f"unix://{self.folder}/supervisor.sock"]
        said = subprocess.run([*command, "status"], capture_output=True, text=True).stdout
        return {words[0]: words[1] for words in map(str.split, said.splitlines()) if len(words) > 1}

    def rows(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Ask the database."""
        with psycopg.connect(self.database, connect_timeout=5) as connection:
            return connection.execute(statement, values).fetchall()  # type: ignore[arg-type]

    def verdicts(self, entry: str, until: datetime) -> dict[datetime, str]:
        """Return verdict, or state, by slot, up to *until*; ranges slot by slot."""
        ((pk, text),) = self.rows("SELECT id, schedule FROM crons_entry WHERE name = %s", entry)
        found = {
            at: verdict or state
            for at, verdict, state in self.rows(
                "SELECT slot_at, verdict, state FROM crons_run WHERE entry_id = %s AND kind = 'slot' AND slot_at <= %s",
                pk, until,
            )
        }  # fmt: skip
        for first, last, verdict in self.rows(
            "SELECT first_at, last_at, verdict FROM crons_range WHERE entry_id = %s AND first_at <= %s", pk, until
        ):
            before = first - timedelta(microseconds=1)  # type: ignore[operator]
            for at in parse(str(text)).between(before, min(last, until), UTC):  # type: ignore[type-var]
                assert at not in found, "a slot has two verdicts"
                found[at] = verdict
        return found  # type: ignore[return-value]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """The whole set, ended and swept away afterwards."""
    made = Demo(tmp_path / "crm")
    yield made
    made.process.kill()
    made.process.communicate()
    for pid in made.processes():
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(made.folder)


@pytest.mark.slow(170)
def test_whatever_is_killed_comes_back_and_the_ledger_has_no_hole(demo: Demo) -> None:
    """Two minutes of kill -9 on anything: servers, schedulers, workers, beats, their children, supervisord itself."""
    chance = random.Random(seed := seeds.seed(1))
    killed: Counter[str] = Counter()
    until = time.monotonic() + REIGN_SECONDS
    while time.monotonic() < until:
        # First a part, then one of its processes: else most would be workers' children.
        parts: dict[str, list[int]] = {}
        for pid, command in sorted(demo.processes().items()):
            parts.setdefault(named(command), []).append(pid)
        # Right after supervisord was killed there may be nobody.
        if parts:
            part = chance.choice(sorted(parts))
            with suppress(ProcessLookupError):
                os.kill(chance.choice(parts[part]), signal.SIGKILL)
                killed[part] += 1
        time.sleep(chance.uniform(0.5, 4))  # sleeps: what comes back needs a moment before it is worth killing
    end = datetime.now(UTC)
    sys.stdout.write(f"CRONS_TEST_SEED={seed}: killed {dict(killed)}\n")

    wait_until(lambda: sum(state == "RUNNING" for state in demo.states().values()) == 10, "not all run again")
    for entry in ("pulse", "far_pulse"):
        wait_until(lambda entry=entry: is_settled(demo, entry, end), f"{entry}: slots without a verdict")

    for entry in ("pulse", "far_pulse"):
        ((first, text),) = demo.rows("SELECT first_seen_at, schedule FROM crons_entry WHERE name = %s", entry)
        slots = parse(str(text)).between(first, end, UTC)  # type: ignore[arg-type]
        verdicts = demo.verdicts(entry, end)
        sys.stdout.write(f"{entry}: {dict(Counter(verdicts.values()))}\n")
        assert sorted(verdicts) == slots
        # Failed is one whose own process was killed, lost one whose scheduler was, superseded one that waited for
        # its second try until a newer slot had succeeded.
        assert set(verdicts.values()) <= {"succeeded", "failed", "lost", "superseded"}
        succeeded = sum(verdict == "succeeded" for verdict in verdicts.values())
        assert 0 < succeeded <= len({line for line in demo.traces.read_text().splitlines() if line.startswith(entry)})
    done = Counter(demo.traces.read_text().splitlines())
    assert {line: count for line, count in done.items() if count > 1 and line.startswith("pulse ")} == {}

    demo.process.send_signal(signal.SIGINT)
    demo.process.communicate(timeout=PATIENCE_SECONDS)
    assert demo.process.returncode == 0
    # Those that end with their parent may be at it still.
    wait_until(lambda: demo.processes() == {}, "it left processes behind")


def is_settled(demo: Demo, entry: str, end: datetime) -> bool:
    """Say whether all slots of *entry* up to *end* have their verdict."""
    try:
        ((accounted,),) = demo.rows("SELECT accounted_until FROM crons_entry WHERE name = %s", entry)
        open_states = {"due", "sent", "running", "waiting"}
        verdicts = demo.verdicts(entry, end)
    except psycopg.OperationalError:
        return False
    return accounted >= end and not open_states.intersection(verdicts.values())  # type: ignore[operator,no-any-return]


def wait_until(is_so: object, otherwise: str) -> None:
    """Return when *is_so* says yes."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < until, otherwise
        time.sleep(1)  # sleeps: neither supervisord nor a database tells of it


def named(command: str) -> str:
    """Name the part that a command line is of."""
    for part in ("supervisord", "redis", "postgres", "uvicorn", "serve", "worker", "beat"):
        if part in command:
            return part
    return "other"


def has_ended(watched: int) -> bool:
    """Say whether the process behind a descriptor ends in time."""
    return bool(select.select([watched], [], [], PATIENCE_SECONDS)[0])
