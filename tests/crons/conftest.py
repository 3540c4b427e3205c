"""Fixtures for the ledger's tests: rows made as sync makes them, one frozen clock, a way to run a pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User

from crons import ledger
from crons.hosts.instances import Instance
from crons.jobs import Registry, registry
from crons.jobs.policies import Policy
from crons.models import Entry
from crons.testing import sandbox
from crons.verdicts import Ending, Outcome
from crons.watch import problems
from tests.crons.growing import shrink

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def clean_registry(settings: Any) -> Iterator[None]:
    """Leave the declared jobs as they were; the classes of the CRM are not the ledger's matter."""
    settings.CRON_CLASSES = ()
    with sandbox(empty=False):
        yield


@pytest.fixture(autouse=True)
def declared_elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs that the CRM declares have no rows in these tests: that is a problem only where a test declares its own.

    Who takes `empty_registry` has the rule.
    """
    if "empty_registry" not in request.fixturenames:
        monkeypatch.setattr(problems, "RULES", [rule for rule in problems.RULES if rule is not problems.unsynced])


@pytest.fixture
def empty_registry(clean_registry: None) -> Iterator[Registry]:
    """No job and no entry is declared, and CRONS["DEFAULTS"] says nothing."""
    defaults = registry.defaults
    registry.clear()
    registry.defaults = dict
    yield registry
    registry.defaults = defaults


@pytest.fixture
def make_entry(db: None) -> Callable[..., Entry]:
    """Make an entry that was first seen at *since* and is due from then on."""

    def make(
        name: str = "heartbeat",
        schedule: str = "*/5 * * * *",
        *,
        since: datetime = NOON,
        zone: str = "UTC",
        args: dict[str, Any] | None = None,
        **policy: Any,
    ) -> Entry:
        return Entry.objects.create(
            name=name,
            job=name,
            schedule=schedule,
            zone=zone,
            args=args or {},
            policy=Policy(**policy).as_json(),
            first_seen_at=since,
            accounted_until=since,
            wake_at=since,
        )

    return make


@pytest.fixture
def instance() -> Iterator[Instance]:
    """A scheduler process that lives as long as the test."""
    made = Instance.start("test")
    yield made
    made.stop()


class Ledger:
    """The ledger's verbs with the usual arguments filled in."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance

    def record(self, now: datetime, trigger: str = "serve") -> ledger.Recorded:
        return ledger.record(now, trigger)

    def begin(self, now: datetime, room: int = 10, *, instance: Instance | None = None, **kwargs: Any) -> list[Any]:
        jobs = list(Entry.objects.values_list("job", flat=True))
        ledger.settle(now)
        return ledger.begin(now, {"process": room}, jobs, instance or self.instance, **kwargs)

    def finish(
        self, begun: Any, now: datetime, outcome: Outcome = Outcome.SUCCEEDED, error: str = "", **kw: Any
    ) -> bool:
        finished = ledger_finished(begun, outcome, error, **kw)
        return ledger.finish([finished], now)[begun.attempt]


def ledger_finished(begun: Any, outcome: Outcome = Outcome.SUCCEEDED, error: str = "", **kwargs: Any) -> Any:
    from crons.attempts import Finished

    return Finished(begun.attempt, Ending(outcome, error), **kwargs)


@pytest.fixture
def led(instance: Instance) -> Ledger:
    """The ledger as one scheduler uses it."""
    return Ledger(instance)


def minutes(count: float) -> timedelta:
    """So many minutes."""
    return timedelta(minutes=count)


@pytest.fixture(scope="module")
def files_that_shrink_again(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Rows that were rolled back lie in PostgreSQL's files until somebody frees them."""
    yield
    with django_db_blocker.unblock():
        shrink()


@pytest.fixture
def staff(client: Any) -> Callable[..., Any]:
    """Log somebody of the staff in who has just the permissions named."""

    def log_in(*permissions: str) -> Any:
        user = User.objects.create_user("sam", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return log_in
