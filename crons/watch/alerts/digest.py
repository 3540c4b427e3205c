"""Many notices as one: how many of which rule, and the first of them; all of them stand on the page of incidents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from crons.conf import conf
from crons.models import Delivery
from crons.watch.alerts.base import SEVERITIES, Notice

SHOWN = 20
CHUNK = 500
ALL_OF_THEM = "All of them: manage.py crons alert ; manage.py crons health"


def digest(ids: Sequence[int]) -> Notice:
    """Return one notice of the deliveries *ids*; what is worst first."""
    rules: Counter[str] = Counter()
    severities: set[str] = set()
    lines: list[tuple[int, str]] = []
    for at in range(0, len(ids), CHUNK):
        rows = Delivery.objects.using(conf.database).filter(pk__in=ids[at : at + CHUNK]).order_by("pk")
        for delivery in rows.select_related("incident"):
            notice = Notice.from_json(delivery.notice)
            rules[delivery.incident.rule] += 1
            severities.add(notice.severity)
            lines.append((-SEVERITIES.index(notice.severity), f"- {delivery.subject}"))
    first = [line for _, line in sorted(lines, key=lambda each: each[0])[:SHOWN]]
    if len(lines) > SHOWN:
        first.append(f"… and {len(lines) - SHOWN:,} more")
    worst = max(severities, key=SEVERITIES.index, default="warning")
    counted = ", ".join(f"{count:,} {rule}" for rule, count in rules.most_common(3))
    subject = f"{len(lines):,} alerts: {counted}{' …' if len(rules) > 3 else ''}"
    facts = tuple((rule, f"{count:,}") for rule, count in rules.most_common())
    return Notice("digest", "digest", worst, subject, facts=facts, text="\n".join(first), next_step=ALL_OF_THEM)
