"""Mutations: what they write, and that a mistake in the input is data, says where, and leaves nothing."""

from base64 import b64encode
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from crm import customers, orders, tokens
from crm.graph import limits
from crm.models import Customer, Order, OrderItem, Product, StockMovement

ERRORS = "errors { code message path }"
CREATE_CUSTOMER = f"""mutation($input: CreateCustomerInput!) {{
    createCustomer(input: $input) {{ customer {{ id name email phone }} {ERRORS} }} }}"""
UPDATE_CUSTOMER = f"""mutation($input: UpdateCustomerInput!) {{
    updateCustomer(input: $input) {{ customer {{ name email phone }} {ERRORS} }} }}"""
BULK_CUSTOMERS = f"""mutation($input: BulkCreateCustomersInput!) {{ bulkCreateCustomers(input: $input) {{
    results {{ customer {{ email }} {ERRORS} }} created failed {ERRORS} }} }}"""
CREATE_PRODUCT = f"""mutation($input: CreateProductInput!) {{
    createProduct(input: $input) {{ product {{ name price stock }} {ERRORS} }} }}"""
UPDATE_PRODUCT = f"""mutation($input: UpdateProductInput!) {{
    updateProduct(input: $input) {{ product {{ name price stock }} {ERRORS} }} }}"""
BULK_PRODUCTS = f"""mutation($input: BulkCreateProductsInput!) {{ bulkCreateProducts(input: $input) {{
    results {{ product {{ name stock }} {ERRORS} }} created failed {ERRORS} }} }}"""
CREATE_ORDER = f"""mutation($input: CreateOrderInput!) {{
    createOrder(input: $input) {{ order {{ status total }} {ERRORS} }} }}"""
UPDATE_ORDER = f"""mutation($input: UpdateOrderInput!) {{
    updateOrder(input: $input) {{ order {{ status }} {ERRORS} }} }}"""
BULK_ORDERS = f"""mutation($input: BulkCreateOrdersInput!) {{ bulkCreateOrders(input: $input) {{
    results {{ order {{ total }} {ERRORS} }} created failed {ERRORS} }} }}"""
RESTOCK = f"""mutation($input: UpdateLowStockProductsInput) {{ updateLowStockProducts(input: $input) {{
    products {{ name stock }} message count replayed {ERRORS} }} }}"""
NOT_DONE = ("NOT_DONE", "Not done, as others of the same request have problems.")


@pytest.fixture
def ask(client, db):
    """Ask with a token that may do everything; give the answer's data of the one field, or its errors."""
    now = timezone.now()
    _, text = tokens.issue("test", tokens.SCOPES, now + timedelta(days=1), now=now)

    def asks(query, **given):
        body = {"query": query, "variables": {"input": given} if given else {}}
        headers = {"Authorization": f"Bearer {text}"}
        response = client.post("/graphql", body, content_type="application/json", headers=headers)
        answer = response.json()
        assert response.status_code == 200
        if "errors" in answer:
            return answer["errors"]
        (data,) = answer["data"].values()
        return data

    return asks


def gid(row):
    return b64encode(f"{type(row).__name__}:{row.pk}".encode()).decode()


def problems(answer):
    return [(error["code"], error["path"][1:]) for error in answer["errors"]]


def movements():
    return list(StockMovement.objects.order_by("pk").values_list("product__name", "delta", "reason", "stock_after"))


# ── customers ─────────────────────────────────────────────────────────────────────────────────────


def test_customer_is_made(ask):
    answer = ask(CREATE_CUSTOMER, name="  Ada Lovelace ", email="ada@example.com", phone="+15551234567")

    row = Customer.objects.get()
    assert answer == {
        "customer": {"id": gid(row), "name": "Ada Lovelace", "email": "ada@example.com", "phone": "+15551234567"},
        "errors": [],
    }
    assert timezone.now() - row.created_at < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("name", "email", "phone", "expected"),
    [
        ("", "ada@example.com", "", [("REQUIRED", ["name"])]),
        (" \u00a0\t", "ada@example.com", "", [("REQUIRED", ["name"])]),
        ("a" * 201, "ada@example.com", "", [("INVALID", ["name"])]),
        ("a" * 50_000, "ada@example.com", "", [("INVALID", ["name"])]),
        ("Ada\x00", "ada@example.com", "", [("INVALID", ["name"])]),
        ("Ada\nLovelace", "ada@example.com", "", [("INVALID", ["name"])]),
        ("Ada", "", "", [("REQUIRED", ["email"])]),
        ("Ada", "ada", "", [("INVALID", ["email"])]),
        ("Ada", "ada@example.com\x00", "", [("INVALID", ["email"])]),
        ("Ada", "a" * 250 + "@example.com", "", [("INVALID", ["email"])]),
        ("Ada", "ada@example.com", "5551234567", [("INVALID", ["phone"])]),
        ("Ada", "ada@example.com", "+123٤567890", [("INVALID", ["phone"])]),
        ("", "ada", "x", [("REQUIRED", ["name"]), ("INVALID", ["email"]), ("INVALID", ["phone"])]),
    ],
)
def test_customer_that_cannot_be_is_refused_with_all_reasons(ask, name, email, phone, expected):
    answer = ask(CREATE_CUSTOMER, name=name, email=email, phone=phone)

    assert answer["customer"] is None
    assert problems(answer) == expected
    assert all(error["path"][0] == "input" and error["message"] for error in answer["errors"])
    assert not Customer.objects.exists()


@pytest.mark.parametrize(
    "half", ["\\ud800", "Ada \\udfff", "\\u001b]0;Ada\\u0007", "\\u202eadA", "A\\u200bda", "\\udb40\\udc41da"]
)
def test_what_nobody_would_see_is_refused(ask, client, half):
    """JSON may carry half a character, which no database takes; a name goes into mails, logs and pages."""
    now = timezone.now()
    _, text = tokens.issue("test", tokens.SCOPES, now + timedelta(days=1), now=now)
    variables = f'{{"input": {{"name": "{half}", "email": "ada@example.com"}}}}'
    body = f'{{"query": "mutation($input: CreateCustomerInput!) {{ createCustomer(input: $input) {{ {ERRORS} }} }}",'
    body += f' "variables": {variables}}}'

    response = client.post(
        "/graphql", body, content_type="application/json", headers={"Authorization": f"Bearer {text}"}
    )

    assert response.json()["data"]["createCustomer"]["errors"] == [
        {"code": "INVALID", "message": "The name has control characters. Leave them out.", "path": ["input", "name"]}
    ]


def test_messages_say_what_was_expected(ask):
    answer = ask(CREATE_CUSTOMER, name="", email="ada", phone="x")

    assert [error["message"] for error in answer["errors"]] == [
        "The name is missing.",
        "Enter a valid email address.",
        "Enter a phone number as +15551234567 or 555-123-4567.",
    ]


def test_email_of_another_customer_is_taken_whatever_its_case(ask, make_customer):
    make_customer(email="Ada@example.com")

    answer = ask(CREATE_CUSTOMER, name="Ada", email="ADA@Example.COM")

    assert answer["errors"] == [
        {"code": "TAKEN", "message": "A customer with this e-mail address exists.", "path": ["input", "email"]}
    ]
    assert Customer.objects.count() == 1


def test_domain_is_kept_in_small_letters_of_every_alphabet(ask):
    """Which letters are the same, no two databases agree on: two customers had one address."""
    made = [
        ask(CREATE_CUSTOMER, name="A", email="Ada@EXÄMPLE.de"),
        ask(CREATE_CUSTOMER, name="B", email="ada@exämple.DE"),
        ask(BULK_CUSTOMERS, customers=[{"name": "C", "email": "ADA@exÄmple.de"}])["results"][0],
        ask(CREATE_CUSTOMER, name="D", email="ada@İi.de"),
        ask(CREATE_CUSTOMER, name="E", email="ada@i̇i.de"),
    ]

    assert [[error["code"] for error in each["errors"]] for each in made] == [[], ["TAKEN"], ["TAKEN"], [], ["TAKEN"]]
    assert list(Customer.objects.order_by("pk").values_list("email", flat=True)) == ["Ada@exämple.de", "ada@i̇i.de"]


def test_email_taken_between_the_look_and_the_write_is_told_too(ask, make_customer, monkeypatch):
    """Two sign-ups of one person at once: the second gets an error that it can show, not one of the server."""
    look = customers._taken
    looks = []

    def looks_too_early(emails, **options):
        looks.append(emails)
        found = look(emails, **options)
        if len(looks) == 1:
            make_customer(email="ADA@example.com")
        return found

    monkeypatch.setattr(customers, "_taken", looks_too_early)
    people = [{"name": "Ada", "email": "ada@example.com"}, {"name": "Bob", "email": "bob@example.com"}]

    answer = ask(BULK_CUSTOMERS, customers=people)

    assert [problems(result) for result in answer["results"]] == [[("TAKEN", ["customers", "0", "email"])], []]
    assert (answer["created"], answer["failed"], Customer.objects.count()) == (1, 1, 2)
    assert len(looks) == 3


def test_update_changes_what_is_given_and_nothing_else(ask, make_customer):
    row = make_customer(name="Ada", email="ada@example.com", phone="+15551234567")

    one = ask(UPDATE_CUSTOMER, id=gid(row), name="Ada L.")
    cleared = ask(UPDATE_CUSTOMER, id=gid(row), phone=None)
    nothing = ask(UPDATE_CUSTOMER, id=gid(row))

    expected = {"name": "Ada L.", "email": "ada@example.com", "phone": "+15551234567"}
    assert one == {"customer": expected, "errors": []}
    assert cleared["customer"] == nothing["customer"] == expected | {"phone": ""}
    row.refresh_from_db()
    assert (row.name, row.email, row.phone) == ("Ada L.", "ada@example.com", "")


def test_update_that_breaks_a_rule_changes_nothing(ask, make_customer):
    row = make_customer(name="Ada", email="ada@example.com")
    make_customer(email="bob@example.com")

    assert problems(ask(UPDATE_CUSTOMER, id=gid(row), name=None)) == [("REQUIRED", ["name"])]
    assert problems(ask(UPDATE_CUSTOMER, id=gid(row), name="X", email="no")) == [("INVALID", ["email"])]
    assert problems(ask(UPDATE_CUSTOMER, id=gid(row), name="X", email="BOB@example.com")) == [("TAKEN", ["email"])]
    assert "errors" in ask(UPDATE_CUSTOMER, id=gid(row), email="ADA@example.com")  # its own, in another case
    row.refresh_from_db()
    assert (row.name, row.email) == ("Ada", "ADA@example.com")


@pytest.mark.parametrize("number", [10**9, 2**63 - 1, 0])
def test_unknown_ids_are_not_found(ask, number):
    ids = {name: b64encode(f"{name}:{number}".encode()).decode() for name in ("Customer", "Product", "Order")}

    assert problems(ask(UPDATE_CUSTOMER, id=ids["Customer"], name="X")) == [("NOT_FOUND", ["id"])]
    assert problems(ask(UPDATE_PRODUCT, id=ids["Product"], name="X")) == [("NOT_FOUND", ["id"])]
    assert problems(ask(UPDATE_ORDER, id=ids["Order"], status="PAID")) == [("NOT_FOUND", ["id"])]
    assert problems(ask(CREATE_ORDER, customerId=ids["Customer"], items=[{"productId": ids["Product"]}])) == [
        ("NOT_FOUND", ["customerId"]),
        ("NOT_FOUND", ["items", "0", "productId"]),
    ]


@pytest.mark.parametrize("given", ["", "7", "nonsense", "\x00", b64encode(b"Customer:" + b"9" * 30).decode()])
def test_what_is_no_id_is_refused(ask, given):
    (error,) = ask(UPDATE_CUSTOMER, id=given, name="X")

    assert error["extensions"]["code"] == "BAD_USER_INPUT"


def test_id_of_something_else_is_refused(ask, make_customer):
    """A customer's number must never change the product of the same number."""
    row = make_customer()
    Product.objects.create(pk=row.pk, name="Lamp", price=1)

    (error,) = ask(UPDATE_PRODUCT, id=gid(row), name="X")

    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert Product.objects.get().name == "Lamp"


# ── many at once ──────────────────────────────────────────────────────────────────────────────────

PEOPLE = [
    {"name": "Ada", "email": "ada@example.com"},
    {"name": "", "email": "nobody@example.com"},
    {"name": "Ada again", "email": "ADA@example.com"},
    {"name": "Old", "email": "OLD@example.com"},
    {"name": "Bob", "email": "bob@example.com"},
]


def test_each_of_many_ends_by_itself(ask, make_customer):
    make_customer(email="old@example.com")

    answer = ask(BULK_CUSTOMERS, customers=PEOPLE)

    assert [result["customer"] and result["customer"]["email"] for result in answer["results"]] == [
        "ada@example.com", None, None, None, "bob@example.com",
    ]  # fmt: skip
    assert [problems(result) for result in answer["results"]] == [
        [],
        [("REQUIRED", ["customers", "1", "name"])],
        [("TAKEN", ["customers", "2", "email"])],
        [("TAKEN", ["customers", "3", "email"])],
        [],
    ]
    assert answer["results"][2]["errors"][0]["message"] == (
        "This e-mail address is already that of item 0 of this request."
    )
    assert (answer["created"], answer["failed"], answer["errors"]) == (2, 3, [])
    assert Customer.objects.count() == 3


def test_all_or_nothing_is_nothing_where_one_has_an_error(ask):
    answer = ask(BULK_CUSTOMERS, customers=[*PEOPLE[:2], PEOPLE[4]], allOrNothing=True)

    assert [[error["code"] for error in result["errors"]] for result in answer["results"]] == [
        ["NOT_DONE"],
        ["REQUIRED"],
        ["NOT_DONE"],
    ]
    first = answer["results"][0]["errors"][0]
    assert (first["code"], first["message"]) == NOT_DONE
    assert (answer["created"], answer["failed"]) == (0, 3)
    assert not Customer.objects.exists()


def test_all_or_nothing_is_all_where_none_has(ask):
    answer = ask(BULK_CUSTOMERS, customers=[PEOPLE[0], PEOPLE[4]], allOrNothing=True)

    assert (answer["created"], answer["failed"], Customer.objects.count()) == (2, 0, 2)


@pytest.mark.parametrize(
    ("query", "field", "model", "item"),
    [
        (BULK_CUSTOMERS, "customers", Customer, {"name": "Ada", "email": "ada@example.com"}),
        (BULK_PRODUCTS, "products", Product, {"name": "Lamp", "price": "1.00"}),
        (BULK_ORDERS, "orders", Order, {"customerId": b64encode(b"Customer:1").decode(), "items": []}),
    ],
)
def test_more_than_a_hundred_are_too_many(ask, query, field, model, item):
    answer = ask(query, **{field: [item] * 101})

    assert answer["errors"] == [
        {
            "code": "TOO_MANY",
            "message": "There are 101; at most 100 at once. Send them in parts.",
            "path": ["input", field],
        }
    ]
    assert (answer["results"], answer["created"]) == ([], 0)
    assert not model.objects.exists()


def test_none_is_nothing_to_do(ask):
    assert ask(BULK_CUSTOMERS, customers=[]) == {"results": [], "created": 0, "failed": 0, "errors": []}


def test_statements_do_not_grow_with_the_items(ask, make_customer):
    buyer = make_customer()
    made = Product.objects.bulk_create(Product(name=f"P{n}", price=1, stock=1000) for n in range(100))
    ask("{ hello }")  # notes the use of the token, once a minute
    counts = []
    for number in (2, 100):
        people = [{"name": "P", "email": f"{number}-{n}@example.com"} for n in range(number)]
        goods = [{"name": "P", "price": "1", "stock": 5} for _ in range(number)]
        wishes = [{"customerId": gid(buyer), "items": [{"productId": gid(made[n])}]} for n in range(number)]
        for query, given in (
            (BULK_CUSTOMERS, {"customers": people}),
            (BULK_PRODUCTS, {"products": goods}),
            (BULK_ORDERS, {"orders": wishes}),
        ):
            with CaptureQueriesContext(connection) as captured:
                assert ask(query, **given)["created"] == number
            counts.append(len([each for each in captured if "SAVEPOINT" not in each["sql"]]))

    assert counts == counts[:3] * 2
    assert max(counts) <= 9


BELOW_ORDER = (
    "customer { name orders(first: 1) { edges { node { pk } } } } items { edges { node { product { name } } } }"
)
BELOW_PRODUCT = "orderItems { edges { node { order { customer { name } } } } }"


BELOW = {
    "Customers": "customer { name orders { edges { node { pk items { totalCount } } } } }",
    "Products": f"product {{ name {BELOW_PRODUCT} }}",
    "Orders": f"order {{ pk {BELOW_ORDER} }}",
}


@pytest.mark.parametrize("rows", ["Customers", "Products", "Orders", "low stocks"])
def test_statements_below_a_payload_do_not_grow_with_its_rows(ask, make_customer, monkeypatch, rows):
    """Whatever tree is asked for, of 2 rows or of 50."""
    if rows in BELOW:
        query = f"""mutation($input: BulkCreate{rows}Input!) {{
            bulkCreate{rows}(input: $input) {{ results {{ {BELOW[rows]} }} }} }}"""
    else:
        query = f"mutation {{ updateLowStockProducts {{ results: products {{ name {BELOW_PRODUCT} }} }} }}"
    monkeypatch.setattr(limits, "KNOWN", replace(limits.KNOWN, cost=10**6))
    buyers = [make_customer(timezone.now()) for _ in range(50)]
    made = Product.objects.bulk_create(Product(name=f"P{n}", price=1, stock=1000) for n in range(50))
    OrderItem.objects.bulk_create(
        OrderItem(order=buyer.orders.get(), product=product, unit_price=1)
        for buyer, product in zip(buyers, made, strict=True)
    )
    ask("{ hello }")  # notes the use of the token, once a minute
    counts = []

    for number in (2, 50):
        Product.objects.filter(pk__in=[each.pk for each in made[:number]]).update(stock=1)
        items = []
        for n in range(number):
            item = {
                "Customers": {"name": "P", "email": f"{number}-{n}@example.com"},
                "Products": {"name": "P", "price": "1", "stock": 5},
                "Orders": {"customerId": gid(buyers[n]), "items": [{"productId": gid(made[n])}]},
            }
            items.append(item.get(rows))
        given = {rows.lower(): items} if rows in BELOW else {}
        with CaptureQueriesContext(connection) as captured:
            assert len(ask(query, **given)["results"]) == number
        counts.append(len(captured))

    assert counts[0] == counts[1]


# ── products ──────────────────────────────────────────────────────────────────────────────────────


def test_product_is_made_and_its_stock_has_a_movement(ask):
    answer = ask(CREATE_PRODUCT, name="Lamp", price="19.9", stock=3)

    assert answer == {"product": {"name": "Lamp", "price": "19.90", "stock": 3}, "errors": []}
    assert movements() == [("Lamp", 3, "correction", 3)]


def test_price_of_minus_zero_is_zero(ask):
    assert ask(CREATE_PRODUCT, name="Gift", price="-0")["product"]["price"] == "0.00"


@pytest.mark.parametrize("given", [{}, {"stock": None}, {"stock": 0}])
def test_product_without_stock_has_no_movement(ask, given):
    assert ask(CREATE_PRODUCT, name="Lamp", price="1", **given)["product"]["stock"] == 0
    assert movements() == []


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"price": "-0.01"}, "price"),
        ({"price": "1.001"}, "price"),
        ({"price": "10000000000"}, "price"),
        ({"price": "1e400000"}, "price"),
        ({"price": "1e-400000"}, "price"),
        ({"price": "NaN"}, "price"),
        ({"price": "sNaN"}, "price"),
        ({"price": "-Infinity"}, "price"),
        ({"price": "9" * 5_000}, "price"),
        ({"stock": -1}, "stock"),
        ({"name": "\x00"}, "name"),
    ],
)
def test_product_that_cannot_be_is_refused(ask, given, field):
    answer = ask(CREATE_PRODUCT, **{"name": "Lamp", "price": "1", "stock": 0} | given)

    assert problems(answer) == [("INVALID", [field])]
    assert len(answer["errors"][0]["message"]) < 200
    assert not Product.objects.exists()


def test_product_changes_and_a_new_stock_leaves_a_movement(ask):
    row = Product.objects.create(name="Lamp", price=1, stock=3)

    one = ask(UPDATE_PRODUCT, id=gid(row), price="2.50")
    two = ask(UPDATE_PRODUCT, id=gid(row), stock=1)
    same = ask(UPDATE_PRODUCT, id=gid(row), stock=1)

    assert one == {"product": {"name": "Lamp", "price": "2.50", "stock": 3}, "errors": []}
    assert two["product"] == same["product"] == {"name": "Lamp", "price": "2.50", "stock": 1}
    assert movements() == [("Lamp", -2, "correction", 1)]
    row.refresh_from_db()
    assert (row.name, row.price, row.stock) == ("Lamp", Decimal("2.50"), 1)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"name": None}, [("REQUIRED", ["name"])]),
        ({"price": None, "name": "X"}, [("REQUIRED", ["price"])]),
        ({"stock": None, "name": "X"}, [("REQUIRED", ["stock"])]),
        ({"stock": -1, "name": "X"}, [("INVALID", ["stock"])]),
        ({"stock": 5, "price": "-1"}, [("INVALID", ["price"])]),
    ],
)
def test_product_update_that_breaks_a_rule_changes_nothing(ask, given, expected):
    row = Product.objects.create(name="Lamp", price=1, stock=3)

    assert problems(ask(UPDATE_PRODUCT, id=gid(row), **given)) == expected

    assert Product.objects.values_list("name", "price", "stock").get() == ("Lamp", 1, 3)
    assert movements() == []


def test_products_are_made_by_the_hundred(ask):
    goods = [{"name": "Lamp", "price": "1", "stock": 2}, {"name": "Desk", "price": "-1"}, {"name": "Pen", "price": "1"}]

    answer = ask(BULK_PRODUCTS, products=goods)

    assert [result["product"] for result in answer["results"]] == [
        {"name": "Lamp", "stock": 2}, None, {"name": "Pen", "stock": 0},
    ]  # fmt: skip
    assert problems(answer["results"][1]) == [("INVALID", ["products", "1", "price"])]
    assert (answer["created"], answer["failed"]) == (2, 1)
    assert movements() == [("Lamp", 2, "correction", 2)]


# ── orders ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def shop(make_customer):
    """A customer, five lamps at 9.90 and two desks at 100."""
    lamp = Product.objects.create(name="Lamp", price=Decimal("9.90"), stock=5)
    desk = Product.objects.create(name="Desk", price=100, stock=2)
    return make_customer(), lamp, desk


def test_order_takes_from_the_stock_at_the_price_of_the_day(ask, shop):
    buyer, lamp, desk = shop

    answer = ask(
        CREATE_ORDER, customerId=gid(buyer), items=[{"productId": gid(lamp), "quantity": 3}, {"productId": gid(desk)}]
    )
    Product.objects.update(price=1)

    assert answer == {"order": {"status": "PENDING", "total": "129.70"}, "errors": []}
    order = Order.objects.get()
    assert (order.customer, order.total) == (buyer, Decimal("129.70"))
    assert list(OrderItem.objects.values_list("product__name", "quantity", "unit_price")) == [
        ("Lamp", 3, Decimal("9.90")),
        ("Desk", 1, Decimal(100)),
    ]
    assert list(Product.objects.order_by("pk").values_list("stock", flat=True)) == [2, 1]
    assert movements() == [("Lamp", -3, "sale", 2), ("Desk", -1, "sale", 1)]
    orders.update_total(order.pk)
    order.refresh_from_db()
    assert order.total == Decimal("129.70")


def test_order_above_the_stock_takes_nothing(ask, shop):
    buyer, lamp, desk = shop

    answer = ask(
        CREATE_ORDER,
        customerId=gid(buyer),
        items=[{"productId": gid(lamp)}, {"productId": gid(desk), "quantity": 3}],
    )

    assert answer["order"] is None
    assert answer["errors"] == [
        {
            "code": "OUT_OF_STOCK",
            "message": "There are 2 of Desk; 3 were ordered.",
            "path": ["input", "items", "1", "quantity"],
        }
    ]
    assert (Order.objects.count(), movements()) == (0, [])
    assert list(Product.objects.order_by("pk").values_list("stock", flat=True)) == [5, 2]


@pytest.mark.parametrize("quantity", [0, -1, 1_000_001, 2**31 - 1])
def test_quantity_out_of_range_is_refused(ask, shop, quantity):
    """A negative quantity would fill the stock and lower the total."""
    buyer, lamp, _ = shop

    answer = ask(CREATE_ORDER, customerId=gid(buyer), items=[{"productId": gid(lamp), "quantity": quantity}])

    assert answer["errors"][0]["message"] == f"The quantity is {quantity}; expected 1 to 1000000."
    assert problems(answer) == [("INVALID", ["items", "0", "quantity"])]
    assert (Order.objects.count(), movements()) == (0, [])


def test_order_of_nothing_or_of_one_product_twice_is_refused(ask, shop):
    buyer, lamp, _ = shop
    item = {"productId": gid(lamp)}

    assert problems(ask(CREATE_ORDER, customerId=gid(buyer), items=[])) == [("REQUIRED", ["items"])]
    assert problems(ask(CREATE_ORDER, customerId=gid(buyer), items=[item] * 2)) == [
        ("INVALID", ["items", "1", "productId"])
    ]
    assert problems(ask(CREATE_ORDER, customerId=gid(buyer), items=[item] * 101)) == [("TOO_MANY", ["items"])]
    assert not Order.objects.exists()


def test_total_above_what_can_be_kept_is_refused(ask, shop):
    buyer, lamp, _ = shop
    Product.objects.update(price=Decimal("9999999999.99"), stock=1_000_000)

    answer = ask(CREATE_ORDER, customerId=gid(buyer), items=[{"productId": gid(lamp), "quantity": 101}])

    assert problems(answer) == [("INVALID", ["items"])]
    assert answer["errors"][0]["message"] == "The total is 1009999999998.99; expected less than 1000000000000."
    assert movements() == []


def test_orders_of_one_request_share_what_stock_there_is(ask, shop):
    buyer, lamp, _ = shop
    wish = {"customerId": gid(buyer), "items": [{"productId": gid(lamp), "quantity": 2}]}
    wishes = [wish, wish, wish, wish | {"items": [{"productId": gid(lamp)}]}]

    answer = ask(BULK_ORDERS, orders=wishes)

    assert [result["order"] and result["order"]["total"] for result in answer["results"]] == [
        "19.80", "19.80", None, "9.90",
    ]  # fmt: skip
    assert problems(answer["results"][2]) == [("OUT_OF_STOCK", ["orders", "2", "items", "0", "quantity"])]
    assert (answer["created"], answer["failed"]) == (3, 1)
    assert movements() == [("Lamp", -2, "sale", 3), ("Lamp", -2, "sale", 1), ("Lamp", -1, "sale", 0)]


def test_orders_all_or_nothing(ask, shop):
    buyer, _, desk = shop
    wishes = [{"customerId": gid(buyer), "items": [{"productId": gid(desk), "quantity": n}]} for n in (2, 1)]

    answer = ask(BULK_ORDERS, orders=wishes, allOrNothing=True)

    assert [[error["code"] for error in result["errors"]] for result in answer["results"]] == [
        ["NOT_DONE"],
        ["OUT_OF_STOCK"],
    ]
    assert (Order.objects.count(), movements()) == (0, [])


@pytest.mark.parametrize("before", Order.Status)
@pytest.mark.parametrize("after", Order.Status)
def test_order_moves_on_one_way(ask, make_customer, before, after):
    order = Order.objects.create(customer=make_customer(), status=before)
    allowed = after == before or after in orders.NEXT[before]

    answer = ask(UPDATE_ORDER, id=gid(order), status=after.name)

    order.refresh_from_db()
    if allowed:
        assert answer == {"order": {"status": after.name}, "errors": []}
        assert order.status == after
    else:
        assert problems(answer) == [("NOT_ALLOWED", ["status"])]
        assert answer["errors"][0]["message"].startswith(
            f"The order is {before.name} and cannot become {after.name}. It "
        )
        assert order.status == before


def test_cancelled_order_puts_back_what_it_took_once(ask, shop):
    buyer, lamp, _ = shop
    ask(CREATE_ORDER, customerId=gid(buyer), items=[{"productId": gid(lamp), "quantity": 3}])
    order = Order.objects.get()

    for _ in range(2):
        assert ask(UPDATE_ORDER, id=gid(order), status="CANCELLED")["order"] == {"status": "CANCELLED"}

    assert movements() == [("Lamp", -3, "sale", 2), ("Lamp", 3, "return", 5)]
    assert list(Product.objects.order_by("pk").values_list("stock", flat=True)) == [5, 2]


def test_cancelled_order_that_took_nothing_puts_nothing_back(ask, shop):
    """Orders typed into the admin, and those of the demo data, have taken nothing from the stock."""
    buyer, lamp, _ = shop
    order = Order.objects.create(customer=buyer, status="paid")
    OrderItem.objects.create(order=order, product=lamp, quantity=2, unit_price=1)

    assert ask(UPDATE_ORDER, id=gid(order), status="CANCELLED")["errors"] == []

    assert movements() == []


# ── restocking ────────────────────────────────────────────────────────────────────────────────────


def test_low_stock_is_raised_once_for_a_key(ask):
    Product.objects.create(name="Lamp", price=1, stock=3)
    Product.objects.create(name="Desk", price=1, stock=10)

    first = ask(RESTOCK, key="run-1")
    again = ask(RESTOCK, key="run-1")
    other = ask(RESTOCK, key="run-2")

    lamp = {"products": [{"name": "Lamp", "stock": 13}], "count": 1, "errors": []}
    assert first == lamp | {"message": "Raised the stock of 1 product by 10.", "replayed": False}
    assert again == lamp | {
        "message": "This was done before, under the same key: raised the stock of 1 product by 10.",
        "replayed": True,
    }
    assert (other["products"], other["count"]) == ([], 0)
    assert other["message"] == "Raised the stock of 0 products by 10."


def test_restock_needs_no_argument(ask):
    """As the seed writes it."""
    Product.objects.create(name="Lamp", price=1, stock=9)

    answer = ask("mutation { updateLowStockProducts { products { name stock } message } }")

    assert answer == {
        "products": [{"name": "Lamp", "stock": 19}],
        "message": "Raised the stock of 1 product by 10.",
    }


def test_key_that_is_too_long_is_told(ask):
    Product.objects.create(name="Lamp", price=1, stock=9)

    answer = ask(RESTOCK, key="a" * 201)

    assert problems(answer) == [("INVALID", ["key"])]
    assert (answer["products"], answer["count"], answer["replayed"]) == ([], 0, False)
    assert answer["message"].startswith("The key has 201 characters. ")
    assert movements() == []
