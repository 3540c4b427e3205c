"""One job, fired in every way that there is: what a firing costs, and what becomes of trouble.

`python -m benchmarks ways` prints the tables of docs/ways.md; nothing is held to a target here.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks.measure import ROOT

ROUNDS = 5
BEATS = 10
EVERY_SECONDS = 2
PATIENCE_SECONDS = 60
LINE = ["*/5 * * * *", "benchmarks.ways_jobs.cron.beat"]


@dataclass(frozen=True)
class Way:
    """One way: what a crontab line would call, with which environment besides."""

    name: str
    arguments: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    entry: str = "beat"


@dataclass(frozen=True)
class Firing:
    """What one call cost, and how many times the job began in it."""

    wall: float
    cpu: float
    memory_mb: float
    late: float
    modules: int
    code: int


class Place:
    """A database with tables, a file that the job writes to, and a way to call manage.py."""

    def __init__(self, folder: Path) -> None:
        self.mark, self.database = folder / "mark.jsonl", folder / "ways.sqlite3"
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CRM_", "CRONS_", "BENCH_"))},
            "DATABASE_URL": f"sqlite:///{self.database}",
            "DJANGO_SETTINGS_MODULE": "benchmarks.ways_project",
            "CRM_DEBUG": "1",
            "CRM_ENV_FILE": os.devnull,
            "CRM_LOG_DIR": str(folder / "log"),
            "BENCH_MARK": str(self.mark),
        }
        self.manage("migrate", "--verbosity=0")
        self.manage("crons", "sync")

    def start(self, arguments: tuple[str, ...], env: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start manage.py as cron would: no terminal, nobody reading."""
        return subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), *arguments],
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def manage(self, *arguments: str) -> None:
        """Call manage.py to its good end."""
        code = self.start(arguments, {}).wait()
        if code:
            raise RuntimeError(f"manage.py {' '.join(arguments)} ended {code}")

    def make_due(self, entry: str = "beat") -> None:
        """Have *entry* be due, as after an hour in which nothing looked, and everything else be quiet."""
        ago = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S")
        with self._writing() as database:
            for table in ("crons_outputchunk", "crons_attempt", "crons_run", "crons_range"):
                database.execute(f"DELETE FROM {table}")
            change = "UPDATE crons_entry SET {} WHERE name {} ?"
            database.execute(change.format("wake_at = '9999-01-01', retired_at = ?", "<>"), [ago, entry])
            values = "wake_at = NULL, accounted_until = ?, retired_at = NULL"
            database.execute(change.format(values, "="), [ago, entry])
        for path in (self.mark, self.mark.with_suffix(".go")):
            path.unlink(missing_ok=True)

    def beats(self) -> list[dict[str, float]]:
        """Read what the job has written since it was made due."""
        return [json.loads(line) for line in self.mark.read_text().splitlines()] if self.mark.exists() else []

    def recorded(self) -> str:
        """Say in words what the ledger holds."""
        with self._writing() as database:
            verdicts = [each for (each,) in database.execute("SELECT verdict FROM crons_run ORDER BY id")]
            [(off,)] = database.execute("SELECT COALESCE(SUM(count), 0) FROM crons_range").fetchall()
        told = [f"a run, {verdict or 'no verdict yet'}" for verdict in verdicts]
        return "; ".join([*told, *([f"{off} slots missed"] if off else [])]) or "nothing"

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.database, timeout=30)) as database, database:
            yield database


def fire(place: Place, way: Way, **env: str) -> Firing:
    """Fire once to the end and say what it cost, whole process tree included."""
    place.make_due(way.entry)
    started, clock = time.time(), time.perf_counter()
    process = place.start(way.arguments, {**way.env, **env})
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - clock
    process.returncode = os.waitstatus_to_exitcode(status)
    beat = (place.beats() or [{"at": float("nan"), "modules": 0}])[0]
    cpu, memory = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    return Firing(wall, cpu, memory, beat["at"] - started, int(beat["modules"]), process.returncode)


def fire_twice(place: Place, way: Way) -> int:
    """Fire two at once for one slot; say how many times the job ran."""
    place.make_due(way.entry)
    both = [place.start(way.arguments, {**way.env, "BENCH_MODE": "wait"}) for _ in range(2)]
    # The first waits in the job; the second has ended, or is in the job as well.
    _wait(lambda: len(place.beats()) == 2 or (place.beats() and any(each.poll() is not None for each in both)))
    place.mark.with_suffix(".go").touch()
    for each in both:
        each.wait()
    return len(place.beats())


def fire_and_kill(place: Place, way: Way, look: Way) -> str:
    """Kill the process that cron started while the job runs; say what a later look finds."""
    place.make_due(way.entry)
    process = place.start(way.arguments, {**way.env, "BENCH_MODE": "wait"})
    _wait(lambda: bool(place.beats()))
    process.send_signal(signal.SIGKILL)
    process.wait()
    place.mark.with_suffix(".go").touch()
    place.start(look.arguments, look.env).wait()
    return place.recorded()


@dataclass(frozen=True)
class Served:
    """What one firing of a scheduler that is always there costs."""

    cpu: float
    memory_mb: float
    late: float
    modules: int


def serve(place: Place) -> Served:
    """Let `crons serve` fire the job every two seconds; medians over its beats."""
    env = {"BENCH_EVERY": str(EVERY_SECONDS)}
    place.make_due()
    process = place.start(("crons", "serve"), env)
    try:
        _wait(lambda: bool(place.beats()))
        before = _cpu_seconds(process.pid)
        _wait(lambda: len(place.beats()) > BEATS)
        cpu = (_cpu_seconds(process.pid) - before) / BEATS
        memory = sum(_memory_mb(pid) for pid in _tree(process.pid))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
    beats = place.beats()[1 : BEATS + 1]
    return Served(cpu, memory, median(each["at"] % EVERY_SECONDS for each in beats), int(beats[0]["modules"]))


def ways() -> list[Way]:
    """List what a crontab line may call; the first is what the others are compared with."""
    import hashlib

    mark = hashlib.md5(json.dumps(LINE, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    fired = ("crontab", "run", mark)
    return [
        Way("manage.py command", ("beat",)),
        Way("django-crontab, as shipped", fired, {"BENCH_AS_SHIPPED": "1"}),
        Way("django-crontab, through crons", fired),
        Way("runcrons, through crons", ("runcrons",), entry="beat_class"),
        Way("crons run beat --scheduled", ("crons", "run", "beat", "--scheduled")),
        Way("crons tick", ("crons", "tick")),
    ]


def main() -> None:
    """Measure everything and print both tables."""
    found = ways()
    libraries = ", ".join(f"{name} {version(name)}" for name in ("Django", "django-crontab"))
    machine = f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores"
    print(f"{machine}, {platform.system()}, {libraries}, SQLite; medians of {ROUNDS}, of {BEATS} for serve\n")
    with tempfile.TemporaryDirectory(prefix="crons-ways-") as folder:
        place = Place(Path(folder))
        # One round of all after the other: what else the machine does meets them alike.
        rounds = [[fire(place, way) for way in found] for _ in range(ROUNDS)]
        print(
            "| way | wall | CPU | ratio of CPU | memory | modules | job begins after |\n|---|---|---|---|---|---|---|"
        )
        bare = median(each[0].cpu for each in rounds)
        for number, way in enumerate(found):
            costs = [each[number] for each in rounds]
            cpu = median(each.cpu for each in costs)
            print(
                f"| `{way.name}` | {_ms(median(each.wall for each in costs))} | {_ms(cpu)} | {cpu / bare:.2f} | "
                f"{median(each.memory_mb for each in costs):.0f} MB | {median(each.modules for each in costs)} | "
                f"{_ms(median(each.late for each in costs))} |",
                flush=True,
            )
        served = serve(place)
        print(
            f"| `crons serve`, a firing | | {_ms(served.cpu)} | {served.cpu / bare:.2f} | "
            f"{served.memory_mb:.0f} MB | {served.modules} | {_ms(served.late)} |"
        )
        place.manage("crons", "sync")  # serve had the job on another schedule
        print("\n| way | recorded | the job raises | two at once | killed, then a tick |\n|---|---|---|---|---|")
        for way in found:
            fire(place, way)
            kept = place.recorded()
            code = fire(place, way, BENCH_MODE="fail").code
            failed, both = place.recorded(), fire_twice(place, way)
            killed = fire_and_kill(place, way, found[-1]) if "crons" in way.name else "nothing"
            print(f"| `{way.name}` | {kept} | exit {code}; {failed} | runs {both}× | {killed} |", flush=True)


def _wait(is_so: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > until:
            raise TimeoutError(f"waited {PATIENCE_SECONDS} s for nothing")
        time.sleep(0.01)


def _tree(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in _tree(int(child)))]


def _cpu_seconds(pid: int) -> float:
    """Sum what a living tree has used, its dead children included."""
    ticks = 0
    for each in _tree(pid):
        with contextlib.suppress(OSError):
            ticks += sum(map(int, Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int) -> float:
    """Give a process's share of memory: what two share counts half for each."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
