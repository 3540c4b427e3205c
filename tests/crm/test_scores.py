"""Scores of customers: fifths of all who ordered, counted in batches, the same wherever the work was cut off."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from crm import cron, tokens
from crm.models import Customer, CustomerScore, Order, Scoring
from crm.scores import fifths, scoring
from crons import Context, ToBeContinued
from crons.testing import due

from . import killing
from .conftest import attempt

SATURDAY = datetime(2026, 11, 21, 22, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def shop(make_customer):
    """Ten customers, of whom the later ones have ordered more often, for more, and more recently."""
    for number in range(1, 11):
        customer = make_customer(*(SATURDAY - (40 - 3 * number) * DAY for _ in range(number)))
        Order.objects.filter(customer=customer).update(total=Decimal(f"{number}0.10"))
    return list(Customer.objects.order_by("pk"))


def score(until=SATURDAY, **given):
    given = {"batch_size": 3, "pause": lambda seconds: None, **given}
    return scoring.score(until, now=lambda: SATURDAY, working=scoring.Working(**given))


def scores():
    return list(CustomerScore.objects.order_by("pk").values_list("customer_id", "recency", "frequency", "monetary"))


def test_each_customer_is_in_a_fifth_of_all(shop):
    """Two of ten in each."""
    row = score()

    assert scores() == [(each.pk, *[1 + index // 2] * 3) for index, each in enumerate(shop)]
    assert (row.stage, row.customers, row.counted, row.examined, row.scored) == ("done", 10, 10, 10, 10)
    last = CustomerScore.objects.get(customer=shop[-1])
    assert (last.orders, last.spent, last.last_ordered_at) == (10, Decimal("1001.00"), SATURDAY - 10 * DAY)
    assert last.as_of == SATURDAY
    assert dict(scoring.limits_said(row)) == {
        "recency": "34; 28; 22; 16 days ago",
        "frequency": "2; 4; 6; 8 orders",
        "monetary": "40.20; 160.00; 360.00; 640.00",
    }


@given(st.lists(st.integers(0, 10**15), max_size=60))
def test_fifths_are_no_larger_than_they_must_be(values):
    """Equal values are together, a better value is never in a worse fifth, and each limit closes its share."""
    known = sorted(fifths.rounded(each) for each in values)
    parted_by = fifths.limits(Counter(known))

    given_scores = [fifths.score(each, parted_by) for each in sorted(values)]

    assert given_scores == sorted(given_scores)
    assert all(1 <= each <= 5 for each in given_scores)
    for part, limit in enumerate(parted_by, 1):
        assert sum(each <= limit for each in known) * 5 >= len(known) * part
        assert sum(each < limit for each in known) * 5 < len(known) * part


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(0, 0), (7, 7), (999, 999), (1001, 1000), (123_999, 123_000), (10**14 - 1, 999 * 10**11), (-1234, -1230)],
)
def test_amounts_keep_three_digits(value, rounded):
    assert fifths.rounded(value) == rounded


def test_what_does_not_count(make_customer):
    """Orders that are cancelled, to come, or a year old; customers without a name, or who came later."""
    counts = make_customer(SATURDAY - timedelta(microseconds=1))
    make_customer(SATURDAY - DAY, status="cancelled")
    make_customer(SATURDAY, SATURDAY + 400 * DAY)
    make_customer(datetime(2025, 11, 21, 21, 59, 59, tzinfo=UTC))
    make_customer()
    make_customer(SATURDAY - DAY, anonymised_at=SATURDAY)
    make_customer(SATURDAY - DAY, created_at=SATURDAY)
    told = []

    row = score(on_batch=lambda examined, changed, skipped: told.append((examined, changed, dict(skipped))))

    assert [each[0] for each in scores()] == [counts.pk]
    assert (row.examined, row.scored) == (6, 1)
    assert told == [(3, 1, {"no order within the year": 2}), (3, 0, {"no order within the year": 2, "anonymised": 1})]


def test_a_shop_without_orders_has_no_scores(make_customer):
    make_customer()

    row = score()

    assert (row.stage, row.scored, row.limits, scores()) == ("done", 0, {}, [])


def test_huge_amounts_are_kept_to_the_cent(make_customer):
    customer = make_customer(*[SATURDAY - DAY] * 3)
    Order.objects.update(total=Decimal("999999999999.99"))

    score()

    assert CustomerScore.objects.get(customer=customer).spent == Decimal("2999999999999.97")


def test_killed_at_any_statement_it_comes_to_the_same_end(shop):
    """Half of a batch is none, and its note of how far it is goes with it."""
    rounds = 0
    for rounds in killing.at_every_statement(lambda: score(batch_size=4)):  # noqa: B007
        row = score(batch_size=4)

        assert scores() == [(each.pk, *[1 + index // 2] * 3) for index, each in enumerate(shop)]
        assert (row.stage, row.counted, row.examined, row.scored, row.tallies) == ("done", 10, 10, 10, {})
    assert rounds > 20


def test_stopped_after_any_batch_it_goes_on_there(shop):
    """One batch a night: nothing is done twice."""
    nights = 0
    while (row := score(is_over=iter([False, True]).__next__)).stage != "done":
        nights += 1
        assert nights < 20

    assert nights == 9  # four batches and the end of each stage, and the night that begins with the last
    assert (row.counted, row.examined, row.scored, len(scores())) == (10, 10, 10, 10)


def test_done_again_nothing_changes(shop):
    """A retry of a run that had only its end to write down."""
    score()
    Order.objects.all().delete()

    row = score()

    assert (row.stage, len(scores())) == ("done", 10)


def test_a_newer_scoring_overtakes_one_that_is_not_done(shop):
    """The older one, begun again, leaves the newer scores alone."""
    older = score(is_over=iter([False, True]).__next__)
    newer = score(SATURDAY + 7 * DAY)

    again = score()

    assert (older.stage, newer.stage, again.stage) == ("counting", "done", "overtaken")
    assert set(CustomerScore.objects.values_list("as_of", flat=True)) == {SATURDAY + 7 * DAY}
    assert score(SATURDAY - 7 * DAY).stage == "overtaken"


def test_who_orders_no_more_loses_the_scores(shop):
    """So does one who is gone past Django."""
    score()
    Order.objects.filter(customer=shop[0]).delete()
    CustomerScore.objects.filter(customer=shop[-1]).update(customer_id=shop[-1].pk + 1000)

    score(SATURDAY + DAY)

    assert [each[0] for each in scores()] == [each.pk for each in shop[1:]]


def test_a_customer_who_is_deleted_takes_the_scores_along(shop):
    score()
    Order.objects.filter(customer=shop[0]).delete()

    shop[0].delete()

    assert len(scores()) == 9


class Busy:
    """A database that ends the first statements on orders."""

    def __init__(self, times):
        self.left = times

    def __call__(self, execute, sql, params, many, context):
        if self.left and "crm_order" in sql and "GROUP BY" in sql:
            self.left -= 1
            raise OperationalError("canceling statement due to statement timeout")
        return execute(sql, params, many, context)


def test_a_busy_database_gets_smaller_batches(shop):
    """And pauses between them as long as the batches took; nothing is lost."""
    paused = []
    with connection.execute_wrapper(Busy(2)):
        row = score(batch_size=200, clock=iter(range(1000)).__next__, pause=paused.append)

    assert (row.stage, row.scored) == ("done", 10)
    assert set(paused) == {0.2}


def test_a_database_that_stays_busy_fails_the_run(shop):
    """At the smallest batch; its retry goes on where it is."""
    with connection.execute_wrapper(Busy(99)), pytest.raises(OperationalError, match="statement timeout"):
        score(batch_size=200)

    assert score().scored == 10


def test_batches_are_read_along_an_index(shop):
    """No statement's cost grows with the number of customers, but for the count."""
    with CaptureQueriesContext(
        connection,
    ) as captured:
        score(batch_size=5)

    batches = [each["sql"] for each in captured if "LIMIT 5" in each["sql"]]
    assert len(batches) == 6  # two of five and the end, in both stages
    assert all('"crm_customer"."id" > ' in each and "ASC LIMIT 5" in each for each in batches), batches
    assert not any("OFFSET" in each["sql"] for each in captured)


def test_the_job_works_at_night_and_goes_on_in_the_next(shop, monkeypatch, capsys):
    """Its slot is at the opening of its window; what it did stands in its report."""
    monkeypatch.setattr(scoring, "BATCH", 3)
    slots = [each.local for each in due("2026-11-16T00:00Z", "2026-11-23T00:00Z") if each.entry == "score_customers"]
    asked = []
    monkeypatch.setattr(Context, "should_stop", property(lambda self: len(asked) > 0 or asked.append(1)))

    with pytest.raises(ToBeContinued, match="10 of 10 customers counted, 0 scored"):
        cron.score_customers(attempt(SATURDAY))
    monkeypatch.setattr(Context, "should_stop", False)
    cron.score_customers(attempt(SATURDAY))
    cron.score_customers(attempt(SATURDAY - DAY))

    assert slots == ["2026-11-21 22:00:00+00:00"]
    assert len(scores()) == 10
    out = capsys.readouterr().out
    assert out.startswith(
        "Scored 10 of 10 customers, by their orders from 2025-11-21 22:00:00 +0000 to 2026-11-21 22:00:00 +0000.\n"
        "recency: the fifths end at 34; 28; 22; 16 days ago.\n"
    )
    assert out.endswith("Nothing done: a scoring as of a later moment than 2026-11-20 22:00:00+00:00 has begun.\n")


def test_a_dry_run_says_what_would_be_and_leaves_nothing(make_customer):
    make_customer(datetime.now(UTC) - DAY)
    make_customer()
    out = StringIO()

    call_command("score_customers", "--dry-run", stdout=out)

    first, *lines = out.getvalue().splitlines()
    assert first.startswith("Would score 1 of 2 customers, by their orders from ")
    assert lines[0] == "Left out 1: no order within the year."
    assert lines[2] == "frequency: the fifths end at 1; 1; 1; 1 orders."
    assert (Scoring.objects.count(), CustomerScore.objects.count()) == (0, 0)


def test_admin_shows_scores_and_how_they_came(shop, client):
    """To be looked at only, in the same number of statements for any number of rows."""
    row = score(run=41)
    user = User.objects.create_user("ada", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=["view_customerscore", "view_scoring", "view_customer"])
    )
    client.force_login(user)

    listed = client.get(reverse("admin:crm_customerscore_changelist"), {"recency": "5"}).content.decode()
    one = client.get(reverse("admin:crm_customerscore_change", args=[shop[-1].pk])).content.decode()
    how = client.get(reverse("admin:crm_scoring_change", args=[row.pk])).content.decode()

    assert "Customer 9" in listed
    assert "Customer 0" not in listed
    assert "1,001.00" in one
    assert "monetary: 40.20; 160.00; 360.00; 640.00" in how
    assert ">run 41</a>" in how
    assert client.get(reverse("admin:crm_customerscore_add")).status_code == 403


QUERY = "{ customers(first: 10) { edges { node { pk score { recency frequency monetary orders spent asOf } } } } }"


def test_graphql_gives_the_scores_of_a_page_in_one_statement(shop, client):
    """None for who has none; they tell of orders, so they need that scope."""
    score()
    CustomerScore.objects.filter(customer=shop[0]).delete()
    asked = {}
    for scopes in (["customers:read"], ["customers:read", "orders:read"]):
        _, text = tokens.issue("test", scopes, timezone.now() + DAY, now=timezone.now())
        with CaptureQueriesContext(connection) as captured:
            response = client.post(
                "/graphql",
                {"query": QUERY},
                content_type="application/json",
                headers={"Authorization": f"Bearer {text}"},
            )
        asked[len(scopes)] = response.json()

    nodes = [each["node"] for each in asked[2]["data"]["customers"]["edges"]]
    assert nodes[0]["score"] is None
    assert nodes[-1]["score"] == {
        "recency": 5, "frequency": 5, "monetary": 5, "orders": 10, "spent": "1001.00",
        "asOf": "2026-11-21T22:00:00+00:00",
    }  # fmt: skip
    assert sum("crm_customerscore" in each["sql"] for each in captured) == 1
    assert asked[1]["errors"][0]["extensions"]["code"] == "FORBIDDEN"
