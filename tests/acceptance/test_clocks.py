"""Clocks that stand still, jump, change for the summer, or disagree: no slot is lost, none comes twice.

The real dispatcher on the real ledger, told the time; and once real processes with a faked clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crons import ledger
from crons.attempts import Begun, Finished, LedgerWriter
from crons.declarations import sync
from crons.dispatch import Dispatcher
from crons.executors.base import Executor
from crons.hosts.instances import Instance
from crons.jobs import Job, registry
from crons.jobs.policies import Policy
from crons.models import Attempt, Entry, Range, Run
from crons.schedules import zone_data
from crons.verdicts import Ending, Outcome
from tests.acceptance.conftest import Site, moment

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
WEEK = timedelta(days=7)
MINUTES_OF_A_WEEK = 7 * 24 * 60


class AtOnce(Executor):
    """Ends every attempt well, the moment it is asked to work."""

    def __init__(self, room: int = 1000) -> None:
        super().__init__(alias="process")
        self.room, self.now, self.started = room, NOON, list[Begun]()

    def prepare(self) -> None: ...

    def free(self) -> int:
        return self.room - len(self.started)

    def start(self, begun: Iterable[Begun]) -> None:
        self.started += begun

    def running(self) -> frozenset[int]:
        return frozenset(each.attempt for each in self.started)

    def work(self, writer: LedgerWriter, timeout_seconds: float, wake_fd: int | None = None) -> None:
        done, self.started = self.started, []
        ledger.finish([Finished(each.attempt, Ending(Outcome.SUCCEEDED)) for each in done], self.now)

    def cancel(self, attempts: Iterable[int], reason: str) -> None: ...

    def close(self) -> None: ...


class Clock:
    """One scheduler and the time it is told."""

    def __init__(self, instance: Instance) -> None:
        self.executor = AtOnce()
        self.dispatcher = Dispatcher("test", instance, {"process": self.executor})

    def at(self, now: datetime, *, working: bool = True) -> list[tuple[str, datetime | None]]:
        """Turn at *now*; return what it began."""
        self.executor.now = now
        begun = self.dispatcher.turn(now).begun
        if working:
            self.executor.work(None, 0)  # type: ignore[arg-type] # it writes to the ledger itself
        return [(each.entry, each.slot_at) for each in begun]


@pytest.fixture
def clock(db: None) -> Iterator[Clock]:
    """A scheduler whose jobs succeed at once."""
    instance = Instance.start("test")
    yield Clock(instance)
    instance.stop()


@pytest.fixture
def declare(db: None) -> Iterator[Callable[..., Entry]]:
    """Make an entry that was first seen at *since*, and the job that it names."""
    jobs = dict(registry.jobs)

    def make(name: str, schedule: str, *, since: datetime = NOON, zone: str = "UTC", **policy: object) -> Entry:
        registry.jobs[name] = Job(name, _nothing, Policy(**policy))  # type: ignore[arg-type]
        return Entry.objects.create(
            name=name, job=name, schedule=schedule, zone=zone, zone_hash=zone_data.fingerprint(zone),
            policy=Policy(**policy).as_json(),  # type: ignore[arg-type]
            first_seen_at=since, accounted_until=since, wake_at=None,
        )  # fmt: skip

    yield make
    registry.jobs.clear()
    registry.jobs.update(jobs)


def test_a_restart_over_a_due_moment_loses_nothing(clock: Clock, declare: Callable[..., Entry]) -> None:
    """Fifteen seconds without a scheduler, four o'clock among them: what polls the clock would miss it."""
    declare("four", "0 16 * * *")
    four = NOON + 4 * HOUR

    before = clock.at(four - 5 * SECOND)
    after = clock.at(four + 10 * SECOND)
    later = clock.at(four + 70 * SECOND)

    assert (before, after, later) == ([], [("four", four)], [])
    assert verdicts() == {"four": [(four, "succeeded")]}
    assert not Range.objects.exists()


def test_a_week_down_is_accounted_for_in_few_statements(clock: Clock, declare: Callable[..., Entry]) -> None:
    """Two hundred jobs of each minute: the first look after a week may not walk through two million slots."""
    policies: list[dict[str, object]] = [{"catch_up": "none"}, {"catch_up": "latest"}, {"catch_up": "all", "cap": 3}]
    for number in range(200):
        declare(f"minute_{number:03}", "* * * * *", **policies[number % 3])
    now = NOON + WEEK + 30 * SECOND

    with CaptureQueriesContext(connection) as statements:
        clock.at(now, working=False)

    # Three of them read the queues; one mends moments that are none, on SQLite. Thirty open the incident of the outage
    # and say what it cost: as many for any number of entries.
    assert len(statements) <= 56
    assert Run.objects.count() == 67 + 67 + 66 * 3
    assert Range.objects.count() == 200
    ranges = Counter(Range.objects.values_list("count", "verdict", "reason"))
    assert ranges == {
        (MINUTES_OF_A_WEEK - 1, "missed", "catch_up"): 134,
        (MINUTES_OF_A_WEEK - 3, "missed", "cap"): 66,
    }
    assert {each.last_at for each in Range.objects.filter(reason="cap")} == {NOON + WEEK - 3 * MINUTE}
    assert set(Entry.objects.values_list("accounted_until", "wake_at")) == {(now, NOON + WEEK + MINUTE)}
    assert Attempt.objects.count() == 200  # of each entry one at a time, the others wait


def test_none_lets_nothing_through_that_is_older_than_the_grace(clock: Clock, declare: Callable[..., Entry]) -> None:
    """catch_up="none" means: late is never."""
    declare("hourly", "0 * * * *", catch_up="none")

    begun = clock.at(NOON + 3 * HOUR + 61 * SECOND)

    assert begun == []
    assert Range.objects.values_list("count", "verdict", "reason").get() == (3, "missed", "catch_up")


def test_a_clock_that_jumps_forward_and_back_repeats_nothing(clock: Clock, declare: Callable[..., Entry]) -> None:
    """A virtual machine that wakes with a wrong clock, and is corrected an hour later."""
    declare("often", "*/5 * * * *")
    every_five = [NOON + 5 * MINUTE * number for number in range(1, 26)]

    right = clock.at(every_five[0])
    ahead = clock.at(every_five[0] + HOUR)
    again = [each for at in every_five[1:13] for each in clock.at(at)]
    onward = [slot for at in every_five[13:] for _, slot in clock.at(at)]

    assert right == [("often", every_five[0])]
    assert ahead == [("often", every_five[12])]
    assert again == []
    assert onward == every_five[13:]
    dropped = Range.objects.values_list("first_at", "last_at", "count").get()
    assert dropped == (every_five[1], every_five[11], 11)
    assert [slot for slot, _ in verdicts()["often"]] == [every_five[0], *every_five[12:]]


def test_a_clock_that_jumps_back_declares_nobody_lost(clock: Clock, declare: Callable[..., Entry]) -> None:
    """Nor does one that jumps forward: on one machine the kernel says who lives, not a lease."""
    declare("long", "0 * * * *")

    clock.at(NOON + HOUR, working=False)
    clock.at(NOON + 5 * HOUR, working=False)
    clock.at(NOON + MINUTE, working=False)

    assert Attempt.objects.values_list("outcome", flat=True).get() == ""
    clock.executor.work(None, 0)  # type: ignore[arg-type]
    assert verdicts()["long"][0] == (NOON + HOUR, "succeeded")


@pytest.mark.parametrize(
    ("evening", "wanted"),
    [
        # 02:00 becomes 03:00 at 01:00 UTC: the fixed job runs once, right after the gap.
        (
            datetime(2026, 3, 28, 23, 15, tzinfo=UTC),
            {
                "fixed": ["01:00"],
                "hourly": ["00:00", "01:00", "02:00", "03:00"],
                "wildcard": ["23:30", "00:00", "00:30", "01:00", "01:30", "02:00", "02:30", "03:00"],
            },
        ),
        # 03:00 becomes 02:00 at 01:00 UTC: the fixed job runs the first time only, real time goes on.
        (
            datetime(2026, 10, 24, 23, 15, tzinfo=UTC),
            {
                "fixed": ["00:30"],
                "hourly": ["00:00", "01:00", "02:00", "03:00"],
                "wildcard": ["23:30", "00:00", "00:30", "01:00", "01:30", "02:00", "02:30", "03:00"],
            },
        ),
    ],
    ids=["spring", "autumn"],
)
@pytest.mark.parametrize("catch_up", ["each minute", "in the morning"])
def test_clock_changes_in_berlin(
    clock: Clock, declare: Callable[..., Entry], evening: datetime, wanted: dict[str, list[str]], catch_up: str
) -> None:
    """The same slots, whether somebody looked at each minute of the night or only in the morning."""
    schedules = {"fixed": "30 2 * * *", "wildcard": "*/30 * * * *", "hourly": "0 * * * *"}
    for name, schedule in schedules.items():
        declare(name, schedule, since=evening, zone="Europe/Berlin", catch_up="all")
    morning = 4 * 60 - 15 + 4  # minutes until 03:04 UTC

    looks = range(1, morning + 1) if catch_up == "each minute" else [morning] * 9
    for minute in looks:
        clock.at(evening + minute * MINUTE)

    found = verdicts()
    assert {name: [f"{slot:%H:%M}" for slot, _ in found[name]] for name in schedules} == wanted
    assert {verdict for name in schedules for _, verdict in found[name]} == {"succeeded"}
    assert not Range.objects.exists()


def test_new_time_zone_data_plans_anew(clock: Clock, declare: Callable[..., Entry]) -> None:
    """A government moved the clock change: the wake-up that is stored was computed with the old rules."""
    entry = declare("morning", "0 8 * * *", zone="Europe/Berlin")
    other = declare("elsewhere", "0 8 * * *", zone="UTC")
    clock.at(NOON)
    wrong = NOON + timedelta(days=300)
    Entry.objects.filter(pk=entry.pk).update(zone_hash="of an older release", wake_at=wrong)
    Entry.objects.filter(pk=other.pk).update(wake_at=wrong)

    changed = sync.replan_changed_zones()
    again = sync.replan_changed_zones()
    clock.at(NOON + MINUTE)

    assert (changed, again) == (["Europe/Berlin"], [])
    entry.refresh_from_db()
    other.refresh_from_db()
    assert entry.zone_hash == zone_data.fingerprint("Europe/Berlin")
    assert entry.wake_at == datetime(2026, 3, 3, 7, 0, tzinfo=UTC)
    assert other.wake_at == wrong


def test_the_lease_starts_when_the_attempt_begins(
    clock: Clock, declare: Callable[..., Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recording after a long absence takes its time: a lease counted from before it may be over at once."""
    declare("often", "*/5 * * * *")
    times = iter([NOON + 5 * MINUTE, NOON + 6 * MINUTE])
    # The package and its module share the name, so that the module is found by import_module only.
    monkeypatch.setattr(import_module("crons.ledger.agenda"), "database_now", lambda: next(times))
    monkeypatch.setattr(ledger, "database_now", lambda: next(times))

    clock.dispatcher.turn()

    assert Attempt.objects.values_list("begun_at", flat=True).get() == NOON + 6 * MINUTE


@pytest.mark.needs("faketime")
def test_a_host_an_hour_ahead_fires_nothing_twice(site: Site) -> None:
    """On SQLite its clock is the only one: the slots of that hour are done early, once.

    On PostgreSQL the database's clock decides, and it does nothing early.
    """
    site.make_due("plain")
    faked = {"DONT_FAKE_MONOTONIC": "1"}

    first = site.faketime("+1h", "tick", **faked)
    second = site.faketime("+1h", "tick", **faked)
    back = site.crons("tick")

    done = [moment(slot) for (slot,) in site.sql("SELECT slot_at FROM crons_run ORDER BY slot_at")]
    now = datetime.now(UTC)
    newest = done[-1]
    assert len(done) == 1
    assert len(site.traces()) == 1
    assert (newest > now) == (site.database.vendor == "sqlite")
    assert "1 slot(s) recorded" in first.stderr
    # Nothing to do, nothing to say.
    assert [text.stderr for text in (second, back)] == ["", ""]


@pytest.mark.needs("faketime")
def test_a_host_a_year_ahead_records_nothing_where_its_clock_counts(site: Site) -> None:
    """One tick in that state accounted for 456 days, and nothing fell due in them."""
    site.make_due("plain")
    site.crons("tick")
    before = site.sql("SELECT COUNT(*) FROM crons_run"), site.sql("SELECT COUNT(*) FROM crons_range")

    ahead = site.faketime("+456d", "tick", check=False, DONT_FAKE_MONOTONIC="1")

    after = site.sql("SELECT COUNT(*) FROM crons_run"), site.sql("SELECT COUNT(*) FROM crons_range")
    if site.database.vendor == "sqlite":
        assert (ahead.returncode, after) == (1, before)
        assert "day(s) after the newest row" in ahead.stderr
    else:  # there the database's clock decides, and it is right
        assert ahead.returncode == 0
    assert site.crons("tick").returncode == 0


def _nothing() -> None:
    """Do nothing."""


def verdicts() -> dict[str, list[tuple[datetime, str]]]:
    """Return (slot, verdict) of each entry's runs, oldest first."""
    found: dict[str, list[tuple[datetime, str]]] = {name: [] for name in Entry.objects.values_list("name", flat=True)}
    for name, slot_at, verdict in Run.objects.order_by("slot_at").values_list("entry__name", "slot_at", "verdict"):
        found[name].append((slot_at, verdict))
    return found
