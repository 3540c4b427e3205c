"""Imports over GraphQL: begun from a text or a file, followed, gone on with, cancelled, once for each key."""

import io
from base64 import b64decode
from datetime import timedelta

import pytest
from django.utils import timezone

from crm import tokens
from crm.graph import uploads
from crm.imports import running
from crm.imports.models import CustomerImport, ImportPiece
from crm.models import Customer
from crons import api
from crons.models import Run

from .conftest import NOW

HEADER = "name,email,phone\n"
FIELDS = "import { id pk name state rowsTotal } errors { code message path }"
IMPORT = f"mutation($input: ImportCustomersInput!) {{ importCustomers(input: $input) {{ {FIELDS} }} }}"
RESUME = f"mutation($input: ImportInput!) {{ resumeImport(input: $input) {{ {FIELDS} }} }}"
CANCEL = f"mutation($input: ImportInput!) {{ cancelImport(input: $input) {{ {FIELDS} }} }}"
FOLLOW = """query($id: ID!) { import(id: $id) { name startedBy state rowsDone rowsTotal made refused run endedAt
    refusedRows(first: 2) { totalCount edges { node { row given problem } } pageInfo { hasNextPage } } } }"""


@pytest.fixture
def token(db):
    """A token that may import, and see imports; the job is known."""
    api.sync()
    now = timezone.now()
    return tokens.issue("loader", ["imports:read", "imports:write"], now + timedelta(days=1), now=now)[1]


@pytest.fixture
def ask(client, token):
    """Ask with the token; give what the one field answers, or the errors."""

    def asks(query, key="", **variables):
        headers = {"Authorization": f"Bearer {token}"} | ({"Idempotency-Key": key} if key else {})
        body = {"query": query, "variables": variables}
        answer = client.post("/graphql", body, content_type="application/json", headers=headers).json()
        return answer["errors"] if "errors" in answer else next(iter(answer["data"].values()))

    return asks


@pytest.fixture
def send(client, token):
    """Send a file to be kept, with the token."""

    def sends(content, name="new.csv", kind="text/csv", bearer=token, **headers):
        headers = ({"Authorization": f"Bearer {bearer}"} if bearer else {}) | headers
        return client.generic("POST", f"/imports?name={name}", content, content_type=kind, headers=headers)

    return sends


def work(row):
    return running.work(row.pk, now=lambda: NOW, run=7, on_progress=lambda done, of: None)


def test_text_is_imported_and_what_became_of_it_is_told(ask):
    text = HEADER + "Ada,ada@x.de,\nBob,nobody,\n=A,a@x.de,\nC,ada@x.de,\n"

    begun = ask(IMPORT, input={"csv": {"name": "new.csv", "text": text}})
    row = CustomerImport.objects.get()
    run = api.history("import_customers").get()
    work(row)
    told = ask(FOLLOW, id=begun["import"]["id"])

    assert begun["errors"] == []
    assert b64decode(begun["import"].pop("id")).decode() == f"CustomerImport:{row.pk}"
    assert begun["import"] == {"pk": row.pk, "name": "new.csv", "state": "WAITING", "rowsTotal": 4}
    token_name = f"loader {tokens.ServiceToken.objects.get().prefix} (graphql)"
    assert (run.args, run.requested_by) == ({"import_id": row.pk}, token_name)
    assert told == {
        "name": "new.csv", "startedBy": token_name, "state": "DONE", "rowsDone": 4, "rowsTotal": 4, "made": 1,
        "refused": 3, "run": "7", "endedAt": NOW.isoformat(),
        "refusedRows": {
            "totalCount": 3,
            "edges": [
                {"node": {"row": 3, "given": "Bob | nobody | ", "problem": "Enter a valid email address."}},
                {"node": {"row": 4, "given": "=A | a@x.de | ", "problem":
                    "The name begins with '=', as a formula does. Leave that out."}},
            ],
            "pageInfo": {"hasNextPage": True},
        },
    }  # fmt: skip


def test_file_is_sent_first_and_begun_by_its_id(ask, send, monkeypatch):
    """A hundred thousand rows are more than a GraphQL request may have."""
    monkeypatch.setattr(uploads, "_PIECE_BYTES", 7)

    sent = send((HEADER + "José,jose@x.de,\nBob,bob@x.de,\n").encode())
    kept = sent.json()
    before = api.history("import_customers").count()
    begun = ask(IMPORT, input={"upload": kept["id"]})
    row = CustomerImport.objects.get()
    work(row)

    assert (sent.status_code, before) == (201, 0)
    assert kept == {"id": begun["import"]["id"], "name": "new.csv", "rows": 2, "bytes": 48}
    assert api.history("import_customers").get().args == {"import_id": row.pk}
    assert list(Customer.objects.order_by("pk").values_list("name", flat=True)) == ["José", "Bob"]


@pytest.mark.parametrize(
    ("content", "changed", "status", "problem"),
    [
        (b"\x89PNG\r\n\x1a\n", {}, 400, "After line 0 comes what is not UTF-8. Save the file as \"CSV UTF-8\"."),
        (b"x", {"kind": "application/json"}, 415, "The body is 'application/json'. Send text/csv in UTF-8."),
        (b"x", {"kind": "multipart/form-data"}, 415, "The body is 'multipart/form-data'. Send text/csv in UTF-8."),
        (b"x", {"kind": "text/csv; charset=latin-1"}, 415,
            "The body is 'text/csv; charset=latin-1'. Send text/csv in UTF-8."),
        (b"x", {"name": "a%00b"}, 400, "The name is none: expected up to 200 characters, without NUL."),
        (b"x", {"bearer": ""}, 401,
            "Show a service token with the scope imports:write; staff has the admin."),
        (b"x", {"bearer": "crm_aaaaaaaa_x"}, 401,
            "The service token is not known. Check that it was copied whole, or issue another."),
        (b"x" * 9, {}, 413, "The body has 9 bytes; at most 8. Import it in parts."),
        (b"x", {"CONTENT-LENGTH": "one"}, 411, "The request does not say how long its body is. Send Content-Length."),
    ],
)  # fmt: skip
def test_file_that_is_none_is_refused(send, monkeypatch, content, changed, status, problem):
    monkeypatch.setattr(running, "MOST_BYTES", 8)

    answer = send(content, **changed)

    assert (answer.status_code, answer.json()) == (status, {"error": problem})
    assert not CustomerImport.objects.exists()


def test_file_that_ends_early_is_not_taken_for_the_whole(client, token):
    """Its last rows would be missing, and nothing would say so."""
    body = {"wsgi.input": io.BytesIO((HEADER + "Ada,ada@x.de\n").encode()), "CONTENT_LENGTH": "70"}

    answer = client.generic(
        "POST", "/imports", "x", content_type="text/csv", headers={"Authorization": f"Bearer {token}"}, **body
    )

    assert answer.status_code == 400
    assert answer.json() == {"error": "The body ended before the length that was promised. Send it again."}
    assert not CustomerImport.objects.exists()


def test_file_takes_a_token_that_may_import_and_no_login(client, db, send, admin_client):
    _, other = tokens.issue("x", ["imports:read"], timezone.now() + timedelta(days=1))

    assert send(HEADER, bearer=other).status_code == 403
    assert admin_client.post("/imports", HEADER, content_type="text/csv").status_code == 401
    assert client.get("/imports").status_code == 405
    assert not CustomerImport.objects.exists()


def test_files_that_wait_have_a_bound(ask, send, monkeypatch):
    """Each may have 20 MB, which lie in the database until it is begun."""
    monkeypatch.setattr(uploads, "MOST_WAITING", 2)
    content = HEADER + "Ada,ada@x.de,\n"
    first, _ = (send(content).json()["id"] for _ in range(2))

    refused = send(content)
    ask(CANCEL, input={"id": first})

    assert refused.status_code == 409
    assert refused.json() == {"error": "2 files of this token wait to be imported. Begin one, or cancel it."}
    assert send(content).status_code == 201


@pytest.mark.parametrize(
    ("given", "code", "path", "message"),
    [
        ({"csv": {"name": "x", "text": "Ada"}}, "INVALID", "csv.text", "The first line has the columns 'ada'. "),
        ({"csv": {"name": "x", "text": HEADER}}, "INVALID", "csv.text", "The file has a first line and no rows."),
        ({"csv": {"name": "x", "text": "\ud800"}}, "INVALID", "csv.text", "After line 0 comes what is not UTF-8."),
        ({"csv": {"name": " ", "text": HEADER}}, "INVALID", "csv.name", "Expected 1 to 200 characters."),
        ({"csv": {"name": "\ud800", "text": HEADER}}, "INVALID", "csv.name", "Expected 1 to 200 characters."),
        ({"upload": "Q3VzdG9tZXJJbXBvcnQ6Nw=="}, "NOT_FOUND", "upload", "There is no import of this id."),
    ],
)
def test_mistake_in_what_is_given_is_data(ask, given, code, path, message):
    answer = ask(IMPORT, input=given)

    [error] = answer["errors"]
    assert answer["import"] is None
    assert (error["code"], error["path"]) == (code, ["input", *path.split(".")])
    assert error["message"].startswith(message)
    assert not CustomerImport.objects.exists()


@pytest.mark.parametrize("given", [{}, {"upload": None}, {"csv": {"name": "x", "text": "y"}, "upload": "z"}])
def test_text_and_upload_are_one_or_the_other(ask, given):
    [error] = ask(IMPORT, input=given)

    assert "exactly one" in error["message"].lower() or "must be non-null" in error["message"]


def test_import_is_gone_on_with_and_cancelled_and_over_then(ask, send):
    given = {"id": send(HEADER + "Ada,ada@x.de,\n").json()["id"]}

    begun, again = ask(RESUME, input=given), ask(RESUME, input=given)
    runs = api.history("import_customers").count()
    Run.objects.update(state="done", verdict="failed", ended_at=NOW)
    retried = ask(RESUME, input=given)
    cancelled = ask(CANCEL, input=given)
    twice = [ask(each, input=given)["errors"][0] for each in (CANCEL, RESUME)]

    assert (begun["errors"], again["errors"], retried["errors"], runs) == ([], [], [], 1)
    assert Run.objects.get().state == "waiting"
    assert cancelled["import"]["state"] == "CANCELLED"
    assert [each["code"] for each in twice] == ["NOT_ALLOWED"] * 2
    assert {each["message"] for each in twice} == {"It is cancelled already."}
    assert not ImportPiece.objects.exists()


def test_text_that_cannot_be_begun_is_not_kept(ask):
    """Whoever asks again would have it twice; a file that was sent stays, by its id."""
    api.entries().delete()

    [error] = ask(IMPORT, key="k", input={"csv": {"name": "x", "text": HEADER + "Ada,ada@x.de,\n"}})
    kept = CustomerImport.objects.exists()
    api.sync()
    again = ask(IMPORT, key="k", input={"csv": {"name": "x", "text": HEADER + "Ada,ada@x.de,\n"}})

    assert error["extensions"] == {"code": "UNAVAILABLE"}
    assert error["message"] == (
        "The import cannot be begun: 'import_customers' is declared, but not in this database yet. "
        "Run: manage.py crons sync"
    )
    assert (kept, again["errors"]) == (False, [])


def test_import_that_is_sent_twice_under_a_key_is_one(ask):
    given = {"csv": {"name": "x", "text": HEADER + "Ada,ada@x.de,\n"}}

    first, second = ask(IMPORT, key="k", input=given), ask(IMPORT, key="k", input=given)

    assert first == second
    assert (CustomerImport.objects.count(), Run.objects.count()) == (1, 1)


def test_refused_rows_of_a_page_of_imports_are_one_statement(ask, send, django_assert_max_num_queries):
    for n in range(3):
        send(HEADER + f"A{n},nobody,\nB{n},nobody,\n")
    for row in CustomerImport.objects.all():
        work(row)
    query = "{ imports(first: 5) { totalCount edges { node { name refusedRows { edges { node { row } } } } } } }"

    with django_assert_max_num_queries(5):  # the token, its use, the count, the page, the rows
        told = ask(query)

    assert told["totalCount"] == 3
    assert [each["node"]["refusedRows"]["edges"] for each in told["edges"]] == [
        [{"node": {"row": 2}}, {"node": {"row": 3}}]
    ] * 3
