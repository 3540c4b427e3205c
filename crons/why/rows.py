"""Rows → facts: each fact is the field of its name, but for what a line here says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from crons import ledger
from crons.exceptions import CronsError
from crons.jobs import Policy
from crons.models import Attempt, AuditEvent, Entry, Heartbeat, Range, Run
from crons.presentation import came_second, pause_in_force
from crons.verdicts import named_error
from crons.why.facts import AttemptFacts, Deed, EntryFacts, PauseFacts, RangeFacts, RunFacts, Scheduler

# Of an error, what names it.
ERROR_LENGTH = 500

T = TypeVar("T")


def entry_facts(row: Entry) -> EntryFacts:
    """Return an entry as it stands; of a policy that cannot be read, the defaults."""
    try:
        policy = ledger.policy_of(row)
    except CronsError:
        policy = Policy()
    return _facts(
        EntryFacts,
        row,
        catch_up=policy.catch_up,
        executor=policy.executor,
        group=policy.group or "",
        allows_overlap=policy.overlap == "allow",
        retries=policy.retry.times,
        is_idempotent=policy.idempotent,
        deadline=policy.deadline,
        window=policy.window,
    )


def run_facts(row: Run | None, attempts: Sequence[Attempt] = ()) -> RunFacts | None:
    """Return a run, with its own of *attempts*."""
    if row is None:
        return None
    own = sorted((each for each in attempts if each.run_id == row.pk), key=lambda each: each.number)
    second, more = came_second(row)
    return _facts(RunFacts, row, attempts=tuple(map(attempt_facts, own)), came_second=second, more_came=more)


def attempt_facts(row: Attempt) -> AttemptFacts:
    """Return one try, of the run whose number it has."""
    return _facts(AttemptFacts, row, error=named_error(row.error)[:ERROR_LENGTH], run=row.run_id, entry="", group="")


def busy_facts(row: Attempt) -> AttemptFacts:
    """Return one that is going, with the entry and the group whose place it takes."""
    entry, error = row.run.entry, named_error(row.error)[:ERROR_LENGTH]
    group = str(entry.policy.get("group") or "")
    return _facts(AttemptFacts, row, error=error, run=row.run_id, entry=entry.name, group=group)


def range_facts(row: Range | None) -> RangeFacts | None:
    """Return slots that were written off together."""
    return None if row is None else _facts(RangeFacts, row, pause=_kept_pause(row.pause) if row.pause else None)


def scheduler_facts(row: Heartbeat, entry: Entry) -> Scheduler:
    """Return a scheduler that lives, and what *entry* can expect of it."""
    knows = None if row.declares is None else entry.name in row.declares
    return _facts(Scheduler, row, knows=knows, lacks_zone=entry.zone in (row.lacks or []), is_draining=row.draining)


def deed_facts(row: AuditEvent) -> Deed:
    """Return a line of the audit trail."""
    before, after = (each if isinstance(each, dict) else {} for each in (row.before, row.after))
    about = f"tag:{row.subject}" if row.subject_type == "tag" else row.subject_type
    return _facts(Deed, row, about=about, by=row.actor, before=before, after=after)


def pause_facts(entry: Entry, now: datetime) -> PauseFacts | None:
    """Return the pause in force."""
    since = pause_in_force(entry, now)
    if since is None:
        return None
    return PauseFacts(since, entry.paused_until, entry.paused_by, entry.pause_reason, entry.pause_scope)


def _kept_pause(kept: Mapping[str, Any]) -> PauseFacts:
    since, until = (_moment(kept.get(name)) for name in ("since", "until"))
    return PauseFacts(since, until, *(str(kept.get(name) or "") for name in ("by", "reason", "scope")))


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None


def _facts(made: type[T], row: object, **others: object) -> T:
    names = [each.name for each in fields(made) if each.name not in others]  # type: ignore[arg-type] # a dataclass
    return made(**{name: getattr(row, name) for name in names}, **others)
