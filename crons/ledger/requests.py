"""Requests: a person or code asks for one run of an entry, besides its schedule."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import IntegrityError

from crons.exceptions import Refused
from crons.ledger.audit import BY, kept, note
from crons.ledger.entries import locked, refuse_retired, request_effect_key
from crons.ledger.transactions import verb, writing
from crons.models import Run, is_text
from crons.redaction import for_people
from crons.verdicts import Kind

LONGEST_KEY = 150


def request(
    name: str,
    now: datetime,
    trigger: str,
    *,
    by: str = "",
    args: Mapping[str, Any] | None = None,
    key: str = "",
) -> Run:
    """Record a manual run of one entry; it never moves the account. The same *key* gives the same run.

    Raises: UnknownJob; Refused if the entry is retired, or *key* cannot be one or is another entry's.
    """
    _check_key(key)
    key = key or uuid.uuid4().hex
    try:
        return _request(name, now, trigger, by, args, key)
    except IntegrityError:
        # Another entry's run took the key at this moment: the second look sees whose it is.
        return _request(name, now, trigger, by, args, key)


@verb
def _request(name: str, now: datetime, trigger: str, by: str, args: Mapping[str, Any] | None, key: str) -> Run:
    with writing() as using:
        entry = locked(name, using)
        refuse_retired(entry)
        known = Run.objects.using(using).select_related("entry").filter(request_key=key).first()
        if known is not None and known.entry_id != entry.pk:
            raise Refused(
                f"the key {key!r} is that of run {known.pk} of {known.entry.name!r}: "
                f"nothing was requested. Give runs of {name!r} keys of their own."
            )
        if known is not None:
            return known
        run = Run.objects.using(using).create(
            entry=entry,
            kind=Kind.MANUAL,
            request_key=key,
            effect_key=request_effect_key(name, key),
            requested_by=kept(by, BY),
            args=None if args is None else dict(args),
            planned_at=now,
            wake_at=now,
            trigger=trigger,
            recorded_at=now,
        )
        note("run", "run", run.pk, by, now, using, after={"entry": name, "args": for_people(run.args)})
    return run


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise Refused(f"key={key!r}: expected a text.")
    if len(key) > LONGEST_KEY:
        raise Refused(
            f"key={key[:40]!r}… has {len(key)} characters, expected at most {LONGEST_KEY}. Nothing was requested."
        )
    if not is_text(key):
        raise Refused(
            f"key={key!r} has a NUL or half a character in it, which no database keeps. Nothing was requested."
        )
