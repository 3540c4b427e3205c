"""Noting who did what: always in the transaction of the deed, so that neither is there without the other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from crons.models import AuditEvent

BY, REASON = 150, 255
# NUL, and the halves that Python makes of bytes that are no UTF-8, such as an umlaut of a Latin-1 terminal.
_UNKEPT = re.compile("[\x00\ud800-\udfff]")


def note(
    deed: str,
    subject_type: str,
    subject: str | int,
    by: str,
    now: datetime,
    using: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
) -> None:
    """Append an audit event; for use inside a transaction."""
    AuditEvent.objects.using(using).create(
        at=now,
        actor=kept(by, BY),
        verb=deed,
        subject_type=subject_type,
        subject=str(subject)[:150],
        before=before,
        after=after,
        reason=kept(reason, REASON),
    )


def kept(text: str, length: int) -> str:
    """Return what a person said as every database keeps it, cut to *length*: at night a pause must not fail over it."""
    return _UNKEPT.sub("\ufffd", text)[:length]
