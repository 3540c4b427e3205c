"""Trusted documents: asked by their id alone, fitting the schema, and all that some tokens may ask."""

import hashlib
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from graphql import OperationDefinitionNode, parse, validate

from crm import token_files, tokens
from crm.graph import trusted
from crm.graph.limits import check
from crm.graph.media import GRAPHQL, JSON
from crm.graph.sizes import measure
from crm.models import ServiceToken
from crm.schema import schema

UNKNOWN = f"sha256:{'0' * 64}"
# A full page, as each document's client asks for it.
ASKED = {
    "hello": {}, "update_low_stock": {"key": "k"}, "low_products": {"below": 10},
    "pending_orders": {"since": "2026-11-15T02:00:00Z", "until": "2026-11-22T02:00:00Z"},
}  # fmt: skip


def issue(*scopes, **options):
    now = timezone.now()
    return tokens.issue("test", scopes or ["orders:read"], now + timedelta(days=1), now=now, **options)


def post(body, text=None, accept=JSON):
    headers = {"Accept": accept} | ({"Authorization": f"Bearer {text}"} if text else {})
    return Client(headers=headers).post("/graphql", body, content_type="application/json")


def refusal(response):
    assert set(response.json()) == {"errors"}
    (error,) = response.json()["errors"]
    return response.status_code, error["extensions"]["code"], error["message"]


@pytest.mark.parametrize("document", trusted.every(), ids=lambda each: each.name)
def test_each_document_fits_the_schema_and_the_limits(document):
    """A field that is renamed fails here, and not in the night; one document has one operation."""
    parsed = parse(document.text)

    assert validate(schema._schema, parsed) == []
    assert [type(each) for each in parsed.definitions] == [OperationDefinitionNode]
    check(measure(parsed, ASKED[document.name]))


def test_a_document_is_asked_by_the_hash_of_its_text(db):
    """By anyone who may ask what it asks: the heartbeat shows no token."""
    hello = trusted.of("hello")

    response = post({"documentId": hello.id, "operationName": "Hello"})

    assert hello.id == f"sha256:{hashlib.sha256(hello.text.encode()).hexdigest()}"
    assert (response.status_code, response.json()) == (200, {"data": {"hello": "Hello, GraphQL!"}})


def test_its_variables_are_those_of_the_request(db):
    _, text = issue("orders:read", "customers:read")
    body = {"documentId": trusted.of("pending_orders").id, "variables": ASKED["pending_orders"]}

    answer = post(body, text).json()
    without = post(body | {"variables": {}}, text).json()

    assert answer["data"]["orders"]["edges"] == []
    assert "$since" in without["errors"][0]["message"]


@pytest.mark.parametrize(("accept", "status"), [(JSON, 200), (GRAPHQL, 400)])
def test_an_unknown_id_is_told_as_a_document_that_cannot_run(db, accept, status):
    """With one error, as the specification's appendix wants it."""
    told = refusal(post({"documentId": UNKNOWN}, accept=accept))

    expected = "No trusted document has this id. Was it changed, or is it of another release?"
    assert told == (status, "UNKNOWN_DOCUMENT", expected)


@pytest.mark.parametrize("given", ["", "hello", UNKNOWN.upper(), UNKNOWN + "0", f"{UNKNOWN}\n", 7, ["a"], {}, True])
def test_what_is_no_id_is_no_request(db, given):
    told = refusal(post({"documentId": given}))

    expected = "documentId is none. Expected sha256: and 64 lower-case hexadecimal digits."
    assert told == (400, "BAD_USER_INPUT", expected)


def test_an_id_and_a_query_are_one_too_many(db):
    """Nobody could say which of the two was answered."""
    told = refusal(post({"documentId": trusted.of("hello").id, "query": "{ hello }"}))

    assert told == (400, "BAD_USER_INPUT", "The request has a query and a documentId. Send one of them.")


@pytest.mark.parametrize("query", ["{ hello }", "query Hello { hello }", "{", "\ud800"])
def test_some_tokens_may_ask_nothing_else(db, query):
    """Whoever steals the jobs' token can ask what the jobs ask; before anything is parsed."""
    row, text = issue(trusted_only=True)

    told = refusal(post({"query": query}, text))

    expected = f"The service token {row.prefix} may ask trusted documents only, and this is none of them."
    assert told == (403, "FORBIDDEN", expected)


def test_such_a_token_may_ask_a_trusted_document_by_its_text_too(db):
    """And its scopes hold as ever."""
    _, text = issue("reports:read", trusted_only=True)
    hello, orders = trusted.of("hello"), trusted.of("pending_orders")

    by_id, by_text = post({"documentId": hello.id}, text), post({"query": hello.text}, text)
    forbidden = post({"documentId": orders.id, "variables": ASKED["pending_orders"]}, text).json()
    empty = post({"query": None}, text)

    assert by_id.json() == by_text.json() == {"data": {"hello": "Hello, GraphQL!"}}
    assert forbidden["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert empty.status_code == 400


def test_tokens_keep_to_trusted_documents_when_they_are_replaced(db, tmp_path, capsys):
    """That of the jobs is one of them; the list says so."""
    call_command("service_token", "issue", "night", "--scope=orders:read", "--trusted-only")
    jobs = token_files.ensure_for_jobs(tmp_path / "token", now=timezone.now())
    night = ServiceToken.objects.get(name="night")
    replaced, _ = tokens.rotate(night.prefix)
    capsys.readouterr()

    call_command("service_token", "list")

    assert [jobs.trusted_only, night.trusted_only, replaced.trusted_only, issue()[0].trusted_only] == [
        True, True, True, False,
    ]  # fmt: skip
    assert capsys.readouterr().out.count("; trusted documents only; expires ") == 3


def test_a_document_that_is_not_there_is_a_mistake_of_the_code():
    with pytest.raises(KeyError, match=r"has no nothing\.graphql"):
        trusted.of("nothing")
