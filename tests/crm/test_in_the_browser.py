"""The CRM's admin as people meet it: in Chromium, light and dark, at a desk and on a phone."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from crm import demo, stock, tokens
from crm.digests import store
from crm.models import Customer, CustomerTombstone, Mail, Order, Product, Recipient, Restock, StockMovement
from crm.token_files import JOBS_SCOPES
from tests.crons.test_in_the_browser import CONTRASTS, chromium  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.django_db(transaction=True)]
LISTS = [
    "customer",
    "product",
    "order",
    "customertombstone",
    "stockmovement",
    "restock",
    "servicetoken",
    "report",
    "recipient",
    "mail",
]
RUN_KEY = f"clean_inactive_customers#{'0123456789abcdef' * 2}"


@pytest.fixture
def shop(db):
    """A few rows of everything that the admin lists, with texts as long as they come."""
    now = timezone.now()
    demo.create(customers=30, now=now, seed=1)
    customer = Customer.objects.all()[0]
    Order.objects.create(pk=1_234_567, customer=customer, ordered_at=now, status="completed", total="123456.78")
    CustomerTombstone.objects.create(
        id_hash="0" * 64,
        email_hash="0" * 64,
        reason="no order within a year",
        run_key=RUN_KEY,
        orders=12,
        deleted_at=now,
    )
    stock.move([(Product.objects.all()[0], 10, "")], StockMovement.Reason.RESTOCK, now=now)
    Restock.objects.create(key=RUN_KEY, count=4, created_at=now)
    store.make(now, now, now=now)
    ada = Recipient.objects.create(name="Ada of the house", email="ada.of.the.house@a-long-name.example.com")
    Mail.objects.create(
        kind="digest", key=f"digest:daily:2026-11-21:recipient-{ada.pk}", recipient=ada, due_at=now, created_at=now,
        state="unknown", reason="SMTPServerDisconnected: Connection unexpectedly closed",
    )  # fmt: skip
    row, _ = tokens.issue("jobs", JOBS_SCOPES, now + timedelta(days=90))
    tokens.ServiceToken.objects.filter(pk=row.pk).update(last_used_at=now)


@pytest.fixture
def page(chromium, live_server, client):  # noqa: F811 (the fixture)
    """Open a page of the admin for somebody who may do all."""
    client.force_login(User.objects.create_superuser("dana"))
    contexts = []

    def opened(path, *, width=1200, scheme="light"):
        context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}])
        contexts.append(context)
        made = context.new_page()
        made.goto(f"{live_server.url}/admin/crm/{path}", wait_until="networkidle")
        return made

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize("width", [1200, 390])
def test_no_column_of_a_list_is_out_of_sight(page, shop, width):
    """What an order comes to stood behind the filters, at a desk too."""
    seen = page(f"{LISTS[0]}/", width=width)
    rows = {}
    for name in LISTS:
        seen.goto(f"{seen.url.rpartition('/crm/')[0]}/crm/{name}/")
        rows[name] = seen.locator("#result_list tbody tr").count()
        sizes = seen.locator(".results").evaluate("each => [each.scrollWidth, each.clientWidth]")
        assert sizes[0] <= sizes[1], name

    assert all(rows.values()), rows


def test_items_of_an_order_can_be_changed_on_a_phone(page, shop):
    """Quantity and price were beyond the right edge, and nothing told of them."""
    order = Order.objects.filter(items__isnull=False).first()
    assert order is not None
    seen = page(f"order/{order.pk}/change/", width=390)

    boxes = seen.locator("input[name$=quantity]:visible, input[name$=unit_price]:visible")

    assert boxes.count() == 2 * order.items.count()
    assert all(box["x"] + box["width"] <= 390 for box in (each.bounding_box() for each in boxes.all()))
    label = "each => getComputedStyle(each.closest('td'), '::before').content"
    assert boxes.nth(0).evaluate(label) == '"Quantity"'
    assert boxes.nth(1).evaluate(label) == '"Unit price"'


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_status_can_be_read(page, shop, scheme):
    """Contrast as AA asks for."""
    for order, status in zip(Order.objects.all(), Order.Status, strict=False):
        Order.objects.filter(pk=order.pk).update(status=status)
    seen = page("order/", scheme=scheme)

    contrasts = seen.evaluate(CONTRASTS, ".crm-status")

    assert {text for text, _ in contrasts} == {status.label for status in Order.Status}
    assert [(text, ratio) for text, ratio in contrasts if ratio < 4.5] == []
