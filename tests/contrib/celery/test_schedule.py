"""Celery tasks put on a schedule: what is taken over from them, and what is refused at import."""

from __future__ import annotations

from datetime import timedelta

import pytest

from crons.checks import check_routes
from crons.jobs import schedule
from crons.jobs.policies import Retry
from crons.verdicts import Outcome
from tests.contrib.celery import existing_tasks
from tests.contrib.schedules import MONDAYS, refusal, run

pytestmark = [
    pytest.mark.usefixtures("empty_registry"),
    # Of priority= at a task, which older projects have.
    pytest.mark.filterwarnings("ignore::celery.exceptions.CDeprecationWarning"),
]


def test_a_task_of_celery_becomes_a_job_of_its_workers():
    """Its route is what task_routes and its decorator say; the decorator goes before."""
    made = schedule(existing_tasks.tidy, MONDAYS, args={"days": 3})

    assert (made.name, made.policy.executor) == ("tidy", "celery")
    assert made.policy.route == {"queue": "slow", "priority": 3}
    assert made.body(days=3) == 3
    assert check_routes() == []


def test_a_task_that_asks_for_its_message_is_refused():
    """self.request would be empty, and self.retry() would send a message past the ledger."""
    assert refusal(existing_tasks.knows_itself).startswith(
        "tests.contrib.celery.existing_tasks.knows_itself: bind=True, or a class of its own, asks for the task itself: "
    )


def test_hooks_that_nobody_would_call_are_refused():
    """A job that fails silently is what this is all against."""
    assert refusal(existing_tasks.shouts).startswith(
        "tests.contrib.celery.existing_tasks.shouts: its class has on_failure, which only Celery calls"
    )


def test_what_celery_would_do_is_replaced_by_a_policy_or_refused():
    """Then the plain function is the body: retried by the ledger, it raises what it raises."""
    assert refusal(existing_tasks.tries_again).endswith(
        "is Celery's, and nobody heeds it in a run of crons. Say what takes its place: retry=Retry(3)."
    )
    made = schedule(existing_tasks.tries_again, MONDAYS, retry=Retry(2))
    ended = run(made)

    assert ended.outcome == Outcome.FAILED
    assert "OSError: no luck" in ended.error
    assert "/celery/app/" not in ended.error
    assert "time_limit=30" in refusal(existing_tasks.has_a_limit)
    assert schedule(existing_tasks.has_a_limit, MONDAYS, timeout=timedelta(seconds=30)).name == "has_a_limit"


@pytest.mark.parametrize("defaults", [{}, {"timeout": timedelta(minutes=5)}])
def test_a_task_has_no_timeout_unasked(empty_registry, monkeypatch, defaults):
    """What ran for three hours under Celery must not be killed after one."""
    monkeypatch.setattr(empty_registry, "defaults", lambda: defaults)

    made = schedule(existing_tasks.tidy, MONDAYS)

    assert made.policy.timeout == defaults.get("timeout")
