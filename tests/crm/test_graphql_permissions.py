"""Who may ask and do what: every field of the schema is tried by those who may not, so that none is forgotten."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from crm import tokens

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
