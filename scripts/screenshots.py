"""Take the pictures in docs/screenshots anew: a server of its own, made-up rows, a clock that stands still.

Needs Debian's chromium. Nothing of this machine's database or clock is in the pictures.
"""

import os
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "screenshots"
NOW = datetime(2026, 10, 25, 6, 7, 30, tzinfo=UTC)  # four hours after the night in which Europe's clocks went back
LARGEST_BYTES = 200_000
WIDE, NARROW = 1200, 320
TALLEST = {WIDE: 960, NARROW: 2000}
# Grey edges of letters instead of coloured ones: half the bytes.
PLAIN = ["--no-sandbox", "--disable-lcd-text", "--font-render-hinting=none", "--hide-scrollbars"]
ZONE = "Europe/Paris"
TRACEBACK = """\
Traceback (most recent call last):
  File "crm/stock.py", line 88, in restock
    reply = client.execute(MUTATION, {"key": key})
  File "crm/api_client.py", line 61, in execute
    raise ApiError(f"{url} answered 503: {reason}")
crm.api_client.ApiError: http://crm.example.com/graphql answered 503: upstream is down
"""
JOBS = [
    ("clean_inactive_customers", "0 2 * * SUN", "sales"),
    ("generate_crm_report", "0 6 * * MON", "sales"),
    ("log_crm_heartbeat", "*/5 * * * *", "operations"),
    ("send_order_reminders", "0 8 * * *", "sales"),
    ("sync_price_list", "15 * * * *", "purchasing"),
    ("update_low_stock", "0 */12 * * *", "purchasing"),
]


def main() -> int:
    """Fill, look, keep; end 1 where a picture is too large."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        from playwright.sync_api import sync_playwright

        server = serve()
        # Django refuses its database in a thread that has an event loop, as playwright's has.
        with ThreadPoolExecutor(max_workers=1) as rows, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=PLAIN)
            address = f"http://127.0.0.1:{server.server_port}"
            cookies = [{"name": "sessionid", "value": rows.submit(log_in).result(), "url": address}]
            for fill, pictures in SCENES:
                known = rows.submit(fill).result()
                for name, path, width, scheme in pictures:
                    context = browser.new_context(
                        viewport={"width": width, "height": 800},
                        color_scheme=scheme,
                        java_script_enabled=False,
                    )
                    context.add_cookies(cookies)
                    page = context.new_page()
                    page.goto(address + path.format(**known))
                    height = min(page.evaluate("document.documentElement.scrollHeight"), TALLEST[width])
                    clip = {"x": 0, "y": 0, "width": width, "height": height}
                    page.screenshot(path=PICTURES / f"{name}.png", full_page=True, clip=clip)
                    context.close()
            browser.close()
        server.shutdown()
    large = [path.name for path in PICTURES.glob("*.png") if path.stat().st_size > LARGEST_BYTES]
    print(f"{len(list(PICTURES.glob('*.png')))} pictures in {PICTURES.relative_to(ROOT)}")
    if large:
        print(f"Larger than {LARGEST_BYTES} bytes: {', '.join(large)}", file=sys.stderr)
    return 1 if large else 0


def prepare(folder: Path) -> None:
    """Make Django ready, with a database of its own and a clock that stands still."""
    for name in [name for name in os.environ if name.startswith(("CRM_", "CRONS_"))]:
        del os.environ[name]
    os.environ.update(
        DATABASE_URL=f"sqlite:///{folder / 'pictures.sqlite3'}",
        CRM_ENV_FILE=os.devnull, CRM_SECRET_KEY="a1B2c" * 10,
        CRM_HTTPS="0", CRM_TIME_ZONE=ZONE, CRM_LOG_DIR=str(folder),
        DJANGO_SETTINGS_MODULE="crm.settings",
    )  # fmt: skip
    sys.path.insert(0, str(ROOT))
    PICTURES.mkdir(exist_ok=True)
    import django
    from django.core.management import call_command
    from django.utils import timezone

    django.setup()
    call_command("migrate", verbosity=0)
    timezone.now = lambda: NOW
    from crons import ledger
    from crons.watch import problems
    from crons.web import overview, views

    # The rows here are made up: that the CRM declares others is no news.
    problems.RULES.remove(problems.unsynced)
    views.overview.look = lambda window, look=overview.look, **who: look(window, NOW, **who)
    ledger.database_now = lambda: NOW


def serve() -> Any:
    """Answer on a free port, in a thread of its own."""
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadedWSGIServer(("127.0.0.1", 0), Quiet)
    server.set_app(get_wsgi_application())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def log_in() -> str:
    """Make a person who may do all, and return the key of a session."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
    from django.contrib.sessions.backends.db import SessionStore

    person = get_user_model().objects.create_superuser("dana")
    session = SessionStore()
    session[SESSION_KEY] = str(person.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = person.get_session_auth_hash()
    session.save()
    return str(session.session_key)


def empty() -> dict[str, Any]:
    """Leave nothing."""
    from crons import models

    for model in (models.Incident, models.Heartbeat, models.Pause, models.Entry):
        model.objects.all().delete()
    return {}


def well() -> dict[str, Any]:
    """All is as it should be: every entry planned, one run going."""
    from crons import models
    from crons.jobs.policies import Policy, Retry
    from crons.ledger import account_of

    empty()
    policy = Policy(catch_up="latest", timeout=timedelta(minutes=20), retry=Retry(3), idempotent=True)
    entries = {}
    for name, schedule, owner in JOBS:
        entry = models.Entry(
            name=name, job=name, schedule=schedule, zone=ZONE, owner=owner, policy=policy.as_json(),
            source_ref=f"crm.cron.{name}", first_seen_at=NOW - timedelta(days=90), accounted_until=NOW,
        )  # fmt: skip
        account = account_of(entry)
        entry.wake_at = account.schedule.next_after(NOW, account.tz)
        entry.save()
        entries[name] = entry
        at = account.schedule.latest(NOW, account.tz)
        for _ in range(12):
            ended_run(entry, at)
            at = account.schedule.latest(at - timedelta.resolution, account.tz)
    beat(NOW - timedelta(seconds=4))
    going(entries["sync_price_list"], NOW - timedelta(minutes=2, seconds=11))
    return {f"{name}_id": entry.pk for name, entry in entries.items()}


def fire() -> dict[str, Any]:
    """Everything that can go wrong has: a dead scheduler, failures, lost and missed slots, a pause, a parked entry."""
    from crons import models

    known = well()
    entries = {entry.name: entry for entry in models.Entry.objects.all()}
    stock, prices, report = (entries[name] for name in ("update_low_stock", "sync_price_list", "generate_crm_report"))
    models.Heartbeat.objects.update(beat_at=NOW - timedelta(minutes=47), expected_by=NOW - timedelta(minutes=46))
    died = NOW - timedelta(minutes=47)
    for entry in entries.values():
        entry.accounted_until = died
        entry.save()
    late = {"log_crm_heartbeat": timedelta(minutes=42), "sync_price_list": timedelta(minutes=52, seconds=30)}
    for name, ago in late.items():
        models.Entry.objects.filter(name=name).update(wake_at=NOW - ago)
    models.Entry.objects.filter(pk=report.pk).update(
        parked_reason="the zone 'Europe/Pariss' is not in this machine's time zone data", zone="Europe/Pariss",
        wake_at=datetime(9999, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    reminders = entries["send_order_reminders"]
    paused_at, until, reason = NOW - timedelta(hours=9), NOW + timedelta(hours=26), "mail server moves house"
    models.Entry.objects.filter(pk=reminders.pk).update(
        paused_at=paused_at, paused_by="dana", pause_reason=reason, paused_until=until
    )
    models.Pause.objects.create(
        scope=f"entry:{reminders.pk}", entry=reminders, paused_at=paused_at, until=until, by="dana", reason=reason
    )
    models.Pause.objects.create(
        scope="tag:billing", tag="billing", paused_at=NOW - timedelta(minutes=40), by="ann", reason="the bank is down"
    )
    error = "crm.api_client.ApiError: http://crm.example.com/graphql answered 503: upstream is down"
    for at in slots(stock, 3):
        failed = ended_run(stock, at, "failed", error)
    vanished = "the process that ran it (pid 4711 on web2) vanished: the job may or may not have run to its end"
    ended_run(entries["clean_inactive_customers"], *slots(entries["clean_inactive_customers"], 1), "lost", vanished)
    long, skipped, *_ = slots(prices, 4)
    slow = ended_run(prices, long, "timed_out", "killed after 20 min")
    ended_run(prices, skipped, "skipped", f"run {slow.pk} was still going", "overlap")
    off = {"trigger": "serve", "recorded_at": died}
    models.Range.objects.create(
        entry=entries["log_crm_heartbeat"], first_at=NOW - timedelta(hours=12), last_at=NOW - timedelta(hours=9),
        count=37, verdict="missed", reason="catch_up", **off,
    )  # fmt: skip
    models.Range.objects.create(
        entry=entries["send_order_reminders"], first_at=NOW - timedelta(hours=7), last_at=NOW - timedelta(hours=7),
        count=1, verdict="skipped", reason="paused", **off,
    )  # fmt: skip
    models.Incident.objects.create(
        rule="failing", entry=stock, open_key="failing", summary=f"failed: {error}", run=failed, count=3,
        opened_at=NOW - timedelta(hours=31), changed_at=NOW - timedelta(hours=7),
    )  # fmt: skip
    return {**known, "run_id": failed.pk, "stock_id": stock.pk}


def night() -> dict[str, Any]:
    """A night in which much falls due at 02:00, some of it long, and some of it fails."""
    from crons import models
    from crons.ledger import account_of

    known = fire()
    names = ["backup", "bank_import", "billing", "currency_rates", "dunning", "inventory", "invoices", "loyalty_points",
             "payroll_export", "price_feed", "statistics", "tax_report"]  # fmt: skip
    models.Entry.objects.filter(name="generate_crm_report").update(parked_reason="", zone=ZONE)
    for number, name in enumerate(names):
        entry = models.Entry(
            name=name, job=name, schedule="0 2 * * *" if number % 3 else "*/30 1-4 * * *", zone=ZONE, owner="finance",
            source_ref=f"crm.cron.{name}", first_seen_at=NOW - timedelta(days=90), accounted_until=NOW,
        )  # fmt: skip
        account = account_of(entry)
        entry.wake_at = account.schedule.next_after(NOW, account.tz)
        entry.save()
        for day in range(7):
            at = NOW.replace(hour=1, minute=0, second=0) - timedelta(days=day)
            took = timedelta(minutes=4 + 17 * number % 90 + 3 * day)
            ended_run(entry, at, "failed" if (number + day) % 9 == 4 else "succeeded", took=took)
    return known


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
    took: timedelta = timedelta(seconds=9),
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
        used = {"cpu_seconds": 1.24, "peak_memory_bytes": 61_400_000, "error": TRACEBACK if failed else ""}
        attempt = attempt_of(run, at, **ended, **used)
        run.current_attempt = attempt.pk
        run.save()
        lines = [("stdout", "asking for products below 10\n"), ("log", "INFO crm.stock: key 8c1f, try 1\n")]
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
    attempt_of(run, at, lease_until=NOW + timedelta(seconds=30))


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
        started_at=NOW - timedelta(days=3), beat_at=at, expected_by=at + timedelta(seconds=30),
    )  # fmt: skip


Picture = tuple[str, str, int, str]
SCENES: list[tuple[Callable[[], dict[str, Any]], list[Picture]]] = [
    (empty, [("home-empty", "/crons/", WIDE, "light")]),
    (well, [("home-well", "/crons/", WIDE, "light")]),
    (
        fire,
        [
            ("home-fire", "/crons/", WIDE, "light"),
            ("home-fire-dark", "/crons/?days=7", WIDE, "dark"),
            ("home-fire-narrow", "/crons/", NARROW, "light"),
            ("run", "/crons/runs/{run_id}", WIDE, "light"),
            ("job", "/crons/jobs/update_low_stock", WIDE, "light"),
            ("admin-runs", "/admin/crons/run/?ended=unwell", WIDE, "light"),
            ("admin-run", "/admin/crons/run/{run_id}/change/", WIDE, "light"),
            ("admin-run-dark-narrow", "/admin/crons/run/{run_id}/change/", NARROW, "dark"),
            ("admin-entry", "/admin/crons/entry/{stock_id}/change/", WIDE, "light"),
            ("admin-pause", "/admin/crons/entry/pause/?ids={stock_id}", WIDE, "light"),
            ("admin-pauses", "/admin/crons/pause/", WIDE, "light"),
        ],
    ),
    (
        night,
        [
            ("jobs", "/crons/jobs", WIDE, "light"),
            ("timeline", "/crons/timeline", WIDE, "light"),
            ("timeline-week-dark", "/crons/timeline?span=7d&owner=finance", WIDE, "dark"),
            ("timeline-narrow", "/crons/timeline?owner=finance", NARROW, "light"),
        ],
    ),
]

if __name__ == "__main__":
    sys.exit(main())
