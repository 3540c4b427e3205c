"""What becomes of inactive customers besides being deleted: archived and brought back, or anonymised, or held."""

import os
import runpy
import shutil
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

import crm.settings
from crm import cron
from crm.archives import files
from crm.archives.models import Archive
from crm.archives.moving import Moving
from crm.archives.restoring import named, restore
from crm.customers import CleanupRefused, delete_inactive
from crm.models import Customer, CustomerTombstone, Order, OrderItem, Product
from crm.tombstones import tombstones_of

from .conftest import CUT, NOW, attempt
from .killing import at_every_statement

TICK = timedelta(microseconds=1)


@pytest.fixture(autouse=True)
def folder(tmp_path, settings, monkeypatch):
    settings.CRM_ARCHIVE_DIR = tmp_path / "archives"
    monkeypatch.setattr(os, "fsync", lambda file: None)
    return settings.CRM_ARCHIVE_DIR


@pytest.fixture
def shop(make_customer):
    """Three inactive customers, one with an item, and one who stays."""
    ada, _, _ = (make_customer(CUT - TICK), make_customer(CUT - TICK, CUT - TICK), make_customer())
    lamp = Product.objects.create(name="Lamp", price=1, stock=5)
    OrderItem.objects.create(order=ada.orders.get(), product=lamp, unit_price=1)
    make_customer(NOW - timedelta(days=1))
    return ada


def rows():
    return [list(model.objects.order_by("pk").values()) for model in (Customer, Order, OrderItem)]


def became():
    return list(CustomerTombstone.objects.order_by("pk").values_list("became", "archive", "orders", "run_key"))


def test_an_archived_customer_comes_back_with_all_orders_and_is_left_alone(shop, settings, log_dir):
    """The next cleanup would find him as inactive as the last one did."""
    settings.CRM_CLEANUP_POLICY = "archive"
    before = rows()

    cleanup = cron.clean_inactive_customers(attempt(key="week"))
    after = rows()
    back = [restore(archive, Moving(NOW)) for archive in named("customers/2026-11-22")]
    again = restore(Archive.objects.get(), Moving(NOW))

    assert (cleanup.deleted, cleanup.skipped) == (3, {"ordered within the year": 1})
    assert (log_dir / "customer_cleanup_log.txt").read_text().endswith(" Archived 3 inactive customers\n")
    assert [len(each) for each in after] == [1, 1, 0]
    assert became() == [("archived", "customers/2026-11-22.1", orders, "week") for orders in (1, 2, 0)]
    assert [(each.restored, dict(each.skipped)) for each in back] == [(3, {})]
    assert (again.restored, dict(again.skipped)) == (0, {"there already": 3})
    assert {row.restored_at for row in tombstones_of(shop.email)} == {NOW}
    assert delete_inactive(now=NOW + timedelta(days=29)).skipped["held by hand"] == 3
    assert Customer.objects.filter(kept_until=NOW + timedelta(days=30)).update(kept_until=None) == 3
    assert rows() == before


def test_one_customer_comes_back_alone(shop, settings, capsys):
    """Support wants one person back, not all of that week."""
    settings.CRM_CLEANUP_POLICY = "archive"
    delete_inactive(now=NOW)

    call_command("restore_archive", tombstones_of(str(shop.pk)).get().archive, only=[shop.pk])

    assert capsys.readouterr().out.splitlines()[0] == "customers/2026-11-22.1: restored 1 of 1 records."
    assert Customer.objects.get(pk=shop.pk).orders.get().items.count() == 1
    assert (Customer.objects.count(), Archive.objects.get().state) == (2, "archived")


def test_killed_at_any_statement_the_archiving_ends_the_same(shop, settings, folder):
    settings.CRM_CLEANUP_POLICY = "archive"
    seen = []

    for steps in at_every_statement(lambda: delete_inactive(now=NOW, key="week", batch_size=2)):
        assert steps < 1_000
        delete_inactive(now=NOW, key="week", batch_size=2)
        state = rows(), became(), list(Archive.objects.values_list("name", "state", "records", "out", "sha256"))
        if state not in seen:
            seen.append(state)
        shutil.rmtree(folder)

    assert len(seen) == 1
    assert seen[0][2][0][:4] == ("customers/2026-11-22.1", "archived", 3, 3)


def test_killed_at_any_statement_the_anonymising_ends_the_same(shop, settings):
    settings.CRM_CLEANUP_POLICY = "anonymise"
    seen = []

    for steps in at_every_statement(lambda: delete_inactive(now=NOW, key="week", batch_size=2)):
        assert steps < 1_000
        delete_inactive(now=NOW, key="week", batch_size=2)
        state = rows(), became()
        if state not in seen:
            seen.append(state)

    assert len(seen) == 1
    assert len(seen[0][1]) == 3


def test_an_anonymised_customer_keeps_orders_and_loses_name_address_and_phone(shop, settings, log_dir):
    settings.CRM_CLEANUP_POLICY = "anonymise"
    orders = Order.objects.count()

    cron.clean_inactive_customers(attempt(key="week"))
    second = delete_inactive(now=NOW)

    shop.refresh_from_db()
    assert (shop.name, shop.email) == (f"Anonymised customer {shop.pk}", f"anonymised-{shop.pk}@customers.invalid")
    assert (shop.phone, shop.anonymised_at, Order.objects.count()) == ("", NOW, orders)
    assert tombstones_of("customer0@example.com").get().became == "anonymised"
    assert (second.deleted, second.skipped) == (0, {"ordered within the year": 1, "anonymised already": 3})
    assert (log_dir / "customer_cleanup_log.txt").read_text().endswith(" Anonymised 3 inactive customers\n")


@pytest.mark.parametrize("policy", ["delete", "archive", "anonymise"])
def test_each_policy_takes_the_same_customers_and_says_what_it_would_do(shop, settings, policy, folder):
    """A dry run, the cap and a person's hold mean the same whatever becomes of them."""
    settings.CRM_CLEANUP_POLICY = policy
    Customer.objects.filter(pk=shop.pk).update(kept_until=NOW + TICK)
    before = rows()

    looked = delete_inactive(now=NOW, dry_run=True)
    settings.CRM_CLEANUP_MAX_COUNT = 1
    with pytest.raises(CleanupRefused):
        delete_inactive(now=NOW)
    settings.CRM_CLEANUP_MAX_COUNT = 10

    assert (rows(), folder.exists()) == (before, False)
    assert cron.cleanup_lines(looked)[0].startswith(f"Would {policy} 2 of 4 customers")
    done = delete_inactive(now=NOW)
    assert (done.examined, done.deleted, done.skipped) == (looked.examined, looked.deleted, looked.skipped)
    assert looked.skipped == {"ordered within the year": 1, "held by hand": 1}
    assert delete_inactive(now=NOW + TICK).deleted == 1


def test_an_order_that_comes_between_copy_and_deletion_keeps_its_customer(shop, settings, monkeypatch):
    """The copy is no promise: who orders meanwhile stays, with that order."""
    settings.CRM_CLEANUP_POLICY = "archive"
    real = files.write

    def written(*args):
        done = real(*args)
        Order.objects.create(customer=shop, ordered_at=NOW)
        return done

    monkeypatch.setattr(files, "write", written)
    cleanup = delete_inactive(now=NOW)

    assert (cleanup.deleted, cleanup.skipped) == (2, {"ordered within the year": 1, "saved while the cleanup ran": 1})
    assert shop.orders.count() == 2


def test_an_address_that_somebody_else_took_meanwhile_is_said(shop, settings):
    settings.CRM_CLEANUP_POLICY = "archive"
    delete_inactive(now=NOW)
    Customer.objects.create(name="Another", email=shop.email)

    done = restore(Archive.objects.get(), Moving(NOW))

    assert (done.restored, dict(done.skipped)) == (2, {"breaks a rule of the table": 1})


def test_a_policy_that_is_none_stops_the_start(monkeypatch):
    monkeypatch.setenv("CRM_CLEANUP_POLICY", "shred")

    with pytest.raises(ImproperlyConfigured, match=r"^CRM_CLEANUP_POLICY='shred' is not known"):
        runpy.run_path(crm.settings.__file__)
