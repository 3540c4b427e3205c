"""An independent journal of what jobs really did, and a checker that holds the ledger against it.

The jobs write it themselves, by O_APPEND into one file; which slots there were is counted here, by plain arithmetic;
nothing of `crons` is asked but its rows, in SQL.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from tests.acceptance.conftest import Site, moment

VARIABLE = "TEST_JOURNAL"
# Entry → seconds between its slots, which are the multiples of that since 1970; those that may be begun again.
INTERVALS = {"journal_once": 1, "journal_again": 1, "journal_long": 2}
AGAIN = {"journal_again"}
STEP_SECONDS = 0.05
# How long after its last sign, or its begin, a job may count as running: its supervisor and scheduler may be stopped.
SLACK_SECONDS = 30


def write(what: str, entry: str, slot: int, token: int) -> None:
    """Append one line in one write, so that racing processes cannot mix them."""
    file = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{what} {entry} {slot} {token} {time.time():.3f}\n".encode())
    finally:
        os.close(file)


def work(entry: str, slot: int, token: int, seconds: float) -> None:
    """Do a job's work, giving a sign each moment, so that the journal shows until when it really ran."""
    write("begin", entry, slot, token)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(STEP_SECONDS)  # sleeps: the length of the job
        write("alive", entry, slot, token)
    write("end", entry, slot, token)


@dataclass
class Work:
    """What the journal tells of one attempt."""

    entry: str
    slot: int
    token: int
    first: float
    last: float
    has_ended: bool = False


@dataclass
class Slot:
    """What the ledger tells of one slot."""

    state: str
    verdict: str
    detail: str
    tries: int
    attempts: list[tuple[int, str, str]]


class Journal:
    """Everything that was done and everything that was written down, read once; each check returns what is wrong."""

    def __init__(self, site: Site) -> None:
        self.works = _works(site.env[VARIABLE])
        self.by_slot: dict[tuple[str, int], list[Work]] = defaultdict(list)
        for each in self.works.values():
            self.by_slot[each.entry, each.slot].append(each)
        self.wanted: dict[str, set[int]] = {}
        self.recorded: dict[str, list[int]] = {}
        self.slots: dict[tuple[str, int], Slot] = {}
        for entry, seconds in INTERVALS.items():
            self._read(site, entry, seconds)

    def faults(self) -> list[str]:
        """Say everything that is wrong; an empty list means that every promise was kept."""
        return [*self.missing(), *self.doubled(), *self.without_verdict(), *self.untrue()]

    def missing(self) -> list[str]:
        """Slots that are nowhere, or that never were."""
        found = []
        for entry, wanted in self.wanted.items():
            recorded = set(self.recorded[entry])
            found += [f"missing: {entry} {slot}" for slot in sorted(wanted - recorded)]
            found += [f"never was: {entry} {slot}" for slot in sorted(recorded - wanted)]
        return found + [f"not recorded: {each}" for key, each in self.by_slot.items() if key not in self.slots]

    def doubled(self) -> list[str]:
        """Slots in more than one row, effects that a job must not have twice, and two runs of an entry at once."""
        found = []
        for entry, recorded in self.recorded.items():
            found += [f"recorded twice: {entry} {slot}" for slot in set(recorded) if recorded.count(slot) > 1]
            if entry not in AGAIN:
                found += [f"done twice: {key}" for key, works in self.by_slot.items() if key[0] == entry and works[1:]]
            works = sorted((each for each in self.works.values() if each.entry == entry), key=lambda each: each.first)
            pairs = itertools.pairwise(works)
            found += [f"at once: {a} and {b}" for a, b in pairs if b.first < a.last]
        return found

    def without_verdict(self) -> list[str]:
        """Runs that are not over, and attempts that are not, though nothing runs any more."""
        found = [f"no verdict: {key} {each}" for key, each in self.slots.items() if not each.verdict]
        open_ones = [(key, each) for key, slot in self.slots.items() for each in slot.attempts if not each[1]]
        return found + [f"still open: {each}" for each in open_ones]

    def untrue(self) -> list[str]:
        """Verdicts and words that the journal contradicts."""
        found = []
        # Attempts without any work → the first slot that found them in its way.
        in_the_way: dict[int, int] = {}
        for key, slot in sorted(self.slots.items()):
            works = self.by_slot.get(key, [])
            if slot.verdict == "succeeded" and not any(each.has_ended for each in works):
                found.append(f"did not succeed: {key} {slot}")
            if works and not slot.tries:
                found.append(f"was done: {key} {slot}")
            for token, outcome, error in slot.attempts:
                done = self.works.get(token)
                if outcome == "succeeded" and (done is None or not done.has_ended):
                    found.append(f"attempt {token} did not succeed: {key}")
                if "was not started" in error and done is not None:
                    found.append(f"attempt {token} was started: {key} {error}")
            if "was still going" in slot.detail:
                token = int(slot.detail.partition("(attempt ")[2].partition(")")[0])
                # What waited for a process that is stopped has no work to show: it began, and was given back.
                since = self.works[token].last if token in self.works else in_the_way.setdefault(token, key[1])
                if since + SLACK_SECONDS < key[1]:
                    found.append(f"nothing was going: {key} {slot}, {self.works.get(token)}")
        return found

    def _read(self, site: Site, entry: str, seconds: int) -> None:
        [(pk, first, until)] = site.sql(
            "SELECT id, first_seen_at, accounted_until FROM crons_entry WHERE name = %s", entry
        )
        since = _whole(moment(first)) // seconds + 1
        self.wanted[entry] = {n * seconds for n in range(since, _whole(moment(until)) // seconds + 1)}
        recorded = self.recorded[entry] = []
        for run, slot_at, state, verdict, detail, tries in site.sql(
            "SELECT id, slot_at, state, verdict, detail, tries FROM crons_run WHERE entry_id = %s", pk
        ):
            slot = _whole(moment(slot_at))
            attempts = site.sql("SELECT id, outcome, error FROM crons_attempt WHERE run_id = %s", run)
            recorded.append(slot)
            self.slots[entry, slot] = Slot(state, verdict, detail, tries, attempts)
        for first_at, last_at, count in site.sql(
            "SELECT first_at, last_at, count FROM crons_range WHERE entry_id = %s", pk
        ):
            covered = range(_whole(moment(first_at)), _whole(moment(last_at)) + 1, seconds)
            assert len(covered) == count, (entry, first_at, last_at, count)
            recorded += covered


def _works(path: str) -> dict[int, Work]:
    works: dict[int, Work] = {}
    with open(path) as lines:
        for line in lines:
            what, entry, slot, token, at = line.split()
            work = works.setdefault(int(token), Work(entry, int(slot), int(token), float(at), float(at)))
            work.last, work.has_ended = float(at), what == "end"
    return works


def _whole(at: datetime) -> int:
    """Return whole seconds since 1970, rounded down."""
    return int(at.timestamp() // 1)
