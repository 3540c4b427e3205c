"""Reminders by mail: not too soon, not too often, not for ever, and never of what is paid."""

from datetime import timedelta
from decimal import Decimal
from importlib import import_module
from io import StringIO

import pytest
from django.core import mail as django_mail
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from crm import cron
from crm.digests import links, outbox, reminding
from crm.digests.models import Mail
from crm.models import Order, OrderItem, Product
from crons import GiveUp
from crons.attempts import Counts
from crons.testing import due

from . import killing
from .conftest import NOW, attempt

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture(autouse=True)
def clock(monkeypatch, settings):
    """Sunday 02:00; .at moves it."""
    settings.CRM_REMIND_MOST = 3

    class Clock:
        at = NOW

    monkeypatch.setattr(timezone, "now", lambda: Clock.at)
    return Clock


@pytest.fixture
def order(make_customer):
    """A lamp and two desks, ordered two days ago and not paid."""
    customer = make_customer(name="Ada", email="ada@example.com")
    made = Order.objects.create(customer=customer, ordered_at=NOW - 2 * DAY, total=Decimal("1010.50"))
    for name, quantity, price in (("Lamp", 1, "10.50"), ("Desk", 2, "500.00")):
        product = Product.objects.create(name=name, price=1, stock=9)
        OrderItem.objects.create(order=made, product=product, quantity=quantity, unit_price=Decimal(price))
    return made


def pay(order):
    Order.objects.filter(pk=order.pk).update(status="paid")


def fates():
    return list(Mail.objects.order_by("pk").values_list("state", "reason"))


def test_customer_is_reminded_of_what_was_ordered_with_a_way_to_end_it(order):
    run = attempt()

    cron.mail_order_reminders(run)

    [sent] = django_mail.outbox
    assert (sent.to, sent.subject) == (
        ["Ada <ada@example.com>"],
        f"Your order {order.pk} is waiting for its payment",
    )
    assert "  1 x Lamp: 10.50\n  2 x Desk: 1,000.00\n  In all: 1,010.50\n" in sent.body
    address = links.address_of(links.Reader("c", order.customer_id))
    assert sent.message()["List-Unsubscribe"] == f"<{address}>"
    assert address in sent.alternatives[0][0]
    assert run.work.counts == Counts(examined=1, changed=1, failed=0)
    assert Mail.objects.get().key == f"reminder:order-{order.pk}:1"


def test_day_of_the_order_is_that_of_the_business(order, settings):
    """Two in the morning of Friday in London is still Thursday in New York."""
    settings.TIME_ZONE = "America/New_York"

    cron.mail_order_reminders(attempt())

    assert "Thursday 19 November 2026" in django_mail.outbox[0].body


def test_cadence_is_first_after_a_day_then_every_three_days_and_three_times_in_all(order, clock):
    Order.objects.update(ordered_at=NOW)
    moments = []
    for hours in range(24 * 14):
        clock.at = NOW + hours * HOUR
        cron.mail_order_reminders(attempt(clock.at))
        moments += [hours / 24] * len(django_mail.outbox)
        django_mail.outbox.clear()

    assert moments == [1, 4, 7]


def test_mail_that_the_server_refused_counts_so_that_it_is_not_tried_for_ever(order, clock):
    Mail.objects.create(
        kind="reminder", key=f"reminder:order-{order.pk}:1", order=order.pk, state="failed", due_at=NOW, created_at=NOW
    )
    first, second = attempt(NOW + DAY), attempt(NOW + 3 * DAY)

    cron.mail_order_reminders(first)
    cron.mail_order_reminders(second)

    assert first.work.counts.skipped == {"reminded lately": 1}
    assert Mail.objects.filter(state="sent").get().key == f"reminder:order-{order.pk}:2"


@pytest.mark.parametrize("status", ["paid", "shipped", "completed", "cancelled"])
def test_order_that_is_paid_after_the_plan_is_not_reminded_of(order, status):
    reminding.plan(NOW, now=NOW)
    Order.objects.update(status=status)

    cron.mail_order_reminders(attempt())

    assert (django_mail.outbox, fates()) == ([], [("skipped", f"the order is {status}")])


def test_order_that_is_paid_while_its_mail_is_written_is_not_reminded_of(order, monkeypatch):
    """The statement that claims the mail asks once more."""
    compose = reminding.compose

    def paid_meanwhile(mail, at):
        letter = compose(mail, at)
        pay(order)
        return letter

    monkeypatch.setattr(reminding, "compose", paid_meanwhile)
    cron.mail_order_reminders(attempt())

    assert (django_mail.outbox, fates()) == ([], [("skipped", "the order is paid")])


def test_order_that_is_gone_or_too_old_or_in_the_future_has_no_reminder(order, make_customer):
    for ordered_at in (NOW - 31 * DAY, NOW - 23 * HOUR, NOW + 400 * DAY):
        make_customer(ordered_at, status="pending")
    reminding.plan(NOW, now=NOW)
    OrderItem.objects.all().delete()
    order.delete()

    cron.mail_order_reminders(attempt())

    assert (django_mail.outbox, fates()) == ([], [("skipped", "the order was deleted")])


def test_customer_who_has_had_enough_gets_no_more(order, clock):
    cron.mail_order_reminders(attempt())
    Client().post(links.address_of(links.Reader("c", order.customer_id)).removeprefix("http://127.0.0.1:8000"))
    clock.at += 4 * DAY

    cron.mail_order_reminders(attempt(clock.at))

    assert len(django_mail.outbox) == 1
    assert fates() == [("sent", ""), ("skipped", "suppressed: unsubscribed by the customer")]


def test_none_are_sent_until_somebody_asks_for_them(order, settings, capsys):
    """The default: a mail server alone is no reason to write to customers."""
    settings.CRM_REMIND_MOST = import_module("crm.settings").CRM_REMIND_MOST

    cron.mail_order_reminders(attempt())

    assert settings.CRM_REMIND_MOST == 0
    assert not Mail.objects.exists()
    assert capsys.readouterr().out == "Reminders by mail are off (CRM_REMIND_MOST=0).\nSent 0 mails.\n"


def test_first_run_in_a_shop_with_many_open_orders_stops_and_asks(order, make_customer, settings):
    settings.CRM_MAIL_MAX_COUNT = 1
    make_customer(NOW - 3 * DAY, status="pending")

    with pytest.raises(GiveUp, match=r"^2 mails would be sent, .* manage\.py mail_order_reminders --force$"):
        cron.mail_order_reminders(attempt())

    assert django_mail.outbox == []


def test_dry_run_shows_what_a_run_then_sends(order, make_customer, clock):
    make_customer(NOW - 3 * DAY, status="pending")
    out = StringIO()

    call_command("mail_order_reminders", "--dry-run", stdout=out)
    assert not Mail.objects.exists()
    cron.mail_order_reminders(attempt())

    keys = sorted(Mail.objects.filter(state="sent").values_list("key", flat=True))
    first, *shown = out.getvalue().splitlines()
    assert (first, sorted(shown)) == ("Would send 2 mails.", keys)


def test_orders_are_read_in_batches_and_each_once(order, monkeypatch):
    """Among them many of one moment, as an import makes them."""
    monkeypatch.setattr(reminding, "BATCH", 3)
    Order.objects.bulk_create(Order(customer=order.customer, ordered_at=NOW - 3 * DAY) for _ in range(10))

    assert reminding.plan(NOW, now=NOW) == {}
    assert Mail.objects.count() == 11
    assert reminding.plan(NOW, now=NOW) == {"reminded lately": 11}


def test_killed_at_any_statement_each_reminder_goes_once_or_is_known_as_unknown(order, make_customer, clock):
    make_customer(NOW - 3 * DAY, status="pending")
    unknown = rounds = 0

    for _ in killing.at_every_statement(lambda: cron.mail_order_reminders(attempt())):
        clock.at += outbox.CUT_OFF_AFTER + timedelta(seconds=1)
        try:
            cron.mail_order_reminders(attempt(clock.at))
        except RuntimeError:
            unknown += 1
        sent = [each.to[0] for each in django_mail.outbox]
        assert len(sent) == len(set(sent)), "one went twice"
        states = sorted(Mail.objects.values_list("state", flat=True))
        assert states in (["sent", "sent"], ["sent", "unknown"])
        django_mail.outbox.clear()
        clock.at, rounds = NOW, rounds + 1

    assert (rounds > 10, unknown) == (True, 2)


def test_job_is_due_in_the_day_of_the_business_only():
    slots = due("2026-11-22T00:00Z", "2026-11-23T00:00Z")

    assert [each.local[11:16] for each in slots if each.entry == "mail_order_reminders"] == [
        f"{hour:02}:20" for hour in range(9, 19)
    ]
