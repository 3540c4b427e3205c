"""Pausing: slots that fall due meanwhile are skipped. A pause is of one entry, of a tag, or of everything.

Each pause is a row of its own: resuming everything leaves the pause of a single job in force. The pause that an entry
is under in the end stands on the entry's row, where planning reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db.models import F, Q, QuerySet

from crons.exceptions import Refused, nearest
from crons.ledger.ending.unstarted import requeue_paused
from crons.ledger.entries import locked
from crons.ledger.record import account_for
from crons.ledger.rows import update
from crons.ledger.transactions import BATCH, BY, REASON, note, storable, verb, writing
from crons.models import Deployment, Entry, Pause
from crons.presentation import utc
from crons.schedules import FAR_FUTURE

ALL = "all"
PAUSED_COLUMNS = ["paused_at", "paused_until", "paused_by", "pause_reason", "pause_scope", "version"]


@verb
def pause(name: str, now: datetime, *, by: str, reason: str, until: datetime | None = None) -> Entry:
    """Pause one entry from now on; what fell due before is recorded as not paused.

    Raises: UnknownJob; Refused without a reason, or if *until* is no moment to come.
    """
    _check(reason, until, now)
    with writing() as using:
        entry = locked(name, using)
        _put(f"entry:{entry.pk}", now, by, reason, until, using, entry=entry)
        _account_and_apply([entry], now, using)
        note("pause", "entry", name, by, now, using, after=_until(until), reason=reason)
    return entry


def pause_new(entry: Entry, now: datetime, *, by: str, reason: str, using: str) -> None:
    """Pause an entry in the transaction that creates it or brings it back: there is no moment at which it may begin.

    A pause of its own that it has already stays. The caller calls apply_pauses() and saves the entry.
    """
    if _active(now, using).filter(entry=entry).exists():
        return
    _put(f"entry:{entry.pk}", now, by, reason, None, using, entry=entry)
    note("pause", "entry", entry.name, by, now, using, after=_until(None), reason=reason)


@verb
def resume(name: str, now: datetime, *, by: str, reason: str = "") -> Entry:
    """End the entry's own pause; it stays paused while a wider pause covers it.

    Raises: UnknownJob; Refused if only a pause of a tag or of everything covers it: that one has to end.
    """
    with writing() as using:
        entry = locked(name, using)
        own = Pause.objects.using(using).filter(entry=entry)
        if not own.exists() and (wider := list(_pauses_of(entry, _wide(now, using)))):
            raise Refused(f"{name!r} has no pause of its own: {describe_pause(wider[0])}")
        if entry.paused_at is not None:
            before = {"until": entry.paused_until and entry.paused_until.isoformat(), "reason": entry.pause_reason}
            own.delete()
            _account_and_apply([entry], now, using)
            note("resume", "entry", name, by, now, using, before=before, reason=reason)
    return entry


@verb
def pause_all(now: datetime, *, by: str, reason: str, until: datetime | None = None, tag: str = "") -> list[str]:
    """Pause every entry, or every one with *tag*, also those that are declared later; return their names.

    Cost: one transaction; some statements for each thousand entries.
    Raises: Refused without a reason, if *until* is no moment to come, or if no entry has that tag.
    """
    _check(reason, until, now)
    with writing() as using:
        lock_deployment(using)
        concerned = _tagged(tag, using)
        _put(_scope(tag), now, by, reason, until, using, tag=tag)
        names = _each_batch(concerned, now, using)
        after = {**_until(until), "entries": len(names)}
        note("pause", "tag" if tag else ALL, tag or ALL, by, now, using, after=after, reason=reason)
    return names


@verb
def resume_all(now: datetime, *, by: str, tag: str = "", reason: str = "") -> list[str]:
    """End the pause of everything, or of *tag*, and return the names of the entries that run again.

    What is paused on its own, or by another tag, stays so.
    """
    with writing() as using:
        lock_deployment(using)
        ended = Pause.objects.using(using).filter(scope=_scope(tag)).first()
        if ended is None:
            return []
        paused = Entry.objects.using(using).filter(paused_at__isnull=False).order_by("pk")
        concerned = [pk for pk, tags in paused.values_list("pk", "tags") if not tag or tag in tags]
        ended.delete(using=using)
        left = set(_each_batch(concerned, now, using, wanted=lambda entry: entry.paused_at is None))
        before = {"until": ended.until and ended.until.isoformat(), "reason": ended.reason, "by": ended.by}
        after = {"entries": len(left)}
        what = "tag" if tag else ALL
        note("resume", what, tag or ALL, by, now, using, before=before, after=after, reason=reason)
    return sorted(left)


def wide_pauses(now: datetime, using: str) -> list[Pause]:
    """List the pauses of everything and of tags that are in force, the widest first."""
    return sorted(_wide(now, using), key=lambda each: (each.scope != ALL, each.tag))


def active_pauses(now: datetime, using: str) -> QuerySet[Pause]:
    """Return all pauses in force, the widest first, with their entries; retired entries are left out."""
    rows = _active(now, using).filter(entry__retired_at=None)
    return rows.select_related("entry").order_by(F("entry__name").asc(nulls_first=True), "tag")


def lock_deployment(using: str) -> None:
    """Wait for whoever pauses a tag or everything, or writes declarations; for use first inside a transaction.

    An entry that is declared at this moment either is seen by the pause, or sees it.
    """
    list(Deployment.objects.using(using).select_for_update().values_list("pk"))


def apply_pauses(entries: Sequence[Entry], now: datetime, using: str) -> None:
    """Put on *entries*, in memory, the pause that they are under; for use inside a transaction that locks them.

    What was sent of paused entries is requeued.
    """
    wide = _wide(now, using)
    own = {
        each.entry_id: each
        for each in _active(now, using).filter(entry__in=[entry.pk for entry in entries if entry.pk])
    }
    for entry in entries:
        _fold(entry, [*_pauses_of(entry, wide), *([own[entry.pk]] if entry.pk in own else [])])
    if paused := [entry.pk for entry in entries if entry.pk and entry.paused_at is not None]:
        requeue_paused(paused, now, using)


def describe_pause(pause: Pause) -> str:
    """Say what a pause covers, who made it and why, and how it is ended."""
    if pause.entry is not None:
        what, flag = f"{pause.entry.name} is", pause.entry.name
    elif pause.tag:
        what, flag = f"entries tagged {pause.tag!r} are", f"--tag {pause.tag}"
    else:
        what, flag = "everything is", "--all"
    until = f" until {utc(pause.until)}" if pause.until else ""
    since = utc(pause.paused_at)
    return f"{what} paused since {since}{until} by {pause.by}: {pause.reason}. To end it: manage.py crons resume {flag}"


def _check(reason: str, until: datetime | None, now: datetime) -> None:
    if not reason.strip():
        raise Refused("a pause needs a reason: whoever wonders why nothing runs will read it.")
    if until is not None and until.tzinfo is None:
        raise Refused(f"until={until.isoformat()} has no time zone: expected an aware moment.")
    if until is not None and until <= now:
        raise Refused(f"until {until.isoformat()} is past: expected a moment to come.")
    if until is not None and until >= FAR_FUTURE:
        raise Refused(f"until {until.isoformat()} is never: leave it out, and it holds until somebody resumes it.")


def _scope(tag: str) -> str:
    return f"tag:{tag}" if tag else ALL


def _until(until: datetime | None) -> dict[str, Any]:
    return {"until": until and until.isoformat()}


def _put(
    scope: str,
    now: datetime,
    by: str,
    reason: str,
    until: datetime | None,
    using: str,
    *,
    entry: Entry | None = None,
    tag: str = "",
) -> None:
    # Pauses that have ended by themselves are deleted whenever another is made.
    Pause.objects.using(using).filter(until__lte=now).delete()
    row: dict[str, Any] = {"entry": entry, "tag": tag, "paused_at": now, "until": until, "by": storable(by, BY)}
    row["reason"] = storable(reason, REASON)
    Pause.objects.using(using).update_or_create(scope=scope, defaults=row)


def _tagged(tag: str, using: str) -> list[int]:
    rows = list(Entry.objects.using(using).filter(retired_at=None).order_by("pk").values_list("pk", "tags"))
    if not tag:
        return [pk for pk, _ in rows]
    # JSON columns cannot be searched alike on all databases; there are thousands of entries, not millions.
    found = [pk for pk, tags in rows if tag in tags]
    if not found:
        known = sorted({each for _, tags in rows for each in tags})
        hint = nearest(tag, known)
        raise Refused(f"no entry is tagged {tag!r}.{hint} Known tags: {', '.join(known) or 'none'}.")
    return found


def _each_batch(
    ids: Sequence[int],
    now: datetime,
    using: str,
    *,
    wanted: Callable[[Entry], bool] = lambda entry: True,
) -> list[str]:
    names = []
    for start in range(0, len(ids), BATCH):
        batch = Entry.objects.using(using).select_for_update().filter(pk__in=ids[start : start + BATCH]).order_by("pk")
        entries = list(batch)
        _account_and_apply(entries, now, using)
        names += [entry.name for entry in entries if wanted(entry)]
    return sorted(names)


def _account_and_apply(entries: Sequence[Entry], now: datetime, using: str) -> None:
    # What fell due so far is recorded as it stood: not paused before a pause, paused before a resume.
    account_for(entries, now, "api", using)
    apply_pauses(entries, now, using)
    for entry in entries:
        entry.version += 1
    update(entries, PAUSED_COLUMNS, using)


def _active(now: datetime, using: str) -> QuerySet[Pause]:
    return Pause.objects.using(using).filter(Q(until=None) | Q(until__gt=now))


def _wide(now: datetime, using: str) -> list[Pause]:
    return list(_active(now, using).filter(entry=None))


def _pauses_of(entry: Entry, wide: Iterable[Pause]) -> Iterator[Pause]:
    return (each for each in wide if not each.tag or each.tag in _tags(entry))


def _tags(entry: Entry) -> Collection[str]:
    return entry.tags or ()


def _fold(entry: Entry, pauses: Sequence[Pause]) -> None:
    if not pauses:
        entry.paused_at = entry.paused_until = None
        entry.paused_by = entry.pause_reason = entry.pause_scope = ""
        return
    longest = max(pauses, key=_length)
    # The newest: what somebody asked for before everything was paused is paused too.
    entry.paused_at, entry.paused_until = max(each.paused_at for each in pauses), longest.until
    entry.paused_by, entry.pause_reason = longest.by, longest.reason
    entry.pause_scope = "" if longest.entry_id is not None else longest.scope


def _length(pause: Pause) -> tuple[datetime, bool, bool, int]:
    """Order pauses by their ends; of those that end together the widest, then the newest, is named."""
    return (pause.until or FAR_FUTURE, pause.entry_id is None, pause.scope == ALL, pause.pk)
