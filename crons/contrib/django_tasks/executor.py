"""The executor tasks: a message through whatever backend of Django's Tasks framework the project has.

A worker of that backend calls run() of worker.py, beside this, with it, and the ledger decides there. So the backend
needs to promise nothing: a message may be lost, doubled or late, and results need not be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

import django
from django.db import close_old_connections, connections
from django.utils.module_loading import import_string

from crons.exceptions import InvalidSetting
from crons.executors import RunMessage, Sender

RECEIVER = "crons.contrib.django_tasks.worker.run"
BUILT_IN, BACKPORT = "django.tasks", "django_tasks"
# Backends of the framework that no worker stands behind, and what becomes of a message there.
WITHOUT_WORKERS = {
    "immediate": "runs a message where it is sent, in the scheduler's own thread",
    "dummy": "keeps messages in memory and runs none",
}


class TasksSender(Sender):
    """Sends runs to a backend in settings.TASKS.

    Args: *backend* is its alias. *queue* is where jobs go whose route names none; without, "default".
    """

    route_keys = ("queue", "priority")
    priorities = range(-100, 101)

    def __init__(self, *, alias: str, backend: str = "default", queue: str = "") -> None:
        super().__init__(alias=alias)
        self.backend = backend
        self.queue = queue or "default"

    def send(self, message: RunMessage) -> None:
        """Enqueue *message*.

        Raises: InvalidSetting where no worker could get it; whatever the backend raises.
        """
        for problem in self._problems_of_backend():
            raise InvalidSetting(problem)
        try:
            close_old_connections()  # as each request does: backends may keep their queue in a database
            route = {"queue": self.queue, **message.route}
            run = import_string(RECEIVER).using(
                backend=self.backend, queue_name=route["queue"], priority=route.get("priority", 0)
            )
            run.enqueue(message.run, message.deployment, executor=message.executor)
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections that this thread has opened."""
        connections.close_all()

    def problems(self, route: Mapping[str, Any]) -> Iterator[str]:
        """Say why messages with *route* would get nowhere."""
        yield from super().problems(route)
        broken = list(self._problems_of_backend())
        yield from broken
        if broken:
            return
        backend = framework().task_backends[self.backend]
        queue = route.get("queue") or self.queue
        if backend.queues and queue not in backend.queues:
            known = ", ".join(map(repr, sorted(backend.queues)))
            yield f"the queue {queue!r} is not in TASKS[{self.backend!r}]['QUEUES'], which has {known}"
        if route.get("priority") and not backend.supports_priority:
            yield f"the backend {self.backend!r} takes no priority"

    def _problems_of_backend(self) -> Iterator[str]:
        try:
            backend = framework().task_backends[self.backend]
        except Exception as error:  # noqa: BLE001 (a backend is anybody's code, and says itself what it lacks)
            yield f"TASKS[{self.backend!r}] cannot be used: {error}"
            return
        for each in type(backend).__mro__:
            name = each.__module__.rpartition(".")[2]
            if name in WITHOUT_WORKERS and each.__module__.startswith((BUILT_IN, BACKPORT)):
                yield (
                    f"TASKS[{self.backend!r}] is {each.__name__}, which {WITHOUT_WORKERS[name]}: use a backend with "
                    "workers, as django_tasks_db.DatabaseBackend, or executor='process'"
                )
                return


def framework() -> Any:
    """Return Django's Tasks framework, built in or backported.

    Raises: InvalidSetting if there is none.
    """
    name = BUILT_IN if django.VERSION >= (6, 0) else BACKPORT
    try:
        return import_module(name)
    except ImportError as error:
        raise InvalidSetting(
            f"Django's Tasks framework is not there ({error}): use Django 6.0 or newer, or install django-tasks"
        ) from error


def receiver(function: Callable[..., Any]) -> Any:
    """Make *function* a task of a backend and a queue that exist; each message names its own.

    Raises: InvalidSetting if there is no backend.
    """
    backends = framework().task_backends
    alias = min(backends.settings, key=lambda each: each != "default", default=None)
    if alias is None:
        raise InvalidSetting("TASKS names no backend, and messages of crons came through one.")
    queues = backends[alias].queues
    queue = "default" if not queues or "default" in queues else min(queues)
    return framework().task(backend=alias, queue_name=queue, takes_context=True)(function)
