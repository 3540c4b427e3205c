"""kill -9 at random, again and again: afterwards the account is whole and every promise was kept."""

from __future__ import annotations

import os
import random
import selectors
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from signal import SIGKILL
from zoneinfo import ZoneInfo

import pytest

from crons.executors.process.kernel import descendants
from crons.schedules import parse
from tests import seeds
from tests.acceptance.conftest import Site, moment

SEATS = (("serve",), ("serve",), ("tick",))
IDEMPOTENT = {"each_second_again", "slow_again"}
ENTRIES = {"each_second_once", "slow_once", *IDEMPOTENT}
MOST_TRIES = 3


@pytest.mark.parametrize("seconds", [15, pytest.param(60, marks=pytest.mark.slow(65))])
def test_random_kills_leave_no_hole_and_nothing_twice(site: Site, seconds: int) -> None:
    """What the crash points show one by one must hold in any order, also for supervisors, fork servers and jobs."""
    site.env["TEST_KILLS"] = "1"
    site.crons("sync")
    site.make_due()
    for entry in sorted(ENTRIES):
        site.sql("UPDATE crons_entry SET wake_at = NULL WHERE name = %s", entry)
    seed = seeds.seed(seconds)
    chaos = Chaos(site, random.Random(seed))

    chaos.reign(seconds)
    chaos.end()
    recovered = site.crons("tick")

    account = Account.of(site)
    sys.stdout.write(f"CRONS_TEST_SEED={seed}: {dict(chaos.kills)} killed, {account.told()}; {recovered.stderr}")
    assert chaos.kills["scheduler"] > 0
    output = (site.folder / "output").read_text()
    assert [word for word in ("locked", "deadlock", "duplicate key", "UNIQUE constraint") if word in output] == []
    assert set(account.slots) == ENTRIES
    for entry in ENTRIES:
        assert account.twice_or_never(entry) == {}, entry
    assert account.open_runs() == []
    assert account.open_attempts() == []
    assert account.wrongly_begun_again() == []
    assert account.succeeded_without_effect() == []
    assert account.going_at_once() == []


@dataclass
class Chaos:
    """Schedulers that are killed at random, they or what they forked, and started anew."""

    site: Site
    chance: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    running: dict[int, tuple[subprocess.Popen[str], tuple[str, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ends = selectors.DefaultSelector()
        self._output = self.site.stack.enter_context((self.site.folder / "output").open("a"))

    def reign(self, seconds: float) -> None:
        """Kill and start for so long; between two kills, wait for a process to end."""
        for seat in SEATS:
            self._start(seat)
        until = time.monotonic() + seconds
        while time.monotonic() < until or not self.kills["scheduler"]:
            ended = self._ends.select(self.chance.uniform(0.1, 0.9))
            for key, _ in ended:
                self._start(self._bury(key.fd))
            if not ended:
                self._kill_one()

    def end(self) -> None:
        """Kill every scheduler, and return when the kernel has put away everything that they forked."""
        for process, _ in self.running.values():
            process.kill()
        for descriptor in list(self.running):
            self._bury(descriptor)
        self._ends.close()
        self.site.wait_until_nothing_runs()

    def _start(self, seat: tuple[str, ...]) -> None:
        command = [str(self.site.manage_py), "crons", *seat]
        process = self.site.start_python(*command, output=self._output)
        descriptor = os.pidfd_open(process.pid)
        self.running[descriptor] = (process, seat)
        self._ends.register(descriptor, selectors.EVENT_READ)

    def _bury(self, descriptor: int) -> tuple[str, ...]:
        process, seat = self.running.pop(descriptor)
        process.wait()
        self._ends.unregister(descriptor)
        os.close(descriptor)
        return seat

    def _kill_one(self) -> None:
        # One that has a supervisor has begun something: killing it shows more than killing an import of Django.
        least = 1 if self.chance.random() < 0.2 else 2
        below = {process.pid: descendants(process.pid) for process, _ in self.running.values()}
        busy = {pid: pids for pid, pids in below.items() if len(pids) >= least}
        if not busy:
            return
        pid = self.chance.choice(list(busy))
        kind = self.chance.choice(["scheduler", "forked"])
        with suppress(ProcessLookupError):
            os.kill(self.chance.choice(busy[pid]) if kind == "forked" else pid, SIGKILL)
            self.kills[kind] += 1


@dataclass
class Account:
    """All rows and traces, read once."""

    slots: dict[str, list[datetime]]
    covered: dict[str, Counter[datetime]]
    runs: list[tuple[int, str, str, str, int]]
    attempts: list[tuple[int, int, str]]
    traces: list[tuple[str, str, int]]

    @classmethod
    def of(cls, site: Site) -> Account:
        """Read what *site* has written down, and compute which slots there were."""
        slots, covered = {}, {}
        rows = site.sql("SELECT id, name, schedule, zone, first_seen_at, accounted_until FROM crons_entry")
        for pk, name, text, zone, first, until in rows:
            if name not in ENTRIES:
                continue
            schedule, tz = parse(text), ZoneInfo(zone)
            slots[name] = schedule.between(moment(first), moment(until), tz)
            seen = Counter(
                moment(slot) for (slot,) in site.sql("SELECT slot_at FROM crons_run WHERE entry_id = %s", pk)
            )
            for first_at, last_at, count in site.sql(
                "SELECT first_at, last_at, count FROM crons_range WHERE entry_id = %s", pk
            ):
                among = [slot for slot in slots[name] if moment(first_at) <= slot <= moment(last_at)]
                assert len(among) == count
                seen.update(among)
            covered[name] = seen
        runs = site.sql(
            "SELECT r.id, e.name, r.state, r.verdict, r.tries FROM crons_run r JOIN crons_entry e ON e.id = r.entry_id"
        )
        attempts = site.sql("SELECT id, run_id, outcome FROM crons_attempt ORDER BY id")
        return cls(slots, covered, runs, attempts, site.traces())

    def told(self) -> str:
        """Say it in numbers."""
        verdicts = Counter(verdict for _, _, _, verdict, _ in self.runs)
        outcomes = Counter(outcome for _, _, outcome in self.attempts)
        slots = sum(map(len, self.slots.values()))
        return f"{slots} slots, verdicts {dict(verdicts)}, outcomes {dict(outcomes)}, {len(self.traces)} traces"

    def twice_or_never(self, entry: str) -> dict[datetime, int]:
        """Slots that are not in exactly one run or range, with how many they are in."""
        wanted, seen = Counter(self.slots[entry]), self.covered[entry]
        return {slot: seen[slot] for slot in {*wanted, *seen} if seen[slot] != 1 or wanted[slot] != 1}

    def open_runs(self) -> list[tuple[int, str, str, str, int]]:
        """Runs without a verdict."""
        return [run for run in self.runs if run[2] != "done" or not run[3]]

    def open_attempts(self) -> list[tuple[int, int, str]]:
        """Attempts without an outcome."""
        return [attempt for attempt in self.attempts if not attempt[2]]

    def wrongly_begun_again(self) -> list[object]:
        """Runs with more attempts than their job allows, keys with more effects than that."""
        found: list[object] = []
        tries = Counter(run for _, run, _ in self.attempts)
        for pk, entry, _, verdict, told in self.runs:
            most = MOST_TRIES if entry in IDEMPOTENT else 1
            least = 0 if verdict in ("", "skipped", "missed") else 1
            if not least <= tries[pk] <= most or told != tries[pk]:
                found.append((entry, pk, verdict, told, tries[pk]))
        begun = Counter((entry.partition(":")[2], key) for entry, key, _ in self.traces if entry.startswith("begin:"))
        for (entry, key), times in begun.items():
            if times > (MOST_TRIES if entry in IDEMPOTENT else 1):
                found.append((entry, key, times))
        return found

    def succeeded_without_effect(self) -> list[tuple[int, int, str]]:
        """Attempts that succeeded, and whose job never said so."""
        ended = {token for entry, _, token in self.traces if entry.startswith("end:")}
        return [attempt for attempt in self.attempts if attempt[2] == "succeeded" and attempt[0] not in ended]

    def going_at_once(self) -> list[tuple[str, int, int]]:
        """Attempts of one entry that ran at the same time: the file keeps the order in which jobs wrote."""
        found = []
        going: dict[str, int] = {}
        for told, _, token in self.traces:
            what, _, entry = told.partition(":")
            if what == "begin":
                # One that never says its end was killed; one that says it after this was overlapped.
                if token <= going.get(entry, 0):
                    found.append((entry, going[entry], token))
                going[entry] = token
            elif going.get(entry) != token:
                found.append((entry, going.get(entry, 0), token))
        return found
