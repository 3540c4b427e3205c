"""The rows that the pictures in docs/screenshots show: made up, and the same each time."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime(2026, 10, 25, 6, 7, 30, tzinfo=UTC)  # four hours after the night in which Europe's clocks went back
ZONE = "Europe/Paris"
TRACEBACK = """\
Traceback (most recent call last):
  File "crm/cron.py", line 109, in update_low_stock
    done = restocking.update_low_stock(ApiClient.of_jobs(), key=key)
  File "crm/restocking.py", line 55, in update_low_stock
    payload: Any = api.ask(UPDATE_LOW_STOCK, {"key": key} if key else {}).get("updateLowStockProducts")
  File "crm/api_client.py", line 63, in ask
    return within(self.timeout_seconds, lambda: self._data(request, answer))
  File "crm/api_client.py", line 118, in _data
    raise ApiFailed(self._masked(f"{self.url} answered {_seen(answer)}. Expected HTTP 200 with data."))
crm.api_client.ApiFailed: http://crm.example.com/graphql answered 503: upstream is down. Expected HTTP 200 with data.
"""
ERROR = TRACEBACK.splitlines()[-1]
# Name, schedule, owner, what it does, how many seconds it usually takes.
JOBS = [
    (
        "clean_inactive_customers",
        "0 2 * * SUN",
        "customer-care",
        "Delete the customers without an order in the last year.",
        95,
    ),
    (
        "generate_crm_report",
        "0 6 * * MON",
        "management",
        "Log how many customers, orders and how much revenue there are.",
        31,
    ),
    ("log_crm_heartbeat", "*/5 * * * *", "operations", "Note that the CRM is alive, after GraphQL said hello.", 2),
    (
        "send_digests",
        "7-52/15 * * * *",
        "management",
        "Send the reports to those who get them by mail, at the hour that each has chosen.",
        400,
    ),
    (
        "send_order_reminders",
        "0 8 * * *",
        "customer-care",
        "Note whom to remind of an order that is pending for up to a week.",
        48,
    ),
    ("update_low_stock", "0 */12 * * *", "purchasing", "Raise the stock of every product that runs low.", 9),
]
PAST_RUNS = 60


def empty() -> dict[str, Any]:
    """Leave nothing; the next rows are numbered from 1, so that a run has the same number in each picture."""
    from django.db import connection

    from crons import models

    for model in (models.Incident, models.Heartbeat, models.Pause, models.Entry, models.AuditEvent):
        model.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM sqlite_sequence WHERE name LIKE 'crons_%'")
    return {}


def well() -> dict[str, Any]:
    """All is as it should be: every entry planned, one run going."""
    from crons.jobs.policies import Policy, Retry

    empty()
    policy = Policy(catch_up="latest", timeout=timedelta(minutes=20), retry=Retry(3), idempotent=True)
    entries = {}
    for name, schedule, owner, description, seconds in JOBS:
        entry = entry_of(name, schedule, owner, description=description, policy=policy.as_json())
        entries[name] = entry
        past(entry, timedelta(seconds=seconds), PAST_RUNS)
    beat(NOW - timedelta(seconds=4))
    going(entries["send_digests"], NOW - timedelta(minutes=4, seconds=11))
    return {f"{name}_id": entry.pk for name, entry in entries.items()}


def day() -> dict[str, Any]:
    """An ordinary bad day, for whoever sees it for the first time: one job fails, one is paused, one runs."""
    from crons import models

    known = well()
    entries = {entry.name: entry for entry in models.Entry.objects.all()}
    failing(entries["update_low_stock"], known)
    pause(entries["send_order_reminders"])
    skipped, _ = slots(entries["send_digests"], 2)
    before = entries["send_digests"].runs.filter(kind="slot").order_by("-planned_at")[0]
    ended_run(entries["send_digests"], skipped, "skipped", f"run {before.pk} was still going", "overlap")
    models.Range.objects.create(
        entry=entries["log_crm_heartbeat"], first_at=NOW - timedelta(hours=12), last_at=NOW - timedelta(hours=9),
        count=37, verdict="missed", reason="catch_up", trigger="serve", recorded_at=NOW - timedelta(hours=9),
    )  # fmt: skip
    for name, channel, sent in [("failing", "admins", 31), ("failing", "chat", 31), ("reminder", "admins", 7)]:
        models.Delivery.objects.create(
            incident_id=known["incident_id"], event=f"{name}:{sent}", channel=channel, subject="it failed",
            state="sent", tries=1, sent_at=NOW - timedelta(hours=sent),
        )  # fmt: skip
    over = {"open_key": None, "opened_at": NOW - timedelta(hours=12), "changed_at": NOW - timedelta(hours=9)}
    models.Incident.objects.create(
        rule="outage", severity="critical", summary="outage over: 37 slots missed, 1 made up for", count=1,
        closed_at=NOW - timedelta(hours=9), **over,
    )  # fmt: skip
    models.Incident.objects.create(
        rule="slow", entry=entries["send_digests"], severity="warning", count=2,
        summary="took 14 min, usually 6 min 40 s", open_key="slow", opened_at=NOW - timedelta(hours=11),
        changed_at=NOW - timedelta(hours=9), acknowledged_at=NOW - timedelta(hours=1), acknowledged_by="ann",
        acknowledged_reason="twice as many subscribers since Friday",
    )  # fmt: skip
    return known


def fire() -> dict[str, Any]:
    """Everything that can go wrong has: a dead scheduler, failures, lost and missed slots, a pause, a parked entry."""
    from crons import models

    known = well()
    entries = {entry.name: entry for entry in models.Entry.objects.all()}
    stock, mails, report = (entries[name] for name in ("update_low_stock", "send_digests", "generate_crm_report"))
    models.Heartbeat.objects.update(beat_at=NOW - timedelta(minutes=47), expected_by=NOW - timedelta(minutes=46))
    died = NOW - timedelta(minutes=47)
    for entry in entries.values():
        entry.accounted_until = died
        entry.save()
    late = {"log_crm_heartbeat": timedelta(minutes=42, seconds=30), "send_digests": timedelta(minutes=45, seconds=30)}
    for name, ago in late.items():
        models.Entry.objects.filter(name=name).update(wake_at=NOW - ago)
    models.Entry.objects.filter(pk=report.pk).update(
        parked_reason="the zone 'America/Coyhaique' is not in this machine's time zone data", zone="America/Coyhaique",
        wake_at=datetime(9999, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    pause(entries["send_order_reminders"])
    models.Pause.objects.create(
        scope="tag:billing", tag="billing", paused_at=NOW - timedelta(minutes=40), by="ann", reason="the bank is down"
    )
    failing(stock, known)
    vanished = "the process that ran it (pid 4711 on web2) vanished: the job may or may not have run to its end"
    ended_run(entries["clean_inactive_customers"], *slots(entries["clean_inactive_customers"], 1), "lost", vanished)
    long, skipped, *_ = slots(mails, 4)
    slow = ended_run(mails, long, "timed_out", "killed after 20 min", took=timedelta(minutes=20))
    ended_run(mails, skipped, "skipped", f"run {slow.pk} was still going", "overlap")
    off = {"trigger": "serve", "recorded_at": died}
    models.Range.objects.create(
        entry=entries["log_crm_heartbeat"], first_at=NOW - timedelta(hours=12), last_at=NOW - timedelta(hours=9),
        count=37, verdict="missed", reason="catch_up", **off,
    )  # fmt: skip
    models.Range.objects.create(
        entry=entries["send_order_reminders"], first_at=NOW - timedelta(hours=7), last_at=NOW - timedelta(hours=7),
        count=1, verdict="skipped", reason="paused", **off,
    )  # fmt: skip
    return known


def night() -> dict[str, Any]:
    """A night in which much falls due at 02:00, some of it long, and some of it fails."""
    from crons import models

    known = day()
    names = ["backup", "bank_import", "billing", "currency_rates", "dunning", "inventory", "invoices", "loyalty_points",
             "payroll_export", "price_feed", "statistics", "tax_report"]  # fmt: skip
    for number, name in enumerate(names):
        entry = entry_of(name, "0 2 * * *" if number % 3 else "*/30 1-4 * * *", "finance")
        for each in range(30):
            at = NOW.replace(hour=1, minute=0, second=0) - timedelta(days=29 - each)
            took = timedelta(minutes=4 + 17 * number % 90 + 3 * (each * 5 % 7))
            ended_run(entry, at, "failed" if (number + each) % 11 == 4 else "succeeded", took=took)
    models.Entry.objects.filter(name="payroll_export").update(tags=["payroll", "nightly"])
    return known


def entry_of(name: str, schedule: str, owner: str, **more: Any) -> Any:
    """An entry that is planned."""
    from crons import models
    from crons.ledger import account_of

    entry = models.Entry(
        name=name, job=name, schedule=schedule, zone=ZONE, owner=owner, source="code", source_ref=f"crm.cron.{name}",
        first_seen_at=NOW - timedelta(days=900), accounted_until=NOW, **more,
    )  # fmt: skip
    account = account_of(entry)
    entry.wake_at = account.schedule.next_after(NOW, account.tz)
    entry.save()
    return entry


def past(entry: Any, usual: timedelta, count: int) -> None:
    """The last *count* runs of *entry*: well, and now and then not."""
    from crons.ledger import account_of

    account = account_of(entry)
    moments = [account.schedule.latest(NOW, account.tz)]
    while len(moments) < count:
        moments.append(account.schedule.latest(moments[-1] - timedelta.resolution, account.tz))
    for number, at in enumerate(reversed(moments)):
        share = 0.8 + (number * 37 % 11) / 22 + (0.9 if number % 23 == 7 else 0)
        if number < count // 2 and usual > timedelta(seconds=5) and (number + len(entry.name)) % 29 == 11:
            ended_run(entry, at, "failed", "TimeoutError: timed out", took=usual * 0.3)
        else:
            ended_run(entry, at, took=usual * share)


def failing(entry: Any, known: dict[str, Any]) -> None:
    """The last three runs of *entry* failed, and people were told; *known* gets the run, the incident and the mail."""
    from crons import models
    from crons.watch import failing as rule
    from crons.watch.alerts.html import as_html

    last = [ended_run(entry, at, "failed", ERROR) for at in slots(entry, 3)]
    incident = models.Incident.objects.create(
        rule="failing", entry=entry, open_key="failing", summary=f"failed: {ERROR}", run=last[-1], count=3,
        severity="warning", opened_at=NOW - timedelta(hours=31), changed_at=NOW - timedelta(hours=7),
    )  # fmt: skip
    notice = rule._notice(last[-1], last[-1].attempts.get(), incident, "opened", "default").cleaned()
    link = f"https://crm.example.com/crons/runs/{last[-1].pk}"
    known |= {"run_id": last[-1].pk, "incident_id": incident.pk, f"{entry.name}_id": entry.pk}
    known["mail"] = str(as_html(notice, link))


def pause(entry: Any) -> None:
    """Somebody has paused *entry* until tomorrow."""
    from crons import models

    paused_at, until, reason = NOW - timedelta(hours=9), NOW + timedelta(hours=26), "mail server moves house"
    models.Entry.objects.filter(pk=entry.pk).update(
        paused_at=paused_at, paused_by="dana", pause_reason=reason, paused_until=until
    )
    models.Pause.objects.create(
        scope=f"entry:{entry.pk}", entry=entry, paused_at=paused_at, until=until, by="dana", reason=reason
    )


def slots(entry: Any, count: int) -> list[datetime]:
    """Take the moments of the last runs of *entry* away from them, oldest first."""
    runs = list(entry.runs.filter(kind="slot").order_by("-planned_at")[:count])
    for run in runs:
        run.delete()
    return sorted(run.slot_at for run in runs)


def ended_run(
    entry: Any,
    at: datetime,
    verdict: str = "succeeded",
    detail: str = "",
    reason: str = "",
    took: timedelta = timedelta(seconds=8.4),
) -> Any:
    """A run of *entry* that is over, with its attempt where it was begun, and what that wrote."""
    from crons import models

    begun = verdict != "skipped"
    run = models.Run.objects.create(
        entry=entry, slot_at=at, planned_at=at, recorded_at=at, state="done", verdict=verdict, reason=reason,
        detail=detail, tries=int(begun), trigger="serve", ended_at=at + took,
    )  # fmt: skip
    if begun:
        failed = verdict == "failed"
        ended = {"outcome": verdict, "ended_at": at + took, "exit_code": int(failed)}
        used = {
            "cpu_seconds": round(took.total_seconds() * 0.15, 2),
            "peak_memory_bytes": 61_400_000,
            "error": TRACEBACK if failed else "",
        }
        attempt = attempt_of(run, at, **ended, **used)
        run.current_attempt = attempt.pk
        run.save()
        lines = [("stdout", "asking for products below 10\n"), ("log", "INFO crm.restocking: key 8c1f, try 1\n")]
        if failed:
            lines.append(("stderr", "503 after 3 tries\n<html><b>upstream is down</b></html>\n"))
        for seq, (stream, text) in enumerate(lines):
            models.OutputChunk.objects.create(attempt=attempt, seq=seq, stream=stream, text=text)
    return run


def going(entry: Any, at: datetime) -> None:
    """A run of *entry* that goes on."""
    from crons import models

    run = models.Run.objects.create(
        entry=entry, kind="manual", planned_at=at, recorded_at=at, state="running", tries=1, trigger="api",
        requested_by="dana", active_key=entry.pk,
    )  # fmt: skip
    attempt = attempt_of(run, at, lease_until=NOW + timedelta(seconds=30))
    models.WorkReport.objects.create(
        attempt=attempt, done=8_400, total=12_000, text="mails", progress_at=NOW - timedelta(seconds=2)
    )


def attempt_of(run: Any, at: datetime, **fields: Any) -> Any:
    """An attempt at *run*."""
    from crons import models

    where = {"executor": "process", "instance": "5f0c", "host": "web2", "pid": 4711, "boot_id": "elsewhere"}
    begun_at = at + timedelta(seconds=1)
    return models.Attempt.objects.create(run=run, number=1, token=uuid.uuid4(), begun_at=begun_at, **where, **fields)


def beat(at: datetime) -> None:
    """A scheduler's sign of life."""
    from crons import models

    models.Heartbeat.objects.create(
        instance=uuid.uuid4().hex, kind="serve", host="web2", pid=811, boot_id="elsewhere", release="2026.10",
        started_at=NOW - timedelta(hours=8), beat_at=at, expected_by=at + timedelta(seconds=30),
    )  # fmt: skip
