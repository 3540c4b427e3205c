"""Tasks that exist, put on a schedule: what is taken over from them, and what is refused at import."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest

from crons.attempts import RunMessage
from crons.checks import check_routes
from crons.contrib.django_tasks.executor import TasksSender, framework, receiver
from crons.contrib.django_tasks.worker import run as run_message
from crons.exceptions import InvalidJob, InvalidSetting
from crons.jobs import job, schedule
from crons.jobs.policies import Retry
from crons.runner import Context, call
from crons.schedules import cron
from crons.verdicts import Ending, Outcome
from tests.crons import existing_tasks

pytestmark = [
    pytest.mark.usefixtures("empty_registry"),
    # Of priority= at a task, which older projects have.
    pytest.mark.filterwarnings("ignore::celery.exceptions.CDeprecationWarning"),
]
MONDAYS = cron("0 6 * * MON")
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
DATABASE = "django_tasks_db.DatabaseBackend"


@pytest.fixture
def backends(settings):
    """Give settings.TASKS."""
    import_module(f"{framework().__name__}.signals")  # the backport reads changed settings once this is imported

    def give(**backends):
        settings.TASKS = backends

    return give


def refusal(task, **options):
    with pytest.raises(InvalidJob) as refused:
        schedule(task, MONDAYS, **options)
    return str(refused.value)


def run(job, **args):
    return call(job.body, Context("e", "j", "k", 1, 1, "slot", "test", NOON, NOON, args=args))


# Django's Tasks


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


def test_what_is_no_task_is_refused_with_what_to_write():
    """A function has its own decorator."""
    assert refusal(len) == (
        "schedule(<built-in function len>): expected a task of Celery or of Django's Tasks framework. "
        "For a function of your own: @job(cron(…)); for one of others: job(cron(…), name='…')(function)."
    )


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


# Celery's


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
        "tests.crons.existing_tasks.knows_itself: bind=True, or a class of its own, asks for the task itself: "
    )


def test_hooks_that_nobody_would_call_are_refused():
    """A job that fails silently is what this is all against."""
    assert refusal(existing_tasks.shouts).startswith(
        "tests.crons.existing_tasks.shouts: its class has on_failure, which only Celery calls"
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
    assert "celery" not in ended.error
    assert "time_limit=30" in refusal(existing_tasks.has_a_limit)
    assert schedule(existing_tasks.has_a_limit, MONDAYS, timeout=timedelta(seconds=30)).name == "has_a_limit"


# The sender


@pytest.mark.parametrize(
    ("backends_given", "chosen"),
    [
        ({"mail": {"BACKEND": DATABASE, "QUEUES": ["b", "a"]}}, ("mail", "a")),
        ({"mail": {"BACKEND": DATABASE}, "default": {"BACKEND": DATABASE, "QUEUES": []}}, ("default", "default")),
    ],
)
def test_workers_can_import_the_receiver_whatever_backends_there_are(backends, backends_given, chosen):
    """Each message names its own backend and queue; the task that they are put on must exist without."""
    backends(**backends_given)

    made = receiver(for_the_receiver)

    assert (made.backend, made.queue_name, made.takes_context) == (*chosen, True)


def for_the_receiver(context):
    """Stand for crons.contrib.django_tasks.worker.run, which is made when it is imported."""


def test_without_a_backend_the_receiver_says_so(backends):
    """As where TASKS was taken out and messages are still there."""
    backends()

    with pytest.raises(InvalidSetting, match=r"^TASKS names no backend, and messages of crons came through one\.$"):
        receiver(for_the_receiver)


class Shared:
    """A queue that two projects read: what is put back into it."""

    supports_defer = False

    def __init__(self):
        self.put_back = []

    def get_backend(self):
        return self

    def enqueue(self, *args, **kwargs):
        self.put_back.append((args, kwargs))


@pytest.mark.django_db
def test_a_message_of_another_deployment_is_put_back_for_it(caplog):
    """Twenty times; then it is said what to change. A message is a hint, so nothing is lost by that."""
    queue = Shared()
    context = type("TaskContext", (), {"task_result": type("TaskResult", (), {"task": queue})})

    told = run_message.func(context, 7, "elsewhere", executor="tasks", foreign=19)
    last = run_message.func(context, 7, "elsewhere", executor="tasks", foreign=20, of_a_newer_release=True)
    run_message.func(
        context, 7, "elsewhere", executor="tasks", foreign=-1_000_000
    )  # a stranger's, to go round for ever

    assert told == last == "foreign: run 7 belongs to another deployment (elsewhere)"
    assert queue.put_back == [((7, "elsewhere"), {"executor": "tasks", "foreign": 20})]
    assert "nobody of it takes it from this queue. Give each project a queue of its own." in caplog.text


MESSAGE = RunMessage(7, "here", "report", "report@noon", 1, "tasks")


@pytest.mark.parametrize(
    ("kind", "does"),
    [
        (
            "immediate",
            "ImmediateBackend, which runs a message where it is sent, in the scheduler's own thread",
        ),
        ("dummy", "DummyBackend, which keeps messages in memory and runs none"),
    ],
)
def test_backends_without_workers_are_refused(backends, kind, does):
    """By a check, and, where nobody has checked, by what stands with the run."""
    backend = f"{framework().__name__}.backends.{kind}.{kind.capitalize()}Backend"
    backends(default={"BACKEND": backend})
    schedule(existing_tasks.send_report, MONDAYS, args={"to": "ann"})

    [error] = check_routes()

    assert error.id == "crons.E013"
    assert error.msg.endswith(
        f"is sent by the executor 'tasks': TASKS['default'] is {does}: use a backend with "
        "workers, as django_tasks_db.DatabaseBackend, or executor='process'."
    )
    with pytest.raises(InvalidSetting) as refused:
        TasksSender(alias="tasks").send(MESSAGE)
    assert str(refused.value).startswith(f"TASKS['default'] is {does}")


def test_where_the_framework_is_missing_it_is_said_what_to_install(monkeypatch):
    """Django 5.2 has none of its own."""
    name = framework().__name__
    schedule(existing_tasks.send_report, MONDAYS, args={"to": "ann"})
    monkeypatch.setitem(sys.modules, name, None)

    [error] = check_routes()

    assert f"Django's Tasks framework is not there (import of {name} halted" in error.msg
    assert error.msg.endswith("use Django 6.0 or newer, or install django-tasks.")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"route": {"queue": "slwo"}}, "the queue 'slwo' is not in TASKS['default']['QUEUES'], which has 'default'"),
        ({"route": {"priority": 200}}, "its priority is 200, and this executor takes -100 to 100"),
        (
            {"route": {"exchange": "topic"}},
            "its route names 'exchange', and this executor knows only queue, priority",
        ),
        ({"executor": "celery", "route": {"priority": -5}}, "its priority is -5, and this executor takes 0 to 255"),
        ({"executor": "mail"}, "TASKS['mail'] cannot be used: The connection 'mail' doesn't exist."),
    ],
)
def test_routes_that_lead_nowhere_are_an_error(backends, settings, options, said):
    """Before the first slot is sent."""
    settings.CRONS = {
        "EXECUTORS": {
            "mail": {"BACKEND": "crons.contrib.django_tasks.executor.TasksSender", "OPTIONS": {"backend": "mail"}}
        }
    }
    backends(default={"BACKEND": DATABASE})
    schedule(existing_tasks.send_report, MONDAYS, args={"to": "ann"}, **options)

    [error] = check_routes()

    alias = options.get("executor", "tasks")
    assert error.msg.endswith(f"is sent by the executor {alias!r}: {said}.")
