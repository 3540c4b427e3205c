"""Who gets reports by mail, at what hour, and how anybody ends it: by one click, without a login."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core import mail as django_mail
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from crm import cron
from crm.digests import digests, hours, links, store, suppression
from crm.digests.models import Mail, Recipient, Report, SuppressedAddress
from crm.digests.outbox import MailsRefused
from crons import GiveUp
from crons.testing import due

from .conftest import NOW, attempt

MORNING = NOW + timedelta(hours=7)  # Sunday 09:00
LONG_AGO = NOW - timedelta(days=9)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Sunday 09:00; .at moves it."""

    class Clock:
        at = MORNING

    monkeypatch.setattr(timezone, "now", lambda: Clock.at)
    return Clock


@pytest.fixture
def report(make_customer):
    """That of Saturday, on which somebody signed up."""
    make_customer(NOW - timedelta(hours=5))
    store.make(NOW, NOW, now=NOW)
    return Report.objects.get(kind="daily")


def recipient(name="ada", **values):
    values = {"name": name.title(), "email": f"{name}@example.com", "created_at": LONG_AGO} | values
    return Recipient.objects.create(**values)


def fates():
    return dict(Mail.objects.order_by("pk").values_list("recipient__name", "reason"))


def moment(text):
    return datetime.fromisoformat(text).astimezone(UTC)


# ── hours ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("zone", "hour", "ended", "due_at"),
    [
        ("", 8, "2026-11-22T00:00+00:00", "2026-11-22T08:00+00:00"),
        ("Europe/Berlin", 8, "2026-11-22T00:00+01:00", "2026-11-22T08:00+01:00"),
        ("Asia/Kathmandu", 8, "2026-11-22T00:00+00:00", "2026-11-22T08:00+05:45"),
        ("America/New_York", 8, "2026-11-22T00:00+00:00", "2026-11-22T08:00-05:00"),
        ("Pacific/Auckland", 8, "2026-11-22T00:00+00:00", "2026-11-23T08:00+13:00"),  # at 13:00 eight has passed
        ("Europe/Berlin", 2, "2026-03-29T00:00+01:00", "2026-03-29T03:00+02:00"),  # two does not exist
        ("Europe/Berlin", 2, "2026-10-25T00:00+02:00", "2026-10-25T02:00+02:00"),  # it is there twice: the first
        ("Australia/Lord_Howe", 2, "2026-10-04T00:00+10:30", "2026-10-04T02:30+11:00"),  # half an hour is not there
        ("Pacific/Apia", 8, "2011-12-29T12:00-10:00", "2011-12-31T08:00+14:00"),  # a day is not there
        ("Nowhere/Gone", 8, "2026-11-22T00:00+00:00", "2026-11-22T08:00+00:00"),  # no longer known: the business's
    ],
)
def test_mail_is_due_when_the_readers_hour_next_strikes(zone, hour, ended, due_at):
    assert hours.due_at(Recipient(hour=hour, zone=zone), moment(ended)) == moment(due_at)


@pytest.mark.parametrize(
    ("zone", "quiet", "at", "until"),
    [
        ("", (22, 7), "2026-11-22T21:59+00:00", None),
        ("", (22, 7), "2026-11-22T22:00+00:00", "2026-11-23T07:00+00:00"),
        ("", (22, 7), "2026-11-23T06:59+00:00", "2026-11-23T07:00+00:00"),
        ("", (22, 7), "2026-11-23T07:00+00:00", None),
        ("", (12, 14), "2026-11-22T13:30+00:00", "2026-11-22T14:00+00:00"),
        ("", (7, 7), "2026-11-22T07:30+00:00", None),
        ("", (None, None), "2026-11-22T03:00+00:00", None),
        ("Asia/Tokyo", (22, 7), "2026-11-22T14:00+00:00", "2026-11-23T07:00+09:00"),
        ("Europe/Berlin", (22, 7), "2026-03-28T23:30+01:00", "2026-03-29T07:00+02:00"),
        ("Europe/Berlin", (22, 7), "2026-10-24T23:30+02:00", "2026-10-25T07:00+01:00"),
        ("Europe/Berlin", (22, 2), "2026-03-29T00:30+01:00", "2026-03-29T03:00+02:00"),  # their end does not exist
        ("Europe/Berlin", (1, 2), "2026-10-25T01:30+02:00", "2026-10-25T02:00+02:00"),
        ("Europe/Berlin", (2, 3), "2026-10-25T02:30+01:00", "2026-10-25T03:00+01:00"),  # the hour for the second time
        # Two hours are there twice: the end that is still to come, not one that has passed.
        ("Antarctica/Troll", (1, 2), "2026-10-25T01:30+02:00", "2026-10-25T02:00+02:00"),
        ("Antarctica/Troll", (1, 2), "2026-10-25T01:30+00:00", "2026-10-25T02:00+00:00"),
    ],
)
def test_quiet_hours_end_on_the_readers_clock(zone, quiet, at, until):
    reader = Recipient(zone=zone, quiet_from=quiet[0], quiet_until=quiet[1])

    assert hours.quiet_until(reader, moment(at)) == (until and moment(until))


def test_hour_within_quiet_hours_waits_for_their_end():
    reader = Recipient(hour=6, quiet_from=22, quiet_until=7)

    assert hours.due_at(reader, NOW) == NOW.replace(hour=7)


# ── planning ──────────────────────────────────────────────────────────────────────────────────────


def test_each_recipient_of_a_report_has_a_row_and_only_one(report):
    recipient("ada")
    recipient("late", hour=20)
    recipient("weekly", frequency="weekly")
    recipient("off", frequency="off")
    recipient("new", created_at=MORNING)

    cron.send_digests(attempt(MORNING))
    cron.send_digests(attempt(MORNING))

    assert dict(Mail.objects.values_list("recipient__name", "state")) == {
        "Ada": "sent",
        "Late": "waiting",
    }
    assert [each.to for each in django_mail.outbox] == [["Ada <ada@example.com>"]]


def test_report_of_a_week_goes_on_monday_to_whoever_wants_that(make_customer):
    make_customer(NOW)
    monday = MORNING + timedelta(days=1)
    store.make(NOW, monday, now=monday)
    recipient("ada")
    recipient("weekly", frequency="weekly")

    cron.send_digests(attempt(monday))

    assert {each.to[0]: each.subject.partition(":")[0] for each in django_mail.outbox} == {
        "Ada <ada@example.com>": "Sunday 22 November 2026",
        "Weekly <weekly@example.com>": "Week 47, 16 to 22 November 2026",
    }


def test_each_mail_that_does_not_go_says_why(report, clock):
    for name in ("ada", "bob", "eve", "dan", "gus", "ivy", "joe"):
        recipient(name)
    Recipient.objects.filter(name="Bob").update(quiet_from=8, quiet_until=12)
    digests.plan(MORNING, now=MORNING)
    Recipient.objects.filter(name="Eve").update(frequency="off")
    suppression.suppress("DAN@example.com", "", "asked by phone", now=MORNING)
    suppression.suppress("gus@example.com", "reminder", "unsubscribed", now=MORNING)
    Recipient.objects.get(name="Ivy").delete()
    Mail.objects.filter(recipient__name="Joe").update(due_at=MORNING - timedelta(hours=21))
    run = attempt(MORNING)

    cron.send_digests(run)

    assert fates() == {
        "Ada": "",
        "Bob": "",
        "Eve": "not wanted any more",
        "Dan": "suppressed: asked by phone",
        "Gus": "",
        None: "the recipient was deleted",
        "Joe": "too old to be news",
    }
    assert run.work.counts.skipped == {
        "not wanted any more": 1,
        "suppressed": 1,
        "the recipient was deleted": 1,
        "too old to be news": 1,
    }
    assert Mail.objects.get(recipient__name="Bob").due_at == NOW.replace(hour=12)
    assert sorted(each.to[0] for each in django_mail.outbox) == ["Ada <ada@example.com>", "Gus <gus@example.com>"]


def test_quiet_hours_that_began_after_the_plan_hold_a_mail_back(report):
    recipient()
    digests.plan(MORNING, now=MORNING)
    Recipient.objects.update(quiet_from=8, quiet_until=12)

    cron.send_digests(attempt(MORNING))

    assert list(Mail.objects.values_list("state", "reason", "due_at")) == [
        ("waiting", "quiet hours", NOW.replace(hour=12))
    ]
    assert django_mail.outbox == []


def test_report_of_a_day_on_which_nothing_happened_goes_to_whoever_wants_that(db):
    store.make(NOW, NOW, now=NOW)
    recipient("ada")
    recipient("bob", also_empty=True)

    cron.send_digests(attempt(MORNING))

    assert fates() == {"Ada": "nothing happened", "Bob": ""}
    assert [each.to for each in django_mail.outbox] == [["Bob <bob@example.com>"]]


def test_reports_of_an_outage_do_not_come_all_at_once(make_customer, clock):
    """Four days made up for are one mail: the last is news."""
    for day in range(1, 5):
        make_customer(created_at=NOW - timedelta(days=day))
    recipient()
    store.make(NOW - timedelta(days=4), NOW, now=NOW)

    cron.send_digests(attempt(MORNING))

    assert [each.subject[:25] for each in django_mail.outbox] == ["Saturday 21 November 2026"]
    assert set(Mail.objects.filter(state="skipped").values_list("reason", flat=True)) == {"too old to be news"}


def test_planning_for_many_takes_statements_by_the_batch(report):
    Recipient.objects.bulk_create(
        Recipient(name="R", email=f"r{number}@example.com", created_at=LONG_AGO) for number in range(1200)
    )

    with CaptureQueriesContext(connection) as captured:
        done = digests.plan(MORNING, now=MORNING)

    assert len(done) == 1200
    assert len(captured) < 50


def test_run_that_would_send_too_many_sends_none_and_asks(report, settings, capsys):
    settings.CRM_MAIL_MAX_COUNT = 1
    for name in ("ada", "bob"):
        recipient(name)

    with pytest.raises(GiveUp, match=r"^2 mails would be sent, but one run may send at most 1 \(CRM_MAIL_MAX_COUNT\)"):
        cron.send_digests(attempt(MORNING))
    with pytest.raises(MailsRefused):
        cron.send_digests()
    assert django_mail.outbox == []
    cron.send_digests(attempt(MORNING), force=True)

    assert len(django_mail.outbox) == 2


def test_dry_run_shows_what_a_run_then_sends_and_does_nothing(report):
    recipient("ada")
    recipient("late", hour=20)
    recipient("early", hour=0)
    Report.objects.create(
        kind="daily", period="2026-11-20", since=NOW - timedelta(days=2), until=NOW - timedelta(days=1, hours=2),
        data=report.data, created_at=NOW,
    )  # fmt: skip

    out = StringIO()
    call_command("send_digests", "--dry-run", stdout=out)

    assert not Mail.objects.exists()
    lines = out.getvalue().splitlines()
    cron.send_digests(attempt(MORNING))
    sent = Mail.objects.filter(state="sent").order_by("recipient")
    assert (lines[0], lines[-2:]) == (
        "Would send 3 mails.",
        ["Would plan 1 for later.", "Would not send 2: too old to be news."],
    )
    assert sorted(lines[1:-2]) == sorted(f"{each.key} to {each.recipient}" for each in sent)
    assert sorted(each.recipient.name for each in sent) == ["Ada", "Early", "Late"]


def test_job_looks_every_quarter_of_an_hour():
    slots = [slot.local for slot in due("2026-11-22T08:00Z", "2026-11-22T09:00Z") if slot.entry == "send_digests"]

    assert [each[14:16] for each in slots] == ["07", "22", "37", "52"]


# ── one click ─────────────────────────────────────────────────────────────────────────────────────


def path_of(kind, number):
    return links.address_of(links.Reader(kind, number)).removeprefix("http://127.0.0.1:8000")


def test_one_click_of_a_mail_client_ends_it_and_a_scanner_does_not(report):
    """RFC 8058: a POST without cookies, referer or login; and programs that look into mails follow each link."""
    reader = recipient()
    strict = Client(enforce_csrf_checks=True)
    path = path_of("r", reader.pk)

    looked = [strict.get(path), strict.head(path)]
    reader.refresh_from_db()
    assert ([each.status_code for each in looked], reader.frequency) == ([200, 200], "daily")
    assert strict.put(path).status_code == 405

    clicked = [strict.post(path, {"List-Unsubscribe": "One-Click"}) for _ in range(2)]

    reader.refresh_from_db()
    assert [each.status_code for each in clicked] == [200, 200]
    assert (reader.frequency, reader.unsubscribed_at) == ("off", MORNING)
    assert clicked[0].cookies == {}
    assert clicked[0]["Referrer-Policy"] == "no-referrer"
    assert "no-store" in clicked[0]["Cache-Control"]
    cron.send_digests(attempt(MORNING))
    assert django_mail.outbox == []


def test_link_is_for_one_reader_and_cannot_be_made_up(db):
    ada, bob = recipient("ada"), recipient("bob")
    path = path_of("r", ada.pk)
    signature = path.rpartition("-")[2]

    forged = [
        f"/mail/r{bob.pk}-{signature}",
        f"/mail/c{ada.pk}-{signature}",
        f"/mail/r{ada.pk}-",
        f"/mail/r{ada.pk}-{signature[:-1]}",
        f"/mail/r0{ada.pk}-{signature}",
        "/mail/r-",
        "/mail/r٣-x",
        f"/mail/r{'9' * 30}-x",
        "/mail/é",
    ]

    assert [Client().post(each).status_code for each in forged] == [404] * len(forged)
    assert set(Recipient.objects.values_list("frequency", flat=True)) == {"daily"}


def test_link_of_an_old_mail_works_after_the_secret_key_has_changed(db, settings):
    reader = recipient()
    path = path_of("r", reader.pk)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another" * 10

    assert Client().post(path).status_code == 200
    assert path_of("r", reader.pk) != path
    reader.delete()
    assert Client().post(path).status_code == 200  # who is gone gets none either


def test_reader_changes_hour_and_zone_by_the_link(db):
    reader = recipient(unsubscribed_at=NOW, frequency="off")
    path = path_of("r", reader.pk)
    wanted = {"frequency": "weekly", "hour": "7", "zone": "Europe/Paris", "quiet_from": "22", "quiet_until": "6"}

    saved = Client().post(path, wanted | {"save": "1"})

    reader.refresh_from_db()
    assert "Saved." in saved.content.decode()
    assert (reader.frequency, reader.hour, reader.zone) == ("weekly", 7, "Europe/Paris")
    assert (reader.quiet_from, reader.quiet_until, reader.unsubscribed_at) == (22, 6, None)
    for wrong in ({"zone": "Mars/Olympus"}, {"zone": "../../etc/passwd"}, {"hour": "24"}, {"quiet_from": ""}):
        assert Client().post(path, wanted | wrong | {"save": "1"}).status_code == 400, wrong
    reader.refresh_from_db()
    assert reader.zone == "Europe/Paris"
    assert Client().post(path, wanted | {"frequency": "off", "save": "1"}).status_code == 200
    reader.refresh_from_db()
    assert (reader.frequency, reader.unsubscribed_at) == ("off", MORNING)


def test_customer_ends_reminders_only(make_customer):
    customer = make_customer(email="Ada@example.com")
    path = path_of("c", customer.pk)

    assert Client().get(path).status_code == 200
    assert not SuppressedAddress.objects.exists()
    for _ in range(2):
        assert Client(enforce_csrf_checks=True).post(path, {"List-Unsubscribe": "One-Click"}).status_code == 200

    assert suppression.reason_against("ada@EXAMPLE.com", "reminder") == "suppressed: unsubscribed by the customer"
    assert suppression.reason_against("ada@example.com", "digest") == ""
    assert SuppressedAddress.objects.count() == 1


def test_zone_that_does_not_exist_is_refused_where_it_is_typed():
    for zone in ("Mars/Olympus", "europe/paris/x", "/etc/localtime", "x" * 64):
        with pytest.raises(ValidationError, match="no time zone of this name"):
            Recipient(name="A", email="a@example.com", zone=zone).clean_fields()
