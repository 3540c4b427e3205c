"""Deliveries: written with the incident in one transaction, sent after it, repeated until they are out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from django.db.models import Q

from crons.conf import conf
from crons.ledger import verb, writing
from crons.models import Delivery, Incident
from crons.side_output import get_log
from crons.watch.alerts import CHANNELS, Notice

log = get_log("crons")
BATCH = 20
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)
# Six that grow, then one each hour: three days, so that a mail server may be down for a weekend.
MOST_TRIES = 78
# While one process sends, the others leave the delivery alone; if it dies, they take over.
SENDING = timedelta(minutes=5)


def enqueue(incident: Incident, event: str, notice: Notice, now: datetime, using: str) -> None:
    """Put *notice* into the outbox of every channel that is on; for use inside the incident's transaction."""
    # What a job wrote must not steer the terminal that a mail is read in, or say other than it shows.
    cleaned = notice.cleaned()
    for channel in CHANNELS:
        if channel.is_on():
            Delivery.objects.using(using).get_or_create(
                incident=incident,
                event=event,
                channel=channel.name,
                defaults={"subject": cleaned.subject, "notice": cleaned.as_json(), "next_try_at": now},
            )


def send_due(now: datetime) -> int:
    """Send what is due, each at most by one process at a time; return how many went out."""
    channels = {channel.name: channel for channel in CHANNELS}
    sent = 0
    for delivery in _take(now):
        try:
            channels[delivery.channel].send(notice_of(delivery))
        except Exception as error:
            log.warning("an alert could not be sent", extra={"channel": delivery.channel}, exc_info=True)
            _put_back(delivery, f"{type(error).__name__}: {error}", now)
        else:
            mine = Delivery.objects.using(conf.database).filter(pk=delivery.pk)
            mine.update(state="sent", sent_at=now, next_try_at=None, error="")
            sent += 1
    return sent


def notice_of(delivery: Delivery) -> Notice:
    """Return what *delivery* tells; its subject stands in a column of its own, and is there if all else is garbled."""
    return replace(Notice.from_json(delivery.notice), subject=delivery.subject)


@verb
def _take(now: datetime) -> list[Delivery]:
    due = Q(state="pending", next_try_at__lte=now)
    if not Delivery.objects.using(conf.database).filter(due).exists():
        return []
    with writing() as using:
        taken = list(Delivery.objects.using(using).select_for_update().filter(due).order_by("pk")[:BATCH])
        ids = [delivery.pk for delivery in taken]
        Delivery.objects.using(using).filter(pk__in=ids).update(next_try_at=now + SENDING)
    return taken


def _put_back(delivery: Delivery, error: str, now: datetime) -> None:
    tries = delivery.tries + 1
    state = "failed" if tries >= MOST_TRIES else "pending"
    pause = min(FIRST_PAUSE * 2 ** min(tries - 1, 10), LONGEST_PAUSE)
    again = None if state == "failed" else now + pause
    if again is None:
        log.error("an alert is given up after %d tries: %s: %s", tries, delivery.subject, error)
    mine = Delivery.objects.using(conf.database).filter(pk=delivery.pk)
    mine.update(state=state, tries=tries, error=error, next_try_at=again)
