"""Deliveries: written with the incident in one transaction, sent after it, repeated until they are out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from crons.conf import Route, conf
from crons.models import Delivery, Incident
from crons.side_output import get_log
from crons.watch.alerts.base import Notice, Sending
from crons.watch.alerts.channels import alerts, make_channel, reachable
from crons.watch.alerts.digest import digest
from crons.watch.alerts.errors import in_words
from crons.watch.alerts.links import link_of
from crons.watch.alerts.taking import REMINDER, SENDING, Letter, take

log = get_log("crons")
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)
# Six that grow, then one each hour: three days, so that a mail server may be down for a weekend.
MOST_TRIES = 78
TOLD_BEFORE = "perhaps told before: a process that was sending it ended before it could note that"


def enqueue(incident: Incident, event: str, notice: Notice, now: datetime, using: str) -> None:
    """Put *notice* into the outbox of every channel of its route; for use inside the incident's transaction."""
    # What a job wrote must not steer the terminal that a mail is read in, or say other than it shows.
    cleaned = notice.cleaned()
    settings, route = alerts(), route_of(cleaned)
    at, snoozed = now, incident.snoozed_until
    if settings.quiet and cleaned.severity != "critical":
        at = settings.quiet.ends_after(now) or now
    if snoozed and snoozed > at and cleaned.change != "closed":
        at = snoozed
    values = {"subject": cleaned.subject, "notice": cleaned.as_json(), "next_try_at": at, "held": at > now}
    for name in reachable(route.to):
        Delivery.objects.using(using).get_or_create(incident=incident, event=event, channel=name, defaults=values)
    if route.repeat and cleaned.change in ("opened", "worsened") and not incident.acknowledged_at:
        remind(incident, cleaned, route.to, now + route.repeat, using)


def remind(incident: Incident, notice: Notice, channels: Sequence[str], at: datetime, using: str) -> None:
    """Have *notice* told again at *at*, unless the incident is over or acknowledged by then; one for each channel."""
    waiting = Delivery.objects.using(using).filter(incident=incident, event__startswith=REMINDER)
    waits_for = set(waiting.filter(state="pending").values_list("channel", flat=True))
    waiting.filter(state="pending", channel__in=channels).update(next_try_at=at)
    again = replace(notice, change="reminder", subject=f"still open: {notice.subject.removeprefix('still open: ')}")
    for name in reachable(tuple(name for name in channels if name not in waits_for)):
        Delivery.objects.using(using).create(
            incident=incident,
            event=f"{REMINDER}{waiting.filter(channel=name).count() + 1}",
            channel=name,
            subject=again.cleaned().subject,
            notice=again.as_json(),
            next_try_at=at,
        )


def route_of(notice: Notice) -> Route:
    """Return the route that *notice* takes."""
    return alerts().route(owner=notice.owner, tags=notice.tags, severity=notice.severity, rule=notice.rule)


def due_channels(now: datetime) -> list[str]:
    """Return the channels for which something is due. Cost: one statement, along the index of what waits."""
    due = Delivery.objects.using(conf.database).filter(next_try_at__lte=now)
    return sorted(set(due.order_by().values_list("channel", flat=True).distinct()))


def send_due(now: datetime, channel: str = "") -> int:
    """Send what is due over *channel*, or all of them, each at most by one process at a time; return how many went out.

    Once one message could not be sent, the others of its channel wait as well: a server that hangs costs one time-out.
    """
    return sum(_send(name, now) for name in ([channel] if channel else due_channels(now)))


def notice_of(delivery: Delivery) -> Notice:
    """Return what *delivery* tells; its subject stands in a column of its own, and is there if all else is garbled."""
    return replace(Notice.from_json(delivery.notice), subject=delivery.subject)


def _send(channel: str, now: datetime) -> int:
    letters, sent, until = take(channel, now), 0, time.monotonic() + SENDING.total_seconds() / 2
    for at, letter in enumerate(letters):
        if time.monotonic() > until:
            _untry(letters[at:], now)
            break
        try:
            made = make_channel(channel)
            notice, sending = _written(letter, now)
            made.send(notice, sending)
        except Exception as error:  # noqa: BLE001 (one alert: whatever its channel raises is kept, and tried again)
            pause = _put_back(letter, in_words(error, channel), now)
            _untry(letters[at + 1 :], now + pause)
            break
        _note_sent(letter, now)
        sent += 1
    return sent


def _written(letter: Letter, now: datetime) -> tuple[Notice, Sending]:
    rows = Delivery.objects.using(conf.database).select_related("incident").filter(pk__in=letter.rows[:1])
    delivery = rows.get()
    if len(letter.rows) > 1:
        notice = digest(letter.rows)
        return notice, Sending(letter.key, letter.key, True, now, link_of(notice))
    notice, incident = notice_of(delivery), delivery.incident
    if letter.was_taken:
        notice = replace(notice, facts=(*notice.facts, ("note", TOLD_BEFORE)))
    thread = f"crons-incident-{incident.pk}-{incident.opened_at:%Y%m%d%H%M%S}"
    return notice, Sending(letter.key, thread, notice.change == "opened", now, link_of(notice))


def _note_sent(letter: Letter, now: datetime) -> None:
    letter.update(state="sent", sent_at=now, next_try_at=None, error="", failed_at=None)
    for delivery in letter.reminders():
        notice = notice_of(delivery)
        repeat = route_of(notice).repeat
        if repeat:
            remind(delivery.incident, notice, (delivery.channel,), now + repeat, conf.database)


def _put_back(letter: Letter, error: str, now: datetime) -> timedelta:
    """Note that it could not be sent; return how long its channel is left alone."""
    pause: timedelta = min(FIRST_PAUSE * 2 ** min(letter.tries - 1, 10), LONGEST_PAUSE)
    about = {"event": "delivery.failed", "channel": letter.channel}
    log.warning("an alert could not be sent over %s: %s", letter.channel, error, extra=about)
    again: datetime | None = now + pause
    if letter.tries >= MOST_TRIES:
        again = None
        about = {"event": "delivery.given_up", "channel": letter.channel}
        log.error("an alert is given up after %d tries: %s: %s", letter.tries, letter.subject, error, extra=about)
    letter.update(
        state="pending" if again else "failed",
        error=error,
        next_try_at=again,
        **({"held": True} if len(letter.rows) > 1 else {}),
    )
    letter.update_where({"failed_at": None}, failed_at=now)
    return pause


def _untry(letters: Sequence[Letter], at: datetime) -> None:
    """Give back what was taken and not tried."""
    for letter in letters:
        letter.give_back(at)
