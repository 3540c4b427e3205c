"""Tasks that others declared, of Django's framework or of Celery: what of them a job takes over, and what it cannot.

Nothing is imported for this: whoever has such a task has its library already.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from crons.exceptions import InvalidJob

DJANGO = (("django.tasks.base", "Task"), ("django_tasks.base", "Task"))
CELERY = (("celery.app.task", "Task"),)
PROXY = (("celery.local", "Proxy"),)
# What Celery would do around its task and a run does not, and the policy that does the same.
REPLACED = {
    "autoretry_for": "retry=Retry(3)",
    "time_limit": "timeout=timedelta(minutes=10)",
    "soft_time_limit": "timeout=timedelta(minutes=10)",
    "rate_limit": "group='…'",
    "expires": "deadline=timedelta(hours=1)",
}
ROUTE = ("queue", "priority", "routing_key", "exchange")
HOOKS = ("__call__", "before_start", "on_success", "on_failure", "on_retry", "after_return")


@dataclass(frozen=True)
class Borrowed:
    """A task's own function, and where its library would send it."""

    body: Callable[..., Any]
    executor: str
    route: dict[str, Any] = field(default_factory=dict)


def read(task: Any, policies: Collection[str]) -> Borrowed:
    """Read what *task* is; *policies* are those that its job declares.

    Raises: InvalidJob where calling its function is not what its library would have done.
    """
    if _is(task, PROXY):
        # @shared_task makes its task when somebody asks for it; before, Celery has not even loaded what a task is.
        task = task._get_current_object()
    if _is(task, DJANGO):
        return _of_django(task, policies)
    if _is(task, CELERY):
        return _of_celery(task, policies)
    raise InvalidJob(
        f"schedule({task!r}): expected a task of Django's Tasks framework or of Celery. "
        "For a function of your own: @job(cron(…)); for one of others: job(cron(…), name='…')(function)."
    )


def is_uncallable(function: Any) -> bool:
    """Say whether this is a task of Django's framework, which nobody can call; one of Celery can be called."""
    return _is(function, DJANGO)


def _of_django(task: Any, policies: Collection[str]) -> Borrowed:
    name = task.name
    if task.takes_context:
        raise InvalidJob(
            f"{name}: takes_context=True asks for a TaskContext with a result, which a run of crons has none of. "
            "Move its body to a function of its own, call that from the task, and declare it with @job."
        )
    if task.run_after is not None:
        raise InvalidJob(f"{name}: run_after={task.run_after}: its schedule says when. Give the task without it.")
    if task.backend != "default" and "executor" not in policies:
        raise InvalidJob(
            f"{name} goes to the backend {task.backend!r}: say executor='…', with an executor in CRONS['EXECUTORS'] "
            f"whose OPTIONS are {{'backend': {task.backend!r}}}."
        )
    route = {"queue": task.queue_name if task.queue_name != "default" else "", "priority": task.priority}
    return Borrowed(task.func, "tasks", {key: value for key, value in route.items() if value})


def _of_celery(task: Any, policies: Collection[str]) -> Borrowed:
    name = task.name
    for attribute, policy in REPLACED.items():
        if getattr(task, attribute, None) and policy.partition("=")[0] not in policies:
            raise InvalidJob(
                f"{name}: {attribute}={getattr(task, attribute)!r} is Celery's, and nobody heeds it in a run of crons. "
                f"Say what takes its place: {policy}."
            )
    body = getattr(task, "_orig_run", task.run)
    if inspect.ismethod(body):
        raise InvalidJob(
            f"{name}: bind=True, or a class of its own, asks for the task itself: its request and retry() are those of "
            "a message, which a run of crons is not. Move its body to a function of its own, call that from the "
            "task, and declare it with @job."
        )
    if hooks := list(_overridden(task.__class__)):
        raise InvalidJob(
            f"{name}: its class has {', '.join(hooks)}, which only Celery calls, around its own messages. "
            "Move its body to a function of its own, call that from the task, and declare it with @job."
        )
    return Borrowed(body, "celery", _route_of_celery(task))


def _route_of_celery(task: Any) -> dict[str, Any]:
    """Return where task_routes sends *task*, and over that what its decorator said."""
    routed = task.app.amqp.router.lookup_route(task.name) or {}
    declared = {key: vars(task.__class__).get(key) for key in ROUTE}
    route = {**routed, **{key: value for key, value in declared.items() if value is not None}}
    # task_routes may hold a Queue or an Exchange where a name is meant.
    named = {key: getattr(value, "name", value) for key, value in route.items() if key in ROUTE}
    return {key: value for key, value in named.items() if value not in (None, "")}


def _overridden(kind: type) -> Iterator[str]:
    base = sys.modules["celery.app.task"].Task
    yield from (hook for hook in HOOKS if getattr(kind, hook) is not getattr(base, hook))


def _is(task: Any, kinds: Collection[tuple[str, str]]) -> bool:
    found = [getattr(sys.modules[module], name) for module, name in kinds if module in sys.modules]
    return isinstance(task, tuple(found))
