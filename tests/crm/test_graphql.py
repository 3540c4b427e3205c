"""The GraphQL endpoint: who may ask what, how much, and over which transport."""

import base64
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from graphql import (
    get_introspection_query,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_list_type,
    is_object_type,
    parse,
)
from strawberry import relay

from crm.graph import types
from crm.graph.errors import ClientError
from crm.graph.limits import check
from crm.graph.sizes import measure
from crm.schema import schema

CUSTOMERS = "query($first: Int, $after: String) { customers(first: $first, after: $after) {"
CUSTOMERS += " edges { cursor node { id name email } } pageInfo { hasNextPage endCursor } } }"


@pytest.fixture
def staff(client, db):
    client.force_login(User.objects.create_superuser("staff"))
    return client


def ask(client, query, path="/graphql", **variables):
    body = {"query": query, "variables": variables}
    return client.post(path, body, content_type="application/json")


def codes(response):
    return [error["extensions"]["code"] for error in response.json()["errors"]]


@pytest.mark.parametrize("path", ["/graphql", "/graphql/"])
def test_hello_is_for_anyone(client, path):
    response = ask(client, "{ hello }", path)

    assert (response.status_code, response.json()) == (200, {"data": {"hello": "Hello, GraphQL!"}})


def test_anonymous_gets_an_error_instead_of_an_empty_list(client, make_customer):
    """A job whose login was revoked must fail, not succeed with no customers."""
    make_customer()

    response = ask(client, CUSTOMERS)

    assert response.json()["data"] is None
    assert codes(response) == ["UNAUTHENTICATED"]
    assert "example.com" not in response.text


def test_user_who_is_no_staff_is_refused(client, make_customer):
    client.force_login(User.objects.create_user("guest"))

    assert codes(ask(client, CUSTOMERS)) == ["FORBIDDEN"]


def test_staff_reads_customers_page_by_page(staff, make_customer):
    made = [make_customer() for _ in range(5)]

    found, after = [], None
    for _ in range(3):
        page = ask(staff, CUSTOMERS, first=2, after=after).json()["data"]["customers"]
        found += [edge["node"]["email"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]

    assert found == [customer.email for customer in made]
    assert page["pageInfo"]["hasNextPage"] is False


def test_page_after_a_deleted_customer_skips_and_repeats_none(staff, make_customer):
    """Cursors are keys: with offsets, a cleanup in between would shift the next page."""
    made = [make_customer() for _ in range(4)]
    page = ask(staff, CUSTOMERS, first=2).json()["data"]["customers"]
    made[0].delete()
    made[1].delete()

    second = ask(staff, CUSTOMERS, first=2, after=page["pageInfo"]["endCursor"]).json()["data"]["customers"]

    assert [edge["node"]["email"] for edge in second["edges"]] == [made[2].email, made[3].email]


def test_page_has_fifty_rows_unless_asked(staff, make_customer):
    for _ in range(51):
        make_customer()

    page = ask(staff, CUSTOMERS).json()["data"]["customers"]

    assert len(page["edges"]) == 50
    assert page["pageInfo"]["hasNextPage"] is True


@pytest.mark.parametrize("first", [101, -1])
def test_page_size_out_of_range_is_refused(staff, first):
    response = ask(staff, CUSTOMERS, first=first)

    assert response.json()["errors"][0]["message"] == f"first is {first}; expected 0 to 100."
    assert codes(response) == ["BAD_USER_INPUT"]


@pytest.mark.parametrize("cursor", ["nonsense", "", base64.b64encode(b"orderedcursor:[1]").decode(), "\x00"])
def test_cursor_that_is_none_is_refused(staff, make_customer, cursor):
    make_customer()

    response = ask(staff, CUSTOMERS, after=cursor)

    if cursor:
        assert codes(response) == ["BAD_USER_INPUT"]
    else:  # an empty cursor is none given, as in Relay clients
        assert "errors" not in response.json()


def test_statements_of_customers_do_not_grow_with_the_rows(staff, make_customer):
    counts = []
    for wanted in (2, 48):
        for _ in range(wanted):
            make_customer()
        with CaptureQueriesContext(connection) as captured:
            ask(staff, CUSTOMERS, first=100)
        counts.append(len(captured))

    assert counts == [3, 3]  # session, user, customers


def test_unexpected_error_is_masked_and_logged(staff, monkeypatch, caplog):
    def explode(info, scope):
        raise RuntimeError("SELECT secret FROM crm_customer")

    monkeypatch.setattr("crm.graph.types.require", explode)

    response = ask(staff, CUSTOMERS)

    assert codes(response) == ["INTERNAL"]
    assert "secret" not in response.text
    assert "SELECT secret FROM crm_customer" in caplog.text


def test_mistake_in_the_document_is_told(client):
    response = ask(client, "{ helo }")

    assert response.json()["errors"][0]["message"] == "Cannot query field 'helo' on type 'Query'."


def test_wrong_variable_is_told(staff):
    response = staff.post(
        "/graphql", {"query": CUSTOMERS, "variables": {"first": "ten"}}, content_type="application/json"
    )

    assert "Int cannot represent non-integer value: 'ten'" in response.json()["errors"][0]["message"]


# ── transport ─────────────────────────────────────────────────────────────────────────────────────


def test_get_is_refused_outside_debug(client):
    response = client.get("/graphql", {"query": "{ hello }"}, headers={"Accept": "text/html"})

    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


def test_page_to_try_it_out_is_there_in_debug_without_another_host(client, settings):
    """Strawberry's own loads its scripts from elsewhere: without that host it says "Loading…" for ever."""
    settings.DEBUG = True

    response = client.get("/graphql", headers={"Accept": "text/html"})

    assert response.status_code == 200
    assert "<title>GraphQL of the CRM</title>" in response.text
    assert "://" not in response.text
    assert "csrftoken" in response.cookies


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded",
        "text/plain",
        "text/plain; application/json",
        "multipart/form-data",
    ],
)
def test_body_that_another_site_could_send_is_refused(client, content_type):
    response = client.post("/graphql", '{"query": "{ hello }"}', content_type=content_type)

    assert response.status_code == 415


def test_body_above_100_kb_is_refused(client):
    response = client.post("/graphql", b" " * 100_001, content_type="application/json")

    assert response.status_code == 413
    assert response.json()["errors"][0]["message"] == "The body has 100001 bytes; at most 100000. Ask in parts."


@pytest.mark.parametrize("length", ["", "²", "-1", "1" * 5000])
def test_body_of_unknown_length_is_refused(client, length):
    """Also where a server in front lets pass what is no number, or none that Python reads."""
    response = client.generic("POST", "/graphql", CONTENT_TYPE="application/json", CONTENT_LENGTH=length)

    assert response.status_code == 411


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b'"hello"',
        b"null",
        b"7",
        b"[" * 3_900,
        b"{}",
        b'{"query": 7}',
        b'{"query": "{ hello }", "variables": []}',
        b'[{"query": "{ hello }"}]',
        b'{"query": ""}',
        b'{"query": "{ hello }", "operationName": "x"}',
    ],
)
def test_body_that_makes_no_sense_is_a_bad_request(client, body):
    assert client.post("/graphql", body, content_type="application/json").status_code == 400


def test_login_by_cookie_needs_the_csrf_token(make_customer):
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("staff"))
    client.cookies["csrftoken"] = token = "a" * 32

    without = ask(client, CUSTOMERS)
    having = client.post(
        "/graphql", {"query": CUSTOMERS}, content_type="application/json", headers={"X-CSRFToken": token}
    )

    assert (without.status_code, having.status_code) == (403, 200)
    assert "errors" not in having.json()


def test_request_without_a_login_needs_no_csrf_token(db):
    """The heartbeat and other programs have no cookies to protect."""
    assert ask(Client(enforce_csrf_checks=True), "{ hello }").status_code == 200


# ── limits ────────────────────────────────────────────────────────────────────────────────────────


def bomb(levels):
    fragments = ["fragment F0 on Query { hello }"]
    fragments += [f"fragment F{n} on Query {{ ...F{n - 1} ...F{n - 1} }}" for n in range(1, levels)]
    return f"{{ ...F{levels - 1} }} " + " ".join(fragments)


def test_fragment_bomb_is_refused_at_once(staff):
    """Twenty fragments, each spreading the one before twice, expand to half a million fields."""
    began = time.perf_counter()
    response = ask(staff, bomb(20))
    took = time.perf_counter() - began

    assert response.json()["errors"][0]["message"] == (
        "The document's fields: 524288; at most 500. Ask for less, or in parts."
    )
    assert took < 0.5  # a walk along every spread takes seconds


def test_more_fragments_than_allowed_are_refused(staff):
    told = ask(staff, bomb(60)).json()["errors"][0]["message"]

    assert told.startswith("The document's operations and fragments: 61; at most 25.")


def test_fragments_that_spread_each_other_are_refused_by_validation(client):
    response = ask(client, "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }")

    assert "within itself" in response.json()["errors"][0]["message"]


def test_aliases_are_counted(staff):
    fifteen = " ".join(f"a{n}: hello" for n in range(15))

    assert "errors" not in ask(staff, f"{{ {fifteen} b: __typename }}").json()
    assert codes(ask(staff, f"{{ {fifteen} b: hello }}")) == ["TOO_LARGE"]


def test_depth_is_limited():
    deep = measure(parse("{ a " + "{ a " * 10 + "}" * 11))

    with pytest.raises(ClientError, match=r"^The document's depth: 11; at most 10\."):
        check(deep)
    check(measure(parse("{ a " + "{ a " * 9 + "}" * 10)))


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (30, "The document's depth: 26; at most 10. Ask for less, or in parts."),
        (330, "Syntax Error: Document is nested too deeply. Parsing aborted."),
    ],
)
def test_document_of_braces_is_refused(staff, levels, message):
    """The parser and the limits follow braces by recursion: neither may run out of it."""
    response = ask(staff, "{ a " * levels + "}" * levels)

    assert response.json()["errors"][0]["message"] == message


def test_tokens_are_limited(staff):
    response = ask(staff, "{ " + "hello " * 1000 + "}")

    assert "more than 1000 tokens" in response.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    ("query", "variables", "cost"),
    [
        ("{ hello }", {}, 1),
        ("{ customers(first: 100) { edges { node { id } } } }", {}, 301),
        ("{ customers { edges { node { id } } } }", {}, 151),  # 50 unless asked
        ("{ customers(last: $n) { edges { node { id } } } }", {"n": 10}, 31),
        ("{ customers(first: $n) { edges { node { id } } } }", {}, 301),  # may have a default of any size
        ("{ customers(first: 100) { edges { node { orders { totalCount } } } } }", {}, 1 + 100 * (1 + 1 + 1 + 10)),
        ("{ customers(first: 0) { edges { node { id } } } }", {}, 4),
        ("{ customers(first: 10) { ...E } } fragment E on X { edges { node { id } } }", {}, 31),
        ('{ nodes(ids: ["a", "b", "c"]) { id } }', {}, 4),
        ("{ nodes(ids: $ids) { id } }", {"ids": ["a", "b"]}, 3),
        ("{ nodes(ids: $ids) { id } }", {}, 101),
        ("{ a(first: 100) { edges { b(first: 100) { edges { c } } } } }", {}, 20201),
        ("mutation { a(input: {x: [{}, {}, {}]}) { results { id } created } }", {}, 1 + 1 + 3 + 1),
        ("mutation { a(input: {x: $x}) { results { b { id } } } }", {"x": [1] * 50}, 1 + 1 + 50 * 2),
        ("mutation { a(input: $i) { results { id } } }", {"i": {"x": [1] * 50, "y": True}}, 1 + 1 + 50),
        ("mutation { a(input: $i) { results { id } } }", {}, 1 + 1 + 100),  # may have a default of any length
        ("mutation { a(input: {x: {}}) { results { id } } }", {}, 1 + 1 + 1),  # one for a list is a list of one
        ("mutation { a(input: $i) { b { id } } }", {"i": {"x": [1] * 50}}, 3),  # one answer, whatever came
        (
            "mutation { a(input: $i) { ...R } b(input: $j) { ...R } } fragment R on X { results { id } }",
            {"i": {"x": [1]}, "j": {"x": [1] * 50}},
            (1 + 1 + 1) + (1 + 1 + 50),
        ),
        ("mutation { a { products { id } } }", {}, 1 + 1 + 100),
    ],
)
def test_cost_is_fields_times_the_pages_around_them(query, variables, cost):
    assert measure(parse(query), variables).cost == cost


def test_every_list_in_the_schema_counts():
    """A list that the limits do not know by its name would make all that is asked below it free."""
    lists = {
        (kind.name, name)
        for kind in schema._schema.type_map.values()
        if is_object_type(kind) and not kind.name.startswith("__")
        for name, field in kind.fields.items()
        if is_list_type(get_nullable_type(field.type)) and is_composite_type(get_named_type(field.type))
    }

    assert {name for kind, name in lists if not kind.endswith("Connection")} == {
        "errors",  # they have no fields that lead on
        "nodes",
        "pieces",
        "problems",
        "products",
        "results",
    }
    assert {name for kind, name in lists if kind.endswith("Connection")} == {"edges"}
    for kind in ("UserError", "CronsUserError"):
        assert list(schema._schema.type_map[kind].fields) == ["code", "message", "path"]


def test_deep_tree_below_many_results_is_too_dear(staff):
    """Each of a hundred new orders with fifty items: asked for one order it is cheap."""
    tree = "customer { orders(first: 50) { edges { node { pk } } } }"
    query = (
        f"mutation($i: BulkCreateOrdersInput!) {{ bulkCreateOrders(input: $i) {{ results {{ order {{ {tree} }} }} }} }}"
    )
    order = {"customerId": "x", "items": []}

    dear = ask(staff, query, i={"orders": [order] * 100})
    cheap = ask(staff, query, i={"orders": [order]})

    assert dear.json()["errors"][0]["message"] == (
        "The document's cost: 15302; at most 5000. Ask for less, or in parts."
    )
    assert codes(cheap) == ["BAD_USER_INPUT"]


def test_connection_within_a_connection_is_too_dear(staff):
    fields = " ".join(f"f{n}" for n in range(60))

    response = ask(staff, f"{{ customers(first: 100) {{ edges {{ node {{ {fields} }} }} }} }}")

    assert response.json()["errors"][0]["message"].startswith("The document's cost: ")


def test_schema_is_shown_to_staff_only(client, staff):
    query = get_introspection_query()

    assert "errors" not in ask(staff, query).json()
    assert codes(ask(Client(), query)) == ["INTROSPECTION_OFF"]
    assert codes(ask(Client(), '{ ...A } fragment A on Query { __type(name: "Query") { name } }')) == [
        "INTROSPECTION_OFF"
    ]


@pytest.mark.parametrize(
    ("query", "variables", "message"),
    [
        ("{ custmers { totalCount } }", {}, "Cannot query field 'custmers' on type 'Query'."),
        ("{ orders(filtrs: 1) { totalCount } }", {}, "Unknown argument 'filtrs' on field 'Query.orders'."),
        ("{ customers { ...on Custmer { pk } } }", {}, "Unknown type 'Custmer'."),
        (
            "{ orders(filters: {status: {exact: PENDIN}}) { totalCount } }",
            {},
            "Value 'PENDIN' does not exist in 'OrderStatus' enum.",
        ),
        (
            "query ($f: OrderFilter) { orders(filters: $f) { totalCount } }",
            {"f": {"pkk": 1}},
            "Variable '$f' has invalid value: Expected value of type 'OrderFilter' not to include unknown field 'pkk', "
            "found: {'pkk': 1}.",
        ),
    ],
)
def test_names_of_the_schema_are_suggested_to_those_who_may_read_it(client, staff, query, variables, message):
    """To a stranger, guess by guess, they would spell it out."""
    [told] = ask(Client(), query, **variables).json()["errors"]
    [suggested] = ask(staff, query, **variables).json()["errors"]

    assert told["message"] == message
    assert "Did you mean '" in suggested["message"].replace("the enum value ", "")


@pytest.mark.parametrize(
    ("start", "is_built"),
    [
        # The first request would wait for it: a heartbeat gave up on a busy machine.
        ("import crm.asgi", True),
        # It takes longer than all the rest of a tick, which looks at every cron module and at the checks.
        ("import django; django.setup(); import crm.cron, crm.urls", False),
    ],
)
def test_schema_is_built_where_it_is_served_and_nowhere_else(start, is_built):
    """Each line of a crontab starts a process of its own."""
    look = f"import sys\n{start}\nprint('crm.schema' in sys.modules, 'strawberry' in sys.modules)"
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "crm.settings", "CRM_SECRET_KEY": "only-for-tests-" * 5}

    done = subprocess.run(
        [sys.executable, "-c", look], env=env, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )

    assert done.stdout == f"{is_built} {is_built}\n"


def test_schema_text_is_the_committed_one():
    """A change of the API is seen in review: manage.py export_schema > schema.graphql"""
    committed = Path(__file__).parents[2] / "schema.graphql"

    assert committed.read_text().strip() == schema.as_str().strip()


def test_every_node_type_names_its_id():
    """Without NodeID the id's attribute is searched for again for each row: half the speed."""
    nodes = [each for each in vars(types).values() if isinstance(each, type) and issubclass(each, relay.Node)]

    assert types.Customer in nodes
    for node in nodes:
        assert "id" in node.__annotations__, node
