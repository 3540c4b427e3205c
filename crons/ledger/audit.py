"""Noting who did what: always in the transaction of the deed, so that neither is there without the other."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from crons.models import AuditEvent


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
        actor=by[:150],
        verb=deed,
        subject_type=subject_type,
        subject=str(subject)[:150],
        before=before,
        after=after,
        reason=reason[:255],
    )
