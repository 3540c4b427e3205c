"""Who sends what, and how many in an hour: rows are taken under a lock, and made into messages.

A channel tells at most MOST_PER_HOUR messages in an hour. The last few of them are kept for digests, so that a storm
neither fills a mailbox nor goes silent: more than fits is one message that counts them all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connections
from django.db.models import F, Max, Q, QuerySet

from crons.conf import conf
from crons.ledger import verb, writing
from crons.models import Delivery
from crons.watch.alerts.channels import alerts, is_gone

REMINDER = "reminder:"
# While one process sends, the others leave the delivery alone; if it dies, they take over.
SENDING = timedelta(minutes=5)
HOUR = timedelta(hours=1)
MOST_TAKEN = 5_000
MOST_DIGESTS = 6
CHUNK = 500
GONE = "its channel is not in CRONS['ALERTS']['CHANNELS'] any more"


@dataclass(frozen=True)
class Letter:
    """One message that this process may send now: one delivery, or several as a digest.

    *key* is the same whenever the same rows are sent; *tries* counts this one; *was_taken*: somebody began to send it
    before, and did not say how that ended.
    """

    channel: str
    rows: tuple[int, ...]
    tries: int
    subject: str
    was_taken: bool = False

    @property
    def key(self) -> str:
        """A name that receivers can know a repeated message by."""
        return f"msg_{hashlib.sha256(f'{self.channel}:{self.rows}'.encode()).hexdigest()[:40]}"

    def update(self, **values: Any) -> None:
        """Write *values* to all of its rows."""
        self.update_where({}, **values)

    def update_where(self, only: dict[str, Any], **values: Any) -> None:
        """Write *values* to those of its rows that are as *only* says."""
        for some in _chunks(self.rows):
            Delivery.objects.using(conf.database).filter(pk__in=some, **only).update(**values)

    def give_back(self, at: datetime) -> None:
        """Undo that it was taken: it was not tried."""
        self.update(next_try_at=at, taken_at=None, message="", tries=F("tries") - 1)

    def reminders(self) -> Iterator[Delivery]:
        """Yield those of its rows that remind of something."""
        for some in _chunks(self.rows):
            rows = Delivery.objects.using(conf.database).filter(pk__in=some, event__startswith=REMINDER)
            yield from rows.select_related("incident")


@verb
def take(channel: str, now: datetime) -> list[Letter]:
    """Take what is due over *channel*, so that no other process sends it; an empty list where there is nothing.

    What was tried less comes first: a message that nobody takes must not hold up the others.
    """
    due = Q(channel=channel, state="pending", next_try_at__lte=now)
    if not Delivery.objects.using(conf.database).filter(due).exists():
        return []
    with writing() as using:
        rows = Delivery.objects.using(using).filter(due).select_related("incident").defer("notice")
        of = ("self",) if connections[using].features.has_select_for_update_of else ()
        taken = list(rows.select_for_update(of=of).order_by("tries", "pk")[:MOST_TAKEN])
        if channel not in alerts().channels and not is_gone(channel):
            _update(taken, using, next_try_at=now + SENDING)  # until somebody has mended the settings
            return []
        if is_gone(channel):
            gone = {"state": "failed", "next_try_at": None, "error": GONE, "failed_at": None}
            _update(taken, using, **gone)
            return []
        letters = _letters(channel, list(_still_wanted(taken, now, using)), now, using)
        for letter in letters:
            values = {"taken_at": now, "message": letter.key, "next_try_at": now + SENDING, "tries": F("tries") + 1}
            for some in _chunks(letter.rows):
                Delivery.objects.using(using).filter(pk__in=some).update(**values)
    return letters


def _still_wanted(taken: Iterable[Delivery], now: datetime, using: str) -> Iterator[Delivery]:
    """Yield what is still to be told; a reminder of what is over or acknowledged is dropped, of what sleeps waits."""
    for delivery in taken:
        incident = delivery.incident
        if not delivery.event.startswith(REMINDER):
            yield delivery
        elif incident.closed_at or incident.acknowledged_at:
            _update([delivery], using, state="dropped", next_try_at=None)
        elif incident.snoozed_until and incident.snoozed_until > now:
            _update([delivery], using, next_try_at=incident.snoozed_until)
        else:
            yield delivery


def _letters(channel: str, taken: list[Delivery], now: datetime, using: str) -> list[Letter]:
    """Make messages of *taken*, as many as this hour has room for; what has none waits."""
    if not taken:
        return []
    most = alerts().most_per_hour
    digests = max(1, min(MOST_DIGESTS, most // 2))
    lately = Delivery.objects.using(using).filter(channel=channel, taken_at__gt=now - HOUR).exclude(message="")
    # What is tried again is a message that was counted before.
    others = lately.exclude(pk__in=[each.pk for each in taken[:CHUNK]])
    room = most - digests - others.values("message").distinct().count()
    if room <= 0:
        newest = others.aggregate(at=Max("taken_at"))["at"]
        may_at = newest + HOUR / digests if newest else now
        if may_at > now:
            _update(taken, using, next_try_at=may_at)
            return []
    held = [each for each in taken if each.held]
    single = [each for each in taken if not each.held]
    if len(single) + bool(held) > max(room, 1):
        return [_letter(channel, taken)]
    return [*([_letter(channel, held)] if held else []), *(_letter(channel, [each]) for each in single)]


def _letter(channel: str, rows: Sequence[Delivery]) -> Letter:
    was_taken = len(rows) == 1 and rows[0].taken_at is not None and not rows[0].error
    tries = max(each.tries for each in rows) + 1
    return Letter(channel, tuple(sorted(each.pk for each in rows)), tries, rows[0].subject, was_taken)


def _update(rows: Iterable[Delivery], using: str, **values: Any) -> None:
    for some in _chunks([each.pk for each in rows]):
        found: QuerySet[Delivery] = Delivery.objects.using(using).filter(pk__in=some)
        found.update(**values)


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for at in range(0, len(ids), CHUNK):
        yield ids[at : at + CHUNK]
