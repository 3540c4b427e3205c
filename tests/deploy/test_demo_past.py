"""The past that `make run` opens on: played in this process, shorter and with fewer runs than the demo's."""

import html
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from crm import demo
from crm.models import Mail, Order, Report, ServiceToken, StockMovement
from crons import api
from crons.models import Attempt, Entry, Incident, Pause, Range, Run
from crons.testing import clock
from crons.testing.scheduler import scheduler
from deploy.demo import breaking, past

TOUR = Path(__file__).resolve().parent.parent.parent / "docs" / "tour.md"
NOW = datetime(2026, 11, 30, 14, 3, tzinfo=UTC)
FEWER = (
    (timedelta(hours=9), ("send_digests",)),
    (timedelta(hours=6, minutes=10), ("log_crm_heartbeat",)),
    (timedelta(hours=4, minutes=15), ("send_order_confirmations",)),
    (timedelta(hours=1, minutes=5), ("deliver_webhooks",)),
)


@pytest.fixture
def shop(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CRM_LOG_DIR = tmp_path / "log"
    settings.CRM_ARCHIVE_DIR = tmp_path / "archives"
    settings.CRM_TOKEN_FILE = tmp_path / "token"
    monkeypatch.setattr(past, "RELEASES", FEWER)
    monkeypatch.setattr(past, "WEEK", timedelta(days=4))
    monkeypatch.setattr(past, "BROKEN_RESTOCK", timedelta(days=3))
    monkeypatch.setattr(past, "OUTAGE", (timedelta(hours=8), timedelta(hours=6, minutes=30)))
    demo.create(customers=120, now=NOW, seed=1)


@pytest.mark.sqlite  # what it shows has nothing to do with the database
@pytest.mark.django_db(transaction=True)
def test_a_week_is_played_once_and_goes_on_where_it_was_killed(
    shop: None, monkeypatch: pytest.MonkeyPatch, admin_client: Any, live_server: Any, settings: Any
) -> None:
    """What a newcomer sees first must be there, whatever became of the first start, and stay as it is."""
    with monkeypatch.context() as patched:
        patched.setattr(past._Past, "_pause", _killed)
        with pytest.raises(KeyboardInterrupt):
            past.make(NOW)
    before = set(Run.objects.values_list("pk", flat=True))
    # As a SIGKILL leaves them in the middle of a mail.
    Mail.objects.filter(pk=Mail.objects.latest("pk").pk).update(state="sending")
    Order.objects.filter(pk=Order.objects.latest("pk").pk).update(confirmation="sending")

    said = past.make(NOW + timedelta(minutes=20))

    assert said == (
        f"Played a week: {Run.objects.count()} runs, {Attempt.objects.count()} attempts, "
        "as the shop's scheduler would have made them."
    )
    assert before
    assert before < set(Run.objects.values_list("pk", flat=True))
    with clock.at(NOW):
        assert_the_story()
        seen = text_of(admin_client, "/crons/", "/crons/incidents", "/crons/timeline")

    rows = [list(model.objects.order_by("pk").values()) for model in (Run, Range, Attempt, Incident, Entry, Mail)]
    assert past.make(NOW + timedelta(hours=1)) == "The past is there: nothing was played."
    assert rows == [
        list(model.objects.order_by("pk").values()) for model in (Run, Range, Attempt, Incident, Entry, Mail)
    ]

    settings.CRM_GRAPHQL_URL = f"{live_server.url}/graphql"
    with clock.at(NOW + timedelta(seconds=10)) as now, scheduler() as here:
        said = breaking.break_it()
        here.turn(now.now)
        failing = Incident.objects.get(entry__name="update_low_stock")
        seen += text_of(admin_client, "/crons/", f"/crons/runs/{failing.run_id}")
        assert breaking.break_it().startswith("It is broken already.")
        now.advance(seconds=20)
        assert breaking.mend().startswith("Issued jobs (")
        here.turn(now.now)
        assert breaking.mend() == "The jobs' token is good: nothing was mended."
    failing.refresh_from_db()

    assert failing.closed_at is not None
    assert said in TOUR.read_text()
    assert [words for words in re.findall(r"\*\*(.+?)\*\*", TOUR.read_text()) if words not in seen] == []


def text_of(client: Any, *paths: str) -> str:
    """Return what people read on these pages."""
    pages = [client.get(path) for path in paths]
    assert [page.status_code for page in pages] == [200] * len(pages)
    bare = [re.sub(r"<[^>]+>", "", page.content.decode().replace("<wbr>", "")) for page in pages]
    return " ".join(html.unescape(" ".join(bare)).split())


def assert_the_story() -> None:
    """Each part of it, as the ledger has it."""
    assert set(Run.objects.values_list("state", flat=True)) == {"done"}
    verdicts = Counter(Run.objects.values_list("entry__name", "verdict", "reason"))
    # Since this morning one job fails, whose reason is there to be found.
    assert verdicts["send_order_confirmations", "failed", ""] == 48
    failing, outage = Incident.objects.get(rule="failing"), Incident.objects.get(rule="outage")
    assert (failing.entry.name, failing.closed_at, failing.count) == ("send_order_confirmations", None, 48)
    order = Order.objects.get(confirmation="sending")
    assert f"the first, of order {order.pk}: its sender was cut off" in failing.summary
    # An outage, made up for.
    missed = Range.objects.get(entry__name="send_digests", verdict="missed")
    assert (missed.count, missed.reason) == (5, "catch_up")
    assert outage.closed_at is not None
    assert outage.summary.startswith("5 slots missed, 1 made up for: send_digests")
    # A colleague's pause, which still holds.
    pause = Pause.objects.get()
    assert (pause.by, pause.reason, pause.until) == ("dana", past.PAUSE_REASON, NOW + timedelta(hours=22))
    assert Range.objects.filter(entry__name="mail_order_reminders", verdict="skipped", reason="paused").exists()
    # One that went on when its next slot came; some that waited for a place.
    assert verdicts["deliver_webhooks", "skipped", "overlap"] == 1
    assert Run.objects.filter(entry__name="log_crm_heartbeat", late_seconds__gte=60).exists()
    # Nothing else, whatever was cut off by the kill.
    assert {name for name, verdict, _ in verdicts if verdict == "failed"} == {"send_order_confirmations"}
    # A second try, and a run by hand.
    assert [run.entry.name for run in Run.objects.filter(verdict="succeeded", tries=2)] == ["update_low_stock"]
    assert [run.requested_by for run in Run.objects.filter(kind="manual")] == ["dana"]
    # What the jobs have made, they have made: reports, mails and stock lead to their runs.
    assert Report.objects.count() >= 4
    assert set(Report.objects.values_list("run", flat=True)) <= set(Run.objects.values_list("pk", flat=True))
    assert Mail.objects.filter(state="sent", run_key__startswith="mail_order_reminders@").exists()
    assert StockMovement.objects.filter(reason="restock", key__startswith="update_low_stock@").exists()


@pytest.mark.sqlite  # what it shows has nothing to do with the database
@pytest.mark.django_db(transaction=True)
def test_no_past_is_played_into_a_ledger_that_has_its_own(shop: None) -> None:
    """Somebody's real runs, in the database that DATABASE_URL names, are not mixed with made-up ones."""
    api.sync()
    run = api.run_now("update_low_stock", by="ann")

    assert past.make(NOW) == "The ledger has runs of its own: no past was played."

    assert [each.pk for each in Run.objects.all()] == [run.pk]


@pytest.mark.sqlite  # what it shows has nothing to do with the database
@pytest.mark.django_db(transaction=True)
def test_nothing_is_broken_where_there_is_no_demo(shop: None) -> None:
    """With the settings of a real shop at hand, the same command would revoke its token."""
    call_command("service_token", "jobs")

    said = [breaking.break_it(), breaking.mend()]

    assert said == ["There is no demo here, so nothing was touched: make run, without PAST=0, makes one."] * 2
    assert ServiceToken.objects.get().revoked_at is None
    assert not Run.objects.exists()


def _killed(self: Any, player: Any) -> None:
    raise KeyboardInterrupt
