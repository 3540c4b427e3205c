"""Whatever fits the schema is answered: no 500, no error that nobody meant for a client."""

import json
from datetime import timedelta

import hypothesis
import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone
from graphql import FloatValueNode, IntValueNode, StringValueNode
from hypothesis import strategies as st
from hypothesis_graphql import Mode, from_schema, nodes

from crm import tokens
from crm.graph.limits import KNOWN
from crm.models import Customer, Product
from crm.schema import schema
from crons.models import Entry
from tests import seeds

# What each scalar takes, and what it does not; the ends of what numbers and moments can be among both.
MOMENTS = st.one_of(
    st.datetimes().map(lambda at: at.isoformat()),
    st.datetimes(timezones=st.timezones()).map(lambda at: at.isoformat()),
    st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2026-02-30T00:00:00Z", "now", ""]),
)
AMOUNTS = st.one_of(
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
    st.sampled_from(["1e999999", "-0", "0.005", "9" * 40, "1E-999999", "١٢"]),
)
SCALARS = {
    "DateTime": MOMENTS.map(nodes.String),
    "Decimal": AMOUNTS.map(nodes.String),
    "JSON": st.one_of(
        st.integers().map(lambda each: IntValueNode(value=str(each))),
        st.floats(allow_nan=False, allow_infinity=False).map(lambda each: FloatValueNode(value=repr(each))),
        st.text(max_size=10).map(lambda each: StringValueNode(value=each)),
    ),
}
TEXT = schema.as_str()
CODES = {
    "BAD_USER_INPUT", "FORBIDDEN", "INTROSPECTION_OFF", "NOT_FOUND", "TOO_LARGE", "TOO_SLOW", "UNAUTHENTICATED",
    "UNAVAILABLE",
}  # fmt: skip


def documents(mode, names=()):
    """Draw documents of all root fields, valid ones of one field: with all at once most are too large to be run."""
    if mode is Mode.NEGATIVE:  # not of one field: some have nothing that could be of a wrong type
        return from_schema(TEXT, custom_scalars=SCALARS, mode=mode, codec=None)
    graphql = schema._schema
    names = names or [*graphql.query_type.fields, *graphql.mutation_type.fields]
    return st.sampled_from(names).flatmap(
        lambda name: from_schema(TEXT, fields=[name], custom_scalars=SCALARS, mode=mode, codec=None)
    )


@pytest.fixture
def shop(db):
    """Rows for what is drawn to find, and a token that may do everything."""
    now = timezone.now()
    Customer.objects.create(name="Ada", email="ada@example.com")
    Product.objects.create(name="Tea", price=5, stock=3)
    Entry.objects.create(name="0", job="0", zone="UTC", first_seen_at=now, accounted_until=now)
    return tokens.issue("test", tokens.SCOPES, now + timedelta(days=1), now=now)[1]


def check(token, document):
    body = json.dumps({"query": document})
    # Whatever is drawn may be as long as it likes: the limit on bodies is another's matter.
    if len(body) > KNOWN.body_bytes:
        return
    client = Client(headers={"Authorization": f"Bearer {token}"}, raise_request_exception=False)
    with transaction.atomic():
        response = client.post("/graphql", body, content_type="application/json")
        transaction.set_rollback(True)

    answer = response.json()
    told = {error.get("extensions", {}).get("code") for error in answer.get("errors", ())}
    assert response.status_code == 200, (document, response.text)
    assert told <= CODES | {None}, (document, answer)


@pytest.mark.parametrize("mode", list(Mode))
def test_whatever_is_drawn_of_the_schema_is_answered(shop, mode):
    """Valid documents, and such as break one rule of the schema."""

    @hypothesis.seed(seeds.seed(7))
    @hypothesis.settings(max_examples=40, database=None, phases=(hypothesis.Phase.generate,))
    @hypothesis.given(documents(mode))
    def answered(document):
        check(shop, document)

    answered()
