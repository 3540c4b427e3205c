"""CSV for spreadsheets: what it looks like, that no cell is a formula, and that it is not held in memory."""

import asyncio
import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission, User
from django.core.handlers.asgi import ASGIRequest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from crm import exports
from crm.exports import CUSTOMERS, ORDERS, lines_of, response
from crm.models import Customer, Order

SIGNED_UP = datetime(2023, 11, 1, tzinfo=UTC)


def text(sheet, rows):
    return b"".join(lines_of(sheet, rows)).decode("utf-8-sig")


def test_the_file_is_as_rfc_4180_has_it(make_customer):
    """CRLF, quotes doubled, a comma and a line break within quotes; a reader gives back what was written."""
    make_customer(name='Ada "the first", of\nLondon', email="ada@example.com")
    pk = Customer.objects.get().pk

    written = text(CUSTOMERS, Customer.objects.all())

    assert written == (
        '"id","name","email","phone","signed up"\r\n'
        f'{pk},"Ada ""the first"", of\nLondon","ada@example.com","","2023-11-01 00:00:00+00:00"\r\n'
    )
    assert list(csv.reader(io.StringIO(written, newline="")))[1][1] == 'Ada "the first", of\nLondon'


@pytest.mark.parametrize(
    "name",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("https://example.com","x")', "＝1+1", "＠x"],
)
def test_no_cell_is_a_formula(make_customer, name):
    """Whoever can name a customer could have a colleague's spreadsheet run what he likes."""
    make_customer(name=name, email="a@example.com")

    (_, row) = csv.reader(io.StringIO(text(CUSTOMERS, Customer.objects.all()), newline=""))

    assert row[1] == f"'{name}"


def test_a_text_cannot_be_parted_where_cells_end_at_a_semicolon(make_customer):
    """As in much of Europe: unquoted, the second half of this would be a cell of its own."""
    make_customer(name="a;=1+1", email="a@example.com")

    assert ',"a;=1+1",' in text(CUSTOMERS, Customer.objects.all())


def test_numbers_stay_numbers(make_customer):
    """A total below zero is no formula; a phone number with + is a text."""
    customer = make_customer(SIGNED_UP, name="Ada", email="ada@example.com", phone="+15551234567")
    Order.objects.update(total=Decimal("1234.50"))
    order = Order.objects.get()

    assert text(ORDERS, Order.objects.all()).splitlines()[1] == (
        f'{order.pk},{customer.pk},"Ada","ada@example.com","completed","2023-11-01 00:00:00+00:00",1234.50'
    )
    assert ""","'+15551234567",""" in text(CUSTOMERS, Customer.objects.all())
    assert exports._cell(Decimal("-1.50")) == Decimal("-1.50")


def test_a_page_is_read_when_it_is_sent_and_by_its_key(make_customer, monkeypatch):
    """Flat memory: nothing is read ahead, and no page counts the rows before it."""
    monkeypatch.setattr(exports, "PAGE", 2)
    for _ in range(5):
        make_customer()
    pieces = lines_of(CUSTOMERS, Customer.objects.all())
    read = []

    with CaptureQueriesContext(connection) as captured:
        for piece in pieces:
            read.append((piece.count(b"\r\n"), len(captured)))

    assert read == [(1, 0), (2, 1), (2, 2), (1, 3)]
    assert not [each for each in captured.captured_queries if "OFFSET" in each["sql"].upper()]


@pytest.mark.parametrize(("model", "column"), [("customer", "signed up"), ("order", "total")])
def test_the_list_exports_what_is_selected(admin_client, make_customer, model, column):
    """Also all of a search over several pages, which the admin calls "select across"."""
    make_customer(SIGNED_UP, name="Ada")
    make_customer(SIGNED_UP, name="Bob")
    url = reverse(f"admin:crm_{model}_changelist")
    asked = {"action": "export", "select_across": "1", "_selected_action": ["1"], "index": "0"}

    answer = admin_client.post(f"{url}?q=Ada", asked)

    sent = b"".join(answer.streaming_content)
    lines = sent.decode().splitlines()
    assert sent.startswith(b'\xef\xbb\xbf"')  # else Excel reads Zoë as ZoÃ«
    assert answer["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert answer["Content-Disposition"].startswith(f'attachment; filename="{model}s-')
    assert "no-store" in answer["Cache-Control"]
    assert f'"{column}"' in lines[0]
    assert [('"Ada"' in line, '"Bob"' in line) for line in lines[1:]] == [(True, False)]


def test_who_may_not_look_may_not_export(client, make_customer):
    make_customer()
    person = User.objects.create_user("clerk", is_staff=True)
    person.user_permissions.add(Permission.objects.get(codename="view_order"))
    client.force_login(person)

    answer = client.post(
        reverse("admin:crm_customer_changelist"), {"action": "export", "select_across": "1", "_selected_action": ["1"]}
    )

    assert answer.status_code == 403


def test_a_server_that_waits_for_many_gets_it_piece_by_piece(make_customer, monkeypatch):
    """Under ASGI Django collects what a plain iterator gives, whole, before it sends anything."""
    given = []

    def lines(sheet, rows):
        for piece in (b"1", b"2"):
            given.append(piece)
            yield piece

    monkeypatch.setattr(exports, "lines_of", lines)

    async def first():
        request = ASGIRequest({"type": "http", "method": "GET", "path": "/", "headers": []}, io.BytesIO())
        answer = response(CUSTOMERS, Customer.objects.all(), request)
        async for piece in answer:
            return answer.is_async, piece, list(given)
        raise AssertionError

    assert asyncio.run(first()) == (True, b"1", [b"1"])
