"""GraphQL over HTTP to the letter of its specification: media types, status codes, no `data` where nothing ran."""

import json
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from crm import tokens
from crm.graph.media import negotiate

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
# Left out on purpose: a query in an address stands in logs and caches. All three say "MAY", of queries by GET.
OPTIONAL = {"5A70", "6A70", "D6D5"}


@pytest.mark.needs("nodejs")
def test_audits_of_graphql_http_pass(live_server):
    """The suite of the specification's own reference implementation, run by node over a real socket."""
    now = timezone.now()
    token = tokens.issue("audit", ["customers:read"], now + timedelta(days=1), now=now)[1]
    script = Path(__file__).parent / "graphql_http" / "run.mjs"

    done = subprocess.run(
        ["node", script, f"{live_server.url}/graphql", token], capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert len(results) == 60
    failed = [each for each in results if each["status"] != "ok"]
    assert {each["id"] for each in failed} == OPTIONAL, failed
    assert {each["status"] for each in failed} == {"notice"}  # not "error", of a MUST; nor "warn", of a SHOULD


def post(body, accept=None, content_type=JSON, client=None):
    body = body if isinstance(body, (bytes, str)) else json.dumps(body)
    headers = {} if accept is None else {"Accept": accept}
    return (client or Client()).post("/graphql", body, content_type=content_type, headers=headers)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (JSON, JSON),
        (GRAPHQL, GRAPHQL),
        (f"{GRAPHQL}; charset=utf-8, {JSON}; charset=utf-8", GRAPHQL),  # Apollo's and Relay's
        (f"{JSON}, {GRAPHQL}", GRAPHQL),
        (f"{GRAPHQL};q=0.5, {JSON}", JSON),
        (f"{GRAPHQL}, {JSON};q=0.9, */*;q=0.1", GRAPHQL),
        (f"{GRAPHQL};q=0, */*", JSON),
        (f"{JSON};q=0, */*", GRAPHQL),
        (f"{JSON};q=0", None),
        (f"{GRAPHQL.upper()}", GRAPHQL),
        ("text/html, */*;q=0.8", JSON),
        ("text/html", None),
        ("application/json;q=nonsense", None),
        (f"{JSON};charset=latin-1", None),
        (",;,;;q=,", None),
        (f"{'text/html,' * 10_000}{JSON}", None),
    ],
)
def test_media_type_is_the_one_that_the_client_wants(accept, kind):
    assert negotiate(accept) == kind


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"query": "{"}, "Syntax Error: Expected Name, found <EOF>."),
        ({"query": "{ helo }"}, "Cannot query field 'helo' on type 'Query'."),
        ({"query": "query ($a: Int!) { a: hello @skip(if: true) }"}, "Variable '$a' is never used."),
        ({"query": "{ __schema { types { name } } }"}, "The schema is shown to staff and to service tokens only."),
        ({"query": "{ " + "a: hello " * 60 + "}"}, "The document's aliases: 60; at most 5. Ask for less, or in parts."),
    ],
)
def test_document_that_does_not_run_has_no_data(body, message):
    """`"data": null` would say that it ran; and 200 only for clients that know no other type than JSON."""
    plain, typed = post(body, JSON), post(body, GRAPHQL)

    assert (plain.status_code, plain.headers["Content-Type"]) == (200, JSON)
    assert (typed.status_code, typed.headers["Content-Type"]) == (400, GRAPHQL)
    assert plain.json() == typed.json()
    assert set(plain.json()) == {"errors"}
    assert message.startswith(plain.json()["errors"][0]["message"][:40])


@pytest.mark.django_db
def test_operation_that_ran_and_failed_has_data_and_is_well():
    """Its errors stand in the answer: the request was understood and carried out as far as it went."""
    response = post({"query": "{ customers { totalCount } }"}, GRAPHQL)

    assert response.status_code == 200
    assert response.json()["data"] is None
    assert response.json()["errors"][0]["path"] == ["customers"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "The body is no JSON."),
        (b"\xff\xfe{\x00}\x00", "The body is no UTF-8. Send JSON in UTF-8."),
        ({"query": "{ hello }", "operationName": 7}, "operationName is no name of an operation, of 100 letters"),
        ({"query": "{ hello }", "operationName": "Other"}, 'Unknown operation named "Other".'),
        ({"query": "{ hello }", "variables": []}, "The GraphQL operation's `variables` must be an object or null"),
        ({}, "No GraphQL query found in the request"),
        ([{"query": "{ hello }"}], "The body is no JSON object."),
    ],
)
@pytest.mark.parametrize("accept", [JSON, GRAPHQL])
def test_request_that_makes_no_sense_is_answered_in_the_clients_type(body, message, accept):
    """Clients read `errors`; a body of plain text hid the reason behind their own."""
    response = post(body, accept)

    assert (response.status_code, response.headers["Content-Type"]) == (400, accept)
    [error] = response.json()["errors"]
    assert error["message"].startswith(message)
    assert error["extensions"] == {"code": "BAD_USER_INPUT"}


def test_what_the_client_cannot_read_is_refused():
    response = post({"query": "{ hello }"}, "text/html")

    assert (response.status_code, response.headers["Content-Type"]) == (406, JSON)
    assert response.json()["errors"][0]["message"] == (
        "Accept is 'text/html'. What there is: application/graphql-response+json, application/json, text/event-stream."
    )


@pytest.mark.parametrize(("charset", "status"), [("utf-8", 200), ("UTF8", 200), ("latin-1", 415), ("utf-16", 415)])
def test_body_is_utf_8(charset, status):
    assert post({"query": "{ hello }"}, content_type=f"{JSON}; charset={charset}").status_code == status


@pytest.mark.parametrize("method", ["get", "put", "delete", "head"])
def test_all_but_post_are_refused_in_the_clients_type(method):
    response = getattr(Client(), method)("/graphql", {"query": "mutation { __typename }"}, headers={"Accept": GRAPHQL})

    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    assert response.headers["Content-Type"] == GRAPHQL


@pytest.mark.django_db
def test_token_that_opens_nothing_is_unauthorized_in_the_clients_type():
    response = Client(headers={"Authorization": "Bearer crm_nothing", "Accept": GRAPHQL}).post(
        "/graphql", {"query": "{ hello }"}, content_type=JSON
    )

    assert (response.status_code, response.headers["Content-Type"]) == (401, GRAPHQL)
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="crm"'
    assert "data" not in response.json()


def test_answers_differ_by_accept_for_caches():
    assert "Accept" in post({"query": "{ hello }"}).headers["Vary"]
    assert "Accept" in post(b"{").headers["Vary"]


@pytest.mark.django_db
def test_staff_sees_the_same(client):
    client.force_login(User.objects.create_superuser("staff"))

    response = post({"query": "{ customers { totalCount } }"}, GRAPHQL, client=client)

    assert (response.status_code, response.json()) == (200, {"data": {"customers": {"totalCount": 0}}})
