"""The scheduled jobs, declared: when, under which policies, and which domain verb. No rule lives here."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string

from crm import confirmations, customers, logs, progress, reminders, reports, restocking
from crm.api_client import ApiClient, ApiFailed
from crm.archives import nightly
from crm.archives.moving import Archived, Moving, TooManyRecords
from crm.environment import run_number
from crm.graph import trusted
from crm.imports import running
from crm.plain_text import one_line
from crm.webhooks import notices, recording, sweeping
from crons import Context, GiveUp, Retry, ToBeContinued, Window, cron, job

CLEANUP_LOG = "customer_cleanup_log.txt"
REMINDERS_LOG = "order_reminders_log.txt"
HEARTBEAT_LOG = "crm_heartbeat_log.txt"
LOW_STOCK_LOG = "low_stock_updates_log.txt"
REPORT_LOG = "crm_report_log.txt"
HELLO = "hello"


@job(
    cron("0 2 * * SUN"),
    timeout=timedelta(minutes=10),
    idempotent=True,
    retry=Retry(times=3, wait=timedelta(minutes=5)),
    max_silence=timedelta(days=8),
    description="Delete the customers without an order in the last year.",
    owner="customer-care",
    tags=("crm", "cleanup"),
)
def clean_inactive_customers(context: Context | None = None, *, force: bool = False) -> customers.Cleanup:
    """Delete inactive customers as of the slot, however late it runs, and log their number."""
    until, key = _run_of(context)
    logs.require_writable(CLEANUP_LOG)
    with progress.shown("Deleting", context) as on_progress:
        try:
            cleanup = customers.delete_inactive(now=until, force=force, key=key, on_progress=on_progress)
        except customers.CleanupRefused as error:
            if context is None:
                raise
            raise GiveUp(str(error)) from error  # a person has to look: the next tries would refuse as well
    # Before the log: whatever becomes of that, the run says how many are gone.
    _report(context, examined=cleanup.examined, changed=cleanup.deleted, skipped=cleanup.skipped)
    _say(*cleanup_lines(cleanup))
    # Also those that an earlier attempt of this run deleted, before it was killed or could not log.
    count = customers.deleted_under(key) if key else cleanup.deleted
    _log(CLEANUP_LOG, [f"{cleanup.verb} {count} inactive customers"])
    return cleanup


def cleanup_lines(cleanup: customers.Cleanup) -> list[str]:
    """Give the counts by reason, a line each."""
    cut_at = timezone.localtime(cleanup.cut_at)
    verb = f"Would {cleanup.policy}" if cleanup.dry_run else cleanup.verb
    since = f"no order since {cut_at:%Y-%m-%d %H:%M:%S %z}"
    return [
        f"{verb} {cleanup.deleted} of {cleanup.examined} customers: {since}.",
        *(f"Kept {count}: {reason}." for reason, count in cleanup.skipped.items()),
    ]


@job(
    cron("0 8 * * *"),
    timeout=timedelta(minutes=10),
    idempotent=True,
    retry=Retry(times=3, wait=timedelta(minutes=1)),
    max_silence=timedelta(hours=26),
    description="Note whom to remind of an order that is pending for up to a week.",
    owner="customer-care",
    tags=("crm", "reminders"),
)
def send_order_reminders(context: Context | None = None) -> list[reminders.Reminder]:
    """Log a line for each pending order of the seven days before the slot, all of them or none."""
    until, _ = _run_of(context)
    with progress.shown("Asking for orders", context) as on_progress:
        due = reminders.due(ApiClient.of_jobs(), until=until, on_progress=on_progress)
    # Only now, and at once: a run that got half of the orders must leave no lines.
    _log(REMINDERS_LOG, [str(each) for each in due])
    _report(context, examined=len(due), changed=len(due))
    _say("Order reminders processed!")
    return due


@job(
    cron("0 */12 * * *"),
    timeout=timedelta(minutes=5),
    idempotent=True,
    retry=Retry(times=3, wait=timedelta(minutes=1)),
    expected=timedelta(minutes=1),
    max_silence=timedelta(hours=26),
    description="Raise the stock of every product that runs low.",
    owner="purchasing",
    tags=("crm", "stock"),
)
def update_low_stock(context: Context | None = None) -> restocking.Restocked:
    """Raise low stocks over GraphQL, once for each run, and log the products' new stock."""
    _, key = _run_of(context)
    logs.require_writable(LOW_STOCK_LOG)
    with progress.shown("Raising low stocks"):
        done = restocking.update_low_stock(ApiClient.of_jobs(), key=key)
    # Before the log: whatever becomes of that, the run says what was raised.
    _report(context, changed=0 if done.replayed else len(done.products))
    _say(done.message, *(str(each) for each in done.products))
    _log(LOW_STOCK_LOG, [str(each) for each in done.products])
    return done


@job(
    cron("0 6 * * MON"),
    # A Celery job, fired by beat; without a broker the scheduler runs it like the others.
    executor="celery" if settings.CRM_BROKER_URL else "process",
    timeout=timedelta(minutes=10),
    idempotent=True,
    retry=Retry(times=3, wait=timedelta(minutes=5)),
    max_silence=timedelta(days=8),
    description="Log how many customers, orders and how much revenue there are.",
    owner="management",
    tags=("crm", "report"),
)
def generate_crm_report(context: Context | None = None) -> None:
    """Log the totals up to the slot."""
    until, _ = _run_of(context)
    line = report_line(until)
    _say(line)
    _log(REPORT_LOG, [f"- {line}"])


def report_line(until: datetime) -> str:
    """Give the report up to *until* as a line."""
    with progress.shown("Counting"):
        totals = reports.totals(until)
    return f"Report: {totals.customers} customers, {totals.orders} orders, {totals.revenue:.2f} revenue"


@job(
    cron("10 0 * * *"),
    timeout=timedelta(minutes=30),
    idempotent=True,
    retry=Retry(times=3, wait=timedelta(minutes=10)),
    max_silence=timedelta(hours=26),
    description="Make the report of each day and each week that has ended.",
    owner="management",
    tags=("crm", "report"),
)
def make_reports(context: Context | None = None) -> None:
    """Make what is missing of the days and weeks that ended since the last run; one made before stays as it is."""
    # Here, not above: what fires jobs must not wait for what a report needs.
    from crm.digests import automation, store, wording

    until, key = _run_of(context)
    since = context.since if context else until
    with progress.shown("Making reports", context) as on_progress:
        run = automation.run_of(context)
        made = store.make(since, until, now=timezone.now(), key=key, run=run, on_progress=on_progress)
    known = {"made before": made.known} if made.known else {}
    _report(context, examined=len(made.reports) + made.known, changed=len(made.reports), skipped=known)
    _say(f"Made {len(made.reports)} reports.", *(wording.title(each.data) for each in made.reports))


@job(
    cron("7-52/15 * * * *"),  # there are zones whose hours begin at a quarter
    timeout=timedelta(minutes=10),
    idempotent=True,
    retry=Retry(times=2, wait=timedelta(minutes=4)),
    tell_after=2,  # its next slot comes in a quarter of an hour, and sends what this one did not
    unsteady=(4, 20),
    description="Send the reports to those who get them by mail, at the hour that each has chosen.",
    owner="management",
    tags=("crm", "report", "mail"),
)
def send_digests(context: Context | None = None, *, force: bool = False) -> None:
    """Plan a mail for each recipient of a new report, and send what is due; fail where somebody has to look."""
    from crm.digests import digests, outbox

    until, key = _run_of(context)
    # Before what may fail: the outbox must not grow for as long as somebody has not looked.
    if pruned := outbox.prune(timezone.now()):
        _say(f"Deleted the rows of {pruned} old mails.")
    digests.plan(until, now=timezone.now(), key=key)
    _send_mails("digest", digests.compose, "send_digests", until, context, force=force)


@job(
    cron("20 9-18 * * *"),  # by day: nobody knows the customers' zones
    timeout=timedelta(minutes=10),
    idempotent=True,
    retry=Retry(times=2, wait=timedelta(minutes=10)),
    description="Remind customers by mail of orders that wait for their payment.",
    owner="customer-care",
    tags=("crm", "reminders", "mail"),
)
def mail_order_reminders(context: Context | None = None, *, force: bool = False) -> None:
    """Plan the reminders that are due, and send them; fail where somebody has to look."""
    from crm.digests import reminding

    until, key = _run_of(context)
    if not settings.CRM_REMIND_MOST:
        _say("Reminders by mail are off (CRM_REMIND_MOST=0).")
    skipped = reminding.plan(until, now=timezone.now(), key=key)
    _report(context, skipped=skipped)
    _send_mails("reminder", reminding.compose, "mail_order_reminders", until, context, force=force)


def _send_mails(
    kind: str, compose: Any, command: str, until: datetime, context: Context | None, *, force: bool
) -> None:
    """Send what is due of *kind*, at most as many as one run may, and say what became of it."""
    from crm.digests import outbox

    if not force:
        try:
            outbox.refuse_too_many(outbox.due(kind, until).count(), settings.CRM_MAIL_MAX_COUNT, command)
        except outbox.MailsRefused as error:
            if context is None:
                raise
            raise GiveUp(str(error)) from error  # a person has to look: the next tries would refuse as well
    with progress.shown("Sending", context) as on_progress:
        done = outbox.send_due(kind, compose, until=until, on_progress=on_progress)
    skipped = outbox.as_counts(done.skipped)
    _report(context, examined=done.examined, changed=done.sent, skipped=skipped, failed=len(done.wrong))
    _say(f"Sent {done.sent} mails.", *(f"Not sent {count}: {reason}." for reason, count in skipped.items()))
    _say(*(f"{name}: {what}" for name, what in done.wrong.items()))
    if done.wrong:
        name, what = next(iter(done.wrong.items()))
        raise RuntimeError(
            f"{len(done.wrong)} mails need a look (the admin's list of mails), the first, {name}: {what}"
        )


@job(
    cron("3-58/5 * * * *"),  # not at the full hours, at which all the others come
    timeout=timedelta(minutes=4),
    idempotent=True,
    description="Send the confirmations of orders that no Celery worker has sent.",
    owner="customer-care",
    tags=("crm", "orders"),
)
def send_order_confirmations(context: Context | None = None) -> None:
    """Send what waits, each once; fail where some could not be, or may not have been, so that ADMINS get mail."""
    sent, wrong = confirmations.send_waiting()
    _report(context, examined=sent + len(wrong), changed=sent, failed=len(wrong))
    _say(f"Sent {sent} confirmations.", *(f"Order {pk}: {what}" for pk, what in wrong.items()))
    if wrong:
        order_id, what = next(iter(wrong.items()))
        raise RuntimeError(f"{len(wrong)} confirmations are not sent, the first, of order {order_id}: {what}")


@job(
    cron("30 2 * * *"),
    timeout=timedelta(minutes=30),
    idempotent=True,
    retry=Retry(times=3, wait=timedelta(minutes=5)),
    expected=timedelta(minutes=10),
    max_silence=timedelta(hours=26),
    description="Move old orders, stock movements and rotated logs to archive files.",
    owner="operations",
    tags=("crm", "archives"),
)
def archive_old_records(context: Context | None = None, *, force: bool = False) -> list[Archived]:
    """Archive what is older than its retention as of the slot; what an earlier attempt began is ended first."""
    until, key = _run_of(context)
    with progress.shown("Archiving", context) as on_progress:
        moving = Moving(until, run=run_number(), key=key, on_progress=on_progress)
        if context:
            moving = replace(moving, atomic=context.atomic)
        try:
            done = nightly.archive_old(moving, force=force)
        except TooManyRecords as error:
            if context is None:
                raise
            raise GiveUp(str(error)) from error  # a person has to look: the next tries would refuse as well
    for each in done:
        _report(context, examined=each.moved + each.skipped.total(), changed=each.moved, skipped=dict(each.skipped))
    _say(*nightly.lines_of(done))
    return done


@job(
    cron("0 22 * * SAT"),
    window=Window("22:00", "06:00"),  # it reads every order of a year
    timeout=timedelta(hours=9),
    idempotent=True,
    retry=Retry(times=3, wait=timedelta(minutes=10)),
    max_silence=timedelta(days=10),  # it may take some nights
    description="Score all customers by how recently, how often and for how much they ordered.",
    owner="customer-care",
    tags=("crm", "scores"),
)
def score_customers(context: Context | None = None) -> None:
    """Score them as of the slot; where the night is over before, go on in the next."""
    from crm.scores import scoring

    until, _ = _run_of(context)

    def on_batch(examined: int, changed: int, skipped: Mapping[str, int]) -> None:
        _report(context, examined=examined, changed=changed, skipped=skipped)

    with progress.shown("Scoring", context) as on_progress:
        row = scoring.score(
            until,
            now=timezone.now,
            working=scoring.Working(
                run=run_number() if context else None,
                on_progress=on_progress,
                on_batch=on_batch,
                is_over=lambda: context is not None and context.should_stop,
            ),
        )
    if row.stage in (row.Stage.COUNTING, row.Stage.SCORING):
        raise ToBeContinued(f"{row.counted} of {row.customers} customers counted, {row.examined} scored")
    if row.stage == row.Stage.OVERTAKEN:
        _report(context, examined=0, skipped={"a newer scoring has begun": row.customers})
        _say(f"Nothing done: a scoring as of a later moment than {timezone.localtime(until)} has begun.")
        return
    _say(*scoring.lines_of(row))


@job(
    cron("*/5 * * * *"),
    timeout=timedelta(minutes=1),
    tell_after=2,  # one that fails alone is a deploy
    max_silence=timedelta(minutes=30),
    description="Note that the CRM is alive, after GraphQL said hello.",
    owner="operations",
    tags=("crm", "heartbeat"),
)
def log_crm_heartbeat() -> None:
    """Log a line when GraphQL answers; a line is a proof of life, so without an answer there is none."""
    _ask_hello()
    logs.append_line(HEARTBEAT_LOG, f"{timezone.localtime():%d/%m/%Y-%H:%M:%S} CRM is alive")


@job(
    cron("* * * * *"),
    timeout=timedelta(minutes=2),
    idempotent=True,
    expected=timedelta(minutes=1),
    tell_after=3,
    description="Post what happened to orders and stock to the endpoints of the API's customers.",
    owner="operations",
    tags=("crm", "webhooks"),
)
def deliver_webhooks(context: Context | None = None) -> sweeping.Swept:
    """Send what is due, tell of endpoints that fail, and delete the old log; fail where a mail could not be sent."""
    with progress.shown("Posting", context) as on_progress:
        swept = sweeping.sweep(run=run_number(), on_progress=on_progress)
    # Only what is so: a pass without these has nothing to say of them.
    skipped = {why: count for why, count in (("endpoint paused", swept.paused), ("no time left", swept.left)) if count}
    _report(context, examined=swept.tried + swept.left, changed=swept.delivered, failed=swept.failed, skipped=skipped)
    pruned = recording.prune(timezone.now())
    told, wrong = notices.send_due()
    _say(
        f"Delivered {swept.delivered} of {swept.tried} to {swept.endpoints} endpoints; {swept.paused} are paused; "
        f"{swept.left} are left for the next pass.",
        *([f"Deleted {pruned} old events."] if pruned else []),
        *([f"Sent {told} mails about endpoints."] if told else []),
    )
    if wrong:
        raise RuntimeError(f"{len(wrong)} mails about endpoints are not sent, the first: {wrong[0]}")
    return swept


@job(
    # On a worker where there is a broker, so that no other job waits for a long file.
    executor="celery" if settings.CRM_BROKER_URL else "process",
    timeout=timedelta(hours=1),
    idempotent=True,
    overlap="allow",
    retry=Retry(times=3, wait=timedelta(minutes=1)),
    description="Import a file of customers that somebody has sent.",
    owner="customer-care",
    tags=("crm", "imports"),
)
def import_customers(context: Context | None = None, *, import_id: int) -> None:
    """Make customers of the file's rows, each once, however often it is begun."""
    with progress.shown("Importing", context) as on_progress:
        done = running.work(import_id, now=timezone.now, run=run_number(), on_progress=on_progress)
    skipped = {"refused": done.refused} if done.refused else {}
    _report(context, examined=done.rows_done, changed=done.made, skipped=skipped)
    _say(f"{done}: {done.state}; {done.made} customers made, {done.refused} rows refused of {done.rows_total}.")


def _run_of(context: Context | None) -> tuple[datetime, str]:
    """Give the moment up to which a run works, and its key; called directly, that is now, and no key."""
    return (context.until, context.key) if context else (timezone.now(), "")


def _report(context: Context | None, **counts: Any) -> None:
    """Have the attempt's record say what was done, so that a run that did nothing shows; a direct call has none."""
    if context:
        context.report(**counts)


def _log(filename: str, texts: list[str]) -> None:
    now = f"{timezone.localtime():%Y-%m-%d %H:%M:%S}"
    logs.append_lines(filename, [f"{now} {text}" for text in texts])


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{one_line(line)}\n")
    sys.stdout.flush()


def _ask_hello() -> None:
    if settings.CRM_GRAPHQL_URL:
        # Without the token: hello is for anyone, and a heartbeat must not fail for want of one.
        data = ApiClient(settings.CRM_GRAPHQL_URL, timeout_seconds=settings.CRM_GRAPHQL_TIMEOUT).ask(trusted.of(HELLO))
    else:
        # Imported for this alone: it takes longer than a whole tick.
        result = import_string("crm.schema.schema").execute_sync(trusted.of(HELLO).text)
        if result.errors:
            raise ApiFailed(f"GraphQL did not say hello but: {result.errors}")
        data = result.data or {}
    if not data.get("hello"):
        raise ApiFailed(f"GraphQL did not say hello but: {data}")
