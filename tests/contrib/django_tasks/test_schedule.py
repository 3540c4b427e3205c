"""Tasks that exist, put on a schedule: what is taken over from them, and what is refused at import."""

from __future__ import annotations

import re

import pytest

from crons.checks import check_routes
from crons.exceptions import InvalidJob
from crons.jobs import job, schedule
from crons.schedules import cron
from crons.verdicts import Ending, Outcome
from tests.contrib.django_tasks import existing_tasks
from tests.contrib.django_tasks.conftest import DATABASE
from tests.contrib.schedules import MONDAYS, NOON, refusal, run

pytestmark = pytest.mark.usefixtures("empty_registry")


def test_a_task_of_django_becomes_a_job_with_its_own_function(empty_registry):
    """It goes where its framework would send it, and its docstring describes it."""
    made = schedule(existing_tasks.send_report, MONDAYS, args={"to": "ann"}, owner="sales")

    assert made.body is existing_tasks.send_report.func
    assert (made.name, made.owner, made.description) == ("send_report", "sales", "Send the report.")
    assert (made.policy.executor, made.policy.route) == ("tasks", {})
    assert re.fullmatch(rf"{__name__}:\d+", made.source_ref)
    assert dict(empty_registry.entries["send_report"].args) == {"to": "ann"}
    assert run(made, to="ann") == Ending(Outcome.SUCCEEDED)


def test_one_task_may_be_on_several_schedules(empty_registry):
    """Each by a name, with arguments and policies of its own."""
    schedule(existing_tasks.send_report, MONDAYS, args={"to": "ann"})
    schedule(existing_tasks.send_report, cron("@daily"), name="to_bob", args={"to": "bob"}, idempotent=True)

    assert list(empty_registry.entries) == ["send_report", "to_bob"]
    assert [job.policy.idempotent for job in empty_registry.jobs.values()] == [False, True]


def test_queue_and_priority_of_a_task_become_its_route(backends):
    """What the declaration says of them goes before."""
    backends(default={"BACKEND": DATABASE, "QUEUES": ["default", "slow", "night"]})
    task = existing_tasks.send_report.using(queue_name="slow", priority=-5)

    made = schedule(task, MONDAYS, args={"to": "ann"}, route={"queue": "night"})

    assert made.policy.route == {"queue": "night", "priority": -5}
    assert check_routes() == []


def test_a_task_of_another_backend_must_say_its_executor(backends):
    """An executor has one backend; which one is settings' matter."""
    backends(default={"BACKEND": DATABASE}, mail={"BACKEND": DATABASE})
    task = existing_tasks.send_report.using(backend="mail")

    assert refusal(task, args={"to": "ann"}) == (
        "send_report goes to the backend 'mail': say executor='…', with an executor in CRONS['EXECUTORS'] "
        "whose OPTIONS are {'backend': 'mail'}."
    )
    assert schedule(task, MONDAYS, args={"to": "ann"}, executor="mail").policy.executor == "mail"


def test_a_task_that_takes_its_context_is_refused():
    """There is no result of the framework behind a run."""
    assert refusal(existing_tasks.counts_its_tries).startswith(
        "counts_its_tries: takes_context=True asks for a TaskContext with a result, which a run of crons has none of. "
    )


def test_a_task_with_a_time_of_its_own_is_refused(backends):
    """Two things would say when."""
    backends(default={"BACKEND": DATABASE})

    told = refusal(existing_tasks.send_report.using(run_after=NOON), args={"to": "ann"})

    assert told == (
        "send_report: run_after=2026-03-02 12:00:00+00:00: its schedule says when. Give the task without it."
    )


def test_arguments_are_checked_against_the_function():
    """At import, not at the first slot."""
    assert "Given: too." in refusal(existing_tasks.send_report, args={"too": "ann"})


def test_a_coroutine_is_run_as_anywhere():
    """The process of an attempt has no loop of its own."""
    assert run(schedule(existing_tasks.waits, MONDAYS)) == Ending(Outcome.SUCCEEDED)


def test_job_above_task_is_refused_with_what_to_write():
    """A newcomer's first try; a task of Django cannot be called."""
    with pytest.raises(InvalidJob) as refused:
        job(MONDAYS)(existing_tasks.waits)

    assert str(refused.value).startswith("@job above @task: Task(")
    assert str(refused.value).endswith(
        "cannot be called. Take @job away and write below it: schedule(waits, cron(…)), with schedule from crons."
    )


def test_a_route_that_is_none_is_refused_as_everywhere():
    """Not with an error of Python's."""
    assert "route='slow': expected a dict with some of queue, " in refusal(existing_tasks.waits, route="slow")
