"""What people send by mistake or on purpose, wherever it comes in: look-alikes, and moments that are not yet.

Of the rest of the kind: amounts in test_graphql_reads and test_graphql_mutations, names with line ends and mail servers
that hang in test_digests_outbox, zones that there are not in test_digests_preferences and test_settings, files that are
no CSV in test_imports, endpoints that lead to themselves in test_webhooks_posting.
"""

import re
from datetime import timedelta
from urllib.parse import quote

import hypothesis
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from hypothesis import strategies as st

from crm import customers, reports
from crm.customers import delete_inactive
from crm.models import Customer, Order
from crm.problems import Refused
from tests import seeds

from .conftest import CUT, NOW

TOLD = (
    "The e-mail address has letters of several alphabets in one name of its domain, as one that shall pass for "
    "another's has. Write it in one alphabet."
)


@pytest.mark.parametrize(
    "domain",
    [
        "ex\u0430mple.com",  # a Cyrillic a
        "shop.ex\u0430mple.com",
        "xn--exmple-4nf.com",  # the same
        "XN--EXMPLE-4NF.com",
        "go\u03bfgle.com",  # a Greek omicron
        "\uff45xample.com",  # a letter of full width
    ],
)
def test_an_address_that_passes_for_anothers_is_refused(db, client, domain):
    """By the rule of customers, which GraphQL and imports call, and in the admin."""
    values = {"name": "Ada", "email": f"ada@{domain}"}
    client.force_login(User.objects.create_superuser("root"))

    with pytest.raises(Refused) as refused:
        customers.create(values, now=NOW)
    page = client.post(reverse("admin:crm_customer_add"), values).content.decode()

    (problem,) = refused.value.problems
    assert (problem.message, problem.path) == (TOLD, ("email",))
    assert "letters of several alphabets" in page
    assert not Customer.objects.exists()


@pytest.mark.parametrize(
    "domain",
    [
        "example.com", "b\u00fccher.example", "xn--bcher-kva.example", "\u043f\u0440\u0438\u043c\u0435\u0440.com",
        "\u4f8b\u3048.jp", "3m.\u03b5\u03bb", "a-1.example",
    ],
)  # fmt: skip
def test_an_address_of_one_alphabet_is_anybodys(db, domain):
    """A whole name in Cyrillic letters is a name; its ending may be in Latin ones."""
    assert customers.create({"name": "Ada", "email": f"ada@{domain}"}, now=NOW).pk


def test_what_is_no_name_in_any_alphabet_is_no_address(db):
    with pytest.raises(Refused, match="Enter a valid email address"):
        customers.create({"name": "Ada", "email": "ada@xn--\u0430.com".encode("ascii", "ignore").decode()}, now=NOW)


def test_order_of_the_future_counts_from_its_moment_on_and_keeps_its_customer(make_customer):
    """One of a clock that ran ahead, or an import."""
    customer = make_customer(NOW + timedelta(days=3))
    gone = make_customer(CUT - timedelta(days=1))

    before = reports.totals(NOW)
    cleanup = delete_inactive(now=NOW)
    after = reports.totals(NOW + timedelta(days=4))

    assert (before.orders, after.orders) == (1, 1)
    assert (cleanup.deleted, Customer.objects.filter(pk=gone.pk).exists()) == (1, False)
    assert Order.objects.get().customer == customer


def _paths(resolver, prefix=""):
    for each in resolver.url_patterns:
        path = prefix + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from _paths(each, path)
        elif isinstance(each, URLPattern):
            yield path


HOSTILE = ["..", "%2e%2e", "%00", "%ff", "a%0d%0aSet-Cookie:x=1", "'", "_5F", "null", "a" * 300]
NUMBERS = ["0", "1", "-1", "9" * 30, "\u0661"]
SEGMENTS = st.one_of(st.sampled_from(HOSTILE + NUMBERS), st.text(max_size=8))
QUERIES = st.dictionaries(
    st.sampled_from(["page", "p", "q", "o", "all", "cursor", "after", "before", "status", "since", "until", "next"]),
    SEGMENTS,
    max_size=3,
)


def test_no_address_and_no_method_makes_the_site_fail(db):
    """Each route of the site, as a member of staff and as a stranger: whatever stands in its place holders."""
    routes = sorted(set(_paths(get_resolver("crm.urls"))))
    staff, stranger = Client(raise_request_exception=False), Client(raise_request_exception=False)
    staff.force_login(User.objects.create_superuser("root"))

    @hypothesis.seed(seeds.seed(9))
    @hypothesis.settings(max_examples=40, database=None, deadline=None, phases=(hypothesis.Phase.generate,))
    @hypothesis.given(
        st.sampled_from(routes), st.lists(SEGMENTS, min_size=4, max_size=4), QUERIES,
        st.sampled_from(["GET", "GET", "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"]), st.booleans(),
    )  # fmt: skip
    def answered(route, segments, query, method, as_staff):
        path = "/" + _filled(route, segments)
        response = (staff if as_staff else stranger).generic(
            method, path, QUERY_STRING="&".join(f"{name}={quote(value, safe='%')}" for name, value in query.items())
        )
        assert response.status_code < 500 or response.status_code in (501, 503), (method, path, query)

    answered()


def _filled(route, segments):
    texts = iter(segments)
    plain = re.sub(r"\(\?P<\w+>[^)]*\)|<[^>]*>", lambda match: next(texts, "x"), route)
    return re.sub(r"[\^$?\\]", "", plain)
