"""Who may ask and do what: every field of the schema is tried by those who may not, so that none is forgotten."""

import re
import uuid
from base64 import b64encode
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.test import Client
from django.utils import timezone
from graphql import (
    get_named_type,
    is_enum_type,
    is_input_object_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_required_argument,
    is_required_input_field,
)

from crm import tokens
from crm.imports import running
from crm.imports.models import CustomerImport
from crm.models import Customer, Order, OrderItem, Product, Restock, StockMovement
from crm.schema import schema
from crons.models import Attempt, AuditEvent, Entry, Run

QUERY = "{ customers { edges { node { email } } } }"


def bearer(text):
    return {"Authorization": f"Bearer {text}"}


def ask(client, query, headers=None):
    return client.post("/graphql", {"query": query}, content_type="application/json", headers=headers)


def token(*scopes, life=timedelta(days=1), age=timedelta(0)):
    made_at = timezone.now() - age
    return tokens.issue("test", scopes, made_at + life, now=made_at)


def code(response):
    (error,) = response.json()["errors"]
    return error["extensions"]["code"]


def test_token_with_the_scope_reads(db, client, make_customer):
    customer = make_customer()
    _, text = token("customers:read")

    response = ask(client, QUERY, bearer(text))

    assert response.json() == {"data": {"customers": {"edges": [{"node": {"email": customer.email}}]}}}


def test_token_without_the_scope_is_refused_by_name(db, client, make_customer):
    make_customer()
    row, text = token("orders:read")

    response = ask(client, QUERY, bearer(text))

    assert (response.status_code, response.json()["data"]) == (200, None)
    assert response.json()["errors"][0]["message"] == f"The service token {row.prefix} has no scope customers:read."
    assert code(response) == "FORBIDDEN"


@pytest.mark.parametrize("query", [QUERY, "{ hello }"])
@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", "The Authorization header is of no known form. Expected: Bearer crm_…"),
        ("Bearer", "The service token is not known. Check that it was copied whole, or issue another."),
        ("Bearer crm_aaaaaaaa_", "The service token is not known. Check that it was copied whole, or issue another."),
        ("Basic cm9vdDpyb290", "The Authorization header is of no known form. Expected: Bearer crm_…"),
        ("{token}", "The Authorization header is of no known form. Expected: Bearer crm_…"),
        ("Token {token}", "The Authorization header is of no known form. Expected: Bearer crm_…"),
        ("Bearer {token},Bearer {token}", "The service token is not known. Check that it was copied whole, or "),
        ("Bearer\t{token}", "The Authorization header is of no known form. Expected: Bearer crm_…"),
    ],
)
def test_header_of_another_form_is_refused_and_no_login_takes_its_place(client, make_customer, query, header, message):
    """A program with a broken token must notice, also where a browser's cookies lie about."""
    make_customer()
    client.force_login(User.objects.create_superuser("root"))
    _, text = token("customers:read")

    response = ask(client, query, {"Authorization": header.format(token=text)})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="crm"'
    assert response.json()["errors"][0]["message"].startswith(message)
    assert code(response) == "UNAUTHENTICATED"
    assert text[13:] not in response.text


def test_expired_and_revoked_tokens_are_refused_with_the_reason(db, client):
    _, expired = token("customers:read", age=timedelta(days=2))
    row, revoked = token("customers:read")
    tokens.revoke(row.prefix)

    for text, reason in ((expired, "expired"), (revoked, "was revoked")):
        response = ask(client, QUERY, bearer(text))

        assert response.status_code == 401
        assert code(response) == "UNAUTHENTICATED"
        assert f"The service token {text[4:12]} {reason} " in response.json()["errors"][0]["message"]


def test_scheme_may_be_written_in_any_case(db, client):
    _, text = token("customers:read")

    assert "errors" not in ask(client, QUERY, {"Authorization": f"bearer  {text}"}).json()


def test_token_has_no_other_rights_than_its_own(db, client):
    """A superuser's cookie beside it lends it nothing."""
    client.force_login(User.objects.create_superuser("root"))
    _, text = token("orders:read")

    assert code(ask(client, QUERY, bearer(text))) == "FORBIDDEN"


def test_token_needs_no_csrf_token(db):
    """No browser adds the header by itself, so no other site can."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))
    _, text = token("customers:read")

    assert ask(client, QUERY, bearer(text)).status_code == 200
    assert ask(client, QUERY).status_code == 403


def test_staff_needs_the_permission_of_the_model(db, client):
    user = User.objects.create_user("staff", is_staff=True)
    client.force_login(user)

    before = ask(client, QUERY)
    user.user_permissions.add(Permission.objects.get(codename="view_customer"))
    after = ask(client, QUERY)

    assert before.json()["errors"][0]["message"] == "Your account lacks the permission crm.view_customer."
    assert code(before) == "FORBIDDEN"
    assert "errors" not in after.json()


def test_deactivated_user_is_no_user(db, client):
    user = User.objects.create_superuser("root")
    client.force_login(user)
    User.objects.update(is_active=False)

    assert code(ask(client, QUERY)) == "UNAUTHENTICATED"


def test_any_good_token_may_read_the_schema(db, client):
    _, text = token("stock:write")
    query = '{ __type(name: "Query") { name } }'

    assert ask(client, query, bearer(text)).json() == {"data": {"__type": {"name": "Query"}}}
    assert code(ask(client, query)) == "INTROSPECTION_OFF"


# ── every field ───────────────────────────────────────────────────────────────────────────────────

# What each field asks for: the scope, and the permission of a staff user. None: for anyone.
GUARDS = {
    "Query.hello": None,
    "Query.customers": ("customers:read", ["view_customer"]),
    "Query.customer": ("customers:read", ["view_customer"]),
    "Query.products": ("products:read", ["view_product"]),
    "Query.product": ("products:read", ["view_product"]),
    "Query.orders": ("orders:read", ["view_order"]),
    "Query.order": ("orders:read", ["view_order"]),
    "Query.node": ("orders:read", ["view_order"]),  # of the order that document() asks for
    "Query.nodes": ("orders:read", ["view_order"]),
    "Query.import": ("imports:read", ["view_customerimport"]),
    "Query.imports": ("imports:read", ["view_customerimport"]),
    "Query.reportTotals": ("reports:read", ["view_customer", "view_order"]),
    "Mutation.createCustomer": ("customers:write", ["add_customer"]),
    "Mutation.updateCustomer": ("customers:write", ["change_customer"]),
    "Mutation.bulkCreateCustomers": ("customers:write", ["add_customer"]),
    "Mutation.createProduct": ("products:write", ["add_product"]),
    "Mutation.updateProduct": ("products:write", ["change_product"]),
    "Mutation.bulkCreateProducts": ("products:write", ["add_product"]),
    "Mutation.createOrder": ("orders:write", ["add_order"]),
    "Mutation.updateOrder": ("orders:write", ["change_order"]),
    "Mutation.bulkCreateOrders": ("orders:write", ["add_order"]),
    "Mutation.updateLowStockProducts": ("stock:write", ["change_product"]),
    "Mutation.importCustomers": ("imports:write", ["add_customerimport", "add_customer"]),
    "Mutation.resumeImport": ("imports:write", ["add_customerimport", "add_customer"]),
    "Mutation.cancelImport": ("imports:write", ["add_customerimport", "add_customer"]),
}
GUARDED = [name for name, guard in GUARDS.items() if guard]


def root_fields():
    graphql = schema._schema
    roots = (graphql.query_type, graphql.mutation_type)
    fields = {f"{root.name}.{name}": field for root in roots for name, field in root.fields.items()}
    # Those of crons have tests of their own in tests/contrib/graphql; what tokens open of them is asked below.
    return {name: field for name, field in fields.items() if not name.partition(".")[2].startswith("crons")}


def document(name, rows):
    """Write a document that asks the field *name* with arguments that would be answered, or would do something."""
    field = root_fields()[name]
    root, _, asked = name.partition(".")
    given = {key: argument for key, argument in field.args.items() if is_required_argument(argument)}
    owners = {"id": f"{asked.replace('node', 'order')}.id", "ids": "order.id"}
    arguments = ", ".join(
        f"{key}: {literal(argument.type, owners.get(key, key), rows)}" for key, argument in given.items()
    )
    asked += f"({arguments})" if arguments else ""
    return f"{root.lower()} {{ {asked} {selection(get_named_type(field.type))} }}"


def literal(kind, key, rows):
    """Write a value of type *kind* for the argument or input field *key*."""
    kind = getattr(kind, "of_type", kind) if is_non_null_type(kind) else kind
    if is_list_type(kind):
        return f"[{literal(kind.of_type, key, rows)}]"
    if is_input_object_type(kind):
        wanted = {each: field for each, field in kind.fields.items() if is_required_input_field(field)}
        if not wanted:  # one of its fields
            wanted = dict([next(iter(kind.fields.items()))])
        # An update with an id alone would change nothing; a name shows whether it did.
        if "name" in kind.fields:
            wanted["name"] = kind.fields["name"]
        owner = re.sub(r"^(Bulk)?(Create|Update|Resume|Cancel)|s?Input$", "", kind.name)
        parts = (
            f"{each}: {literal(field.type, f'{owner}.id' if each == 'id' else each, rows)}"
            for each, field in wanted.items()
        )
        return f"{{{', '.join(parts)}}}"
    if kind.name == "ID":
        owner = key.partition(".")[0].removesuffix("Id").capitalize()
        return f'"{rows[owner]}"'
    if is_enum_type(kind):
        return "PAID"
    return {
        "email": '"new@example.com"',
        "name": '"New"',
        "price": '"5"',
        "text": r'"name,email\nA,a@x.de"',
        "Int": "1",
    }[key if kind.name != "Int" else "Int"]


def selection(kind):
    return "" if is_leaf_type(kind) else "{ __typename }"


@pytest.fixture
def rows(make_customer):
    """A customer with a pending order, and a product that is low; their ids by type."""
    buyer = make_customer()
    lamp = Product.objects.create(name="Lamp", price=1, stock=5)
    order = Order.objects.create(customer=buyer)
    now = timezone.now()
    Entry.objects.create(name=running.JOB, job=running.JOB, zone="UTC", first_seen_at=now, accounted_until=now)
    file = running.keep([b"name,email\nBob,bob@x.de"], "new.csv", by="ada", now=now)
    ids = {
        type(row).__name__: b64encode(f"{type(row).__name__}:{row.pk}".encode()).decode()
        for row in (buyer, lamp, order, file)
    }
    return ids | {"Import": ids["CustomerImport"]}


def everything():
    """Give all that the CRM keeps, but for the tokens, and the runs that were asked for."""
    models = (Customer, Product, Order, OrderItem, StockMovement, Restock, CustomerImport, Run)
    return [list(model.objects.order_by("pk").values_list()) for model in models]


def test_every_root_field_has_its_guard_written_here():
    """A new field must not be forgotten below."""
    assert sorted(root_fields()) == sorted(GUARDS)


@pytest.mark.parametrize("name", GUARDED)
def test_who_may_not_is_refused_and_nothing_is_written(client, rows, name):
    scope, permissions = GUARDS[name]
    query = document(name, rows)
    before = everything()
    _, lacking = token(*(each for each in tokens.SCOPES if each != scope))
    _, expired = token(scope, age=timedelta(days=2))
    row, revoked = token(scope)
    tokens.revoke(row.prefix)

    answers = {
        "anonymous": ask(client, query),
        "without the scope": ask(client, query, bearer(lacking)),
        "expired": ask(client, query, bearer(expired)),
        "revoked": ask(client, query, bearer(revoked)),
    }
    user = User.objects.create_user("guest")
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="crm"))
    client.force_login(user)
    answers["no staff"] = ask(client, query)
    User.objects.update(is_staff=True)
    for codename in permissions:
        others = Permission.objects.filter(content_type__app_label="crm").exclude(codename=codename)
        user.user_permissions.set(others)
        answers[f"staff without {codename}"] = ask(client, query)

    told = {who: (answer.status_code, code(answer)) for who, answer in answers.items()}
    assert told.pop("anonymous") == (200, "UNAUTHENTICATED")
    assert told.pop("expired") == told.pop("revoked") == (401, "UNAUTHENTICATED")
    assert set(told.values()) == {(200, "FORBIDDEN")}
    assert not any(any((answer.json().get("data") or {}).values()) for answer in answers.values())
    assert everything() == before


@pytest.mark.parametrize("name", GUARDED)
def test_who_may_is_let_pass(client, rows, name):
    """Else the test above would hold for fields that refuse everybody, or whose document is wrong."""
    scope, permissions = GUARDS[name]
    query = document(name, rows)
    before = everything()
    _, text = token(scope)

    with transaction.atomic():
        answer = ask(client, query, bearer(text))
        after = everything()
        transaction.set_rollback(True)
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    by_staff = ask(client, query)

    assert "errors" not in answer.json()
    assert "errors" not in by_staff.json()
    assert (after != before) == name.startswith("Mutation")


WRITES = {
    "customers": """createCustomer(input: {name: "Ada", email: "ada@example.com"}) {
        customer { phone } errors { code } }""",
    "products": """createProduct(input: {name: "Tea", price: "5"}) { product { stock } errors { code } }""",
    "stock": "updateLowStockProducts { products { price } count }",
}


@pytest.mark.parametrize("what", WRITES)
def test_a_scope_to_write_does_not_read(db, client, what):
    """The answer shows the whole row: phone numbers, say, that the program never had a right to."""
    _, text = token(f"{what}:write")
    reads = "products:read" if what == "stock" else f"{what}:read"

    refused = ask(client, f"mutation {{ {WRITES[what]} }}", bearer(text))
    _, both = token(f"{what}:write", reads)
    shown = ask(client, f"mutation {{ {WRITES[what].replace('ada@', 'eve@').replace('Tea', 'Jam')} }}", bearer(both))

    [error] = refused.json()["errors"]
    assert error["extensions"] == {"code": "FORBIDDEN"}
    assert error["message"].endswith(f"has no scope {reads}.")
    assert "errors" not in shown.json()


def test_a_scope_to_write_says_what_became_of_it(db, client):
    _, text = token("stock:write")

    told = ask(client, "mutation { updateLowStockProducts { count errors { code } } }", bearer(text)).json()

    assert told == {"data": {"updateLowStockProducts": {"count": 0, "errors": []}}}


OPERATIONS = sorted(
    name
    for root in (schema._schema.query_type, schema._schema.mutation_type)
    for name in root.fields
    if name.startswith("crons")
)
ASKED = {
    "job": '"catch"', "name": '"catch"', "run": '"7"', "id": '"7"', "incident": '"7"', "reason": '"because"'
}  # fmt: skip


def operation(name):
    """Write a document that asks for an operation of crons."""
    graphql = schema._schema
    root = graphql.query_type if name in graphql.query_type.fields else graphql.mutation_type
    field = root.fields[name]
    given = ", ".join(f"{key}: {ASKED[key]}" for key, each in field.args.items() if is_required_argument(each))
    return f"{root.name.lower()} {{ {name}{f'({given})' if given else ''} {selection(get_named_type(field.type))} }}"


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_of_crons_ask_for_their_scopes(client, db, name):
    """A token with every scope but the field's own is refused; one with the scopes is not told that it may not."""
    writes = name in schema._schema.mutation_type.fields
    own = "crons:operate" if writes else "crons:output" if name == "cronsOutput" else "crons:read"
    _, others = token(*(each for each in tokens.SCOPES if each != own))
    _, enough = token(own, "crons:read")

    assert code(ask(client, operation(name))) == "UNAUTHENTICATED"
    [refusal] = ask(client, operation(name), bearer(others)).json()["errors"]
    assert refusal["extensions"] == {"code": "FORBIDDEN"}
    assert re.fullmatch(f"The service token [a-z0-9]{{8}} has no scope {own}\\.", refusal["message"])
    errors = ask(client, operation(name), bearer(enough)).json().get("errors", [])
    assert [each["extensions"]["code"] for each in errors] in ([], ["NOT_FOUND"])


def test_an_error_of_a_job_is_refused_by_its_scope(client, db):
    now = timezone.now()
    entry = Entry.objects.create(name="nightly", job="nightly", zone="UTC", first_seen_at=now, accounted_until=now)
    run = Run.objects.create(entry=entry, planned_at=now, recorded_at=now, state="running", tries=1)
    Attempt.objects.create(run=run, number=1, token=uuid.uuid4(), begun_at=now, pid=7, error="no")
    row, text = token("crons:read")
    query = "{ cronsRuns(first: 1) { edges { node { attempts(first: 1) { edges { node { error } } } } } } }"

    [error] = ask(client, query, bearer(text)).json()["errors"]

    assert error["message"] == f"The service token {row.prefix} has no scope crons:output."


def test_a_program_that_operates_is_named_in_the_audit_trail(client, db):
    now = timezone.now()
    Entry.objects.create(name="nightly", job="nightly", zone="UTC", first_seen_at=now, accounted_until=now)
    row, text = token("crons:read", "crons:operate")
    query = 'mutation { cronsPause(job: "nightly", reason: "storm") { job { isPaused } errors { message } } }'

    answer = ask(client, query, bearer(text)).json()

    assert answer == {"data": {"cronsPause": {"job": {"isPaused": True}, "errors": []}}}
    event = AuditEvent.objects.get(verb="pause")
    assert (event.actor, event.reason) == (f"{row.name} {row.prefix} (graphql)", "storm")
