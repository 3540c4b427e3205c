"""Checks of what Celery does to jobs, and lets in."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.checks import CheckMessage, Error, Warning, register

from crons.checks.asking import of_declarations
from crons.checks.base import TAG, sends
from crons.conf import conf
from crons.contrib.celery import fences
from crons.contrib.celery.executor import CelerySender
from crons.jobs import Job, registry


@register(TAG)
@of_declarations
def check_celery_jobs() -> Iterator[CheckMessage]:
    """Check that jobs which workers run may be cut off, and that only the ledger retries them."""
    for job in registry.jobs.values():
        if getattr(job.body, "autoretry_for", ()):
            yield Error(
                f"{job.name} ({job.source_ref}) is a Celery task with autoretry_for: Celery would try it again "
                "behind the ledger's back.",
                hint="Take autoretry_for away, and declare the job with retry=Retry(…).",
                id="crons.E051",
            )
        if not job.policy.idempotent and _is_run_by_celery(job):
            yield Warning(
                f"{job.name} ({job.source_ref}) is run by Celery's workers and is neither idempotent nor uses "
                "context.atomic: when a worker is lost, nobody knows what it has done, and it is not run again.",
                hint="Say idempotent=True if it may run twice, or wrap its writes in `with context.atomic():`.",
                id="crons.W050",
            )


@register(TAG)
@of_declarations
def check_pickle() -> Iterator[CheckMessage]:
    """Check that what jobs are sent through carries no objects: whoever reaches the broker could send any."""
    for alias in [each for each in registry.executors() if each in conf.executors]:
        sender = conf.make_executor(alias) if sends(alias) else None
        if isinstance(sender, CelerySender) and not list(sender.problems({})) and sender.takes_pickle:
            yield Warning(
                f"The Celery application of the executor {alias!r} takes pickle: whoever can write to its broker can "
                "have the workers run any code.",
                hint="Set accept_content = ['json'] (CELERY_ACCEPT_CONTENT in Django's settings); messages of crons "
                "are JSON.",
                id="crons.W052",
            )


def _is_run_by_celery(job: Job) -> bool:
    """Say whether Celery's workers run *job*, and its source does not use context.atomic."""
    return sends(job.policy.executor, CelerySender) and not fences.uses_atomic(job.body)
