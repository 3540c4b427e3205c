"""A budget over time: what is asked is paid for, nobody overspends, and whoever has to wait is told how long."""

import threading
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection
from django.test import Client
from django.utils import timezone

from crm import tokens
from crm.expiry import delete_expired
from crm.graph import budget
from crm.graph.budget import REFUSED_COST, take
from crm.graph.media import GRAPHQL, JSON
from crm.models import CostBucket, Customer

NOW = 1_700_000_000.0
CUSTOMERS = "{ customers(first: 98) { pageInfo { hasNextPage } } }"  # 1 + 98 × 2: the page and what is in it


@pytest.fixture(autouse=True)
def minute(settings, monkeypatch):
    """A budget of 600 points a minute, ten a second, and a clock that the test moves."""
    settings.CRM_COST_PER_MINUTE = 600
    settings.CRM_STRANGER_COST_PER_MINUTE = 60
    clock = [NOW]
    monkeypatch.setattr(budget.time, "time", lambda: clock[0])
    return clock


@pytest.fixture
def token(db):
    now = timezone.now()
    return tokens.issue("test", ["customers:read", "customers:write"], now + timedelta(days=1), now=now)[1]


def post(query, token="", accept=JSON, client=None, **headers):
    headers = {"Accept": accept} | ({"Authorization": f"Bearer {token}"} if token else {}) | headers
    client = client or Client()
    return client.post("/graphql", {"query": query}, content_type="application/json", headers=headers)


def cost(response):
    return response.json()["extensions"]["cost"]


def test_an_answer_says_what_it_cost_and_what_is_left(token):
    answer = post(CUSTOMERS, token)

    assert (answer.status_code, cost(answer)) == (
        200,
        {
            "requested": 197,
            "budget": 600,
            "remaining": 403,
            "restoreRate": 10.0,
            "resetAt": "2023-11-14T22:13:40+00:00",  # 19.7 seconds from then
        },
    )


@pytest.mark.parametrize("accept", [JSON, GRAPHQL])
def test_who_has_spent_it_is_told_how_long_to_wait_and_is_answered_then(token, minute, accept):
    for _ in range(3):
        assert post(CUSTOMERS, token).status_code == 200

    refused = post(CUSTOMERS, token, accept)
    minute[0] += int(refused["Retry-After"]) - 1
    early = post(CUSTOMERS, token, accept)
    minute[0] += 1
    after = post(CUSTOMERS, token, accept)

    (error,) = refused.json()["errors"]
    assert (refused.status_code, refused["Retry-After"], refused["Content-Type"]) == (429, "19", accept)
    assert "data" not in refused.json()
    assert error == {
        "message": "The request costs 197 points, and 9 of 600 for each minute are left. Ask again in 19 s.",
        "extensions": {"code": "RATE_LIMITED", "retryAfter": 19},
    }
    assert cost(refused)["remaining"] == 9
    assert [early.status_code, after.status_code] == [429, 200]


def test_a_mutation_that_has_to_wait_was_not_begun(token):
    """Nor is its refusal what the same key is told later."""
    while post(CUSTOMERS, token).status_code == 200:
        pass
    create = 'mutation { createCustomer(input: {name: "Ada", email: "ada@example.com"}) { errors { code } } }'
    spend(f"token {token[4:12]}")

    refused = post(create, token, **{"Idempotency-Key": "k"})
    CostBucket.objects.all().delete()
    made = post(create, token, **{"Idempotency-Key": "k"})

    assert (refused.status_code, made.status_code) == (429, 200)
    assert "Idempotency-Replayed" not in made
    assert Customer.objects.count() == 1


def spend(owner):
    """Leave nothing of the minute of *owner*."""
    CostBucket.objects.update_or_create(owner=owner, defaults={"whole_at": int((NOW + 60) * 1_000_000)})


TOO_MUCH = "{ customers(first: 100) { edges { node { orders(first: 50) { edges { node { id } } } } } } }"


@pytest.mark.parametrize("query", ["{", "{ nothing }", TOO_MUCH])
def test_what_is_refused_costs_too(token, query):
    """Whoever sends only what cannot run is stopped as well; then nobody is told what is wrong with it."""
    refused = [post(query, token) for _ in range(600 // REFUSED_COST)]
    stopped = post(query, token)

    assert {response.status_code for response in refused} == {200}
    assert (stopped.status_code, stopped.json()["errors"][0]["extensions"]["code"]) == (429, "RATE_LIMITED")
    assert post("{ hello }", token).status_code == 429


def test_each_has_a_budget_of_their_own(token, db):
    """Tokens, users and the addresses of strangers; a user who is no member of staff has a stranger's."""
    other = tokens.issue("other", ["customers:read"], timezone.now() + timedelta(days=1), now=timezone.now())[1]
    staff, visitor = Client(), Client()
    staff.force_login(User.objects.create_user("staff", is_staff=True))
    visitor.force_login(User.objects.create_user("visitor"))
    spend(f"token {token[4:12]}")

    assert post("{ hello }", token).status_code == 429
    assert cost(post("{ hello }", other))["remaining"] == 599
    assert cost(post("{ hello }", client=staff))["remaining"] == 599
    assert cost(post("{ hello }", client=visitor))["remaining"] == 59
    assert cost(post("{ hello }"))["remaining"] == 59
    assert {row.owner.split()[0] for row in CostBucket.objects.all()} == {"token", "user", "address"}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::1", True),  # a customer has all of it
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("", "no address", True),
    ],
)
def test_strangers_are_known_by_their_network(db, one, other, same):
    for address in (one, other):
        post("{ hello }", client=Client(REMOTE_ADDR=address))

    assert CostBucket.objects.count() == 2 - same


def test_without_a_limit_nothing_is_counted(token, settings, django_assert_num_queries):
    settings.CRM_COST_PER_MINUTE = 0

    answer = post("{ hello }", token)

    assert "extensions" not in answer.json()
    assert not CostBucket.objects.exists()


def test_points_come_back_evenly_and_never_more_than_a_minute_of_them(db):
    """A tenth of a second is a point here; an hour later there are 600, not 36,000."""
    left = [take("a", each, 600, now=NOW + at).remaining for each, at in ((600, 0), (1, 0.1), (9, 1.0), (0, 3_600))]

    assert left == [0, 0, 0, 600]


def test_a_cost_above_the_whole_budget_is_never_granted(db):
    """The wait is for a whole budget; the settings allow none below the cost of one document."""
    balance = take("a", 601, 600, now=NOW)

    assert (balance.remaining, balance.wait_seconds) == (600, 1)
    assert not CostBucket.objects.exists()


def test_a_clock_that_is_put_back_stops_nobody_and_one_put_forth_gives_one_budget(db):
    """As a badly kept machine does twice a year; where clocks of two hosts are seconds apart, those are lost."""
    take("a", 600, 600, now=NOW)

    hour_back = take("a", 1, 600, now=NOW - 3_600)
    take("b", 600, 600, now=NOW)
    seconds_back = take("b", 1, 600, now=NOW - 5)
    take("c", 600, 600, now=NOW)
    hour_forth = take("c", 1, 600, now=NOW + 3_600)

    assert (hour_back.remaining, hour_back.wait_seconds) == (599, 0)
    assert seconds_back.wait_seconds == 6
    assert (hour_forth.remaining, hour_forth.wait_seconds) == (599, 0)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_many_at_once_spend_no_more_than_there_is():
    """Each with a connection of its own, as processes have; SQLite lets one write at a time anyhow."""
    granted, together = [], threading.Barrier(8)

    def spend_some():
        together.wait(30)
        for _ in range(25):
            if not take("a", 7, 600, now=NOW).wait_seconds:
                granted.append(7)
        connection.close()

    threads = [threading.Thread(target=spend_some) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sum(granted) == 595  # 85 × 7: one more would be 602


def test_a_database_that_takes_no_writes_answers_all_the_same(token, monkeypatch, caplog):
    """Reading is what still works then."""

    def full(*given, **options):
        raise DatabaseError("database or disk is full")

    monkeypatch.setattr(budget, "take", full)

    assert post("{ hello }", token).json()["data"] == {"hello": "Hello, GraphQL!"}
    assert "was not limited: database or disk is full" in caplog.text


def test_buckets_of_who_came_no_more_are_swept(db):
    """Strangers have addresses without end."""
    now = timezone.now()
    for owner, age in (("gone", 90_000), ("here", 60)):
        CostBucket.objects.create(owner=owner, whole_at=int((now.timestamp() - age) * 1_000_000))

    delete_expired(now=now)

    assert [row.owner for row in CostBucket.objects.all()] == ["here"]
