"""The short ways of crm.graph.execution give what graphql-core's give, and documents are validated once."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from enum import Enum

import hypothesis
import pytest
import strawberry
from django.db import transaction
from django.test import Client
from django.utils import timezone
from graphql import parse
from hypothesis_graphql import Mode
from strawberry import Info
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from crm import tokens
from crm.graph import limits
from crm.graph.checked import Checked, Documents
from crm.graph.execution import SHARES_ARGUMENTS, Execution
from crm.graph.limits import documents_of
from crm.graph.sizes import Size, measure
from crm.models import Customer, Order
from crm.schema import schema
from tests import seeds
from tests.crm.test_graphql_properties import documents

PAGE = """{ customers(first: 2) { totalCount pageInfo { endCursor } edges { cursor node {
  __typename id ... on Customer { again: id } name createdAt
  orders(first: 5, ordering: [{orderedAt: DESC}]) { edges { node { id status total customer { id } } } }
} } } }"""
VARIED = PAGE.replace("{", "query Page($first: Int!) {", 1).replace("first: 2", "first: $first")


@strawberry.enum
class Colour(Enum):
    RED = "red"


class Text(str):
    """No plain text, to say it as graphql-core does."""


class Strange:
    """Values that no column has."""

    def __init__(self, depth=0):
        self.depth = depth

    text, number, amount, colour, maybe = "text", 1, Decimal("1.50"), Colour.RED, None
    own, wrong_number, missing, wrong_colour = Text("own"), "many", None, "blue"
    failed, not_a_list = ValueError("a value that is an error"), 7

    @property
    def raising(self):
        raise RuntimeError("read too early")

    @property
    def inner(self):
        return Strange(self.depth + 1)

    @property
    def items(self):
        return [Strange(1), None, ValueError("an item that is an error"), Strange(2)]

    sure_items, as_tuple, lists = items, property(lambda self: (Strange(1),)), property(lambda self: [[Strange(1)]])
    nobody, failed_inner = None, ValueError("an object that is an error")


@strawberry.type
class Odd:
    text: str
    number: int
    amount: Decimal
    colour: Colour
    maybe: str | None
    own: str
    wrong_number: int | None
    missing: int
    wrong_colour: Colour | None
    failed: str | None
    raising: str | None
    depth: int
    inner: "Odd"
    items: list["Odd | None"]
    sure_items: list["Odd"] | None
    as_tuple: list["Odd"]
    lists: list[list["Odd"]]
    not_a_list: list["Odd"] | None
    nobody: "Odd | None"
    failed_inner: "Odd | None"

    @strawberry.field
    def doubled(self) -> int:
        return self.depth * 2

    @strawberry.field
    def broken(self) -> str | None:
        raise LookupError("nothing there")

    def _sum(root, info: Info, of: list[int]) -> int:
        return root.depth + sum(of) + len(info.path.as_list())

    total: int = strawberry.field(resolver=_sum, metadata={SHARES_ARGUMENTS: True})


@strawberry.type
class OddQuery:
    @strawberry.field
    def odd(self) -> Odd | None:
        return Strange()

    @strawberry.field
    async def later(self) -> str:
        return "later"


# One of all ordinary fields, and each that fails by itself: an error of a field that must not be null takes all.
ODD = [
    "text number amount colour maybe own depth doubled total(of: [1, 2]) a: total(of: 3) __typename",
    "wrongNumber", "missing", "wrongColour", "failed", "raising", "broken", "notAList { text }", "nobody { text }",
    "failedInner { text }", "total(of: null)", "lists { text total(of: []) }", "asTuple { depth }",
    "items { depth doubled total(of: [4]) inner { depth total(of: [5]) } }", "items { depth missing }",
    "sureItems { depth }", "inner { inner { missing } depth }", "items { inner { wrongNumber broken raising } }",
    "text @skip(if: true) depth @include(if: true)",
]  # fmt: skip


def plain(result):
    return {"data": result.data, "errors": [error.formatted for error in result.errors or ()]}


@pytest.mark.parametrize("selection", ODD)
def test_what_is_out_of_the_ordinary_is_answered_as_graphql_core_does(selection):
    """With null, errors, lists that are none and values of the wrong type; with the same place in each error."""
    document = f"{{ odd {{ {selection} }} }}"
    general, short = (
        strawberry.Schema(OddQuery, execution_context_class=each)
        for each in (StrawberryGraphQLCoreExecutionContext, Execution)
    )

    expected = plain(general.execute_sync(document))

    assert plain(short.execute_sync(document)) == expected
    assert plain(asyncio.run(short.execute(document))) == expected


def test_where_a_loop_runs_fields_are_awaited():
    """Subscriptions and async views execute there."""
    short = strawberry.Schema(OddQuery, execution_context_class=Execution)

    assert asyncio.run(short.execute("{ later odd { depth } }")).data == {"later": "later", "odd": {"depth": 0}}
    (error,) = short.execute_sync("{ later }").errors
    assert error.message == "OddQuery.later is to be awaited, and no loop runs here."


@pytest.fixture
def shop(db):
    now = timezone.now()
    for number in range(3):
        customer = Customer.objects.create(name=f"Name {number}", email=f"c{number}@example.com", created_at=now)
        Order.objects.create(customer=customer, status="pending", ordered_at=now, total=Decimal("9.90"))


def client_with(*scopes):
    _, text = tokens.issue("test", scopes, timezone.now() + timedelta(days=1), now=timezone.now())
    return Client(headers={"Authorization": f"Bearer {text}"}, raise_request_exception=False)


def answer(client, query, **variables):
    with transaction.atomic():
        response = client.post("/graphql", {"query": query, "variables": variables}, content_type="application/json")
        transaction.set_rollback(True)
    return response.json()


def test_the_whole_schema_is_answered_as_graphql_core_does(shop, monkeypatch):
    """What is drawn of it by a program that may read all, and by one that may not read orders."""
    clients = client_with(*tokens.SCOPES), client_with("customers:read")
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now)  # it is part of some answers

    @hypothesis.seed(seeds.seed(8))
    @hypothesis.settings(max_examples=30, database=None, phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate))
    @hypothesis.given(documents(Mode.POSITIVE, [*schema._schema.query_type.fields]))
    @hypothesis.example(PAGE)
    def same(document):
        for client in clients:
            short = answer(client, document)
            with monkeypatch.context() as general:
                general.setattr(schema, "execution_context_class", StrawberryGraphQLCoreExecutionContext)
                assert short == answer(client, document), document

    same()


def test_a_document_is_parsed_and_validated_once(shop, monkeypatch):
    """And its limits hold each time, with the variables at hand."""
    client = client_with("customers:read", "orders:read")
    first = answer(client, PAGE), answer(client, VARIED, first=2)
    answer(client, "query ($id: ID!) { customer(id: $id) { id } }", id="Q3VzdG9tZXI6MQ==")
    monkeypatch.setattr(limits, "validate", lambda *given, **options: pytest.fail("validated again"))

    again = answer(client, PAGE), answer(client, VARIED, first=2)
    larger = answer(client, VARIED, first=100)
    wrong = answer(client, "query ($id: ID!) { customer(id: $id) { id } }", id=[1])

    assert first == again
    assert [len(each["data"]["customers"]["edges"]) for each in again] == [2, 2]
    assert larger["errors"][0]["extensions"]["code"] == "TOO_LARGE"
    assert "cannot represent" in wrong["errors"][0]["message"]


def test_what_a_token_has_asked_is_not_open_to_strangers(shop):
    """The kept document is for programs and staff: strangers pay, and are refused, as if nobody had asked."""
    document = "{ __schema { types { name } } }"
    assert "errors" not in answer(client_with("customers:read"), document)

    (error,) = answer(Client(), document)["errors"]

    assert error["extensions"]["code"] == "INTROSPECTION_OFF"


def test_a_stranger_and_a_mistake_are_not_kept(db):
    """Neither can push out what programs ask."""
    kept = documents_of(schema)
    before = len(kept)

    answer(Client(), "{ hello stranger: hello }")
    answer(client_with("customers:read"), "{ hello nothing }")

    assert len(kept) == before


def test_documents_are_forgotten_by_their_length():
    """The one asked longest ago goes first."""
    kept = Documents(most_characters=10)
    for text in ("aaaa", "bbbb"):
        kept.keep(text, Checked(None, Size()))
    kept.get("aaaa")

    kept.keep("cccc", Checked(None, Size()))
    left = [kept.get(text) is not None for text in ("aaaa", "bbbb", "cccc")]
    kept.keep("d" * 11, Checked(None, Size()))

    assert left == [True, False, True]
    assert (len(kept), kept.characters) == (0, 0)


def test_the_size_is_kept_only_where_no_variable_decides_it():
    """A variable may name the size of a page."""
    fixed, open_size = (parse(text) for text in ("{ hello }", "query ($n: Int) { orders(first: $n) { totalCount } }"))

    assert Checked.of(fixed, measure(fixed)).size == measure(fixed)
    assert Checked.of(open_size, measure(open_size, {"n": 1})).size is None
