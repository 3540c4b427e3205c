"""The client of the jobs: the whole answer or an exception that says what came; never half of one."""

import json
import os
import traceback

import pytest

from crm import api_client
from crm.api_client import ApiClient, ApiFailed, jobs_token
from crm.graph import trusted
from crons import GiveUp

from .graphql_server import order, page, send

TOKEN = "crm_12345678_s3cret"
HELLO = "{ hello }"
ORDERS = "query ($after: String) { orders(after: $after) { edges { node { pk } } pageInfo { hasNextPage endCursor } } }"


@pytest.fixture
def client(graphql):
    """A client of that server."""
    return ApiClient(graphql.url, TOKEN, timeout_seconds=5)


def told(client, server, answer):
    """Give what the client says of *answer*, with the server's changing address as URL."""
    server.answers = [answer]
    with pytest.raises(ApiFailed) as failure:
        client.ask(HELLO)
    shown = "".join(traceback.format_exception(failure.value))
    assert TOKEN not in shown
    return str(failure.value).replace(server.url, "URL")


def test_where_the_budget_is_spent_it_waits_as_long_as_it_is_told(client, graphql, monkeypatch):
    """And asks again: nothing was begun. Not for ever, nor where no wait is named, or a long one."""
    waited = []
    monkeypatch.setattr(api_client.time, "sleep", waited.append)
    told = json.dumps({"errors": [{"message": "Spent.", "extensions": {"code": "RATE_LIMITED"}}]}).encode()

    def spent(seconds):
        return lambda handler: send(handler, 429, "application/json", told, **{"Retry-After": seconds})

    graphql.answers = [spent("7"), spent("1"), {"data": {"hello": "Hello, GraphQL!"}}]
    answer = client.ask(HELLO)
    served = waited.copy()
    for answers in ([spent("1")], [spent("3600")], [spent("tomorrow")]):
        graphql.answers, graphql.asked = answers, []
        with pytest.raises(ApiFailed, match="Spent"):
            client.ask(HELLO)

    assert (answer, served) == ({"hello": "Hello, GraphQL!"}, [7, 1])
    assert waited[2:] == [1] * 5


def test_of_a_trusted_document_only_the_id_goes_out(client, graphql):
    """A site of another release says so, and what to do."""
    hello = trusted.of("hello")

    client.ask(hello, {"a": 1})
    refused = {"errors": [{"message": "No such id.", "extensions": {"code": "UNKNOWN_DOCUMENT"}}]}
    graphql.answers = [refused]
    with pytest.raises(ApiFailed, match=r"have both run the same\.$"):
        client.ask(hello)

    assert graphql.asked == [{"documentId": hello.id, "variables": {"a": 1}}, {"documentId": hello.id}]


def test_question_goes_out_once_with_the_token(client, graphql):
    """No schema is asked for before, and nothing is sent twice."""
    assert client.ask(HELLO, {"a": 1}) == {"hello": "Hello, GraphQL!"}

    assert [(each["query"].split(), each["variables"]) for each in graphql.asked] == [(HELLO.split(), {"a": 1})]
    assert [each["Authorization"] for each in graphql.headers] == [f"Bearer {TOKEN}"]


@pytest.mark.parametrize("status", [500, 502, 503])
def test_failed_mutation_is_not_sent_again(client, graphql, status):
    """The server may have done it; who repeats it must know the key."""
    told(client, graphql, (status, "text/html", b"<h1>Bad</h1>"))

    assert len(graphql.asked) == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            {"data": {"hello": "half"}, "errors": [{"message": "partly", "extensions": {"code": "INTERNAL"}}]},
            "URL answered with errors: partly (INTERNAL)",
        ),
        ({"data": {"hello": "x"}, "errors": []}, "URL answered with errors: an empty list of them"),
        (
            {"data": None, "errors": [{"message": "It was revoked.", "extensions": {"code": "UNAUTHENTICATED"}}]},
            "URL answered with errors: It was revoked. (UNAUTHENTICATED) Give the jobs a token that is valid: "
            "manage.py service_token jobs",
        ),
        (
            (401, "application/json", {"errors": [{"message": "expired"}]}),
            "URL answered with errors: expired",
        ),
        ({"data": None}, 'URL answered HTTP 200, application/json: {"data": null}. Expected HTTP 200 with data.'),
        (
            (500, "application/json", {"data": {"hello": "x"}}),
            'URL answered HTTP 500, application/json: {"data": {"hello": "x"}}. Expected HTTP 200 with data.',
        ),
        (
            (200, "text/html", b"<html>Please  log in\n</html>"),
            "URL answered HTTP 200, text/html: <html>Please log in </html>. "
            "Expected GraphQL's JSON: is that CRM_GRAPHQL_URL?",
        ),
        (
            (400, "text/html", b"Bad Request"),
            "URL answered HTTP 400, text/html: Bad Request. "
            "Expected GraphQL's JSON: is that CRM_GRAPHQL_URL? Is its name among CRM_ALLOWED_HOSTS?",
        ),
        ([], "URL answered HTTP 200, application/json: []. Expected GraphQL's JSON: is that CRM_GRAPHQL_URL?"),
        (
            (200, "application/json", b'{"data": {"hel'),
            'URL answered HTTP 200, application/json: {"data": {"hel. '
            "Expected GraphQL's JSON: is that CRM_GRAPHQL_URL?",
        ),
        ((200, "application/json", b""), "URL answered HTTP 200, application/json: nothing. Expected GraphQL's JSON"),
    ],
)
def test_anything_but_the_whole_answer_fails_and_is_shown(client, graphql, answer, message):
    """Errors with HTTP 200, half an answer, a login page: none of them is "nothing there"."""
    assert told(client, graphql, answer).startswith(message)


@pytest.mark.parametrize(("code", "is_final"), [("UNAUTHENTICATED", True), ("FORBIDDEN", True), ("INTERNAL", False)])
def test_refused_token_ends_a_job_for_good(client, graphql, code, is_final):
    """The next tries would be refused as well, and people would hear of it minutes later."""
    graphql.answers = [{"errors": [{"message": "no", "extensions": {"code": code}}]}]

    with pytest.raises(ApiFailed) as failure:
        list(client.pages(HELLO, "orders"))

    assert isinstance(failure.value, GiveUp) is is_final


def test_secret_that_the_server_repeats_is_masked(client, graphql):
    """Error messages end up in logs and mail."""
    said = told(client, graphql, {"errors": [{"message": f"{TOKEN} is not known"}]})

    assert said == "URL answered with errors: ******** is not known"


def test_redirect_is_not_followed(client, graphql):
    """It may lead the token to another host, and a POST becomes a GET on the way."""
    said = told(
        client, graphql, lambda handler: send(handler, 301, "text/html", b"moved", Location="https://x.example/g")
    )

    assert said == (
        "URL answered HTTP 301 and leads to https://x.example/g, which is not followed with a token. "
        "Set CRM_GRAPHQL_URL to the address that answers itself."
    )
    assert len(graphql.asked) == 1


def test_connection_cut_in_the_middle_of_the_answer_fails(client, graphql):
    """What came may be whole JSON by chance."""
    body = b'{"data": {"hello": "x"}}'

    said = told(client, graphql, lambda handler: send(handler, 200, "application/json", body, promised=1_000))

    assert said.startswith("URL answered HTTP 200, which cannot be read: ")
    assert "IncompleteRead" in said or "Connection broken" in said


def test_answer_that_is_too_large_is_refused(graphql):
    """Memory is not the server's to fill."""
    small = ApiClient(graphql.url, TOKEN, max_bytes=100)

    said = told(small, graphql, {"data": {"hello": "x" * 100}})

    assert said == "URL answered HTTP 200, which cannot be read: it has more than 100 bytes."


@pytest.mark.parametrize("drips", [False, True])
def test_endpoint_that_hangs_is_given_up(graphql, drips):
    """Also one that sends a byte now and then, for which no time-out of a socket is enough."""

    def hang(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not graphql.closing.wait(0.05):
            if drips:
                handler.wfile.write(b"x")
                handler.wfile.flush()

    hasty = ApiClient(graphql.url, TOKEN, timeout_seconds=0.3)

    assert told(hasty, graphql, hang) == (
        "URL gave no whole answer within 0.3 s (CRM_GRAPHQL_TIMEOUT). "
        "What it was asked to change, it may have changed. Is the site overloaded, or stuck?"
    )


def test_site_that_is_down_is_named(graphql):
    client = ApiClient("http://127.0.0.1:9/graphql", TOKEN)

    with pytest.raises(ApiFailed) as failure:
        client.ask(HELLO)

    assert str(failure.value) == (
        "http://127.0.0.1:9/graphql did not answer: Connection refused. Is the site up, and is that CRM_GRAPHQL_URL?"
    )


def test_proxy_of_the_shell_is_not_asked_for_this_machine(client, graphql, monkeypatch):
    """It would get the token, and could not answer."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    assert client.ask(HELLO) == {"hello": "Hello, GraphQL!"}


def test_login_of_netrc_does_not_take_the_tokens_place(client, graphql, monkeypatch, tmp_path):
    """The library behind gql would prefer it to a header."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))

    client.ask(HELLO)

    assert graphql.headers[0]["Authorization"] == f"Bearer {TOKEN}"


def test_token_is_not_shown_by_the_client_itself(client):
    assert TOKEN not in repr(client)


# ── pages ─────────────────────────────────────────────────────────────────────────────────────────


def test_every_page_is_asked_for(client, graphql):
    graphql.answers = [page("orders", [order(1), order(2)], "b"), page("orders", [order(3)])]

    pages = list(client.pages(ORDERS, "orders", {"first": 2}))

    assert [[row["pk"] for row in rows] for rows in pages] == [[1, 2], [3]]
    assert [each["variables"] for each in graphql.asked] == [
        {"first": 2, "after": None},
        {"first": 2, "after": "b"},
    ]


def test_list_without_rows_is_a_list_without_rows(client, graphql):
    graphql.answers = [page("orders", [])]

    assert list(client.pages(ORDERS, "orders")) == [[]]


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ({"errors": [{"message": "gone"}]}, "URL answered with errors: gone"),
        ({"data": {"orders": None}}, 'URL gave no page but {"orders": null}'),
        ({"data": {"orders": {"edges": []}}}, 'URL gave no page but {"orders": {"edges": []}}'),
        ({"data": {"orders": {"edges": [None]}}}, 'URL gave no page but {"orders": {"edges": [null]}}'),
        (
            page("orders", [order(3)], "b"),
            "URL says that more rows follow, but its cursor 'b' does not lead on to them.",
        ),
        (
            page("orders", [order(3)], ""),
            "URL says that more rows follow, but its cursor '' does not lead on to them.",
        ),
        (
            page("orders", [], "c"),
            "URL says that more rows follow, but its cursor 'c' does not lead on to them.",
        ),
    ],
)
def test_page_that_does_not_come_fails_and_says_how_far_it_came(client, graphql, second, reason):
    """A cursor that comes again would be asked for ever."""
    graphql.answers = [page("orders", [order(1), order(2)], "b"), second]
    pages = client.pages(ORDERS, "orders")
    assert len(next(pages)) == 2

    with pytest.raises(ApiFailed) as failure:
        list(pages)

    assert str(failure.value).replace(graphql.url, "URL") == f"orders, page 2 (after 2 rows): {reason}"
    assert len(graphql.asked) == 2


# ── the token ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def token_file(tmp_path, settings, monkeypatch):
    monkeypatch.delenv("CRM_TOKEN", raising=False)
    path = tmp_path / "token"
    settings.CRM_TOKEN_FILE = path
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path


def test_token_comes_from_the_environment_else_from_the_file(token_file, monkeypatch):
    assert jobs_token() == TOKEN

    monkeypatch.setenv("CRM_TOKEN", "crm_other")
    assert jobs_token() == "crm_other"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        ("\n", "is empty"),
        (f"{TOKEN}\n{TOKEN}\n", "holds more than one token, or what is none"),
        (f"{TOKEN}\r\nX-Evil: 1\n", "holds more than one token, or what is none"),
        ("ü" * 10, "holds more than one token, or what is none"),
        ("x" * 1001, "holds more than one token, or what is none"),
    ],
)
def test_file_that_holds_no_token_is_refused_without_being_shown(token_file, content, reason):
    token_file.write_text(content)

    with pytest.raises(ApiFailed) as failure:
        jobs_token()

    assert str(failure.value) == (
        f"{token_file} {reason}. Expected the one line that manage.py service_token issue printed."
    )


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_token_that_others_can_read_is_refused(token_file, mode):
    token_file.chmod(mode)

    with pytest.raises(ApiFailed) as failure:
        jobs_token()

    assert str(failure.value) == (
        f"{token_file} has mode {mode:04o}: others can read the jobs' token. Run: chmod 600 {token_file}; "
        "and where others had access, manage.py service_token rotate"
    )


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (lambda path: path.symlink_to("/etc/hostname"), ", cannot be read: it is a symlink."),
        (lambda path: None, ", cannot be read: No such file or directory."),
        (os.mkfifo, " is no plain file."),
        (lambda path: path.mkdir(), " is no plain file."),
    ],
)
def test_what_is_no_file_of_a_token_is_refused_at_once(token_file, place, reason):
    token_file.unlink()
    place(token_file)

    with pytest.raises(ApiFailed) as failure:
        jobs_token()

    assert f"{token_file}{reason}" in str(failure.value)
