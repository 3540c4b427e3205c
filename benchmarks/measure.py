"""How things are measured here: medians of rounds, and a child process where state must be fresh."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.postgres import Server

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Figure:
    """One measured ratio: *value* against *reference* (both in *unit*), and the target it is held to."""

    target: str
    what: str
    value: float
    reference: float
    unit: str
    limit: float
    against: str

    @property
    def ratio(self) -> float:
        """How many times the reference."""
        return self.value / self.reference

    @property
    def is_met(self) -> bool:
        """Whether the target is kept in this run."""
        return self.ratio <= self.limit


def median_seconds(function: Callable[[], Any], rounds: int = 5) -> float:
    """Return the median of *rounds* calls, in seconds."""
    return statistics.median(seconds(function) for _ in range(rounds))


def seconds(function: Callable[[], Any]) -> float:
    """Return how long one call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


@contextmanager
def sqlite_url() -> Iterator[str]:
    """Lend the URL of an empty SQLite database."""
    with tempfile.TemporaryDirectory(prefix="crons-bench-") as folder:
        yield f"sqlite:///{folder}/bench.sqlite3"


@contextmanager
def postgres_url() -> Iterator[str]:
    """Lend the URL of an empty database of a PostgreSQL server that ends with this."""
    with tempfile.TemporaryDirectory(prefix="crons-bench-") as folder:
        server = Server(Path(folder) / "postgres")
        try:
            yield server.url("postgres")
        finally:
            server.stop()


def child(module: str, *arguments: str, **env: str) -> Any:
    """Run benchmarks.*module* in a process of its own and return the JSON it prints last."""
    settings = {"DJANGO_SETTINGS_MODULE": "benchmarks.project", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        env={**os.environ, **settings, **env},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])
