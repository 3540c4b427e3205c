"""The outbox: each mail has a row before it goes, goes at most once, and none is lost without a trace.

Whoever sends claims the row first, in a statement of its own that is committed. Killed after that, nobody knows whether
the mail went: it becomes "unknown", and a person who has asked the mail server settles it.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from crm.digests import suppression
from crm.digests.models import Mail
from crm.digests.post import Answer, Post, Posted
from crm.plain_text import one_line

_S = Mail.State
# Much longer than any mail takes: whoever claimed a row before that is gone.
CUT_OFF_AFTER = timedelta(minutes=10)
# The jobs' timeout is longer: one that is killed in the middle of a mail leaves a row half done.
SENDING_SECONDS = 120.0
MOST_TRIES = 5
FIRST_WAIT = timedelta(minutes=15)
# A server that drops two mails in a row drops the third.
MOST_DROPPED = 2
MOST_PRUNED, _PRUNED_AT_ONCE = 5_000, 500
# Of which nothing more is to be done.
_OVER = (_S.SENT, _S.SKIPPED, _S.FAILED)
CUT_OFF = "its sender was cut off"


class MailsRefused(Exception):
    """More mails would go than one run may send; none was sent."""


@dataclass(frozen=True)
class NotSent:
    """That a mail must not go, and why."""

    reason: str


@dataclass(frozen=True)
class Later:
    """That a mail must not go before *at*, and why."""

    at: datetime
    reason: str


@dataclass(frozen=True)
class Letter:
    """A mail that may go now: *email* is where to; *rows* narrows the claim to what it still is right for."""

    message: EmailMessage
    email: str
    rows: Callable[[QuerySet[Mail]], QuerySet[Mail]] = field(default=lambda rows: rows)


Compose = Callable[[Mail, datetime], Letter | NotSent | Later]


@dataclass
class Sent:
    """What one call did: *wrong* is what somebody has to look at, by the mail's key."""

    examined: int = 0
    sent: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    wrong: dict[str, str] = field(default_factory=dict)


def due(kind: str, until: datetime) -> QuerySet[Mail]:
    """Select what waits to be sent at *until*, the longest due first."""
    return Mail.objects.filter(kind=kind, state=_S.WAITING, due_at__lte=until).order_by("due_at", "pk")


def unsettled(kind: str) -> QuerySet[Mail]:
    """Select the mails of which nobody knows whether they went."""
    return Mail.objects.filter(kind=kind, state=_S.UNKNOWN).order_by("pk")


def refuse_too_many(count: int, most: int, command: str) -> None:
    """Refuse to send more than *most* at once.

    Raises: MailsRefused with what to do.
    """
    if count > most:
        raise MailsRefused(
            f"{count} mails would be sent, but one run may send at most {most} (CRM_MAIL_MAX_COUNT). None was sent. "
            f"See whether so many are right: manage.py {command} --dry-run; if so, run manage.py {command} --force"
        )


def send_due(
    kind: str,
    compose: Compose,
    *,
    until: datetime,
    for_seconds: float = SENDING_SECONDS,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Sent:
    """Send what is due, each mail once; what is not begun after *for_seconds* is left for the next time.

    Args: *compose* writes a mail, or says why it must not go, looking at what is true now.
    Cost: two short statements a mail, besides those of *compose*; one connection for all.
    """
    _find_cut_off(kind)
    done, stop_at, dropped = Sent(), time.monotonic() + for_seconds, 0
    total = due(kind, until).count()
    seen = 0
    with Post() as post:
        # One at a time: another sender may take some meanwhile, and what waits longer is not read before its turn.
        while time.monotonic() < stop_at and dropped < MOST_DROPPED:
            mail = due(kind, until).select_related("recipient", "report").first()
            if mail is None:
                break
            done.examined += 1
            posted = _send(mail, compose, post, until, done)
            if posted:
                dropped = dropped + 1 if posted.is_dropped else 0
            seen += 1
            if on_progress:
                on_progress(seen, max(total, seen))
            if posted and posted.answer is Answer.AWAY:
                break
    for mail in unsettled(kind):
        done.wrong.setdefault(mail.key, f"nobody knows whether it went ({mail.reason})")
    return done


def settle(mail_ids: Collection[int], *, arrived: bool) -> list[Mail]:
    """Say of mails whose fate is unknown whether they arrived, or are sent again; give those that were.

    One that has failed is sent again as well, once somebody has mended why: as if it had not been tried.
    """
    now, states = timezone.now(), [_S.UNKNOWN] if arrived else [_S.UNKNOWN, _S.FAILED]
    with transaction.atomic():
        found = list(Mail.objects.select_for_update().filter(pk__in=list(mail_ids), state__in=states).order_by("pk"))
        for mail in found:
            if mail.state == _S.FAILED:
                mail.tries = 0
            mail.state, mail.reason = (_S.SENT, "") if arrived else (_S.WAITING, "asked for again")
            mail.sent_at, mail.due_at = (mail.tried_at, mail.due_at) if arrived else (None, now)
        Mail.objects.bulk_update(found, ["state", "reason", "sent_at", "due_at", "tries"])
    return found


def prune(now: datetime) -> int:
    """Delete the rows of mails whose fate has been known since CRM_MAIL_KEEP_DAYS before *now*; give their number.

    Cost: short batches from the old end of the index of moments, at most MOST_PRUNED rows: the job comes by often.
    """
    if not settings.CRM_MAIL_KEEP_DAYS:
        return 0
    old = Mail.objects.filter(state__in=_OVER, created_at__lt=now - timedelta(days=settings.CRM_MAIL_KEEP_DAYS))
    count = 0
    while count < MOST_PRUNED:
        ids = list(old.order_by("created_at", "pk").values_list("pk", flat=True)[:_PRUNED_AT_ONCE])
        count += old.filter(pk__in=ids).delete()[0] if ids else 0
        if len(ids) < _PRUNED_AT_ONCE:
            break
    return count


def _find_cut_off(kind: str) -> None:
    late = Mail.objects.filter(kind=kind, state=_S.SENDING, tried_at__lt=timezone.now() - CUT_OFF_AFTER)
    late.update(state=_S.UNKNOWN, reason=CUT_OFF)


def _send(mail: Mail, compose: Compose, post: Post, until: datetime, done: Sent) -> Posted | None:
    """Have one mail sent, skipped or put off; give the server's answer where it was asked."""
    waiting = Mail.objects.filter(pk=mail.pk, state=_S.WAITING)
    letter = compose(mail, until)
    if isinstance(letter, Later):
        waiting.update(due_at=letter.at, reason=letter.reason)
        done.skipped[letter.reason] += 1
        return None
    if isinstance(letter, NotSent):
        _skip(waiting, letter.reason, done)
        return None
    try:
        letter.message.message().as_bytes()
    except (ValueError, UnicodeError) as error:
        # A header that could smuggle in another one: Django refuses to write it.
        _skip(waiting, f"cannot be written: {error}", done)
        return None
    claimed = letter.rows(waiting).update(state=_S.SENDING, tried_at=timezone.now(), tries=F("tries") + 1)
    if not claimed:
        # Somebody else has it, or it is not right any more; if it still waits, the next look says which.
        return None
    posted = post.hand_over(letter.message)
    _note(mail, letter.email, posted, done)
    return posted


def _note(mail: Mail, email: str, posted: Posted, done: Sent) -> None:
    """Write down what became of a mail that was claimed."""
    now, text = timezone.now(), one_line(posted.text)[:250]
    mine = Mail.objects.filter(pk=mail.pk, state=_S.SENDING)
    if posted.answer is Answer.TAKEN:
        mine.update(state=_S.SENT, sent_at=now, reason="")
        done.sent += 1
    elif posted.answer is Answer.UNSURE:
        mine.update(state=_S.UNKNOWN, reason=text)
    elif posted.answer is Answer.REFUSED or (posted.answer is Answer.LATER and mail.tries + 1 >= MOST_TRIES):
        mine.update(state=_S.FAILED, reason=text)
        done.wrong[mail.key] = f"refused: {text}"
        if posted.no_such_address:
            suppression.suppress(email, "", f"refused by the mail server: {text}", now=now)
    elif posted.answer is Answer.LATER:
        mine.update(state=_S.WAITING, reason=text, due_at=now + FIRST_WAIT * 2**mail.tries)
        done.skipped["put off by the mail server"] += 1
    else:
        # Nobody was there to ask, or nothing is taken from us: that says nothing about the mail.
        mine.update(state=_S.WAITING, reason=text, tries=mail.tries)
        done.wrong[mail.key] = f"the mail server takes nothing: {text}"


def _skip(waiting: QuerySet[Mail], reason: str, done: Sent) -> None:
    reason = one_line(reason)[:300]
    if waiting.update(state=_S.SKIPPED, reason=reason):
        done.skipped[reason] += 1


def as_counts(skipped: Mapping[str, int]) -> dict[str, int]:
    """Give the reasons by what stands before their colon: a record has few reasons, and no addresses."""
    counts: Counter[str] = Counter()
    for reason, number in skipped.items():
        counts[reason.partition(":")[0]] += number
    return dict(counts)
