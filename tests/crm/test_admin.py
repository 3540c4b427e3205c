"""The admin's pages: they open, need few statements, and let nobody touch a tombstone."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from crm import stock, tokens
from crm.customers import delete_inactive
from crm.models import CustomerTombstone, Order, Product, Restock, ServiceToken, StockMovement
from crons import api
from crons.models import Entry, Run

from .conftest import CUT, NOW


@pytest.fixture
def superuser(client, db):
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.mark.parametrize(
    "model", ["customer", "product", "order", "stockmovement", "servicetoken", "report", "recipient", "mail"]
)
def test_list_needs_the_same_statements_for_any_number_of_rows(superuser, model):
    url = reverse(f"admin:crm_{model}_changelist")
    call_command("demo_data", "--customers=60", "--now=2026-11-22T02:00:00+00:00")

    with CaptureQueriesContext(connection) as captured:
        response = superuser.get(url)

    assert response.status_code == 200
    assert len(captured) <= 9


@pytest.mark.parametrize("query", ["?q=ada", "?o=5", "?o=-5", "?o=6"])
def test_customers_can_be_searched_and_sorted(superuser, make_customer, query):
    make_customer(NOW, name="Ada")
    make_customer(name="Ada")

    assert superuser.get(reverse("admin:crm_customer_changelist") + query).status_code == 200


def test_saving_an_order_sums_its_items(superuser, make_customer):
    call_command("demo_data", "--customers=20", "--now=2026-11-22T02:00:00+00:00")
    order = Order.objects.filter(items__isnull=False).first()
    total = order.total
    Order.objects.filter(pk=order.pk).update(total=0)
    page = superuser.get(reverse("admin:crm_order_change", args=[order.pk]))
    form, (items,) = page.context["adminform"].form, page.context["inline_admin_formsets"]
    fields = {f"{items.formset.prefix}-{key}": value for key, value in items.formset.management_form.initial.items()}
    for each in (form, *items.formset.initial_forms):
        fields |= {bound.html_name: bound.value() for bound in each if bound.value() is not None}
    fields |= {"ordered_at_0": "2026-11-01", "ordered_at_1": "10:00:00", "customer": order.customer_id}

    saved = superuser.post(reverse("admin:crm_order_change", args=[order.pk]), fields)

    assert saved.status_code == 302, saved.context["errors"]
    order.refresh_from_db()
    assert order.total == total


def test_tombstones_can_be_read_and_found_but_not_touched(superuser, make_customer):
    make_customer(CUT.replace(year=2024), email="ada@example.com")
    make_customer(CUT.replace(year=2024), email="bob@example.com")
    delete_inactive(now=NOW)
    url = reverse("admin:crm_customertombstone_changelist")
    tombstone = CustomerTombstone.objects.first()

    found = superuser.get(url, {"q": "ADA@example.com"})

    assert found.context["cl"].result_count == 1
    assert superuser.get(reverse("admin:crm_customertombstone_change", args=[tombstone.pk])).status_code == 200
    assert superuser.get(reverse("admin:crm_customertombstone_add")).status_code == 403
    assert superuser.post(reverse("admin:crm_customertombstone_delete", args=[tombstone.pk])).status_code == 403


def test_stock_changed_by_hand_leaves_a_movement(superuser):
    superuser.post(reverse("admin:crm_product_add"), {"name": "Lamp", "price": "1", "stock": "3"})
    lamp = Product.objects.get()
    superuser.post(reverse("admin:crm_product_change", args=[lamp.pk]), {"name": "Lamp", "price": "2", "stock": "3"})
    superuser.post(reverse("admin:crm_product_change", args=[lamp.pk]), {"name": "Lamp", "price": "2", "stock": "7"})

    lamp.refresh_from_db()
    assert (lamp.price, lamp.stock) == (2, 7)
    movements = StockMovement.objects.order_by("pk").values_list("delta", "stock_after", "reason")
    assert list(movements) == [(3, 3, "correction"), (4, 7, "correction")]


def test_price_changed_by_hand_keeps_what_a_sale_has_left(superuser, monkeypatch):
    """The form was read before the sale; saving its old stock would bring back what was sold."""
    lamp = Product.objects.create(name="Lamp", price=1, stock=3)
    locked = stock.locked

    def sold_just_before(ids):
        Product.objects.update(stock=1)
        return locked(ids)

    monkeypatch.setattr(stock, "locked", sold_just_before)
    superuser.post(reverse("admin:crm_product_change", args=[lamp.pk]), {"name": "Lamp", "price": "2", "stock": "3"})

    lamp.refresh_from_db()
    assert (lamp.price, lamp.stock) == (2, 1)
    assert not StockMovement.objects.exists()


def test_movements_and_restocks_can_be_read_but_not_touched(superuser):
    Product.objects.create(name="Lamp", price=1, stock=3)
    stock.update_low_stock(key="run-1", now=NOW)

    for row, shown in ((StockMovement.objects.get(), "+10"), (Restock.objects.get(), "run-1")):
        name = f"admin:crm_{row._meta.model_name}"
        found = superuser.get(reverse(f"{name}_changelist"), {"q": "run-1"})

        assert shown in found.text
        assert superuser.get(reverse(f"{name}_change", args=[row.pk])).status_code == 200
        assert superuser.post(reverse(f"{name}_change", args=[row.pk]), {"delta": 5}).status_code == 403
        assert superuser.get(reverse(f"{name}_add")).status_code == 403
        assert superuser.post(reverse(f"{name}_delete", args=[row.pk])).status_code == 403


def test_tokens_are_seen_without_secret_or_hash(superuser):
    row, text = tokens.issue("reports", ["orders:read"], timezone.now() + timedelta(days=1))

    pages = [superuser.get(reverse("admin:crm_servicetoken_changelist"))]
    pages.append(superuser.get(reverse("admin:crm_servicetoken_change", args=[row.pk])))

    for page in pages:
        assert page.status_code == 200
        assert row.prefix in page.text
        assert "orders:read" in page.text
        assert row.secret_hash not in page.text
        assert text[13:] not in page.text
    assert superuser.get(reverse("admin:crm_servicetoken_add")).status_code == 403
    assert superuser.post(reverse("admin:crm_servicetoken_delete", args=[row.pk])).status_code == 403


def test_token_is_revoked_by_who_may_and_that_is_noted(client, superuser):
    row, text = tokens.issue("reports", ["orders:read"], timezone.now() + timedelta(days=1))
    url = reverse("admin:crm_servicetoken_changelist")
    action = {"action": "revoke", "_selected_action": [row.pk]}
    reader = User.objects.create_user("reader", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_servicetoken"))
    other = Client()
    other.force_login(reader)

    other.post(url, action)
    assert tokens.authenticate(text) == row
    superuser.post(url, action)

    with pytest.raises(tokens.InvalidToken, match="was revoked"):
        tokens.authenticate(text)
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.change_message, entry.user.username) == (str(row.pk), "Revoked.", "root")
    assert ServiceToken.objects.count() == 1


def test_confirmation_whose_sender_was_cut_off_is_settled_by_who_may(client, superuser, make_customer):
    """Nothing else ends it; each that was not cut off is left as it is."""
    customer = make_customer(NOW)
    long_ago = timezone.now() - timedelta(hours=1)
    half, other = (
        Order.objects.create(customer=customer, confirmation=each, confirmation_tried_at=long_ago)
        for each in ("sending", "sent")
    )
    url = reverse("admin:crm_order_changelist")
    action = {"action": "confirm_again", "_selected_action": [half.pk, other.pk]}
    reader = User.objects.create_user("reader", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_order"))
    stranger = Client()
    stranger.force_login(reader)

    stranger.post(url, action)
    assert set(Order.objects.exclude(confirmation="").values_list("confirmation", flat=True)) == {"sending", "sent"}
    told = superuser.post(url, action, follow=True).text

    assert f"Order {half.pk}: the confirmation is sent again." in told
    assert "1 orders were left alone: their confirmations are not ones whose sender was cut off." in told
    assert list(Order.objects.order_by("pk").exclude(confirmation="").values_list("confirmation", flat=True)) == [
        "waiting",
        "sent",
    ]
    [entry] = LogEntry.objects.all()
    assert (entry.object_id, entry.change_message) == (str(half.pk), "Said that its confirmation is sent again.")


def test_site_opens_before_the_first_collectstatic(superuser, settings, tmp_path):
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": "crm.static_files.StaticFilesStorage"}}

    before = superuser.get(reverse("admin:index"))
    call_command("collectstatic", "--no-input", "-v0")
    staticfiles_storage._setup()  # a new process reads the manifest
    after = superuser.get(reverse("admin:index"))

    assert 'href="/static/admin/css/base.css"' in before.text
    assert re.search(r'href="/static/admin/css/base\.[0-9a-f]{12}\.css"', after.text)


def test_front_page_leads_to_the_admin(client):
    assert client.get("/").headers["Location"] == "/admin/"


def test_what_a_run_has_made_leads_to_its_page(superuser):
    """From a stock that moved by itself people ask who did it, and whether all went well."""
    api.sync()
    entry = Entry.objects.get(name="update_low_stock")
    at = datetime(2026, 11, 30, 12, tzinfo=UTC)
    slot = Run.objects.create(entry=entry, slot_at=at, planned_at=at, recorded_at=at, state="done", trigger="test")
    asked = api.run_now("update_low_stock", by="ann", key="a/b")
    lamp = Product.objects.create(name="Lamp", price=1, stock=0)
    keys = ["update_low_stock@2026-11-30T12:00:00Z", "update_low_stock#a/b", "order-17"]
    for key in keys:
        StockMovement.objects.create(product=lamp, delta=1, reason="restock", key=key, stock_after=1, created_at=at)

    page = superuser.get("/admin/crm/stockmovement/").content.decode()
    links = re.findall(r'href="(/admin/run/[^"]+)"', page)
    led = [superuser.get(link) for link in sorted(links)]
    lost = [
        superuser.get(f"/admin/run/{key}").status_code
        for key in ("update_low_stock@2026-11-29T12:00:00Z", "no_such@2026-11-30T12:00:00Z", "a@b", "a@2026-13-01", "x")
    ]

    assert [answer["Location"] for answer in led] == [f"/crons/runs/{asked.pk}", f"/crons/runs/{slot.pk}"]
    assert "order-17" in page
    assert lost == [404] * 5
