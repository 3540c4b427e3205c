"""What is kept of an entry besides its slots: what people did to it, its incidents, the releases that ran it."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q

from crons.models import AuditEvent, Entry, Heartbeat, Incident

READ = 50
# An entry with thousands of tags is paused by few of them.
MOST_TAGS = 100
MOST_SCHEDULERS = 200


def audit_of(entry: Entry, before: datetime | None = None, count: int = READ) -> list[AuditEvent]:
    """Return what was done to *entry*, or to its tags and everything, the newest first. Cost: one statement."""
    mine = Q(subject_type="entry", subject=entry.name)
    wide = Q(subject_type="all") | Q(subject_type="tag", subject__in=[str(tag) for tag in entry.tags[:MOST_TAGS]])
    rows = AuditEvent.objects.filter(mine | wide)
    rows = rows.filter(at__lt=before) if before else rows
    return list(rows.order_by("-pk")[:count])


def incidents_of(entry: Entry, before: datetime | None = None, count: int = READ) -> list[Incident]:
    """Return the incidents of *entry*, the newest first. Cost: one statement."""
    rows = Incident.objects.filter(entry=entry)
    rows = rows.filter(opened_at__lt=before) if before else rows
    return list(rows.order_by("-pk")[:count])


def releases() -> list[tuple[datetime, str]]:
    """Return when the first scheduler that is known of each release began, the newest first. Cost: one statement."""
    rows = Heartbeat.objects.exclude(release="").order_by("-pk")
    first: dict[str, datetime] = {}
    for release, started_at in rows.values_list("release", "started_at")[:MOST_SCHEDULERS]:
        first[release] = min(first.get(release, started_at), started_at)
    return sorted(((at, release) for release, at in first.items()), reverse=True)
