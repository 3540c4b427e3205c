"""Reports: which days and weeks, to the cent, counted once, and shown the same whenever that is."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone

from crm import cron
from crm.digests import figures, periods, rendering, store
from crm.digests.models import Report
from crm.digests.wording import change
from crm.models import Order, OrderItem, Product
from crons.attempts import Counts
from crons.testing import due

from . import killing
from .conftest import NOW, attempt

TICK = timedelta(microseconds=1)
UTC_ZONE = ZoneInfo("UTC")
SATURDAY = "2026-11-21"  # NOW is the Sunday after


@pytest.fixture(autouse=True)
def at_two(monkeypatch):
    """Sunday 22 November 2026, 02:00:01 UTC."""
    monkeypatch.setattr(timezone, "now", lambda: NOW + timedelta(seconds=1))


@pytest.fixture
def shop(make_customer):
    """A Saturday with three orders, one of them cancelled, beside one on Friday and one on Sunday."""
    customer = make_customer(created_at=datetime(2026, 11, 21, tzinfo=UTC))
    lamp, desk = (
        Product.objects.create(name=name, price=1, stock=stock) for name, stock in (("Lamp", 3), ("Desk", 50))
    )
    for day, hour, status, total, product in (
        (20, 23, "completed", "5.00", desk),
        (21, 0, "paid", "10.10", lamp),
        (21, 12, "pending", "20.25", desk),
        (21, 23, "cancelled", "99.00", desk),
        (22, 0, "paid", "1000.00", lamp),
    ):
        order = Order.objects.create(
            customer=customer, ordered_at=datetime(2026, 11, day, hour, tzinfo=UTC), status=status, total=Decimal(total)
        )
        OrderItem.objects.create(order=order, product=product, quantity=1, unit_price=Decimal(total))
    return customer


def made(kind="daily"):
    """Make what is missing as of NOW, and give the report of *kind*."""
    store.make(NOW, NOW, now=NOW)
    return Report.objects.get(kind=kind)


# ── which periods ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("zone", "day", "since", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00+00:00", 23),
        ("Europe/Berlin", "2026-10-25", "2026-10-24T22:00+00:00", 25),
        ("Asia/Beirut", "2026-03-29", "2026-03-28T22:00+00:00", 23),  # at midnight clocks go to one
        ("Africa/Cairo", "2026-04-24", "2026-04-23T22:00+00:00", 23),  # so do they here
        ("America/Havana", "2026-11-01", "2026-11-01T04:00+00:00", 25),  # midnight to one is there twice
        ("Australia/Lord_Howe", "2026-10-04", "2026-10-03T13:30+00:00", 23.5),
        ("Asia/Kathmandu", "2026-11-21", "2026-11-20T18:15+00:00", 24),
    ],
)
def test_day_is_that_of_the_zone_with_as_many_hours_as_it_has(zone, day, since, hours):
    period = periods.of_day("daily", datetime.fromisoformat(day).date(), ZoneInfo(zone))

    assert period.since == datetime.fromisoformat(since)
    assert (period.until - period.since) / timedelta(hours=1) == hours


def test_day_that_was_left_out_has_no_report():
    """Samoa went from 29 to 31 December 2011."""
    found = periods.ended(
        "daily", datetime(2011, 12, 28, 12, tzinfo=UTC), datetime(2012, 1, 2, tzinfo=UTC), ZoneInfo("Pacific/Apia")
    )

    assert [each.name for each in found] == ["2011-12-28", "2011-12-29", "2011-12-31", "2012-01-01"]
    assert all(one.until == other.since for one, other in itertools.pairwise(found))


def test_week_over_new_year_has_the_year_of_its_thursday():
    [found] = periods.ended("weekly", datetime(2027, 1, 3, tzinfo=UTC), datetime(2027, 1, 4, tzinfo=UTC), UTC_ZONE)

    assert (found.name, found.since, found.until) == (
        "2026-W53",
        datetime(2026, 12, 28, tzinfo=UTC),
        datetime(2027, 1, 4, tzinfo=UTC),
    )


def test_run_after_an_absence_makes_up_for_the_days_in_between():
    """And never for more than anybody reads."""
    ended = [each.name for each in periods.ended("daily", NOW - timedelta(days=3), NOW, UTC_ZONE)]

    assert ended == ["2026-11-19", "2026-11-20", "2026-11-21"]
    assert len(periods.ended("daily", NOW - timedelta(days=900), NOW, UTC_ZONE)) == 31
    assert [each.name for each in periods.ended("daily", NOW, NOW, UTC_ZONE)] == [SATURDAY]


# ── what they say ─────────────────────────────────────────────────────────────────────────────────


def test_report_counts_the_window_to_the_cent_and_compares_it(shop):
    data = made().data

    assert data["shop"] == {
        "orders": 3,
        "by_status": [["pending", 1], ["paid", 1], ["cancelled", 1]],
        "revenue": "30.35",
        "average": "15.18",
        "new_customers": 1,
    }
    assert data["before"] == {
        "orders": 1,
        "by_status": [["completed", 1]],
        "revenue": "5.00",
        "average": "5.00",
        "new_customers": 0,
    }
    assert data["days"][-2:] == [["2026-11-20", 1, "5.00"], [SATURDAY, 2, "30.35"]]
    assert len(data["days"]) == 14
    assert data["top_products"] == [
        {"name": "Desk", "sold": 1, "revenue": "20.25"},
        {"name": "Lamp", "sold": 1, "revenue": "10.10"},
    ]
    assert data["low_stock"] == {"below": 10, "count": 1, "lowest": [["Lamp", 3]]}


def test_revenue_is_exact_where_the_database_adds_floats(make_customer):
    customer = make_customer()
    Order.objects.bulk_create(
        Order(customer=customer, total=Decimal(total), ordered_at=NOW - timedelta(hours=5), status="paid")
        for total in ["999999999999.99"] * 200 + ["0.01"] * 300
    )

    assert made().data["shop"]["revenue"] == "200000000000001.00"
    assert "200,000,000,000,001.00" in rendering.subject(made().data)


def test_shop_where_nothing_happened_has_a_report_too(db):
    """Without a figure divided by zero; whoever wants no empty mails is asked elsewhere."""
    data = made().data

    assert data["shop"]["average"] is None
    assert figures.is_empty(data)
    assert "No product has a stock below 10" in rendering.text(data)
    assert 'height="0"' in rendering.html(data)


def test_report_is_shown_the_same_byte_by_byte_whatever_has_changed(shop):
    """A figure that moves after it was mailed is one nobody can speak of."""
    report = made()
    shown = [rendering.text(report.data), rendering.html(report.data), rendering.page(report.data)]
    Order.objects.update(status="cancelled")
    Product.objects.update(name="Renamed", stock=0)

    again = made()

    assert (again.pk, Report.objects.count()) == (report.pk, 2)
    assert [rendering.text(again.data), rendering.html(again.data), rendering.page(again.data)] == shown
    # As another database, or a copy of the rows, would give its keys.
    turned = json.loads(json.dumps(again.data, sort_keys=True))
    assert [rendering.text(turned), rendering.html(turned), rendering.page(turned)] == shown


def test_name_can_neither_forge_a_line_nor_bring_markup(shop):
    Product.objects.filter(name="Lamp").update(name='<img src=x onerror="x()">\n\nRevenue 1,000,000 & more\u202e')

    data = made().data

    assert '<img src=x onerror="x()"> Revenue 1,000,000 & more : 1 sold, 10.10' in rendering.text(data)
    for shown in (rendering.html(data), rendering.page(data)):
        assert "<img" not in shown
        assert "&lt;img src=x onerror=&quot;x()&quot;&gt;" in shown


def test_chart_is_an_svg_that_says_its_figures(shop):
    data = made().data

    page = rendering.page(data)
    picture = ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])

    titles = [each.text for each in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert titles[-2:] == ["Friday 20 November: 5.00, 1 order", "Saturday 21 November: 30.35, 2 orders"]
    heights = [int(each.get("height")) for each in picture.iter("{http://www.w3.org/2000/svg}rect")]
    assert heights[-3:] == [0, 24, 150]


@pytest.mark.parametrize(
    ("now", "then", "said"),
    [
        ("110.00", "100.00", "▲ 10 % on then"),
        ("1.00", "3.00", "▼ 67 % on then"),
        ("100.10", "100.00", "as good as then"),
        (5, 5, "as then"),
        ("1.00", "0.00", "none then"),
        ("1.00", None, "none then"),
        (None, "1.00", ""),
    ],
)
def test_change_is_said_in_words(now, then, said):
    assert change(now, then, "then") == said


def test_report_says_how_the_scheduled_jobs_did(db):
    from crons.models import Entry, Range, Run

    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    entry = Entry.objects.create(
        name="x", job="x", schedule="* * * * *", zone="UTC", first_seen_at=noon, accounted_until=noon
    )
    for number, verdict in enumerate(["succeeded", "failed", "timed_out", ""]):
        at = noon + timedelta(minutes=number)
        Run.objects.create(entry=entry, slot_at=at, planned_at=at, recorded_at=at, verdict=verdict, trigger="t")
    Run.objects.create(
        entry=entry, slot_at=NOW, planned_at=NOW, recorded_at=NOW, verdict="failed", trigger="t"
    )  # the next day's
    Range.objects.create(
        entry=entry, first_at=noon, last_at=noon, count=7, verdict="missed", reason="catch_up", trigger="t",
        recorded_at=noon,
    )  # fmt: skip

    data = made().data

    assert data["automation"]["verdicts"] == [
        ["failed", 1], ["missed", 7], ["not over", 1], ["succeeded", 1], ["timed_out", 1],
    ]  # fmt: skip
    assert data["automation"]["failing"] == [["x", 2]]
    said = "Of 11 runs of scheduled jobs 1 succeeded; 1 failed, 7 missed, 1 not over, 1 timed out."
    assert said in rendering.text(data)
    assert not figures.is_empty(data)


# ── the job ───────────────────────────────────────────────────────────────────────────────────────


def test_job_is_due_after_midnight_and_says_what_it_made(shop, capsys):
    assert [slot.local for slot in due("2026-11-22T00:00Z", "2026-11-23T00:00Z") if slot.entry == "make_reports"] == [
        "2026-11-22 00:10:00+00:00"
    ]
    first, second = attempt(key="run"), attempt(key="run")

    cron.make_reports(first)
    cron.make_reports(second)
    cron.make_reports()

    assert first.work.counts == Counts(examined=2, changed=2)
    assert second.work.counts == Counts(examined=2, changed=0, skipped={"made before": 2})
    assert capsys.readouterr().out.splitlines() == [
        "Made 2 reports.",
        "Saturday 21 November 2026",
        "Week 46, 9 to 15 November 2026",
        "Made 0 reports.",
        "Made 0 reports.",
    ]
    assert set(Report.objects.values_list("run_key", "run")) == {("run", None)}


def test_two_that_make_one_report_at_once_keep_the_first_ones_figures(shop, monkeypatch):
    counted = figures.of

    def other_was_faster(period):
        data = counted(period)
        Report.objects.get_or_create(
            kind=period.kind,
            period=period.name,
            defaults={"since": period.since, "until": period.until, "data": data | {"first": True}, "created_at": NOW},
        )
        return data

    monkeypatch.setattr(figures, "of", other_was_faster)

    done = store.make(NOW, NOW, now=NOW)

    assert (list(done.reports), done.known) == ([], 2)
    assert made().data["first"]


def test_killed_at_any_statement_and_run_again_it_has_made_each_report_once(shop):
    whole = {each.period: each.data for each in (made(), made("weekly"))}
    Report.objects.all().delete()
    rounds = 0

    for _ in killing.at_every_statement(lambda: cron.make_reports(attempt())):
        cron.make_reports(attempt())
        rounds += 1
        assert {each.period: each.data for each in Report.objects.all()} == whole

    assert rounds > 20


# ── the admin's page ──────────────────────────────────────────────────────────────────────────────


def test_page_shows_the_report_links_its_run_and_takes_no_change(client, shop):
    client.force_login(User.objects.create_superuser("root"))
    report = made()
    Report.objects.filter(pk=report.pk).update(run=417)
    change_url = reverse("admin:crm_report_change", args=[report.pk])

    page = client.get(change_url).content.decode()

    assert "Saturday 21 November 2026" in client.get(reverse("admin:crm_report_changelist")).content.decode()
    assert 'href="/crons/runs/417"' in page
    assert "<svg" in page
    assert client.post(change_url, {"kind": "weekly"}).status_code == 403
    assert client.post(reverse("admin:crm_report_delete", args=[report.pk])).status_code == 403
    assert client.get(reverse("admin:crm_report_add")).status_code == 403
