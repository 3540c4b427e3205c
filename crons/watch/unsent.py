"""The channels over which nobody is reached: whoever reads `crons health` must learn that mails do not arrive."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Count, Max, Min

from crons.conf import conf
from crons.models import Delivery
from crons.watch.look import READ, Look, Problem

CHANNEL = "channel"


def channels(look: Look) -> Iterator[Problem]:
    """Yield the channels that have failed since a moment and have not reached anybody after it."""
    rows = Delivery.objects.using(conf.database).filter(failed_at__isnull=False, failed_at__lte=look.now)
    found = rows.order_by().values("channel").annotate(
        since=Min("failed_at"), last=Max("taken_at"), newest=Max("pk"), waiting=Count("pk")
    )  # fmt: skip
    for each in found[:READ]:
        name = each["channel"]
        of_it = Delivery.objects.using(conf.database).filter(channel=name)
        if each["last"] and of_it.filter(taken_at__gte=each["last"], state="sent").exists():
            continue  # it works; what waits still is what nobody takes
        error = of_it.filter(pk=each["newest"]).values_list("error", flat=True).first() or ""
        yield Problem(
            CHANNEL,
            f"nobody is reached over the channel {name}: {error}",
            since=each["since"],
            next_step=f"Try it: manage.py crons alert --test --channel {name}",
            about=name,
            facts=(("tried in vain", f"{each['waiting']} messages"),),
        )
