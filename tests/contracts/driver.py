"""A scheduler that does what a test says: python -m tests.contracts.driver; a line of JSON each way.

It records and sends with the real ledger, the real publishers and their threads; who begins is a worker.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import django

django.setup()

from django.db.models import F, Max  # noqa: E402 (after setup)

from crons import Retry, api, ledger  # noqa: E402
from crons.attempts import RunMessage  # noqa: E402
from crons.conf import conf  # noqa: E402
from crons.dispatch import Dispatcher  # noqa: E402
from crons.hosts.instances import Instance  # noqa: E402
from crons.jobs import Policy  # noqa: E402
from crons.ledger import deployment  # noqa: E402
from crons.models import Attempt, AuditEvent, Entry, OutputChunk, Run  # noqa: E402
from crons.schedules import FAR_FUTURE  # noqa: E402

COMMANDS: dict[str, Callable[..., Any]] = {}
# Until a job that failed is tried again: no test sees it, unless it asks for less.
RETRY_SECONDS = 3600.0

# Of messages that nothing but a test sends: each has a name of its own with the broker.
numbers = itertools.count(1000)
deployment.permit()
instance = Instance.start("serve")
senders = {alias: conf.make_executor(alias) for alias in ("celery", "tasks")}
dispatcher = Dispatcher("contracts", instance, {}, senders)


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Know *function* by its name."""
    COMMANDS[function.__name__] = function
    return function


@command
def start(
    job: str,
    executor: str,
    timeout: float | None,
    args: Mapping[str, Any],
    *,
    idempotent: bool = False,
    retry_seconds: float = RETRY_SECONDS,
) -> int:
    """Record a run of an entry of its own, and send it; return the run's number."""
    now = ledger.database_now()
    policy = Policy(
        executor=executor,
        timeout=None if timeout is None else timedelta(seconds=timeout),
        retry=Retry(1, wait=timedelta(seconds=retry_seconds)),
        idempotent=idempotent,
    )
    entry = Entry.objects.create(
        name=f"{job}-{uuid.uuid4().hex[:12]}",
        job=job,
        zone="UTC",
        policy=policy.as_json(),
        first_seen_at=now,
        accounted_until=now,
        wake_at=FAR_FUTURE,
    )
    run = ledger.request(entry.name, now, "contracts", args=args)
    dispatcher.begin(now, only_run=run.pk)
    return run.pk


@command
def turn() -> None:
    """Look at the clock once, as a scheduler does each second."""
    dispatcher.turn()


@command
def send_again(run: int, executor: str) -> None:
    """Hand the run's message over once more, as a broker that delivers it twice."""
    found = Run.objects.select_related("entry").get(pk=run)
    _post(run, found.entry.name, executor)


@command
def send_ahead(executor: str) -> int:
    """Hand over the message of the run that is recorded next; return its number."""
    run = (Run.objects.aggregate(newest=Max("pk"))["newest"] or 0) + 1
    _post(run, "to come", executor)
    return run


def _post(run: int, name: str, executor: str) -> None:
    message = RunMessage(run, deployment.here().identity, name, name, next(numbers), executor)
    dispatcher.publishers.by_alias[executor].post([message])


@command
def make_due(run: int) -> None:
    """Let a run that was sent be sent again at the next look."""
    Run.objects.filter(pk=run, state="sent").update(wake_at=ledger.database_now())


@command
def row(run: int) -> dict[str, Any]:
    """Return the run's row, and those of its attempts in order."""
    found = Run.objects.annotate(name=F("entry__name")).values().get(pk=run)
    return {**found, "attempts": list(Attempt.objects.filter(run=run).order_by("number").values())}


@command
def chunks(run: int, stream: str) -> list[str]:
    """Return what the run's attempts wrote to *stream*, in order."""
    found = OutputChunk.objects.filter(attempt__run=run).order_by("attempt", "seq")
    return [chunk.text for chunk in found if chunk.stream == stream]


@command
def cancel(run: int, reason: str) -> None:
    """Ask for the run to be stopped."""
    api.cancel(run, by="", reason=reason)


@command
def disown(run: int) -> None:
    """Have the run's attempt end as lost, as another host does that has not heard of its worker for long."""
    now = ledger.database_now()
    attempt = Attempt.objects.get(run=run, outcome="")
    Attempt.objects.filter(pk=attempt.pk).update(outcome="lost", lease_until=None, ended_at=now)
    Run.objects.filter(pk=run).update(
        state="done", verdict="lost", ended_at=now, active_key=None, current_attempt=None, wake_at=None
    )


@command
def audited(actor: str) -> list[str]:
    """Return the verbs of the audit events of *actor*, which jobs write as a project's own rows."""
    return list(AuditEvent.objects.filter(actor=actor).order_by("pk").values_list("verb", flat=True))


def main() -> None:
    """Do what comes, until nothing comes any more."""
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        name, given = json.loads(line)
        try:
            answer = {"answer": COMMANDS[name](**given)}
        except Exception as error:  # noqa: BLE001 (the test that asked says so)
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer, default=str) + "\n")
        answers.flush()
    dispatcher.publishers.close()


if __name__ == "__main__":
    main()
