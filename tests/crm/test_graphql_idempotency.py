"""Idempotency keys: a mutation that is sent again is carried out once, and told the same."""

import json
import threading
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from django.utils import timezone

from crm import tokens
from crm.graph import idempotency
from crm.models import IdempotencyKey, Product
from crons import api
from crons.exceptions import LedgerUnavailable
from crons.models import AuditEvent, Entry

CREATE = 'mutation { createProduct(input: {name: "%s", price: "5"}) { product { id name } errors { code path } } }'
GRAPHQL = "application/graphql-response+json"


def make_token(*scopes):
    now = timezone.now()
    return tokens.issue("test", scopes or tokens.SCOPES, now + timedelta(days=1), now=now)[1]


@pytest.fixture
def text(db):
    return make_token()


def send(query, key, text, variables=None, accept="application/json"):
    headers = {"Authorization": f"Bearer {text}", "Idempotency-Key": key, "Accept": accept}
    body = {"query": query, "variables": variables or {}}
    return Client().post("/graphql", body, content_type="application/json", headers=headers)


def test_request_sent_again_is_carried_out_once(text):
    """A client that lost the answer cannot know whether it was done."""
    first = send(CREATE % "Tea", "k1", text)
    second = send(CREATE % "Tea", "k1", text)

    assert first.json()["data"]["createProduct"]["product"]["name"] == "Tea"
    assert second.content == first.content
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert Product.objects.count() == 1


def test_without_a_key_each_request_is_carried_out(text):
    for _ in range(2):
        Client(headers={"Authorization": f"Bearer {text}"}).post(
            "/graphql", {"query": CREATE % "Tea"}, content_type="application/json"
        )

    assert Product.objects.count() == 2
    assert IdempotencyKey.objects.count() == 0


def test_mistake_is_replayed_too(text):
    """It was answered: sent again it is answered the same, whatever has changed meanwhile."""
    query = 'mutation { createCustomer(input: {name: "Ada", email: "x"}) { customer { id } errors { code path } } }'

    first, second = send(query, "k", text), send(query, "k", text)

    assert first.json()["data"]["createCustomer"]["errors"][0]["code"] == "INVALID"
    assert second.content == first.content


def test_refused_field_is_replayed_with_its_error(db):
    """What it wrote stands; its answer may not be read by this token, and so again."""
    text = make_token("products:write")

    first, second = send(CREATE % "Tea", "k", text).json(), send(CREATE % "Tea", "k", text).json()

    assert first["errors"][0]["extensions"] == {"code": "FORBIDDEN"}
    assert second["data"] == first["data"]
    assert [each | {"locations": None} for each in second["errors"]] == [
        each | {"locations": None} for each in first["errors"]
    ]
    assert Product.objects.count() == 1


@pytest.mark.parametrize(("accept", "status"), [("application/json", 200), (GRAPHQL, 400)])
def test_key_with_another_request_is_refused(text, accept, status):
    send(CREATE % "Tea", "k", text)

    for query, variables in ((CREATE % "Jam", None), (CREATE % "Tea", {"a": 1})):
        answer = send(query, "k", text, variables, accept)

        assert answer.status_code == status
        [error] = answer.json()["errors"]
        assert error["extensions"] == {"code": "KEY_REUSED"}
        assert "data" not in answer.json()
    assert Product.objects.count() == 1


def test_what_was_not_available_is_tried_again(text, monkeypatch):
    """It says nothing of the request; kept, it would be the answer for a day."""
    now = timezone.now()
    Entry.objects.create(name="nightly", job="nightly", zone="UTC", first_seen_at=now, accounted_until=now)
    pause = 'mutation { cronsPause(job: "nightly", reason: "storm") { job { isPaused } errors { code } } }'

    def away(*args, **given):
        raise LedgerUnavailable("the database did not answer")

    with monkeypatch.context() as broken:
        broken.setattr(api, "pause", away)
        first = send(pause, "k", text)
    second = send(pause, "k", text)

    assert first.json()["errors"][0]["extensions"] == {"code": "UNAVAILABLE"}
    assert second.json() == {"data": {"cronsPause": {"job": {"isPaused": True}, "errors": []}}}


def test_verbs_of_crons_are_carried_out_once_too(text):
    """They open transactions of their own, here inside of the key's."""
    now = timezone.now()
    Entry.objects.create(name="nightly", job="nightly", zone="UTC", first_seen_at=now, accounted_until=now)
    pause = 'mutation { cronsPause(job: "nightly", reason: "storm") { job { isPaused state } errors { code } } }'

    first, second = send(pause, "k", text), send(pause, "k", text)

    assert first.json()["data"]["cronsPause"]["job"]["isPaused"] is True
    assert second.content == first.content
    assert AuditEvent.objects.filter(verb="pause").count() == 1


def test_keys_are_each_owners_own(text):
    other = make_token()
    user = User.objects.create_superuser("staff")
    by_cookie = Client(headers={"Idempotency-Key": "k"})
    by_cookie.force_login(user)

    send(CREATE % "Tea", "k", text)
    send(CREATE % "Tea", "k", other)
    by_cookie.post("/graphql", {"query": CREATE % "Tea"}, content_type="application/json")

    assert Product.objects.count() == 3


@pytest.mark.parametrize("key", ["", " ", "a b", "k" * 201, "é"])
def test_key_that_is_none_is_refused(text, key):
    """Taken for none, a request that was meant to be done once would be done twice."""
    [error] = send(CREATE % "Tea", key, text).json()["errors"]

    assert error["extensions"] == {"code": "BAD_USER_INPUT"}
    assert Product.objects.count() == 0


def test_reading_needs_no_key_and_keeps_none(text):
    assert send("{ hello }", "k", text).json() == {"data": {"hello": "Hello, GraphQL!"}}
    assert IdempotencyKey.objects.count() == 0


def test_document_that_is_wrong_takes_no_key(text):
    send("mutation { createProdukt }", "k", text)

    send(CREATE % "Tea", "k", text)

    assert Product.objects.count() == 1


def test_what_failed_on_our_side_leaves_nothing_and_may_be_sent_again(text, monkeypatch):
    """Of two fields the second failed: what the first wrote goes with it, or the repetition would write it twice."""
    create = 'createProduct(input: {name: "Tea", price: "5"}) { errors { code } }'
    both = f"mutation {{ {create} updateLowStockProducts {{ count }} }}"
    with monkeypatch.context() as patched:
        patched.setattr("crm.stock.update_low_stock", lambda **given: 1 / 0)
        failed = send(both, "k", text).json()
    left = Product.objects.count()

    again = send(both, "k", text).json()

    assert failed["errors"][0]["extensions"] == {"code": "INTERNAL"}
    assert left == 0
    assert "errors" not in again
    assert Product.objects.count() == 1


def test_key_is_forgotten_after_a_day(text):
    send(CREATE % "Tea", "k", text)
    send(CREATE % "Jam", "other", text)
    IdempotencyKey.objects.update(created_at=timezone.now() - idempotency.KEPT)

    send(CREATE % "Tea", "k", text)

    assert Product.objects.count() == 3
    assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["k"]


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_one_is_carried_out_and_both_are_told_the_same():
    """The second waits for the first; it neither fails nor does it again."""
    text = make_token()
    start = threading.Barrier(6)
    answers = []

    def one():
        try:
            start.wait(60)
            answers.append(send(CREATE % "Tea", "k", text))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    told = {answer.content for answer in answers}
    assert len(answers) == 6
    assert len(told) == 1, told
    assert json.loads(told.pop())["data"]["createProduct"]["errors"] == []
    assert Product.objects.count() == 1
    assert sum("Idempotency-Replayed" in answer.headers for answer in answers) == 5
