"""What Celery's workers find: `app.autodiscover_tasks()` imports this module, and nothing else does.

It needs Celery; a project without it never imports this.
"""

from __future__ import annotations

from typing import Any

from celery import Task, shared_task
from celery.signals import worker_init
from django.apps import apps

from crons.conf import conf
from crons.contrib.celery.beat import rows, trigger
from crons.contrib.celery.beat.rows import FIRE, TICK
from crons.contrib.celery.executor import NO_LIMIT, RUN, CelerySender
from crons.jobs import Policy, registry
from crons.side_output import get_log
from crons.triggers import worker as arrival

log = get_log("crons")
# Jobs get processes of their own, forked from the one that the message is in: that one must have no other threads.
POOLS = ("prefork", "solo")
# Two projects that share a broker and a queue take each other's messages; each is put back for the other.
FOREIGN_PAUSE_SECONDS = 1.0
FOREIGN_TIMES = 20
UNLIMITED = NO_LIMIT.total_seconds()


@shared_task(name=RUN, bind=True, ignore_result=True, max_retries=None)  # type: ignore[untyped-decorator]
def run(self: Task, run: int, deployment: str, *, executor: str = "celery", foreign: int = 0, **later: Any) -> str:
    """Begin the run that the message names, if it is still to be begun; what a newer release adds is ignored."""
    arrived = arrival.take(run, deployment, executor=executor)
    log.info("%s: %s", arrived.fate, arrived.text)
    if arrived.fate == arrival.Fate.FOREIGN:
        _requeue(self, [run, deployment], {"executor": executor}, foreign, arrived.text)
    return f"{arrived.fate}: {arrived.text}"


# In place of the project's limits: a job that runs here has a timeout of its own.
@shared_task(name=FIRE, bind=True, ignore_result=True, time_limit=UNLIMITED, soft_time_limit=UNLIMITED)  # type: ignore[untyped-decorator]
def fire(self: Task, *, entry: str, deployment: str, foreign: int = 0, **later: Any) -> str:
    """Do for one entry what `crons run NAME --scheduled` does, when beat fires its row."""
    if not trigger.belongs_here(deployment):
        return _foreign_row(self, {"entry": entry, "deployment": deployment}, foreign)
    _follow(entry)
    done = trigger.fire(entry)
    log.info("%s fired: %s", entry, done)
    return done


@shared_task(name=TICK, bind=True, ignore_result=True, time_limit=UNLIMITED, soft_time_limit=UNLIMITED)  # type: ignore[untyped-decorator]
def tick(self: Task, *, deployment: str, foreign: int = 0, **later: Any) -> str:
    """Do what `crons tick` does, after the ledger has followed what people changed in beat's rows."""
    if not trigger.belongs_here(deployment):
        return _foreign_row(self, {"deployment": deployment}, foreign)
    _follow(None)
    done = trigger.tick()
    log.info("%s", done)
    return done


def _follow(entry: str | None) -> None:
    if apps.is_installed(rows.APP):
        for done in rows.follow(entry):
            log.warning("as %s has it now: %s", rows.BY, done, extra={"event": "beat.followed"})


def _foreign_row(task: Task, kwargs: dict[str, Any], foreign: int) -> str:
    text = (
        f"a row of beat ({task.name} {kwargs.get('entry', '')}) belongs to another deployment: if it has moved here, "
        "manage.py crons apply --to beat"
    )
    _requeue(task, [], kwargs, foreign, text)
    return f"{arrival.Fate.FOREIGN}: {text}"


def _requeue(task: Task, args: list[Any], kwargs: dict[str, Any], foreign: int, text: str) -> None:
    if not 0 <= foreign < FOREIGN_TIMES:
        log.error(
            "%s, and nobody of it takes it from this queue. Give each project a queue, a database number or a "
            "global_keyprefix of its own.",
            text,
            extra={"event": "message.foreign"},
        )
        return
    sent = task.request.delivery_info or {}
    # As it came: a message without limits would get the project's own, shorter than the job's.
    hard, soft = task.request.timelimit or (None, None)
    task.apply_async(
        args=args,
        kwargs={**kwargs, "foreign": foreign + 1},
        countdown=FOREIGN_PAUSE_SECONDS,
        exchange=sent.get("exchange") or None,
        routing_key=sent.get("routing_key") or None,
        priority=sent.get("priority"),
        time_limit=hard,
        soft_time_limit=soft,
        ignore_result=True,
    )


@worker_init.connect  # type: ignore[untyped-decorator]
def refuse_pools_that_cannot_end_a_job(sender: Any = None, **_: Any) -> None:
    """Stop a worker at its start that would take jobs and could not give each a process of its own."""
    pool = getattr(sender.pool_cls, "__module__", "").rpartition(".")[2]
    wanted = sorted(job.name for job in registry.jobs.values() if _is_taken(sender, job.policy))
    if pool not in POOLS and wanted:
        raise SystemExit(
            f"The pool {pool!r} cannot run jobs of crons ({', '.join(wanted[:3])}): a job that hangs could not be "
            f"ended there. Start this worker with --pool=prefork, or with -Q and other queues than theirs."
        )


def _is_taken(worker: Any, policy: Policy) -> bool:
    """Say whether *worker* takes messages of jobs under *policy*."""
    if policy.executor not in conf.executors:
        return False
    sender = conf.make_executor(policy.executor)
    if not isinstance(sender, CelerySender):
        return False
    queue = policy.route.get("queue") or sender.queue or worker.app.conf.task_default_queue
    return queue in worker.app.amqp.queues.consume_from
