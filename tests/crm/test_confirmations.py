"""Confirmations of orders: each goes once, at once where a worker is there, within minutes where none is."""

import logging
from datetime import timedelta
from decimal import Decimal
from threading import Thread

import pytest
from django.core import mail
from django.db import connections
from django.utils import timezone

from crm import confirmations, cron, orders
from crm.models import Order, Product
from crm.orders import Line, Wish

from .conftest import NOW


@pytest.fixture
def order(db, make_customer, django_capture_on_commit_callbacks):
    """An order of two lamps, made as the API makes it, by a CRM without a broker."""
    lamp = Product.objects.create(name="Lamp", price=Decimal("10.50"), stock=9)
    customer = make_customer(name="Ada", email="ada@example.com")
    with django_capture_on_commit_callbacks(execute=True):
        return orders.create(Wish(customer.pk, [Line(lamp.pk, 2)]), now=NOW)


def state(order):
    order.refresh_from_db()
    return order.confirmation


def test_without_a_broker_the_job_sends_it_and_sends_it_once(order, capsys):
    """The request itself sends nothing: a mail server that is slow is no reason to wait for an order."""
    assert (mail.outbox, state(order)) == ([], "waiting")

    cron.send_order_confirmations()
    cron.send_order_confirmations()

    [sent] = mail.outbox
    assert (sent.to, sent.subject) == (["ada@example.com"], f"Your order {order.pk}")
    assert "21.00 in all" in sent.body
    assert state(order) == "sent"
    assert capsys.readouterr().out == "Sent 1 confirmations.\nSent 0 confirmations.\n"


def test_a_mail_says_a_name_as_it_is_shown(order):
    """The admin takes what the API refuses."""
    order.customer.name = "Ada \x1b]52;c;YQ==\x07\u202eecalevoL"
    order.customer.save()

    confirmations.send_waiting()

    assert mail.outbox[0].body.startswith("Dear Ada  ]52;c;YQ== ecalevoL,\n")


def test_order_that_is_rolled_back_asks_for_nothing(order, make_customer, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks() as callbacks, pytest.raises(orders.Refused):
        orders.create(Wish(order.customer_id, [Line(0)]), now=NOW)

    assert callbacks == []


def test_order_typed_in_by_hand_is_not_confirmed(db, make_customer):
    """Nor are those of before this came in."""
    make_customer(NOW)

    assert confirmations.send_waiting() == (0, {})
    assert not confirmations.send(Order.objects.get().pk)
    assert mail.outbox == []


def test_mail_that_cannot_be_sent_waits_and_fails_the_job(order, monkeypatch, capsys):
    """Somebody is told; the other orders are confirmed all the same."""
    other = Order.objects.create(customer_id=order.customer_id, ordered_at=NOW, confirmation="waiting")
    send = confirmations.send_mail

    def refuse_first(subject, *rest):
        if subject.endswith(f" {order.pk}"):
            raise OSError("no route to the mail server")
        return send(subject, *rest)

    monkeypatch.setattr(confirmations, "send_mail", refuse_first)

    text = f"1 confirmations are not sent, the first, of order {order.pk}: OSError: no route to the mail server"
    with pytest.raises(RuntimeError, match=f"^{text}$"):
        cron.send_order_confirmations()

    assert (state(order), state(other)) == ("waiting", "sent")
    assert f"Order {order.pk}: OSError: no route to the mail server" in capsys.readouterr().out


def cut_off(order, ago=timedelta(minutes=11)):
    """Leave *order* as a sender does that is killed with the mail in its hands."""
    tried_at = None if ago is None else timezone.now() - ago
    Order.objects.filter(pk=order.pk).update(confirmation="sending", confirmation_tried_at=tried_at)


@pytest.mark.parametrize("ago", [timedelta(minutes=11), None], ids=["long ago", "before that was noted"])
def test_sender_that_was_cut_off_is_told_of_until_somebody_has_looked(order, capsys, ago):
    """The customer may have no mail, or one: a second one nobody takes back, and nobody else would ever look."""
    cut_off(order, ago)

    for _ in range(2):
        with pytest.raises(RuntimeError) as failed:
            cron.send_order_confirmations()

    text = (
        "its sender was cut off, so nobody knows whether the mail went. Ask the mail server, "
        "then choose in the admin's orders: 'Confirmation has arrived' or 'Send the confirmation again'"
    )
    assert str(failed.value) == f"1 confirmations are not sent, the first, of order {order.pk}: {text}"
    assert capsys.readouterr().out == f"Sent 0 confirmations.\nOrder {order.pk}: {text}\n" * 2
    assert (mail.outbox, state(order)) == ([], "sending")


def test_sender_that_is_at_it_is_not_told_of(order):
    """A mail takes its time."""
    cut_off(order, timedelta(minutes=9))

    assert confirmations.send_waiting() == (0, {})
    assert confirmations.settle([order.pk], arrived=False) == []
    assert state(order) == "sending"


@pytest.mark.parametrize(("arrived", "mails"), [(True, 0), (False, 1)])
def test_whoever_has_asked_the_mail_server_settles_it(order, arrived, mails):
    cut_off(order)
    sent = Order.objects.create(customer_id=order.customer_id, ordered_at=NOW, confirmation="sent")

    assert confirmations.settle([order.pk, sent.pk], arrived=arrived) == [order.pk]

    cron.send_order_confirmations()
    assert (len(mail.outbox), state(order), state(sent)) == (mails, "sent", "sent")


def test_sender_that_loses_its_database_says_so_and_sends_nothing(order, monkeypatch):
    """The claim is taken back where the order could not be read."""
    monkeypatch.setattr(Order.objects, "select_related", lambda *names: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        confirmations.send(order.pk)

    assert (mail.outbox, state(order)) == ([], "waiting")


def test_what_a_mail_server_keeps_refusing_stands_before_nobody(order, monkeypatch):
    """A job has not the time for all of them: what was tried comes after what was not."""
    younger = Order.objects.create(customer_id=order.customer_id, ordered_at=NOW, confirmation="waiting")
    tried, clock = [], iter(range(100))

    def refuse(subject, *rest):
        tried.append(int(subject.split()[-1]))
        raise OSError("greylisted")

    monkeypatch.setattr(confirmations, "send_mail", refuse)
    monkeypatch.setattr(confirmations.time, "monotonic", lambda: next(clock))

    for _ in range(3):
        assert len(confirmations.send_waiting(for_seconds=2)[1]) == 1

    assert tried == [order.pk, younger.pk, order.pk]
    assert confirmations.send_waiting(for_seconds=0) == (0, {})


@pytest.mark.django_db(transaction=True)
def test_two_workers_with_the_same_order_send_one_mail(make_customer, monkeypatch):
    """The second comes while the first is at the mail server."""
    customer = make_customer()
    order = Order.objects.create(customer=customer, ordered_at=NOW, confirmation="waiting")
    results, sent = [], []

    def also():
        try:
            results.append(confirmations.send(order.pk))
        finally:
            connections.close_all()

    def while_another_comes(*args):
        sent.append(args)
        second = Thread(target=also)
        second.start()
        second.join(60)

    monkeypatch.setattr(confirmations, "send_mail", while_another_comes)

    assert confirmations.send(order.pk) is True
    assert (results, len(sent), state(order)) == ([False], 1, "sent")


def test_with_a_broker_a_worker_is_told_once_it_is_committed(
    order, settings, monkeypatch, django_capture_on_commit_callbacks
):
    """A message that came before the commit would find no order."""
    tasks = pytest.importorskip("crm.tasks", reason="Celery's packages are not there")
    settings.CRM_BROKER_URL = "memory://"
    told = []
    monkeypatch.setattr(tasks.app, "send_task", lambda *message: told.append(message))

    with django_capture_on_commit_callbacks(execute=True):
        confirmations.request([order.pk])
        assert told == []

    assert told == [(tasks.confirm_order.name, (order.pk,))]
    assert tasks.confirm_order(order.pk) is True
    assert tasks.confirm_order(order.pk) is False  # the message came twice
    assert len(mail.outbox) == 1


def test_broker_that_is_down_is_said_once_and_stops_no_order(
    order, settings, monkeypatch, caplog, django_capture_on_commit_callbacks
):
    """A hundred orders must not wait for it a hundred times; the job sends them."""
    celery = pytest.importorskip("crm.celery", reason="Celery's packages are not there")
    from kombu.exceptions import OperationalError

    settings.CRM_BROKER_URL = "redis://127.0.0.1:1/0"
    asked = []

    def refuse(name, arguments):
        asked.extend(arguments)
        raise OperationalError("Connection refused")

    monkeypatch.setattr(celery.app, "send_task", refuse)

    with caplog.at_level(logging.WARNING), django_capture_on_commit_callbacks(execute=True):
        confirmations.request([order.pk, order.pk + 1])

    assert asked == [order.pk]
    assert caplog.messages == [
        "the broker takes no messages, confirmations follow within five minutes: Connection refused"
    ]
    assert state(order) == "waiting"


@pytest.mark.django_db(transaction=True)
def test_broker_that_cannot_be_understood_stops_no_order(make_customer, monkeypatch, settings, caplog):
    """The order is committed by then: an error would have the visitor order again."""
    celery = pytest.importorskip("crm.celery", reason="Celery's packages are not there")
    settings.CRM_BROKER_URL = "rediz://127.0.0.1/0"

    def refuse(name, arguments):
        raise KeyError("No such transport: rediz")

    monkeypatch.setattr(celery.app, "send_task", refuse)
    lamp = Product.objects.create(name="Lamp", price=Decimal("10.50"), stock=9)
    customer = make_customer(email="ada@example.com")

    order = orders.create(Wish(customer.pk, [Line(lamp.pk, 1)]), now=NOW)

    assert state(order) == "waiting"
    [record] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "No such transport: rediz" in record.getMessage()
    assert record.name.startswith("django.db")


def test_report_by_celery_enters_the_ledger_once_per_message(db, monkeypatch):
    """A message that is delivered twice asks for the same run; called as a function it makes the report."""
    tasks = pytest.importorskip("crm.tasks", reason="Celery's packages are not there")
    asked, made = [], []
    monkeypatch.setattr(tasks.api, "run_now", lambda name, **given: asked.append((name, given)) or Order(pk=7))
    monkeypatch.setattr(tasks.cron, "generate_crm_report", lambda: made.append("report"))

    for _ in range(2):
        assert tasks.generate_crm_report.apply(task_id="one").get() == "run 7"
    tasks.generate_crm_report()

    assert asked == [("generate_crm_report", {"by": "celery", "key": "celery-one"})] * 2
    assert made == ["report"]
