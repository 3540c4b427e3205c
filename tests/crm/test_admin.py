"""The admin's pages: they open, need few statements, and let nobody touch a tombstone."""

import re

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from crm.customers import delete_inactive
from crm.models import CustomerTombstone, Order

from .conftest import CUT, NOW


@pytest.fixture
def superuser(client, db):
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.mark.parametrize("model", ["customer", "product", "order"])
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
