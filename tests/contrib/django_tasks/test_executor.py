"""The executor tasks: which backends and routes it takes, and what it does with a message of others."""

from __future__ import annotations

import sys

import pytest

from crons.attempts import RunMessage
from crons.checks import check_routes
from crons.contrib.django_tasks.executor import TasksSender, framework, receiver
from crons.contrib.django_tasks.worker import run as run_message
from crons.exceptions import InvalidSetting
from crons.jobs import schedule
from tests.contrib.django_tasks import existing_tasks
from tests.contrib.django_tasks.conftest import DATABASE
from tests.contrib.schedules import MONDAYS

pytestmark = pytest.mark.usefixtures("empty_registry")


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
