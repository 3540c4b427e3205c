"""One job, run in the test's own process by the real runner: with a real context, its output kept."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from django.db import transaction
from django.utils import timezone

from crons.conf import conf
from crons.executors import Ending
from crons.executors.inline import run_here
from crons.executors.runner import Context, call, context_of, shortened
from crons.executors.work import Work
from crons.jobs import Body, Job, check_args
from crons.testing.clock import moment_of
from crons.testing.declared import find
from crons.testing.made_up import made_up
from crons.testing.results import CallRecorder, Result, listening

MOMENTS = ("since", "until", "slot_at")


def run(job: Body | Job | str, /, *, context: Mapping[str, Any] | None = None, **args: Any) -> Result:
    """Call a declared job as an attempt would, without the ledger: no row is read or written for it.

    Args: *job* is its function, or the name of a job or an entry; *args* go over those of the entry;
    *context* replaces fields of the Context: `context={"number": 2, "since": "2026-03-28T02:30Z"}`.
    `context.atomic()` opens a transaction; there is no other attempt that could fence it off.
    Raises: UnknownJob; InvalidJob if the job does not take *args*; never what the job raises.
    """
    entry, declared = find(job)
    args = {**entry.args, **args}
    check_args(declared.name, declared.body, args)
    changed = _read(context or {})
    begun = made_up(entry, declared, args, changed.get("until") or timezone.now())
    given = replace(context_of(begun), fence=_transaction, work_of=lambda _: Work(), **changed)
    recorder = CallRecorder(declared.body)

    def called() -> Ending:
        ended = call(recorder.body, given)
        return replace(ended, error=shortened(ended.error))

    with listening() as records:
        ending, chunks = run_here(begun, called)
    return replace(recorder.result(ending, chunks, records), counts=given.work.counts, progress=given.work.progress)


def _read(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the context that a test gives, with texts of moments read."""
    known = [name for name in Context.__dataclass_fields__ if name not in ("args", "fence", "work_of")]
    for name in given:
        if name not in known:
            raise TypeError(f"context={dict(given)!r}: {name!r} is no field to give, expected any of {known}")
    read = {name: moment_of(value) if name in MOMENTS and value else value for name, value in given.items()}
    if "until" in read:
        read.setdefault("slot_at", read["until"])
    return read


def _transaction(token: int) -> AbstractContextManager[None]:
    return transaction.atomic(using=conf.database)
