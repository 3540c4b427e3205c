"""A host whose executor is elsewhere: a driven scheduler, a broker, and real workers; rows say what became of a run."""

from __future__ import annotations

import json
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from crons.verdicts import Ending, Outcome
from tests.acceptance import brokers
from tests.contracts.hosting import PATIENCE_SECONDS, Trail
from tests.databases import OwnDatabase, own_database

ROOT = Path(__file__).resolve().parents[2]
# A quarter of it passes until a worker hears that a run is to be stopped; a busy machine may take most of it to renew.
LEASE_SECONDS = 15.0
LOOK_SECONDS = 0.02
TURN_SECONDS = 0.5
END_SECONDS = 30.0
CELERY = (
    *("-m", "celery", "-A", "tests.contracts.project.celery", "worker"),
    *("-c", "2", "--without-mingle", "--without-gossip", "-l", "INFO"),
)
DB_WORKER = (str(ROOT / "manage.py"), "db_worker", "--no-reload", "--no-startup-delay", "--interval", "0.05")
COMMANDS = {"celery": (CELERY, "ready."), "tasks": (DB_WORKER, "Starting worker")}


class Station:
    """One database, one scheduler that tests drive, and a worker for each executor, each made when it is first used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # A point and a signal, for the next worker that comes there: see project/dying.py.
        self.dying_file = folder / "dying"
        self.stack = ExitStack()
        self._database: OwnDatabase | None = None
        self._driver: subprocess.Popen[str] | None = None
        self._redis: brokers.Redis | None = None
        self._workers: dict[str, Worker] = {}

    def ask(self, command: str, **given: Any) -> Any:
        """Have the scheduler do *command*, and return its answer."""
        driver = self._started_driver()
        assert driver.stdin is not None
        assert driver.stdout is not None
        driver.stdin.write(json.dumps([command, given]) + "\n")
        driver.stdin.flush()
        line = driver.stdout.readline()
        assert line, f"the scheduler has ended: {self.output('driver')}"
        answer = json.loads(line)
        assert "error" not in answer, f"{command}: {answer['error']}\n{self.output('driver')}"
        return answer["answer"]

    def worker(self, alias: str) -> Worker:
        """Return the living worker of *alias*."""
        worker = self._workers.get(alias)
        if worker is None or not worker.is_alive():
            worker = self._workers[alias] = self.start_worker(alias)
        return worker

    def start_worker(self, alias: str, **env: str) -> Worker:
        """Start one more worker of *alias*, and return it once it takes messages."""
        number = len(list(self.folder.glob("worker-*")))
        output = self.folder / f"worker-{number}-{alias}"
        command, ready = COMMANDS[alias]
        if alias == "celery":
            command = (*command, "-n", f"worker{number}@contracts")
        worker = Worker(self._start(command, output, CONTRACT_DYING_FILE=str(self.dying_file), **env), output)
        worker.wait_for_line(re.escape(ready))
        return worker

    @property
    def redis(self) -> brokers.Redis:
        """The broker of Celery."""
        if self._redis is None:
            folder = self.folder / "redis"
            folder.mkdir()
            self._redis = self.stack.enter_context(brokers.redis(folder))
        return self._redis

    @property
    def database(self) -> OwnDatabase:
        """The ledger's database, with the queue of django-tasks-db in it."""
        if self._database is None:
            database = self.stack.enter_context(own_database(self.folder))
            self._database = database.prepared("contracts", _migrate)
        return self._database

    def output(self, name: str) -> str:
        """Return the end of what a process has written to the file *name*."""
        return (self.folder / name).read_text(errors="replace")[-5000:]

    def close(self) -> None:
        """End everything."""
        self.stack.close()

    def _started_driver(self) -> subprocess.Popen[str]:
        if self._driver is None:
            command = ("-m", "tests.contracts.driver")
            self._driver = self._start(command, self.folder / "driver", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self._driver

    def _start(
        self, command: tuple[str, ...], output: Path, *, stdin: int = subprocess.DEVNULL, stdout: int | None = None,
        **env: str,
    ) -> subprocess.Popen[str]:  # fmt: skip
        with output.open("w") as log:
            process = subprocess.Popen(
                [sys.executable, *command],
                env={**_env(self.database), "BROKER_URL": self._broker_url(), **env},
                cwd=self.folder,
                stdin=stdin,
                stdout=stdout or log,
                stderr=log,
                text=True,
            )
        self.stack.callback(_end, process)
        return process

    def _broker_url(self) -> str:
        return self.redis.url if shutil.which("redis-server", path=brokers.PATH) else "memory://"


@dataclass
class Worker:
    """One worker process, with its log."""

    process: subprocess.Popen[str]
    output: Path

    def is_alive(self) -> bool:
        """Say whether it has not ended."""
        return self.process.poll() is None

    def kill(self) -> None:
        """Kill it, and nothing that it has started."""
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        """Return what it has logged so far."""
        return self.output.read_text(errors="replace")

    def wait_for_line(self, pattern: str, after: int = 0) -> None:
        """Return once its log matches, behind so many characters."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not re.search(pattern, self.log()[after:]):
            assert self.is_alive(), f"the worker ended with {self.process.returncode}: {self.log()[-5000:]}"
            assert time.monotonic() < until, f"it did not log {pattern!r}: {self.log()[-5000:]}"
            time.sleep(LOOK_SECONDS)  # sleeps: nobody tells of a line in a file


class WorkerHost:
    """Has runs begun by a worker of *alias*, and has the interface of hosting.Host; attempts are known by their run."""

    def __init__(self, alias: str, station: Station) -> None:
        self.alias = alias
        self.station = station
        self.worker = station.worker(alias)
        self._runs: list[int] = []
        self._leases: dict[int, set[str]] = {}
        self._turn_at = 0.0

    def start(
        self, job: str, /, *, timeout: float | None = 300, lease: float = LEASE_SECONDS, how: Any = None, **args: Any
    ) -> int:
        """Send a run of *job*; return its number. The lease is the workers' own, whatever the test says."""
        run = self.station.ask("start", job=job, executor=self.alias, timeout=timeout, args=args, **(how or {}))
        self._runs.append(run)
        return int(run)

    def row(self, run: int) -> dict[str, Any]:
        """Return the run's row, with its attempts."""
        row: dict[str, Any] = self.station.ask("row", run=run)
        for attempt in row["attempts"]:
            if attempt["lease_until"]:
                self._leases.setdefault(run, set()).add(attempt["lease_until"])
        return row

    def until(self, holds: Callable[[], object], wake_fd: int | None = None) -> None:
        """Look at the clock as a scheduler does, until *holds*."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert time.monotonic() < until, f"waited in vain; the log of its worker:\n{self.worker.log()[-5000:]}"
            if time.monotonic() >= self._turn_at:
                self.station.ask("turn")
                self._turn_at = time.monotonic() + TURN_SECONDS
            # sleeps: a database tells nobody of a row
            select.select([] if wake_fd is None else [wake_fd], [], [], LOOK_SECONDS)

    def ending(self, run: int) -> Ending:
        """Wait until an attempt of the run has ended and say how."""
        self.until(lambda: self._ended(run) is not None)
        row = self._ended(run)
        assert row is not None
        return Ending(
            Outcome(row["outcome"]), row["error"], row["exit_code"], row["cpu_seconds"], row["peak_memory_bytes"]
        )

    def run(self, job: str, /, **given: Any) -> Ending:
        """Send a run of *job* and say how it ended."""
        return self.ending(self.start(job, **given))

    def is_final(self, run: int) -> bool:
        """Wait until an attempt has ended and say whether none follows: each of these runs may be tried twice."""
        self.ending(run)
        return bool(self.row(run)["state"] == "done")

    def begun(self, run: int) -> Any:
        """Return what the run's attempt was begun as, as far as a job knows it."""
        row = self.row(run)
        slot_at = None if row["slot_at"] is None else datetime.fromisoformat(row["slot_at"])
        attempt = row["attempts"][-1]
        return _Begun(row["name"], row["effect_key"], attempt["id"], attempt["number"], slot_at, run)

    def text(self, run: int, stream: str = "stdout") -> str:
        """Return what of its output has been written down."""
        return "".join(self.chunks(run, stream))

    def chunks(self, run: int, stream: str) -> list[str]:
        """Return the same in the pieces that it was written down in."""
        found: list[str] = self.station.ask("chunks", run=run, stream=stream)
        return found

    def running(self) -> frozenset[int]:
        """Return the runs of which an attempt has not ended, or none has begun."""
        return frozenset(run for run in self._runs if self.row(run)["state"] in ("due", "sent", "running"))

    def cancel(self, run: int, reason: str) -> None:
        """Ask for the run to be stopped."""
        if self.row(run)["state"] != "done":
            self.station.ask("cancel", run=run, reason=reason)

    ask_to_cancel = cancel

    def attempts(self, run: int) -> list[str]:
        """Return the outcomes of the run's attempts, in order; "" is one that goes on."""
        return [each["outcome"] for each in self.row(run)["attempts"]]

    def conclude(self, run: int) -> str:
        """Wait until the run is over, and return its verdict."""
        self.until(lambda: self.row(run)["state"] == "done")
        return str(self.row(run)["verdict"])

    def send_again(self, run: int) -> None:
        """Have the run's message come once more."""
        self.station.ask("send_again", run=run, executor=self.alias)

    def make_due(self, run: int) -> None:
        """Have a run that was sent and not begun be sent again now, and not after its pause."""
        self.station.ask("make_due", run=run)

    def wait_for_log(self, pattern: str, count: int = 1) -> None:
        """Wait until so many places of the worker's log match."""
        self.until(lambda: len(re.findall(pattern, self.worker.log())) >= count)

    def revive(self) -> None:
        """Have a worker again."""
        self.worker = self.station.worker(self.alias)

    def disown(self, run: int) -> None:
        """Have the attempt be declared lost."""
        self.station.ask("disown", run=run)

    def renewals(self, run: int) -> int:
        """Count the renewals of its lease that were seen."""
        self.row(run)
        return len(self._leases.get(run, ())) - 1

    def lines(self, trail: Trail, count: int) -> list[str]:
        """Wait until *count* lines have come over the named pipe."""
        self.until(lambda: len(trail.lines()) >= count, trail.fd)
        return trail.lines()

    def silence(self, trail: Trail) -> None:
        """Wait until every process that wrote to the named pipe, or inherited it, is gone."""
        self.until(trail.is_closed, trail.fd)

    @property
    def is_broken(self) -> bool:
        """A worker makes itself a new fork server, and a station a new worker."""
        return False

    def close(self) -> None:
        """The worker stays for the next test."""

    def _ended(self, run: int) -> dict[str, Any] | None:
        ended = [each for each in self.row(run)["attempts"] if each["outcome"]]
        return ended[-1] if ended else None


@dataclass(frozen=True)
class _Begun:
    entry: str
    key: str
    attempt: int
    number: int
    slot_at: datetime | None
    run: int


def _env(database: OwnDatabase) -> dict[str, str]:
    return {
        **database.env,
        "DJANGO_SETTINGS_MODULE": "tests.contracts.project.settings",
        "CONTRACT_LEASE_SECONDS": str(LEASE_SECONDS),
        "SHOP_DATABASE_URL": "postgres://shop:correct-horse@db/shop",
        "PYTHONUNBUFFERED": "1",
    }


def _migrate(database: OwnDatabase) -> None:
    command = [sys.executable, str(ROOT / "manage.py"), "migrate", "--no-input", "--verbosity=0"]
    subprocess.run(command, env=_env(database), check=True, timeout=PATIENCE_SECONDS, stdin=subprocess.DEVNULL)


def _end(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    if process.poll() is None:
        process.terminate()  # killed, Celery's worker would leave its children to find that out
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    if process.poll() is None:
        process.kill()
        process.wait()
