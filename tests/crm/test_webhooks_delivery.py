"""The job that delivers: signed, tried again for three days, once per event and receiver as far as it can be known."""

import json
import re
from datetime import UTC, datetime, timedelta
from itertools import count
from smtplib import SMTPRecipientsRefused
from threading import Event, Thread

import django
import pytest
from django.core import mail
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from crm import cron
from crm.webhooks import endpoints, events, notices, recording, retries, signing, sweeping
from crm.webhooks.events import Happening
from crm.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookEvent
from crm.webhooks.posting import Answer

from . import killing
from .conftest import NOW, attempt
from .webhook_receiver import PATIENCE_SECONDS, _status

MINUTE = timedelta(minutes=1)


@pytest.fixture
def make_endpoint(db, receiver):
    """Make an endpoint whose receiver does what *path* says; its secret is its attribute."""

    def make(path, *types):
        values = {"customer": "shop", "url": f"{receiver.url}/{path}", "contact": "ops@example.com"}
        endpoint, secret = endpoints.create(values | {"events": types or list(events.TYPES)}, now=NOW)
        endpoint.secret = secret
        return endpoint

    return make


def happen(number=1, *, now=NOW):
    events.emit([Happening("order.created", f"order-{each}", {"pk": each}) for each in range(number)], now=now)


def sweep(now=NOW, **given):
    # Generous, so that a busy machine does not look like a slow receiver.
    return sweeping.sweep(**{"clock": lambda: now, "for_seconds": 120, "deadline_seconds": PATIENCE_SECONDS} | given)


def one(model=WebhookDelivery):
    return model.objects.get()


def test_event_arrives_once_and_is_verified_by_the_library(make_endpoint, receiver):
    """With five lines, as docs/crm/webhooks.md says; the library refuses what is changed or old."""
    endpoint = make_endpoint("200")
    happen()

    first, second = sweep(timezone.now(), run=7), sweep(timezone.now())

    [(path, headers, body)] = receiver.asked
    assert Webhook(endpoint.secret).verify(body, headers) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Webhook(endpoint.secret).verify(body.replace("order", "ordeal"), headers)
    event = one(WebhookEvent)
    assert json.loads(body) == {
        "type": "order.created", "timestamp": "2026-11-22T02:00:00Z", "data": {"pk": 0, "sequence": event.pk},
    }  # fmt: skip
    assert (path, headers["webhook-id"], headers["content-type"]) == ("/200", event.uid, "application/json")
    assert (first.tried, first.delivered, second.tried) == (1, 1, 0)
    tried = one(WebhookAttempt)
    assert (tried.number, tried.status, tried.error, tried.run) == (1, 200, "", 7)
    assert tried.answer == "as you say [31m"
    assert (one().state, one().next_try_at, one().detail) == ("delivered", None, "answered 200")


def test_while_a_secret_rotates_both_verify_and_afterwards_the_new_one_only(make_endpoint, receiver, monkeypatch):
    endpoint = make_endpoint("200")
    now = timezone.now()
    new = signing.give_secret(endpoint, now=now)
    happen(2)

    sweep(now)

    (_, headers, body), _ = receiver.asked
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (endpoint.secret, new):
        Webhook(secret).verify(body, headers)
    assert new != endpoint.secret
    assert signing.secret_of(endpoint) == new
    assert signing.secrets_of(endpoint, now=now + timedelta(days=1)) == [new]


def test_changed_secret_key_keeps_the_secrets_while_the_old_one_is_a_fallback(make_endpoint, receiver, settings):
    endpoint = make_endpoint("200")
    happen()
    old, settings.SECRET_KEY = settings.SECRET_KEY, "another-" * 8

    sweep()
    settings.SECRET_KEY_FALLBACKS = [old]

    assert receiver.asked == []
    assert one().detail.startswith("The endpoint has no secret that CRM_SECRET_KEY or its fallbacks give again.")
    assert signing.secret_of(endpoint) == endpoint.secret


def test_secret_is_nowhere_in_the_database(make_endpoint, receiver):
    endpoint = make_endpoint("500")
    happen()
    sweep()

    rows = [str(row.__dict__) for model in (WebhookEndpoint, WebhookAttempt, WebhookDelivery, WebhookEvent)
            for row in model.objects.all()]  # fmt: skip
    rows += [str(row.__dict__) for row in endpoint.secrets.all()]

    assert endpoint.secret.removeprefix("whsec_") not in "".join(rows)


def test_failed_delivery_is_tried_ten_times_over_three_days_with_one_id(make_endpoint, receiver, monkeypatch):
    """And then given up. The pauses of the endpoint are another matter."""
    monkeypatch.setattr(retries, "paused_until", lambda failures, now: None)
    make_endpoint("500")
    happen()
    now, waits = NOW, []

    for _ in range(9):
        sweep(now)
        waits.append(one().next_try_at - now)
        assert sweep(one().next_try_at - timedelta(microseconds=1)).tried == 0
        now = one().next_try_at
    sweep(now)

    assert (one().state, one().tries, one().next_try_at) == ("given_up", 10, None)
    assert len({headers["webhook-id"] for _, headers, _ in receiver.asked}) == 1
    assert len({body for _, _, body in receiver.asked}) == 1
    for wait, about in zip(waits, retries.WAITS[1:], strict=True):
        assert about * 0.8 <= wait <= about * 1.2
    assert timedelta(days=2.5) < sum(waits, timedelta()) < timedelta(days=4)
    assert [each.number for each in WebhookAttempt.objects.all()] == list(range(1, 11))


def test_jitter_parts_those_that_failed_together():
    moments = {retries.next_try_at(f"msg_{number}", 3, NOW) for number in range(50)}

    assert len(moments) == 50
    assert retries.next_try_at("msg_1", 3, NOW) == retries.next_try_at("msg_1", 3, NOW)


def test_gone_disables_the_endpoint_at_once_and_tells_its_contact(make_endpoint, receiver, settings):
    # Pairs until Django 5.2.
    settings.ADMINS = ["admin@example.com" if django.VERSION >= (6, 0) else ("admin", "admin@example.com")]
    endpoint = make_endpoint("410")
    happen(3)

    sweep()
    happen(1)
    sweep(NOW + timedelta(days=1))
    notices.send_due()
    notices.send_due()

    endpoint.refresh_from_db()
    assert (endpoint.disabled_at, endpoint.disabled_reason) == (NOW, "It answered 410 Gone.")
    assert receiver.paths() == ["/410"]
    assert WebhookEvent.objects.count() == 3
    to_contact, to_admins = mail.outbox
    assert (to_contact.to, to_admins.to) == (["ops@example.com"], ["admin@example.com"])
    assert to_contact.subject == f"Webhooks of shop to 127.0.0.1:{receiver.port} are disabled"
    assert to_contact.body.startswith("It answered 410 Gone. Nothing is sent to it any more")


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("7200", timedelta(hours=2)),
        ("0", timedelta(0)),
        ("999999999999", timedelta(hours=24)),
        ("9" * 5_000, timedelta(hours=24)),
        ("Sun, 22 Nov 2026 03:00:00 GMT", timedelta(hours=1)),
        ("Sun, 22 Nov 2026 01:00:00 GMT", timedelta(0)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", timedelta(hours=24)),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
    ],
)
def test_retry_after_is_read_and_bounded(header, wait):
    assert retries.asked_to_wait_until(header, NOW) == (None if wait is None else NOW + wait)


@pytest.mark.parametrize(("path", "wait"), [("slower", timedelta(hours=2)), ("busy", timedelta(hours=24))])
def test_who_asks_for_time_gets_it_for_all_of_its_deliveries(make_endpoint, receiver, path, wait):
    """429 and 503 with Retry-After speak for the endpoint, not for one event."""
    endpoint = make_endpoint(path)
    happen(3)

    sweep()
    early = sweep(NOW + wait - MINUTE)
    endpoint.refresh_from_db()

    assert endpoint.paused_until == NOW + wait
    assert (early.tried, early.paused) == (0, 1)
    assert sweep(NOW + wait).tried == 1


def test_endpoint_that_keeps_failing_is_tried_less_often_and_told_of_and_disabled_in_the_end(make_endpoint, receiver):
    """The breaker: one delivery alone looks whether it works again."""
    endpoint = make_endpoint("500")
    happen(30)
    now, tries = NOW, []

    while not WebhookEndpoint.objects.get().disabled_at:
        tries.append(sweep(now).tried)
        endpoint.refresh_from_db()
        if len(tries) == 4:
            assert endpoint.paused_until == now + MINUTE
            assert notices.send_due() == (1, [])
        now = max(now + MINUTE, endpoint.paused_until or now)

    assert set(tries) == {1}
    assert len(tries) < 40
    assert timedelta(days=5) <= endpoint.disabled_at - NOW < timedelta(days=5.5)
    assert endpoint.disabled_reason.startswith(f"It has failed for 5 days, {len(tries)} times in a row; the last time:")
    notices.send_due()
    assert [each.subject.rpartition(f":{receiver.port} ")[2] for each in mail.outbox] == ["fail", "are disabled"]


def test_endpoint_that_works_again_gets_all_that_waited(make_endpoint, receiver):
    make_endpoint("again")
    receiver.doing["again"] = _status(500)
    happen(30)
    for minute in range(4):
        sweep(NOW + minute * MINUTE)
    notices.send_due()
    receiver.doing["again"] = _status(204)

    swept = sweep(NOW + timedelta(hours=1))

    endpoint = one(WebhookEndpoint)
    assert swept.delivered == 30
    assert (endpoint.failures, endpoint.failing_since, endpoint.paused_until) == (0, None, None)
    notices.send_due()
    assert [each.subject.rpartition(f":{receiver.port} ")[2] for each in mail.outbox] == ["fail", "arrive again"]


def test_slow_endpoint_holds_up_no_other(make_endpoint, receiver):
    """The slow one answers only once all of the other's have arrived: in one pass."""
    make_endpoint("slow")
    make_endpoint("fast")
    happen(25)
    arrived, fast = Event(), count(1)
    ok = _status(200)

    def slow(handler):
        assert arrived.wait(PATIENCE_SECONDS)
        ok(handler)

    def quick(handler):
        if next(fast) == 25:
            arrived.set()
        ok(handler)

    receiver.doing |= {"slow": slow, "fast": quick}

    swept = sweep()

    assert (swept.tried, swept.delivered, swept.endpoints) == (50, 50, 2)
    assert receiver.paths().count("/fast") == 25


def test_answer_that_comes_too_late_is_none(make_endpoint, receiver):
    """What comes after the deadline changes nothing; the next in line is not even tried in this pass."""
    make_endpoint("hang")
    happen(2)

    swept = sweep(deadline_seconds=0.2)

    assert (swept.tried, swept.failed) == (1, 1)
    untried, late = sorted(WebhookDelivery.objects.values_list("detail", "tries", "claimed_until"))
    assert untried == ("", 0, None)
    # The connection's own limit and the pass's are as long: on a busy machine either comes first.
    assert late in [("no answer within 0.2 s", 1, None), ("no answer in time", 1, None)]


def test_pass_ends_in_time_and_leaves_the_rest_free(make_endpoint, receiver):
    make_endpoint("200")
    happen(3)

    swept = sweep(for_seconds=0)

    assert (swept.tried, swept.left) == (0, 3)
    assert sweep().delivered == 3


def test_events_of_one_endpoint_arrive_in_their_order(make_endpoint, receiver):
    make_endpoint("200")
    happen(45)

    sweep()

    sequence = [json.loads(body)["data"]["sequence"] for _, _, body in receiver.asked]
    assert sequence == sorted(sequence)
    assert len(sequence) == 45


def test_clock_that_jumped_back_changes_no_order(make_endpoint, receiver):
    make_endpoint("200")
    for minute in (3, 1, 2):
        happen(now=NOW - minute * MINUTE)

    sweep()

    sequence = [json.loads(body)["data"]["sequence"] for _, _, body in receiver.asked]
    assert sequence == sorted(sequence)


def test_clock_that_jumped_ahead_disables_nothing(make_endpoint, receiver):
    """Nor does a week in which the job was paused: the receiver was asked twice."""
    endpoint = make_endpoint("500")
    happen()

    sweep()
    sweep(NOW + timedelta(days=7))

    endpoint.refresh_from_db()
    assert (endpoint.failures, endpoint.disabled_at) == (2, None)


@pytest.mark.parametrize(
    ("change", "paths", "left"),
    [
        (lambda rows, url: rows.update(url=f"{url}/204"), ["/first", "/204", "/204"], 0),
        (lambda rows, url: endpoints.disable(rows.get().pk, "by hand", now=NOW), ["/first"], 2),
        (lambda rows, url: rows.get().delete(), ["/first"], 0),
    ],
)
def test_what_is_changed_by_hand_counts_from_the_next_request_on(
    make_endpoint, receiver, monkeypatch, change, paths, left
):
    """In the middle of a batch: another address, disabled, deleted."""
    make_endpoint("first")
    receiver.doing["first"] = _status(200)
    happen(3)
    real, changed = sweeping.record, []

    def record(*given, **named):
        if not changed:
            changed.append(change(WebhookEndpoint.objects.all(), receiver.url))
        return real(*given, **named)

    monkeypatch.setattr(sweeping, "record", record)

    sweep()

    assert receiver.paths() == paths
    assert WebhookDelivery.objects.filter(state="waiting", claim="").count() == left


def test_each_statement_about_deliveries_goes_along_an_index(make_endpoint, receiver):
    """Of a million."""
    make_endpoint("200")
    happen(3)

    with CaptureQueriesContext(connection) as captured:
        sweep()
        recording.prune(NOW + timedelta(days=15))

    asked = [each["sql"] for each in captured.captured_queries if "crm_webhookdelivery" in each["sql"]]
    asked = [each for each in asked if not each.startswith("INSERT")]
    if connection.vendor != "sqlite":  # PostgreSQL goes by how many rows there are
        return
    plans = []
    with connection.cursor() as cursor:
        for sql in asked:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
            plans.append((str(cursor.fetchall()), sql))
    assert len(plans) >= 8
    # It says "SCAN table" with "USING … INDEX" where it reads one.
    read_all = re.compile(r"SCAN \w*(?:crm_webhookdelivery|U\d)\b(?! USING)")
    assert not [sql for plan, sql in plans if read_all.search(plan)]
    assert sum("crm_webhook_waiting" in plan for plan, _ in plans) >= 4  # who is due, what, and what is left


def test_what_another_has_claimed_is_left_alone_until_its_time_is_over(make_endpoint, receiver):
    """Also when the process that had it is gone."""
    make_endpoint("200")
    happen(2)
    WebhookDelivery.objects.update(claim="another", claimed_until=NOW + sweeping.LEASE)

    assert sweep().tried == 0
    assert sweep(NOW + sweeping.LEASE).delivered == 2


def test_who_comes_back_after_his_time_changes_nothing(make_endpoint, receiver):
    """Another has the delivery by now; that it was tried is noted."""
    make_endpoint("200")
    happen()
    mine = one()
    WebhookDelivery.objects.update(claim="another", claimed_until=NOW + sweeping.LEASE)

    recording.record(mine, Answer(status=500), at=NOW, now=NOW, run=None)

    assert (one().claim, one().tries, one().state) == ("another", 0, "waiting")
    assert WebhookAttempt.objects.count() == 1


def test_killed_at_any_statement_it_delivers_all_with_the_same_ids(make_endpoint, receiver):
    """What it had in its hands may arrive twice, under one id; nothing is lost, nothing is counted twice."""
    make_endpoint("200")
    happen(2)
    ids = sorted(WebhookEvent.objects.values_list("uid", flat=True))

    for _ in killing.at_every_statement(lambda: sweep()):
        sweep(NOW + sweeping.LEASE)

        assert sorted({headers["webhook-id"] for _, headers, _ in receiver.asked}) == ids
        assert list(WebhookDelivery.objects.values_list("state", "tries", "claim")) == [("delivered", 1, "")] * 2
        receiver.asked.clear()


@pytest.mark.django_db(transaction=True)
def test_two_passes_at_once_deliver_each_event_once(receiver):
    """Two hosts, one minute."""
    values = {"customer": "shop", "url": f"{receiver.url}/200", "contact": "ops@example.com"}
    endpoints.create(values | {"events": list(events.TYPES)}, now=NOW)
    happen(60)
    swept = []

    def also():
        try:
            swept.append(sweep())
        finally:
            connections.close_all()

    second = Thread(target=also)
    second.start()
    swept.append(sweep())
    second.join(PATIENCE_SECONDS)

    assert sum(each.delivered for each in swept) == 60
    assert len(receiver.asked) == 60
    assert len({headers["webhook-id"] for _, headers, _ in receiver.asked}) == 60


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_who_makes_an_order_does_not_wait_for_a_pass_nor_the_pass_for_him(receiver):
    """The endpoint's row is locked by both, but not its key."""
    values = {"customer": "shop", "url": f"{receiver.url}/200", "contact": "ops@example.com"}
    endpoints.create(values | {"events": list(events.TYPES)}, now=NOW)
    happen()
    swept = []

    def also():
        try:
            swept.append(sweep())
        finally:
            connections.close_all()

    with transaction.atomic():
        happen()
        second = Thread(target=also)
        second.start()
        second.join(PATIENCE_SECONDS)
        assert [each.delivered for each in swept] == [1]


def test_replay_sends_what_ended_with_its_old_id(make_endpoint, receiver):
    make_endpoint("200")
    happen(3)
    sweep()
    first = [headers["webhook-id"] for _, headers, _ in receiver.asked]

    assert endpoints.replay(WebhookDelivery.objects.filter(pk__gte=1), now=NOW) == 3
    sweep()

    assert [headers["webhook-id"] for _, headers, _ in receiver.asked[3:]] == first
    assert [each.number for each in WebhookAttempt.objects.order_by("pk")] == [1, 1, 1, 1, 1, 1]


def test_log_is_kept_for_two_weeks_and_what_waits_for_longer(make_endpoint, receiver):
    make_endpoint("200")
    happen(2)
    sweep()
    happen(1)
    WebhookDelivery.objects.filter(state="waiting").update(next_try_at=NOW + timedelta(days=20))

    assert recording.prune(NOW + timedelta(days=14)) == 0
    assert recording.prune(NOW + timedelta(days=14, seconds=1)) == 2
    assert (WebhookEvent.objects.count(), WebhookDelivery.objects.count(), WebhookAttempt.objects.count()) == (1, 1, 0)
    WebhookEndpoint.objects.update(disabled_at=NOW + timedelta(days=20))
    assert recording.prune(NOW + timedelta(days=34)) == 0
    assert recording.prune(NOW + timedelta(days=34, seconds=1)) == 1


def test_log_is_deleted_by_small_batches_until_the_time_is_over(make_endpoint, receiver, monkeypatch):
    """Also where an event went to more endpoints than one batch has."""
    for number in range(5):
        make_endpoint(f"20{number}")
    happen(3)
    sweep()
    monkeypatch.setattr(recording, "_BATCH", 2)
    later = NOW + timedelta(days=15)

    assert recording.prune(later, for_seconds=0) == 0
    assert WebhookDelivery.objects.count() == 13
    assert recording.prune(later) == 3
    assert (WebhookEvent.objects.count(), WebhookDelivery.objects.count(), WebhookAttempt.objects.count()) == (0, 0, 0)


def test_job_says_what_it_did_and_fails_for_a_mail_that_could_not_be_sent(make_endpoint, receiver, monkeypatch, capsys):
    """The mail is the other way by which people hear of it, so nobody may miss that it does not work."""
    make_endpoint("410")
    monkeypatch.setattr(notices, "send_mail", lambda *_: 1 / 0)
    monkeypatch.setenv("CRONS_RUN", "17")
    happen(now=timezone.now())

    with pytest.raises(RuntimeError) as failed:
        cron.deliver_webhooks(attempt())

    place = f"shop → 127.0.0.1:{receiver.port}"
    assert str(failed.value) == (
        f"1 mails about endpoints are not sent, the first: {place}: ZeroDivisionError: division by zero"
    )
    assert capsys.readouterr().out == ("Delivered 0 of 1 to 1 endpoints; 0 are paused; 0 are left for the next pass.\n")
    assert one(WebhookAttempt).run == 17
    monkeypatch.undo()
    assert notices.send_due() == (1, [])


def test_mail_that_never_arrives_keeps_no_other_from_being_sent_and_is_said_once(make_endpoint, monkeypatch, settings):
    """A contact whose address is wrong, and ADMINS who get none: neither may have anybody be told each minute."""
    settings.ADMINS = ["admin@example.com" if django.VERSION >= (6, 0) else ("admin", "admin@example.com")]
    for number in range(3):
        make_endpoint(str(number))
    WebhookEndpoint.objects.update(notice="works")
    codes, admins, send = [550, 451], [], notices.send_mail

    def refuse_two(*given):
        if codes:
            raise SMTPRecipientsRefused({"ops@example.com": (codes.pop(0), b"no")})
        send(*given)

    def to_admins(subject, text):
        admins.append(text.splitlines()[1])
        raise OSError("no")

    monkeypatch.setattr(notices, "send_mail", refuse_two)
    monkeypatch.setattr(notices, "mail_admins", to_admins)

    first, second, third = notices.send_due(), notices.send_due(), notices.send_due()

    refused = "The mail server refuses ops@example.com: give the endpoint another contact."
    assert [each.rpartition(":")[0].partition(", ")[2] for each in first[1]].count("to ADMINS: OSError") == 2
    assert [refused in each for each in first[1]].count(True) == 1
    assert ["451" in each for each in first[1]].count(True) == 1
    assert (first[0], second[0], third) == (1, 1, (0, []))
    assert admins == [refused, *["Their contact has got this mail too."] * 2]
    assert len(mail.outbox) == 2


def test_mails_end_in_time(make_endpoint):
    make_endpoint("200")
    WebhookEndpoint.objects.update(notice="works")

    assert notices.send_due(for_seconds=0) == (0, [])
    assert notices.send_due() == (1, [])


def test_nothing_to_do_takes_few_statements(make_endpoint, django_assert_max_num_queries):
    """Each minute, for ever."""
    make_endpoint("200")

    with django_assert_max_num_queries(5):
        assert cron.deliver_webhooks().tried == 0


def test_year_9999_and_the_first_second_are_no_trouble():
    """Moments at the ends of what there is."""
    assert retries.asked_to_wait_until("Mon, 01 Jan 0001 00:00:00 +2359", NOW) in (None, NOW)
    assert retries.paused_until(10**6, NOW) == NOW + retries.LONGEST_PAUSE
    assert retries.next_try_at("x", 99, datetime(2026, 1, 1, tzinfo=UTC)) is None
    assert connection.vendor in ("sqlite", "postgresql")
