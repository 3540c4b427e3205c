"""Who gets no mail: asked just before each one, filled by people, by one click, and by mail servers that refuse."""

from datetime import datetime

from django.db.models.functions import Lower

from crm.digests.models import SuppressedAddress


def reason_against(email: str, kind: str) -> str:
    """Say why *email* gets no mail of *kind*; empty where it may."""
    rows = SuppressedAddress.objects.annotate(_email=Lower("email"))
    found = rows.filter(_email=email.lower(), kind__in=["", kind]).order_by("kind").first()
    return f"suppressed: {found.reason}" if found else ""


def suppress(email: str, kind: str, reason: str, *, now: datetime) -> None:
    """Have *email* get no more mails of *kind* (empty: none at all); known already, it stays as it is."""
    rows = SuppressedAddress.objects.annotate(_email=Lower("email"))
    if not rows.filter(_email=email.lower(), kind=kind).exists():
        row = SuppressedAddress(email=email, kind=kind, reason=reason[:200], created_at=now)
        # Of two that say it at once one writes.
        SuppressedAddress.objects.bulk_create([row], ignore_conflicts=True)
