"""Filling holes: the slots of a span that have no success are run after all, oldest first.

A slot has one row at most: one that was recorded and did not succeed is reopened, as a retry by hand does;
one that was written off in a range, or lies before the entry was first seen, gets a row of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from django.db import transaction

from crons.exceptions import Refused
from crons.ledger import rows
from crons.ledger.entries import account_of, locked, refuse_retired, slot_key
from crons.ledger.operations.runs import REOPENED, reopen
from crons.ledger.record import account_for
from crons.ledger.transactions import BY, note, storable, verb, writing
from crons.models import Entry, Range, Run
from crons.planner import Account
from crons.verdicts import Kind, State, Verdict

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
MOST = 1_000
MOST_LOOKED_AT = 100_000


@verb
def backfill(
    name: str, first: datetime, last: datetime, now: datetime, *, by: str, dry_run: bool = False, reason: str = ""
) -> list[datetime]:
    """Let the slots of one entry in [*first*, *last*) that have no success be run; return them, oldest first.

    They give way to slots that fall due, and run one at a time unless the job allows overlap. Repeating it
    adds nothing to what still waits or has succeeded.
    Raises: UnknownJob; Refused if the span is none, reaches into the future or holds too much, or if the
    entry is retired, has no schedule or cannot be planned.
    """
    _check_span(first, last, now)
    with writing() as using:
        entry = locked(name, using)
        refuse_retired(entry)
        # First: a slot that is filled here must not be planned a moment later.
        account_for([entry], now, "api", using)
        account = _account(entry)
        moments = _moments(account, name, first, last)
        recorded = {run.slot_at: run for run in _recorded(entry, first, last, using)}
        wanted = [at for at in moments if _is_open(recorded.get(at))]
        if len(wanted) > MOST:
            raise Refused(
                f"{len(wanted)} slots of {name!r} in this span have no success, and at most {MOST} are filled at once: "
                f"nothing was recorded. The first {MOST} lie before {_utc(wanted[MOST])}: end the span there."
            )
        if dry_run:
            transaction.set_rollback(True, using=using)
        elif wanted:
            _fill(entry, account, wanted, recorded, (first, last), now, by, using, reason)
    return wanted


def _check_span(first: datetime, last: datetime, now: datetime) -> None:
    for moment in (first, last):
        if moment.tzinfo is None:
            raise Refused(f"{moment.isoformat()} has no time zone: expected an aware moment.")
    if first < EARLIEST:
        raise Refused(f"the span begins at {first.isoformat()}: expected a moment since {_utc(EARLIEST)}.")
    if first >= last:
        raise Refused(f"from {_utc(first)} to {_utc(last)} is no span: expected the earlier moment first.")
    if last > now:
        raise Refused(f"the span ends at {_utc(last)}, which is to come: slots to come run by themselves.")


def _account(entry: Entry) -> Account:
    if entry.parked_reason:
        raise Refused(f"{entry.name!r} cannot be planned, so its slots are not known: {entry.parked_reason}")
    account = account_of(entry)
    if not entry.schedule:
        raise Refused(f"{entry.name!r} has no schedule, so it has no slots. See: manage.py crons run {entry.name}")
    return account


def _moments(account: Account, name: str, first: datetime, last: datetime) -> list[datetime]:
    """List the slots in [first, last)."""
    span = (first - timedelta.resolution, last - timedelta.resolution, account.tz)
    count = account.schedule.count(*span)
    if count > MOST_LOOKED_AT:
        raise Refused(
            f"the span holds {count} slots of {name!r}, expected at most {MOST_LOOKED_AT}: nothing was recorded."
        )
    return account.schedule.between(*span)


def _recorded(entry: Entry, first: datetime, last: datetime, using: str) -> list[Run]:
    runs = Run.objects.using(using).filter(entry=entry, slot_at__gte=first, slot_at__lt=last)
    return list(runs.order_by("pk").select_for_update())


def _is_open(run: Run | None) -> bool:
    return run is None or (run.state == State.DONE and run.verdict != Verdict.SUCCEEDED)


def _fill(
    entry: Entry,
    account: Account,
    wanted: Sequence[datetime],
    recorded: dict[datetime | None, Run],
    span: tuple[datetime, datetime],
    now: datetime,
    by: str,
    using: str,
    reason: str,
) -> None:
    made, reopened, verdicts = [], [], {}
    for place, at in enumerate(wanted):
        run = recorded.get(at)
        if run is None:
            run = Run(entry=entry, kind=Kind.BACKFILL, slot_at=at, planned_at=at, trigger="api", recorded_at=now)
            run.requested_by, run.effect_key = storable(by, BY), slot_key(entry.name, at)
            made.append(run)
        else:
            verdicts[str(run.pk)] = run.verdict
            reopened.append(run)
        reopen(run, now, by=by, reason="backfill")
        # A microsecond apart: the oldest is begun first, whichever of them had a row.
        run.wake_at = now + place * timedelta.resolution
    rows.insert(made, using)
    rows.update(reopened, REOPENED, using)
    ranges = _take_out(entry, account, [run.slot_at for run in made if run.slot_at], using)
    note(
        "backfill",
        "entry",
        entry.name,
        by,
        now,
        using,
        before={"verdicts": verdicts, "ranges": ranges},
        after={"from": _utc(span[0]), "to": _utc(span[1]), "slots": len(wanted)},
        reason=reason,
    )


def _take_out(entry: Entry, account: Account, filled: Collection[datetime], using: str) -> dict[str, list[object]]:
    """Take the *filled* slots, which have runs now, out of the ranges that wrote them off; return those as they were.

    Otherwise such a slot would have two verdicts, and history would count it twice.
    """
    if not filled:
        return {}
    found = Range.objects.using(using).filter(entry=entry, first_at__lte=max(filled), last_at__gte=min(filled))
    before: dict[str, list[object]] = {}
    for each in found.order_by("pk").select_for_update():
        taken = sum(each.first_at <= at <= each.last_at for at in filled)
        if not taken or not _is_of(account, each, taken, using):
            continue  # written off under another schedule: these slots were not among them
        before[str(each.pk)] = [_utc(each.first_at), _utc(each.last_at), each.count, each.verdict, each.reason]
        if taken == each.count:
            each.delete(using=using)
        else:
            Range.objects.using(using).filter(pk=each.pk).update(count=each.count - taken)
    return before


def _is_of(account: Account, written_off: Range, taken: int, using: str) -> bool:
    """Whether the slots of a range, and those taken out of it before, are those of the schedule as it is now."""
    slots = account.schedule.count(written_off.first_at - timedelta.resolution, written_off.last_at, account.tz)
    with_run = Run.objects.using(using).filter(
        entry=written_off.entry_id, slot_at__gte=written_off.first_at, slot_at__lte=written_off.last_at
    )
    # The runs made just now are among these, and still counted in the range.
    return written_off.count + with_run.count() - taken == slots


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
