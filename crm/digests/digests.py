"""Reports by mail: who gets which, when, and why not."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from django.conf import settings
from django.db.models import CharField, Exists, OuterRef, Value
from django.db.models.functions import Cast, Concat
from django.urls import reverse
from django.utils.html import format_html

from crm.digests import figures, hours, letters, links, rendering
from crm.digests.models import Mail, Recipient, Report
from crm.digests.outbox import Later, Letter, NotSent

EMPTY = "nothing happened"
TOO_OLD = "too old to be news"
OFF = "not wanted any more"
GONE = "the recipient was deleted"
QUIET = "quiet hours"
BATCH = 500
# So long after it was due a report is news; then the next one is.
NEWS_FOR = {Report.Kind.DAILY: timedelta(hours=20), Report.Kind.WEEKLY: timedelta(days=3)}
# No zone is further behind than that, and no hour of a day.
_LONGEST_WAIT = timedelta(days=3)


@dataclass(frozen=True)
class Planned:
    """A mail that somebody is to get at *due_at*, or not for *reason*."""

    recipient: Recipient
    report: Report
    due_at: datetime
    reason: str

    @property
    def key(self) -> str:
        return _key(self.report, self.recipient.pk)


def planned(until: datetime) -> Iterator[Planned]:
    """Give the mails that reports made lately call for and that have no row yet.

    A recipient who came after a report's hour gets the next one. In batches along the primary key: one statement for
    each 500 who have none, and one more for each report.
    """
    oldest = until - max(NEWS_FOR.values()) - _LONGEST_WAIT
    for report in Report.objects.filter(until__gt=oldest, until__lte=until).order_by("until", "pk"):
        is_empty = figures.is_empty(report.data)
        for batch in _without_mail(report):
            found = (_plan(recipient, report, until, is_empty=is_empty) for recipient in batch)
            yield from (each for each in found if each.recipient.created_at <= each.due_at)


def plan(until: datetime, *, now: datetime, key: str = "") -> list[Planned]:
    """Write a row for each mail that is planned, and give those; a second call finds nothing more to plan."""
    done = []
    plans = planned(until)
    while batch := list(islice(plans, BATCH)):
        Mail.objects.bulk_create((_row(each, now=now, key=key) for each in batch), ignore_conflicts=True)
        done.extend(batch)
    return done


def compose(mail: Mail, at: datetime) -> Letter | NotSent | Later:
    """Write the mail, by what its recipient wants now."""
    recipient, report = mail.recipient, mail.report
    if recipient is None or report is None:
        return NotSent(GONE)
    if recipient.frequency != report.kind:
        return NotSent(OFF)
    if at > mail.due_at + NEWS_FOR[Report.Kind(report.kind)] and mail.tries == 0:
        return NotSent(TOO_OLD)
    if ends_at := hours.quiet_until(recipient, at):
        return Later(ends_at, QUIET)
    preferences = links.address_of(links.Reader(links.RECIPIENT, recipient.pk))
    page = f"{settings.CRM_SITE_URL}{reverse('admin:crm_report_change', args=[report.pk])}"
    often = "every day" if report.kind == Report.Kind.DAILY else "every week"
    when = f"You get this {often}, from {recipient.hour}:00 on in {hours.zone_of(recipient).key}."
    below = format_html('{} <a href="{}" style="color:#1f5fbf;">Change when, or unsubscribe</a>', when, preferences)
    return letters.write(
        mail,
        name=recipient.name,
        email=recipient.email,
        subject=rendering.subject(report.data),
        text=rendering.text(
            report.data, below=f"{when}\nThe report: {page}\nChange when, or unsubscribe: {preferences}"
        ),
        html=rendering.html(report.data, below=below, link=page),
        preferences=preferences,
    )


def _without_mail(report: Report) -> Iterator[list[Recipient]]:
    """Give those whom *report* is for and who have no row yet, in batches."""
    # By the unique key: one look into its index each, and what is planned already does not leave the database.
    key = Concat(Value(_key(report, "")), Cast(OuterRef("pk"), CharField()))
    wanting = Recipient.objects.filter(~Exists(Mail.objects.filter(key=key).order_by()), frequency=report.kind)
    last = 0
    while batch := list(wanting.filter(pk__gt=last).order_by("pk")[:BATCH]):
        yield batch
        last = batch[-1].pk


def _key(report: Report, recipient: int | str) -> str:
    return f"digest:{report.kind}:{report.period}:recipient-{recipient}"


def _plan(recipient: Recipient, report: Report, until: datetime, *, is_empty: bool) -> Planned:
    due_at = hours.due_at(recipient, report.until)
    reason = ""
    if is_empty and not recipient.also_empty:
        reason = EMPTY
    elif until > due_at + NEWS_FOR[Report.Kind(report.kind)]:
        reason = TOO_OLD
    return Planned(recipient, report, due_at, reason)


def _row(each: Planned, *, now: datetime, key: str) -> Mail:
    return Mail(
        kind=Mail.Kind.DIGEST,
        key=each.key,
        recipient=each.recipient,
        report=each.report,
        state=Mail.State.SKIPPED if each.reason else Mail.State.WAITING,
        reason=each.reason,
        due_at=each.due_at,
        run_key=key,
        created_at=now,
    )
