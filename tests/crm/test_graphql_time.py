"""What a request may cost the database: a page reads its rows and no others, and no statement takes for ever."""

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from crm import reports, tokens
from crm.models import Customer, OrderItem, Product

NESTED = "{ products(first: 2) { edges { node { orderItems(first: 3) { edges { node { pk } } } } } } }"
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def ask(db):
    now = timezone.now()
    _, text = tokens.issue("test", tokens.SCOPES, now + timedelta(days=1), now=now)
    client = Client(headers={"Authorization": f"Bearer {text}"})

    def ask(query):
        return client.post("/graphql", json.dumps({"query": query}), content_type="application/json").json()

    return ask


@pytest.fixture
def endless_report(monkeypatch):
    """Make the figures of the shop take for ever."""

    def totals(until):
        with connection.cursor() as cursor:
            cursor.execute(ENDLESS)
            return cursor.fetchall()

    monkeypatch.setattr(reports, "totals", totals)


def add_items(make_customer, count):
    now = timezone.now()
    orders = list(make_customer(*[now] * count).orders.all())
    for product in Product.objects.all():
        OrderItem.objects.bulk_create(OrderItem(order=order, product=product, unit_price=1) for order in orders)


@pytest.mark.sqlite
def test_a_page_below_many_rows_reads_its_own_rows_only(ask, make_customer):
    """At accepted cost it took 9 s among 613,000 items: numbering rows by a window reads all that there are."""
    Product.objects.bulk_create(Product(name=f"P{n}", price=1, stock=1) for n in range(2))
    steps = []

    def worked():
        steps[-1] += 1
        return 0

    for count in (10, 1_000):
        add_items(make_customer, count)
        connection.connection.set_progress_handler(worked, 1)
        steps.append(0)
        found = list(OrderItem.objects.raw("SELECT 1 AS id"))
        answer = ask(NESTED)
        connection.connection.set_progress_handler(None, 0)
        assert len(found) == 1
        assert [len(each["node"]["orderItems"]["edges"]) for each in answer["data"]["products"]["edges"]] == [3, 3]

    assert steps[1] < 1.5 * steps[0]


@pytest.mark.django_db(transaction=True)
def test_a_statement_that_takes_too_long_is_refused_in_words(ask, endless_report, settings):
    settings.CRM_STATEMENT_TIMEOUT = 0.2

    answer = ask("{ reportTotals { customers } }")

    [error] = answer["errors"]
    assert error["message"] == "The database took longer than 0.2 s. Ask for fewer rows, or narrow the filter."
    assert (error["extensions"], error["path"]) == ({"code": "TOO_SLOW"}, ["reportTotals"])


@pytest.mark.django_db(transaction=True)
def test_what_was_done_before_a_slow_statement_stays_done(ask, endless_report, settings, caplog):
    """Each mutation commits by itself: whoever reads that a customer was made finds it."""
    settings.CRM_STATEMENT_TIMEOUT = 0.2
    made = 'createCustomer(input: {name: "Ada", email: "ada@example.com"}) { customer { pk } }'

    told = ask(f"mutation {{ {made} }}")
    slow = ask("{ reportTotals { customers } customers { totalCount } }")

    assert told["data"]["createCustomer"]["customer"]["pk"] == Customer.objects.get().pk
    assert [error["extensions"]["code"] for error in slow["errors"]] == ["TOO_SLOW"]
    assert caplog.records == []  # a client's mistake, not ours


def test_the_limit_ends_with_the_request(ask, settings):
    """Jobs, and pages of the admin, work through what takes long."""
    settings.CRM_STATEMENT_TIMEOUT = 0.05
    assert "errors" not in ask("{ customers { totalCount } }")

    with connection.cursor() as cursor:
        cursor.execute(ENDLESS.replace("FROM n)", "FROM n WHERE i < 300000)"))
        assert cursor.fetchall() == [(300_000,)]
