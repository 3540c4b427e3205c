"""What can be read over GraphQL: pages that changes do not shift, filters that mean what they say, few statements."""

import json
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from graphql import get_named_type, is_input_object_type, is_leaf_type, is_object_type, is_required_argument, parse

from crm import tokens
from crm.graph import filters, limits, queries, types
from crm.graph.sizes import measure
from crm.models import Customer, Order, OrderItem, Product
from crm.schema import schema

MAY, JUNE = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
READ = ("customers:read", "products:read", "orders:read", "reports:read")


@pytest.fixture
def ask(db, client):
    """Ask as a program that may read everything; the answer's JSON."""
    _, text = tokens.issue("test", READ, timezone.now() + timedelta(days=1), now=timezone.now())

    def ask(query, text=text, **variables):
        headers = {"Authorization": f"Bearer {text}"}
        body = {"query": query, "variables": variables}
        response = client.post("/graphql", body, content_type="application/json", headers=headers)
        assert response.status_code == 200
        return response.json()

    return ask


@pytest.fixture
def refused(ask):
    """Ask what is refused; the error's message."""

    def refused(query, **variables):
        answer = ask(query, **variables)
        (error,) = answer["errors"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT", error
        assert not any((answer["data"] or {}).values())
        return error["message"]

    return refused


@pytest.fixture
def shop(db):
    """Fifty customers with three orders each, of three items each."""

    def times(number, each):
        return [each(index) for index in range(number)]

    products = Product.objects.bulk_create(
        times(50, lambda n: Product(name=f"Product {n % 5}", price=Decimal(n % 7), stock=n % 4))
    )
    customers = Customer.objects.bulk_create(
        times(50, lambda n: Customer(name=f"Name {n % 6}", email=f"c{n}@example.com", created_at=MAY))
    )
    orders = Order.objects.bulk_create(
        Order(customer=customer, ordered_at=MAY + timedelta(hours=n % 2), status=status, total=Decimal("9.90"))
        for customer in customers
        for n, status in enumerate(["pending", "paid", "pending"])
    )
    OrderItem.objects.bulk_create(
        OrderItem(order=order, product=products[(index + n) % 50], quantity=n + 1, unit_price=Decimal("3.30"))
        for index, order in enumerate(orders)
        for n in range(3)
    )


def numbers(answer, name):
    return [edge["node"]["pk"] for edge in answer["data"][name]["edges"]]


def global_id(row):
    return b64encode(f"{type(row).__name__}:{row.pk}".encode()).decode()


# ── types ─────────────────────────────────────────────────────────────────────────────────────────


def test_order_is_read_with_all_that_hangs_on_it(ask, make_customer):
    customer = make_customer(name="Amina", email="amina@example.com", phone="+15551234567")
    lamp = Product.objects.create(name="Lamp", price=Decimal("9.90"), stock=3)
    order = Order.objects.create(customer=customer, ordered_at=MAY, status="pending", total=Decimal("19.80"))
    item = OrderItem.objects.create(order=order, product=lamp, quantity=2, unit_price=Decimal("9.90"))

    answer = ask(
        """{ orders(first: 9) { totalCount edges { node { id pk status orderedAt total
             customer { id pk name email phone createdAt }
             items(first: 9) { edges { node { pk quantity unitPrice product { name price stock } } } } } } } }"""
    )

    assert "errors" not in answer
    (edge,) = answer["data"]["orders"]["edges"]
    assert answer["data"]["orders"]["totalCount"] == 1
    assert edge["node"] == {
        "id": global_id(order),
        "pk": order.pk,
        "status": "PENDING",
        "orderedAt": "2026-05-01T00:00:00+00:00",
        "total": "19.80",
        "customer": {
            "id": global_id(customer),
            "pk": customer.pk,
            "name": "Amina",
            "email": "amina@example.com",
            "phone": "+15551234567",
            "createdAt": "2023-11-01T00:00:00+00:00",
        },
        "items": {
            "edges": [
                {
                    "node": {
                        "pk": item.pk,
                        "quantity": 2,
                        "unitPrice": "9.90",
                        "product": {"name": "Lamp", "price": "9.90", "stock": 3},
                    }
                }
            ]
        },
    }


def test_everything_in_the_schema_is_described():
    undescribed = [
        f"{kind.name}.{name}"
        for kind in schema._schema.type_map.values()
        if not kind.name.startswith("__") and (is_object_type(kind) or is_input_object_type(kind))
        for name, field in kind.fields.items()
        if not field.description
    ]

    assert undescribed == []


# ── pages ─────────────────────────────────────────────────────────────────────────────────────────

ORDERS = """query ($first: Int, $after: String, $last: Int, $before: String, $ordering: [OrderOrder!]) {
  orders(first: $first, after: $after, last: $last, before: $before, ordering: $ordering) {
    edges { cursor node { pk } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize(
    ("ordering", "columns"),
    [
        ([], ["pk"]),
        ([{"pk": "DESC"}], ["-pk"]),
        ([{"orderedAt": "ASC"}], ["ordered_at", "pk"]),
        ([{"orderedAt": "DESC"}], ["-ordered_at", "-pk"]),
        ([{"status": "DESC"}, {"orderedAt": "ASC"}], ["-status", "ordered_at", "pk"]),
        ([{"status": "ASC"}, {"orderedAt": "DESC"}], ["status", "-ordered_at", "-pk"]),
        ([{"status": "ASC"}, {"pk": "DESC"}, {"orderedAt": "DESC"}], ["status", "-pk"]),
    ],
)
def test_pages_of_any_order_give_every_row_once_both_ways(ask, make_customer, ordering, columns, size):
    """Twelve orders, with moments and statuses that several share."""
    for status in ("paid", "pending", "cancelled"):
        make_customer(MAY, JUNE, JUNE, MAY, status=status)
    forward, backward = [], []

    after = None
    while True:
        page = ask(ORDERS, first=size, after=after, ordering=ordering)
        forward += numbers(page, "orders")
        info = page["data"]["orders"]["pageInfo"]
        assert info["hasPreviousPage"] == (after is not None)
        after = info["endCursor"]
        if not info["hasNextPage"]:
            break
    before = None
    while True:
        page = ask(ORDERS, last=size, before=before, ordering=ordering)
        backward = numbers(page, "orders") + backward
        info = page["data"]["orders"]["pageInfo"]
        assert info["hasNextPage"] == (before is not None)
        before = info["startCursor"]
        if not info["hasPreviousPage"]:
            break

    expected = list(Order.objects.order_by(*columns).values_list("pk", flat=True))
    assert forward == expected
    assert backward == expected


def test_rows_that_come_and_go_between_pages_shift_none(ask, make_customer):
    """Offsets would repeat one row for each that is inserted before, and skip one for each deleted."""
    customer = make_customer(*(MAY + timedelta(hours=2 * n) for n in range(6)))
    made = list(customer.orders.order_by("ordered_at"))
    known = [order.pk for order in made]
    ordering = [{"orderedAt": "ASC"}]
    first = ask(ORDERS, first=3, ordering=ordering)
    made[0].delete()
    made[2].delete()  # the very row that the cursor is of
    early = Order.objects.create(customer=customer, ordered_at=MAY)
    late = Order.objects.create(customer=customer, ordered_at=MAY + timedelta(hours=7))

    second = ask(ORDERS, first=9, after=first["data"]["orders"]["pageInfo"]["endCursor"], ordering=ordering)

    assert numbers(first, "orders") == known[:3]
    assert numbers(second, "orders") == [known[3], late.pk, known[4], known[5]]
    assert early.pk not in numbers(second, "orders")


def test_page_of_no_rows_says_whether_there_are_any(ask, make_customer):
    make_customer(MAY)

    page = ask(ORDERS, first=0)["data"]["orders"]

    assert page["edges"] == []
    assert page["pageInfo"] == {
        "hasNextPage": True,
        "hasPreviousPage": False,
        "startCursor": None,
        "endCursor": None,
    }


def test_nested_page_goes_on_where_it_ended(ask, make_customer):
    customer = make_customer(*(MAY + timedelta(hours=n) for n in range(5)))
    query = """query ($after: String) { customers { edges { node {
      orders(first: 2, after: $after, ordering: [{orderedAt: DESC}]) {
        totalCount edges { node { pk } } pageInfo { hasNextPage endCursor } } } } } }"""
    found, after = [], None

    for _ in range(3):
        page = ask(query, after=after)["data"]["customers"]["edges"][0]["node"]["orders"]
        found += [edge["node"]["pk"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]

    assert found == list(customer.orders.order_by("-ordered_at").values_list("pk", flat=True))
    assert (page["totalCount"], page["pageInfo"]["hasNextPage"]) == (5, False)


def test_parents_have_their_own_children_only(ask, make_customer):
    alone, busy = make_customer(), make_customer(MAY, JUNE)
    query = "{ customers { edges { node { pk orders(last: 1) { totalCount edges { node { pk } } } } } } }"

    edges = ask(query)["data"]["customers"]["edges"]

    newest = busy.orders.order_by("pk").last().pk
    assert [edge["node"] for edge in edges] == [
        {"pk": alone.pk, "orders": {"totalCount": 0, "edges": []}},
        {"pk": busy.pk, "orders": {"totalCount": 2, "edges": [{"node": {"pk": newest}}]}},
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("first: -1", "first is -1; expected 0 to 100."),
        ("first: 101", "first is 101; expected 0 to 100."),
        ("last: 101", "last is 101; expected 0 to 100."),
        ("last: -1", "last is -1; expected 0 to 100."),
        ("first: 1, last: 1", "Give first or last, not both."),
        ("ordering: [{pk: ASC}, {pk: DESC}]", "ordering names pk twice. Name each key once."),
    ],
)
def test_impossible_page_is_refused(refused, arguments, message):
    assert refused(f"{{ orders({arguments}) {{ edges {{ node {{ pk }} }} }} }}") == message


def test_nested_page_has_fifty_rows_at_most(refused, make_customer):
    make_customer()

    message = refused("{ customers(first: 1) { edges { node { orders(first: 51) { edges { cursor } } } } } }")

    assert message == "first is 51; expected 0 to 50."


NO_CURSOR = "after or before is no cursor of this list in this order. Pass one of its cursors unchanged."


def encoded(*key):
    return urlsafe_b64encode(json.dumps(key).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "nonsense",
        "\x00",
        "é",
        "A" * 3000,
        b64encode(b"[" * 1000).decode(),
        b64encode(b"{}").decode(),
        b64encode(b"null").decode(),
        b64encode(b"7").decode(),
        b64encode(b"\xff").decode(),
        encoded(),
        encoded("order pk"),
        encoded("order pk", 1),
        encoded("customer ordered_at pk", "2026-05-01 00:00:00+00:00", 1),
        encoded("order -ordered_at pk", "2026-05-01 00:00:00+00:00", 1),
        encoded("order ordered_at pk", "2026-05-01 00:00:00+00:00", 1, 1),
        encoded("order ordered_at pk", "2026-05-01 00:00:00", 1),
        encoded("order ordered_at pk", "0001-01-01 00:00:00+14:00", 1),
        encoded("order ordered_at pk", "yesterday", 1),
        encoded("order ordered_at pk", None, 1),
        encoded("order ordered_at pk", 7, 1),
        encoded("order ordered_at pk", ["2026-05-01 00:00:00+00:00"], 1),
        encoded("order ordered_at pk", "2026-05-01 00:00:00+00:00", "1"),
        encoded("order ordered_at pk", "2026-05-01 00:00:00+00:00", True),
        encoded("order ordered_at pk", "2026-05-01 00:00:00+00:00", 2**63),
        encoded("order ordered_at pk", "2026-05-01 00:00:00+00:00", 1.5),
    ],
)
def test_cursor_of_anything_else_is_refused(refused, make_customer, cursor):
    make_customer(MAY)

    assert refused(ORDERS, after=cursor, ordering=[{"orderedAt": "ASC"}]) == NO_CURSOR
    assert refused(ORDERS, last=1, before=cursor, ordering=[{"orderedAt": "ASC"}]) == NO_CURSOR


@pytest.mark.parametrize("price", ["NaN", "Infinity", "1e3", "1.001", "99999999999999.00", 5])
def test_cursor_with_an_amount_that_none_has_is_refused(refused, price):
    query = "query ($after: String) { products(after: $after, ordering: [{price: ASC}]) { edges { cursor } } }"

    assert refused(query, after=encoded("product price pk", price, 1)) == NO_CURSOR


def test_cursor_with_a_nul_character_is_refused(refused):
    """PostgreSQL knows no such text: it would be our error instead of the client's."""
    query = "query ($after: String) { products(after: $after, ordering: [{name: ASC}]) { edges { cursor } } }"

    assert refused(query, after=encoded("product name pk", "a\x00", 1)) == NO_CURSOR


def test_cursor_shows_its_list_order_and_key(ask, make_customer):
    order = make_customer(MAY).orders.get()

    page = ask(ORDERS, ordering=[{"orderedAt": "ASC"}])["data"]["orders"]

    cursor = page["edges"][0]["cursor"]
    assert page["pageInfo"]["startCursor"] == page["pageInfo"]["endCursor"] == cursor
    assert json.loads(urlsafe_b64decode(cursor)) == ["order ordered_at pk", "2026-05-01 00:00:00+00:00", order.pk]


# ── filters and orders ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, [0, 1, 2]),
        ({}, [0, 1, 2]),
        ({"status": {"exact": "PENDING"}}, [0]),
        ({"status": {"inList": ["PENDING", "PAID"]}}, [0, 1]),
        ({"status": {"inList": []}}, []),
        ({"orderedAt": {"gte": "2026-05-01T00:00:00Z", "lt": "2026-06-01T00:00:00Z"}}, [0]),
        ({"orderedAt": {"gt": "2026-05-01T00:00:00Z", "lte": "2026-06-01T00:00:00+00:00"}}, [1]),
        ({"orderedAt": {"exact": "2026-05-01T02:00:00+02:00"}}, [0]),
        ({"status": {"exact": "PAID"}, "orderedAt": {"lt": "2026-06-01T00:00:00Z"}}, []),
        ({"orderedAt": {"gte": "0001-01-01T00:00:00Z", "lte": "9999-12-31T23:59:59.999999Z"}}, [0, 1, 2]),
    ],
)
def test_orders_are_narrowed(ask, make_customer, given, expected):
    customer = make_customer()
    made = [
        Order.objects.create(customer=customer, status=status, ordered_at=at)
        for status, at in [("pending", MAY), ("paid", JUNE), ("shipped", JUNE + timedelta(days=1))]
    ]
    query = "query ($filters: OrderFilter) { orders(filters: $filters) { totalCount edges { node { pk } } } }"

    answer = ask(query, filters=given)

    assert numbers(answer, "orders") == [made[index].pk for index in expected]
    assert answer["data"]["orders"]["totalCount"] == len(expected)


def test_orders_of_one_customer(ask, make_customer):
    make_customer(MAY)
    wanted = make_customer(MAY, JUNE)
    query = "query ($id: ID!) { orders(filters: {customer: {exact: $id}}) { edges { node { pk } } } }"

    answer = ask(query, id=global_id(wanted))

    assert numbers(answer, "orders") == list(wanted.orders.order_by("pk").values_list("pk", flat=True))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"email": {"exact": "AMINA@example.com"}}, [0]),
        ({"email": {"inList": ["amina@EXAMPLE.com", "nobody@example.com", "bao@example.com"]}}, [0, 1]),
        ({"email": {"inList": []}}, []),
        ({"email": {"exact": "amina%"}}, []),
        ({"createdAt": {"gte": "2026-06-01T00:00:00Z"}}, [1]),
    ],
)
def test_customers_are_narrowed(ask, make_customer, given, expected):
    made = [
        make_customer(email="Amina@Example.com", created_at=MAY),
        make_customer(email="bao@example.com", created_at=JUNE),
    ]
    query = "query ($filters: CustomerFilter) { customers(filters: $filters) { edges { node { pk } } } }"

    assert numbers(ask(query, filters=given), "customers") == [made[index].pk for index in expected]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"stock": {"lt": 10}}, [0]),
        ({"stock": {"gte": 10}}, [1]),
        ({"price": {"gt": "9.90"}}, [1]),
        ({"price": {"gte": "9.9", "lte": "9.90"}}, [0]),
        ({"price": {"exact": "9.900"}}, [0]),
    ],
)
def test_products_are_narrowed(ask, given, expected):
    made = [
        Product.objects.create(name="Lamp", price=Decimal("9.90"), stock=9),
        Product.objects.create(name="Desk", price=Decimal("99.00"), stock=10),
    ]
    query = "query ($filters: ProductFilter) { products(filters: $filters) { edges { node { pk } } } }"

    assert numbers(ask(query, filters=given), "products") == [made[index].pk for index in expected]


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("orders", {"orderedAt": None}, "filters.orderedAt is null. Give a value, or leave it out."),
        ("orders", {"orderedAt": {}}, "filters.orderedAt has no condition. Give one, or leave it out."),
        ("orders", {"orderedAt": {"gte": None}}, "filters.orderedAt.gte is null. Give a value, or leave it out."),
        (
            "orders",
            {"orderedAt": {"gte": "2026-05-01T00:00:00"}},
            "filters.orderedAt.gte is 2026-05-01T00:00:00: add the offset, such as 2026-05-01T00:00:00+00:00.",
        ),
        (
            "orders",
            {"orderedAt": {"gte": "0001-01-01T00:00:00+14:00"}},
            "filters.orderedAt.gte is 0001-01-01T00:00:00+14:00, not a moment of years 1 to 9999.",
        ),
        (
            "orders",
            {"orderedAt": {"lt": "9999-12-31T23:59:59-14:00"}},
            "filters.orderedAt.lt is 9999-12-31T23:59:59-14:00, not a moment of years 1 to 9999.",
        ),
        (
            "orders",
            {"pk": {"inList": list(range(101))}},
            "filters.pk.inList has 101 values; at most 100. Ask in parts.",
        ),
        ("orders", {"customer": {"exact": "nonsense"}}, "'nonsense' is no id. Pass the id of a node unchanged."),
        (
            "orders",
            {"customer": {"exact": b64encode(b"Product:1").decode()}},
            "The id 'UHJvZHVjdDox' is of type 'Product'; expected Customer.",
        ),
        (
            "customers",
            {"email": {"exact": "a\x00@example.com"}},
            "filters.email.exact is longer than 254 characters, or has a NUL or half a character.",
        ),
        (
            "customers",
            {"email": {"inList": ["a" * 255]}},
            "filters.email.inList is longer than 254 characters, or has a NUL or half a character.",
        ),
        (
            "products",
            {"price": {"gt": "NaN"}},
            "filters.price.gt is NaN; expected an amount below 1000000000000 with two decimals at most.",
        ),
        (
            "products",
            {"price": {"gt": "-Infinity"}},
            "filters.price.gt is -Infinity; expected an amount below 1000000000000 with two decimals at most.",
        ),
        (
            "products",
            {"price": {"lt": "0.001"}},
            "filters.price.lt is 0.001; expected an amount below 1000000000000 with two decimals at most.",
        ),
        (
            "products",
            {"price": {"lt": "1E+999999"}},
            "filters.price.lt is 1E+999999; expected an amount below 1000000000000 with two decimals at most.",
        ),
        (
            "products",
            {"price": {"lt": "-1E+999999999"}},
            "filters.price.lt is -1E+999999999; expected an amount below 1000000000000 with two decimals at most.",
        ),
        (
            "products",
            {"price": {"lt": "1E-999999"}},
            "filters.price.lt is 1E-999999; expected an amount below 1000000000000 with two decimals at most.",
        ),
    ],
)
def test_filter_that_no_row_can_match_is_refused(refused, name, given, message):
    """A null is refused as well: a variable that is empty by mistake must not select every row there is."""
    kind = {"orders": "OrderFilter", "customers": "CustomerFilter", "products": "ProductFilter"}[name]

    query = f"query ($filters: {kind}) {{ {name}(filters: $filters) {{ edges {{ node {{ pk }} }} }} }}"

    assert refused(query, filters=given) == message


def test_variable_that_is_not_given_selects_nothing_either(refused, make_customer):
    """GraphQL leaves the condition out then, without a word."""
    make_customer(MAY)
    query = "query ($status: OrderStatus) { orders(filters: {status: {exact: $status}}) { edges { node { pk } } } }"

    assert refused(query) == "filters.status has no condition. Give one, or leave it out."


def test_customer_is_found_by_a_domain_of_any_case_and_alphabet(ask, make_customer):
    """SQLite folds the letters of ASCII only, PostgreSQL those of its locale."""
    make_customer(email="Ada@exämple.de")
    query = "query ($email: String!) { customers(filters: {email: {exact: $email}}) { totalCount } }"

    assert ask(query, email="aDA@EXÄMPLE.DE")["data"]["customers"]["totalCount"] == 1


def test_number_too_large_for_any_column_is_told(ask):
    answer = ask("{ products(filters: {stock: {lt: 99999999999}}) { edges { cursor } } }")

    assert answer["errors"][0]["message"] == "Int cannot represent non 32-bit signed integer value: 99999999999"


ORDER_INPUTS = {
    Customer: filters.CustomerOrder,
    Product: filters.ProductOrder,
    Order: filters.OrderOrder,
    OrderItem: filters.OrderItemOrder,
}


@pytest.mark.parametrize("model", ORDER_INPUTS)
def test_lists_are_ordered_by_indexed_columns_that_are_never_null(model):
    """Keys compare by greater and less: a NULL would fall out of every page. Without an index each page sorts all."""
    first_columns = {index.fields[0].removeprefix("-") for index in model._meta.indexes if index.fields}

    for field in ORDER_INPUTS[model].__strawberry_definition__.fields:
        column = model._meta.pk if field.python_name == "pk" else model._meta.get_field(field.python_name)
        assert not column.null, column
        assert column.primary_key or column.name in first_columns, column


# ── one row ───────────────────────────────────────────────────────────────────────────────────────


def test_one_row_is_found_by_its_id(ask, make_customer):
    customer = make_customer(MAY)
    order = customer.orders.get()
    lamp = Product.objects.create(name="Lamp", price=1)

    answer = ask(
        "query ($c: ID!, $o: ID!, $p: ID!) { customer(id: $c) { pk email } order(id: $o) { pk customer { pk } }"
        " product(id: $p) { name } node(id: $o) { id ... on Order { status } } }",
        c=global_id(customer),
        o=global_id(order),
        p=global_id(lamp),
    )

    assert answer["data"] == {
        "customer": {"pk": customer.pk, "email": customer.email},
        "order": {"pk": order.pk, "customer": {"pk": customer.pk}},
        "product": {"name": "Lamp"},
        "node": {"id": global_id(order), "status": "COMPLETED"},
    }


@pytest.mark.parametrize("number", [0, 7, 2**63 - 1])
def test_row_that_is_not_there_is_null(ask, number):
    wanted = b64encode(f"Customer:{number}".encode()).decode()

    answer = ask("query ($id: ID!) { customer(id: $id) { pk } node(id: $id) { id } }", id=wanted)

    assert answer == {"data": {"customer": None, "node": None}}


@pytest.mark.parametrize(
    "text",
    ["", "7", "Customer:7", "é", "\x00"]
    + [
        b64encode(text.encode()).decode()
        for text in ("Customer", "Customer:", "Customer:-1", "Customer:1.0", "Customer:١", f"Customer:{2**63}")
    ]
    + [b64encode(f"Customer:{'9' * 5000}".encode()).decode(), b64encode(b"Customer:1\x00").decode()],
)
def test_id_that_is_none_is_refused(refused, text):
    for field in ("customer", "node"):
        message = refused(f"query ($id: ID!) {{ {field}(id: $id) {{ id }} }}", id=text)
        assert message.endswith("is no id. Pass the id of a node unchanged.")


def test_id_of_another_type_is_refused(refused):
    of_product = b64encode(b"Product:7").decode()
    of_nothing = b64encode(b"ServiceToken:7").decode()

    assert refused("query ($id: ID!) { customer(id: $id) { id } }", id=of_product) == (
        "The id 'UHJvZHVjdDo3' is of type 'Product'; expected Customer."
    )
    assert refused("query ($id: ID!) { node(id: $id) { id } }", id=of_nothing) == (
        "No node is of type 'ServiceToken'. Pass the id of a node unchanged."
    )


def test_nodes_come_in_the_order_of_their_ids(ask, make_customer):
    one, two = make_customer(MAY), make_customer()
    order = one.orders.get()
    gone = b64encode(b"Customer:999999").decode()
    wanted = [global_id(two), gone, global_id(order), global_id(one), global_id(two)]

    with CaptureQueriesContext(connection) as captured:
        answer = ask("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=wanted)

    found = [node and node["id"] for node in answer["data"]["nodes"]]
    assert found == [wanted[0], None, *wanted[2:]]
    assert sum("crm_customer" in each["sql"] or "crm_order" in each["sql"] for each in captured) == 2


def test_more_nodes_than_a_page_are_refused(refused):
    message = refused("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=["x"] * 101)

    assert message == "ids has 101 values; at most 100. Ask in parts."


def test_every_node_type_is_found_by_id():
    nodes = {kind.name for kind in schema._schema.get_possible_types(schema._schema.type_map["Node"])}

    assert nodes == set(queries._NODES)


# ── totals ────────────────────────────────────────────────────────────────────────────────────────


def test_report_totals_up_to_a_moment(ask, make_customer):
    customer = make_customer(created_at=MAY)
    Order.objects.create(customer=customer, ordered_at=MAY, total=Decimal("10.10"))
    Order.objects.create(customer=customer, ordered_at=MAY, total=Decimal("5.00"), status="cancelled")
    Order.objects.create(customer=customer, ordered_at=JUNE, total=Decimal("7.00"))
    query = '{ reportTotals(until: "2026-06-01T02:00:00+02:00") { customers orders revenue asOf } }'

    assert ask(query)["data"]["reportTotals"] == {
        "customers": 1,
        "orders": 2,
        "revenue": "10.10",
        "asOf": "2026-06-01T00:00:00+00:00",
    }


def test_report_totals_are_those_of_now_unless_asked(ask, make_customer):
    before = timezone.now()
    make_customer(MAY)

    totals = ask("{ reportTotals { customers orders revenue asOf } }")["data"]["reportTotals"]

    assert (totals["customers"], totals["orders"], totals["revenue"]) == (1, 1, "0.00")
    assert before <= datetime.fromisoformat(totals["asOf"]) <= timezone.now()


def test_report_totals_of_a_moment_without_offset_are_refused(refused):
    message = refused('{ reportTotals(until: "2026-06-01T00:00:00") { orders } }')

    assert message == "until is 2026-06-01T00:00:00: add the offset, such as 2026-06-01T00:00:00+00:00."


# ── every list of the schema ──────────────────────────────────────────────────────────────────────

# A filter of each list that lets rows pass.
LETS_PASS = {
    "CustomerFilter": '{createdAt: {gte: "2000-01-01T00:00:00Z"}}',
    "OrderFilter": "{status: {inList: [PENDING, PAID]}}",
    "OrderItemFilter": "{}",
    "ProductFilter": "{stock: {gte: 0}}",
}


def node_of(kind):
    """Give the node that a field of type *kind* leads to, and whether by a connection; None for no node."""
    kind = get_named_type(kind)
    if not is_object_type(kind):
        return None
    if "edges" in kind.fields:
        row = get_named_type(get_named_type(kind.fields["edges"].type).fields["node"].type)
        # Runs and jobs of crons are no nodes of the CRM: tests/contrib/graphql asks what they cost.
        return (row, True) if schema._schema.type_map["Node"] in row.interfaces else None
    return (kind, False) if schema._schema.type_map["Node"] in kind.interfaces else None


def leads(kind):
    """List the fields of *kind* that lead to nodes and can be asked without arguments."""
    return {
        name: field
        for name, field in kind.fields.items()
        if node_of(field.type) and not any(is_required_argument(each) for each in field.args.values())
    }


def paths(kind, depth):
    """List the ways from *kind* over fields that lead to nodes, of up to *depth* fields."""
    for name, field in leads(kind).items():
        yield (name,)
        if depth > 1:
            yield from ((name, *rest) for rest in paths(node_of(field.type)[0], depth - 1))


PATHS = [path for path in paths(schema._schema.query_type, 3) if len(path) > 1]


def document(path, arguments, kind=None):
    """Write a document along *path*; *arguments* gives each list below the first (field, depth) → [arguments]."""
    kind = kind or schema._schema.query_type
    name, *rest = path
    field = kind.fields[name]
    node, is_list = node_of(field.type)
    leaves = " ".join(each for each, field in node.fields.items() if is_leaf_type(get_named_type(field.type)))
    inner = f"{leaves} {document(rest, arguments, node)}" if rest else leaves
    if not is_list:
        return f"{name} {{ {inner} }}"
    shape = f"{{ totalCount pageInfo {{ hasNextPage startCursor endCursor }} edges {{ cursor node {{ {inner} }} }} }}"
    return " ".join(
        f"{name}{n}: {name}({given}) {shape}" for n, given in enumerate(arguments(kind, name, field), start=1)
    )


def first_order(field):
    kind = get_named_type(field.args["ordering"].type)
    key = "orderedAt" if "orderedAt" in kind.fields else "pk"
    return f"[{{{key}: DESC}}]"


def variant(name, cursors=None):
    """Give what document() asks each nested list for."""

    def arguments(kind, field_name, field):
        if kind is schema._schema.query_type:
            return ["first: $first"]
        narrowed = LETS_PASS[get_named_type(field.args["filters"].type).name]
        return {
            "plain": ["first: 2"],
            "twins": ["first: 1", f"last: 2, ordering: {first_order(field)}"],
            "narrowed": [f"first: 2, filters: {narrowed}, ordering: {first_order(field)}"],
            "going on": [f'first: 2, ordering: {first_order(field)}, before: "{(cursors or {}).get(field_name)}"'],
        }[name]

    return arguments


def leaves_of(answer, found=0):
    """Count the nodes of the innermost level."""
    if isinstance(answer, list):
        return sum(leaves_of(each) for each in answer)
    below = [each for each in (answer or {}).values() if isinstance(each, dict | list)]
    return sum(leaves_of(each) for each in below) if below else int("pk" in (answer or {}))


@pytest.fixture
def without_limits(monkeypatch):
    names = ("cost", "aliases", "fields", "depth", "values", "tokens", "characters")
    monkeypatch.setattr(limits, "KNOWN", replace(limits.KNOWN, **dict.fromkeys(names, 10**9)))


@pytest.mark.parametrize("asked", ["plain", "twins", "narrowed", "going on"])
@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_statements_do_not_grow_with_the_parents(ask, shop, without_limits, path, asked):
    """Every way of three fields through the schema, whatever is added to it; each kind of page on the way."""
    cursors = {}
    if asked == "going on":
        cursors = {
            "orders": encoded("order -ordered_at -pk", "2000-01-01 00:00:00+00:00", 1),
            "items": encoded("orderitem -pk", 0),
            "orderItems": encoded("orderitem -pk", 0),
        }
    query = f"query ($first: Int!) {{ {document(path, variant(asked, cursors))} }}"
    counts, sizes = [], []
    ask("{ hello }")  # the first use of a token is noted

    for first in (2, 50):
        with CaptureQueriesContext(connection) as captured:
            answer = ask(query, first=first)
        assert "errors" not in answer
        counts.append(len(captured))
        sizes.append(leaves_of(answer["data"]))

    assert sizes[1] >= 10 * sizes[0] > 0
    assert counts[0] == counts[1]


@pytest.mark.parametrize("path", [path for path in PATHS if len(path) == 2], ids=".".join)
def test_field_that_leads_elsewhere_asks_for_the_scope_of_there(ask, shop, path):
    """Whoever may read orders need not see customers."""
    kind = schema._schema.query_type
    nodes = []
    for name in path:
        kind = node_of(kind.fields[name].type)[0]
        nodes.append(kind.name)
    root_scope, scope = (queries._NODES[name][1] for name in nodes)
    query = f"query ($first: Int!) {{ {document(path, variant('plain'))} }}"
    for scopes, is_told in [({root_scope}, root_scope == scope), ({root_scope, scope}, True)]:
        _, text = tokens.issue("test", sorted(scopes), timezone.now() + timedelta(days=1), now=timezone.now())

        answer = ask(query, text, first=2)

        if is_told:
            assert "errors" not in answer
        else:
            assert answer["data"] is None
            assert [error["extensions"]["code"] for error in answer["errors"]] == ["FORBIDDEN"]
            assert answer["errors"][0]["message"].endswith(f"has no scope {scope}.")


def test_payload_of_a_mutation_loads_together_too(ask, make_customer):
    """Rows that a mutation gives are no page, but they hang together the same."""
    customer = make_customer(MAY)
    lamps = [Product.objects.create(name=f"Lamp {n}", price=1, stock=1) for n in range(20)]
    order = customer.orders.get()
    OrderItem.objects.bulk_create(OrderItem(order=order, product=lamp, unit_price=1) for lamp in lamps)
    scopes = ["stock:write", *READ]
    _, text = tokens.issue("test", scopes, timezone.now() + timedelta(days=1), now=timezone.now())
    query = "mutation { updateLowStockProducts { products { name orderItems(first: 1) { edges { node { pk } } } } } }"

    with CaptureQueriesContext(connection) as captured:
        answer = ask(query, text)

    told = answer["data"]["updateLowStockProducts"]["products"]
    assert [len(product["orderItems"]["edges"]) for product in told] == [1] * 20
    assert sum('FROM "crm_orderitem"' in each["sql"] for each in captured) == 1


def test_reminders_of_a_hundred_orders_with_their_customers_fit(ask, shop):
    """What the daily job asks for: a page of the largest size, a customer with each order."""
    query = """query ($since: DateTime!, $until: DateTime!, $after: String) {
      orders(first: 100, after: $after, ordering: [{orderedAt: ASC}],
             filters: {status: {exact: PENDING}, orderedAt: {gte: $since, lt: $until}}) {
        edges { cursor node { id pk status orderedAt total customer { id pk name email phone } } }
        pageInfo { hasNextPage endCursor } } }"""

    page = ask(query, since="2026-04-30T00:00:00+00:00", until="2026-05-02T00:00:00+00:00")["data"]["orders"]

    assert len(page["edges"]) == 100
    assert measure(parse(query)).cost < limits.KNOWN.cost / 2


@pytest.mark.parametrize("node", [types.Customer, types.Product, types.Order, types.OrderItem])
def test_columns_are_read_without_a_resolver(node):
    """With one, a page of two hundred rows took a sixth more of the processor."""
    fields = {each.python_name: each for each in node.__strawberry_definition__.fields}
    resolved = {name for name, each in fields.items() if not each.is_basic_field}

    assert resolved == {"_id"} | (
        {"orders", "order_items", "customer", "items", "order", "product", "score"} & fields.keys()
    )
