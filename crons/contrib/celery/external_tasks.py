"""Celery's tasks as jobs: what of them a job takes over, and what it cannot.

Nothing is imported for this: whoever has such a task has Celery already.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Iterator
from typing import Any

from crons.exceptions import InvalidJob
from crons.extensions import ExternalTask
from crons.jobs import is_instance_of

TASK = (("celery.app.task", "Task"),)
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


def read(task: Any, policies: Collection[str]) -> ExternalTask | None:
    """Read what *task* is; None if it is none of Celery's."""
    if is_instance_of(task, PROXY):
        # @shared_task makes its task when somebody asks for it; before, Celery has not even loaded what a task is.
        task = task._get_current_object()
    return _read(task, policies) if is_instance_of(task, TASK) else None


def _read(task: Any, policies: Collection[str]) -> ExternalTask:
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
    return ExternalTask(body, "celery", _route(task))


def _route(task: Any) -> dict[str, Any]:
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
