"""Whatever happened, once it is calm again everything ends: nothing waits for ever behind something else.

What goes wrong is drawn at random: brokers that refuse or forget, messages that come twice or late, workers that
vanish, pauses, cancelled and repeated runs, rows that were garbled. Then it is quiet, with room for one at a time.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from crons import ledger
from crons.attempts import Begun
from crons.exceptions import Refused
from crons.jobs.policies import Policy, Retry
from crons.jobs.windows import Window
from crons.models import Attempt, Entry, Run
from crons.schedules import FAR_FUTURE
from crons.verdicts import Outcome
from tests import seeds
from tests.crons.conftest import NOON, Ledger, minutes

pytestmark = pytest.mark.django_db
STEPS = 120
CALM_TURNS = 3_000
FAR = ("far", "farther")
# Closed for a while after the world's beginning.
WINDOWS = [None, Window("12:30", "12:10"), Window("13:30", "12:50"), Window("15:00", "14:20")]


# Each of the numbers once led to a standstill.
OLD_SEEDS = (0, 6)
SEEDS = [
    # The slow ones are for both databases; one with windows that open and close is among the quick ones.
    *(pytest.param(seed, marks=pytest.mark.sqlite) for seed in (*OLD_SEEDS, 1)),
    # CRONS_TEST_SEED=new draws others, and each failure says which it had.
    *(
        pytest.param(seeds.seed(100 + number), id=f"random {number}", marks=pytest.mark.slow(35))
        for number in range(10)
    ),
]


@pytest.mark.parametrize("seed", SEEDS)
def test_after_any_trouble_everything_ends(make_entry: Any, led: Ledger, settings: Any, seed: int) -> None:
    """With room for one at a time, and no entry waits for what waits for it."""
    settings.CRONS = {"GROUPS": {"few": 2}}
    world = World(led, random.Random(seed), windows=None if seed in OLD_SEEDS else random.Random(seed))
    for number in range(world.chance.randint(2, 6)):
        make_entry(f"entry{number}", **world.policy())

    for _ in range(STEPS):
        world.something_happens()
        assert world.twice_at_once() == [], f"seed {seed}"
    world.calm_down()

    assert [(run.pk, run.entry.name, run.state, run.detail) for run in world.open_runs()] == [], f"seed {seed}"
    assert Attempt.objects.filter(outcome="").count() == 0


@dataclass
class World:
    """A ledger, what is on its way to workers and what they have begun, on one clock."""

    led: Ledger
    chance: random.Random
    now: datetime = NOON
    broker: list[tuple[str, int]] = field(default_factory=list)
    begun: list[Begun] = field(default_factory=list)
    # Of its own: the numbers above lead to their standstills by what is drawn otherwise.
    windows: random.Random | None = None

    def policy(self) -> dict[str, Any]:
        """Draw what an entry is like."""
        chance = self.chance
        return {
            "schedule": chance.choice(["* * * * *", "*/5 * * * *"]),
            "executor": chance.choice(["process", *FAR, *FAR]),
            "catch_up": chance.choice(["latest", "all"]),
            "overlap": chance.choice(["skip", "skip", "allow"]),
            "deadline": chance.choice([None, None, minutes(20)]),
            "retry": Retry(chance.choice([0, 2])),
            "idempotent": chance.random() < 0.5,
            "group": chance.choice(["", "few"]),
            "window": self.windows.choice(WINDOWS) if self.windows else None,
        }

    def something_happens(self) -> None:
        """Let some time go by, and then one thing happen."""
        self.now += timedelta(seconds=self.chance.choice([1, 10, 60, 400]))
        what = [self.look, self.look, self.arrive, self.end_one, self.lose_one, self.hold_one, self.ask]
        weights = [4, 4, 4, 4, 1, 1, 1]
        self.chance.choices(what, weights)[0]()

    def look(self) -> None:
        """Let a scheduler look at the clock; what it sends may be taken, refused or forgotten."""
        room = {alias: self.chance.choice([0, 1, 1, 100]) for alias in FAR}
        for message in self._turn(room, self.chance.choice([0, 1, 4])):
            fate = self.chance.choice(["taken", "taken", "twice", "refused", "refused", "forgotten"])
            if fate == "refused":
                pause = timedelta(seconds=self.chance.choice([1, 30, 300]))
                ledger.requeue([message.run], self.now + pause, "could not be sent", unsent=True)
            elif fate != "forgotten":
                self.broker += [(message.executor, message.run)] * (2 if fate == "twice" else 1)

    def arrive(self) -> None:
        """Let a worker get one of the messages, in any order; it may be too old to know the job, or have no thread."""
        if not self.broker:
            return
        alias, run = self.broker.pop(self.chance.randrange(len(self.broker)))
        begun = [] if self.chance.random() < 0.2 else self._begin_arrived(alias, run)
        if not begun:
            ledger.requeue([run], self.now + self.chance.choice([timedelta(0), minutes(1)]), "a worker was there")
        self.begun += begun

    def end_one(self) -> None:
        """Let an attempt end, one way or the other."""
        if self.begun:
            begun = self.begun.pop(self.chance.randrange(len(self.begun)))
            self.led.finish(begun, self.now, self.chance.choice([Outcome.SUCCEEDED, Outcome.FAILED]), "no luck")

    def lose_one(self) -> None:
        """Let an attempt vanish; it is found when its lease is over."""
        if self.begun:
            begun = self.begun.pop(self.chance.randrange(len(self.begun)))
            Attempt.objects.filter(pk=begun.attempt).update(boot_id="elsewhere")

    def hold_one(self) -> None:
        """Pause an entry, end its pause, garble it or mend it."""
        entry = self.chance.choice(list(Entry.objects.order_by("pk")))
        with suppress(Refused):
            if entry.paused_at is None and self.chance.random() < 0.5:
                ledger.pause(entry.name, self.now, by="ann", reason="because")
            elif entry.paused_at is not None:
                ledger.resume(entry.name, self.now, by="ann")
            else:
                _garble(entry, back="?" in entry.policy["overlap"])
                entry.save(update_fields=["policy"])

    def ask(self) -> None:
        """Have somebody ask for a run, cancel one or have one tried again."""
        runs = list(Run.objects.order_by("pk"))
        entry = self.chance.choice(list(Entry.objects.order_by("pk")))
        with suppress(Refused):
            if not runs or self.chance.random() < 0.4:
                ledger.request(entry.name, self.now, "test", by="ann")
            elif self.chance.random() < 0.5:
                ledger.request_cancel(self.chance.choice(runs).pk, self.now, reason="enough")
            else:
                ledger.retry(self.chance.choice(runs).pk, self.now, by="ann")

    def calm_down(self) -> None:
        """Mend everything, let no slot fall due any more, and give room for one at a time until nothing is open."""
        self._turn({}, 0)
        for entry in Entry.objects.all():
            if entry.paused_at is not None:
                ledger.resume(entry.name, self.now, by="ann")
            entry.refresh_from_db()
            _garble(entry, back=True)
            entry.wake_at = FAR_FUTURE
            entry.save(update_fields=["policy", "wake_at"])
        for begun in self.begun:
            self.led.finish(begun, self.now)
        self.begun = []
        for _ in range(CALM_TURNS):
            self.now += timedelta(seconds=20)
            sent = self._turn(dict.fromkeys(FAR, 1), 1)
            arrived = [begun for each in sent for begun in self._begin_arrived(each.executor, each.run)]
            for begun in [*self.begun, *arrived]:
                self.led.finish(begun, self.now)
            self.begun = []
            if not Run.objects.exclude(state="done").exists():  # not open_runs(): its rows were a quarter of the time
                break

    def open_runs(self) -> list[Run]:
        """Return the runs without a verdict."""
        return list(Run.objects.select_related("entry").exclude(state="done").order_by("pk"))

    def twice_at_once(self) -> list[str]:
        """Name the entries of which more run at once than their policy allows, and runs with two open attempts."""
        held = Attempt.objects.filter(outcome="").select_related("run__entry")
        entries = Counter(each.run.entry.name for each in held if each.run.entry.policy["overlap"] == "skip")
        runs = Counter(f"run {each.run_id}" for each in held)
        return [name for name, count in (entries + runs).items() if count > 1]

    def _turn(self, room: dict[str, int], free: int) -> list[Any]:
        self.led.record(self.now)
        ledger.expire(self.now)
        self.begun += self.led.begin(self.now, free)
        return ledger.send(self.now, room)

    def _begin_arrived(self, alias: str, run: int) -> list[Begun]:
        ledger.settle(self.now)
        jobs = list(Entry.objects.values_list("job", flat=True))
        return ledger.begin(self.now, {alias: 1}, jobs, self.led.instance, only_run=run, arrived=True)


def _garble(entry: Entry, *, back: bool) -> None:
    overlap = entry.policy["overlap"].rstrip("?")
    entry.policy["overlap"] = overlap if back else f"{overlap}?"


def test_the_policies_drawn_are_real() -> None:
    """A mistyped choice would draw nothing but the default."""
    world = World(None, random.Random(1), windows=random.Random(1))  # type: ignore[arg-type] # of the ledger nothing is asked
    drawn = [world.policy() for _ in range(200)]

    for each in drawn:
        Policy(**{key: value for key, value in each.items() if key != "schedule"})
    assert {each["executor"] for each in drawn} == {"process", *FAR}
    assert {each["window"] for each in drawn} == set(WINDOWS)
