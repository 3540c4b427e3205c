"""Restocking: once per key, beside sales, with a movement for each change."""

import os
import subprocess
import sys
import threading
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from crm import stock
from crm.models import Product, Restock, StockMovement
from crm.problems import Problem, Refused

from .conftest import NOW

Reason = StockMovement.Reason


def product(name, count):
    return Product.objects.create(name=name, price=1, stock=count)


def stocks():
    return list(Product.objects.order_by("pk").values_list("stock", flat=True))


def movements():
    columns = ("product__name", "delta", "reason", "key", "stock_after", "created_at")
    return list(StockMovement.objects.order_by("pk").values_list(*columns))


def test_stock_below_ten_is_raised_by_ten(db):
    for number, count in enumerate((0, 9, 10, 11)):
        product(f"P{number}", count)

    done = stock.update_low_stock(key="run-1", now=NOW)

    assert stocks() == [10, 19, 10, 11]
    assert [(each.name, each.stock) for each in done.products] == [("P0", 10), ("P1", 19)]
    assert done.replayed is False
    assert movements() == [("P0", 10, "restock", "run-1", 10, NOW), ("P1", 10, "restock", "run-1", 19, NOW)]
    assert Restock.objects.values_list("key", "count", "created_at").get() == ("run-1", 2, NOW)


def test_same_key_restocks_once_and_tells_the_same_again(db):
    """A run that is tried again must not restock twice, and must log what it did."""
    lamp, _ = product("Lamp", 3), product("Desk", 50)
    stock.update_low_stock(key="run-1", now=NOW)
    Product.objects.update(stock=1)

    again = stock.update_low_stock(key="run-1", now=NOW + timedelta(hours=1))

    assert again.replayed is True
    assert [(each.pk, each.stock) for each in again.products] == [(lamp.pk, 13)]
    assert stocks() == [1, 1]
    assert len(movements()) == 1


def test_key_under_which_nothing_was_low_stays_used(db):
    product("Lamp", 30)
    stock.update_low_stock(key="run-1", now=NOW)
    Product.objects.update(stock=1)

    again = stock.update_low_stock(key="run-1", now=NOW)

    assert (again.products, again.replayed) == ([], True)
    assert stocks() == [1]


def test_another_key_and_no_key_restock_again(db):
    product("Lamp", -20 + 20)

    stock.update_low_stock(key="run-1", now=NOW)
    Product.objects.update(stock=0)
    stock.update_low_stock(key="run-2", now=NOW)
    for _ in range(2):
        Product.objects.update(stock=0)
        assert stock.update_low_stock(now=NOW).replayed is False

    assert len(movements()) == 4
    assert len({key for _, _, _, key, _, _ in movements()}) == 4


@pytest.mark.parametrize("key", ["a" * 201, "a\x00", "a\nb", "\ud800"])
def test_key_that_cannot_be_kept_is_refused(db, key):
    product("Lamp", 0)

    with pytest.raises(Refused) as refused:
        stock.update_low_stock(key=key, now=NOW)

    wanted = "Give at most 200 characters, and no control characters."
    assert refused.value.problems == [Problem("INVALID", f"The key has {len(key)} characters. {wanted}", ("key",))]
    assert stocks() == [0]


def test_number_of_statements_is_the_same_for_any_number_of_products(db):
    counts = []
    for number in (1, 400):
        Product.objects.bulk_create(Product(name="P", price=1, stock=0) for _ in range(number))
        with CaptureQueriesContext(connection) as captured:
            done = stock.update_low_stock(now=NOW)
        counts.append((len(done.products), len(captured)))

    # Four of them begin and end savepoints: the key's, and the whole's within the test's own transaction.
    # One asks whom webhooks tell.
    assert counts == [(1, 10), (400, 10)]


def test_failure_in_the_middle_leaves_nothing(db, monkeypatch):
    """The key must be free for the next try, and no movement may tell of what did not happen."""
    product("Lamp", 0)

    def explode(key):
        raise RuntimeError("killed")

    monkeypatch.setattr(stock, "_raised_under", explode)
    with pytest.raises(RuntimeError):
        stock.update_low_stock(key="run-1", now=NOW)
    monkeypatch.undo()

    assert (stocks(), movements(), Restock.objects.count()) == ([0], [], 0)
    assert stock.update_low_stock(key="run-1", now=NOW).replayed is False


def test_moving_leaves_a_movement_for_each_change(db):
    lamp, desk, chair = (product(name, 5) for name in ("Lamp", "Desk", "Chair"))

    with transaction.atomic():
        held = stock.locked([lamp.pk, desk.pk, chair.pk, 10**12])
        changes = [(held[lamp.pk], -2, "order-1"), (held[desk.pk], 3, "order-1"), (held[chair.pk], 0, "order-1")]
        stock.move([*changes, (held[lamp.pk], -1, "order-2")], Reason.SALE, now=NOW)

    assert list(held) == [lamp.pk, desk.pk, chair.pk]
    assert stocks() == [2, 8, 5]
    assert movements() == [
        ("Lamp", -2, "sale", "order-1", 3, NOW),
        ("Desk", 3, "sale", "order-1", 8, NOW),
        ("Lamp", -1, "sale", "order-2", 2, NOW),
    ]
    assert stock.taken_under("order-1") == {lamp.pk: 2}


# ── at the same time ──────────────────────────────────────────────────────────────────────────────


class Beside:
    """A call in a thread with a connection of its own; on PostgreSQL it can be seen waiting for a lock."""

    def __init__(self, call):
        self.result = None
        self.is_done = threading.Event()
        self._pid = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()
        assert self._ready.wait(30)

    def _run(self, call):
        try:
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_backend_pid()")
                    (self._pid,) = cursor.fetchone()
            self._ready.set()
            self.result = call()
        finally:
            self._ready.set()
            connections.close_all()
            self.is_done.set()

    def wait_until_it_waits(self):
        """Return when it waits for a lock (SQLite: only one can write at all, so there is nothing to see)."""
        if self._pid is None:
            return
        waits = "SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted"
        while not self.is_done.is_set():
            with connection.cursor() as cursor:
                cursor.execute(waits, [self._pid])
                if cursor.fetchone() == (1,):
                    return

    def end(self):
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.result


@pytest.fixture
def two_connections(transactional_db):
    """Two connections to one database; the in-memory database of SQLite has none for a second."""


def test_two_at_once_under_one_key_restock_once(two_connections):
    """The job and its second try may overlap when a time-out was too short."""
    product("Lamp", 0)
    with transaction.atomic():
        first = stock.update_low_stock(key="run-1", now=NOW)
        other = Beside(lambda: stock.update_low_stock(key="run-1", now=NOW))
        other.wait_until_it_waits()
    second = other.end()

    assert (first.replayed, second.replayed) == (False, True)
    assert [each.stock for each in second.products] == [10]
    assert (stocks(), len(movements())) == ([10], 1)


def test_second_restocks_where_the_first_rolled_back(two_connections):
    product("Lamp", 0)
    with transaction.atomic():
        stock.update_low_stock(key="run-1", now=NOW)
        other = Beside(lambda: stock.update_low_stock(key="run-1", now=NOW))
        other.wait_until_it_waits()
        transaction.set_rollback(True)
    second = other.end()

    assert second.replayed is False
    assert (stocks(), len(movements())) == ([10], 1)


def test_two_at_once_under_two_keys_restock_what_is_low_then(two_connections):
    product("Lamp", 0)
    with transaction.atomic():
        stock.update_low_stock(key="run-1", now=NOW)
        other = Beside(lambda: stock.update_low_stock(key="run-2", now=NOW))
        other.wait_until_it_waits()
    second = other.end()

    assert second.products == []  # by its turn the stock is 10
    assert (stocks(), len(movements())) == ([10], 1)


@pytest.mark.parametrize(("before", "sold", "after"), [(9, 4, 15), (9, 0, 19), (30, 4, 26)])
def test_sale_at_the_same_time_is_neither_lost_nor_overlooked(two_connections, before, sold, after):
    """The restock waits for the sale, and raises what the sale has left."""
    lamp = product("Lamp", before)
    with transaction.atomic():
        held = stock.locked([lamp.pk])
        stock.move([(held[lamp.pk], -sold, "order-1")], Reason.SALE, now=NOW)
        restock = Beside(lambda: stock.update_low_stock(key="run-1", now=NOW))
        restock.wait_until_it_waits()
    done = restock.end()

    assert stocks() == [after]
    assert [each.stock for each in done.products] == ([after] if before < stock.LOW else [])
    assert before + sum(delta for _, delta, *_ in movements()) == after


def test_sale_waits_for_a_restock(two_connections):
    lamp = product("Lamp", 1)

    def sell():
        with transaction.atomic():
            held = stock.locked([lamp.pk])
            stock.move([(held[lamp.pk], -5, "order-1")], Reason.SALE, now=NOW)

    with transaction.atomic():
        stock.update_low_stock(key="run-1", now=NOW)
        other = Beside(sell)
        other.wait_until_it_waits()
    other.end()

    assert stocks() == [6]
    assert [(delta, left) for _, delta, _, _, left, _ in movements()] == [(10, 11), (-5, 6)]


RESTOCK = """
import sys, django
django.setup()
from django.db import connection
from django.utils import timezone
from crm import stock
connection.ensure_connection()
print("ready", flush=True)
sys.stdin.read()
done = stock.update_low_stock(key=sys.argv[1], now=timezone.now())
print(done.replayed, [each.stock for each in done.products])
"""


def test_processes_at_once_restock_once_for_a_key(own_database):
    """A job and its next try on another host, as the database sees them."""
    own_database.migrate()
    add = "from crm.models import Product; [Product.objects.create(name='P', price=1, stock=n) for n in (0, 9, 10)]"
    assert own_database.manage("shell", "-v0", "-c", add).returncode == 0
    gate, opener = os.pipe()
    keys = ["run-1"] * 4 + ["run-2"] * 2
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RESTOCK, key], env=own_database.env, stdin=gate, stdout=subprocess.PIPE, text=True
        )
        for key in keys
    ]
    os.close(gate)
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"

    os.close(opener)

    told = [racer.communicate(timeout=60)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 6
    for mine in (told[:4], told[4:]):
        assert sorted(line.partition(" ")[0] for line in mine) == ["False"] + ["True"] * (len(mine) - 1)
        assert len({line.partition(" ")[2] for line in mine}) == 1
    # Of the two keys the first takes all that is low, the other finds nothing.
    assert {line.partition(" ")[2] for line in told} == {"[10, 19]\n", "[]\n"}
    left = "from crm.models import Product; print(*Product.objects.order_by('pk').values_list('stock', flat=True))"
    assert own_database.manage("shell", "-v0", "-c", left).stdout == "10 19 10\n"
