"""What the CRM's jobs do, in hand-written SQL, batches and all; and as one writes it who knows the ORM and no size.

The hand-written ones are a limit, not an example: they know this shop's tables, and guard nothing.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import hmac
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connection, transaction

from crm import tombstones
from crm.models import Customer, Mail, Order, Product, StockMovement

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
YEAR_AGO = datetime(2025, 11, 22, 2, 0, tzinfo=UTC)
BATCH = 500
# So many rows of the naive twin are measured, and what they took is said for all.
FEW = 300
_OPEN = "('pending', 'paid', 'shipped')"
_INACTIVE = f"""
    c.created_at < %s AND c.anonymised_at IS NULL AND (c.kept_until IS NULL OR c.kept_until <= %s)
    AND NOT EXISTS (SELECT 1 FROM crm_order o WHERE o.customer_id = c.id AND o.ordered_at >= %s)
    AND NOT EXISTS (SELECT 1 FROM crm_order o WHERE o.customer_id = c.id AND o.status IN {_OPEN})
"""
_KEPT = f"""
    SELECT reason, COUNT(*) FROM (SELECT CASE WHEN c.created_at >= %s THEN 1
        WHEN EXISTS (SELECT 1 FROM crm_order o WHERE o.customer_id = c.id AND o.ordered_at >= %s) THEN 2
        WHEN EXISTS (SELECT 1 FROM crm_order o WHERE o.customer_id = c.id AND o.status IN {_OPEN}) THEN 3
        WHEN c.kept_until > %s THEN 4 WHEN c.anonymised_at IS NOT NULL THEN 5 END AS reason FROM crm_customer c) AS k
    WHERE reason IS NOT NULL GROUP BY reason
"""


def _at(moment: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(moment)


def _ids(sql: str, *values: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return [row[0] for row in cursor.fetchall()]


def _in(count: int) -> str:
    return f"({', '.join(['%s'] * count)})"


def _batches(rows: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]


def _cleanup(became: str) -> int:
    now, cut = _at(NOW), _at(YEAR_AGO)
    key = hashlib.sha256(b"crm.customer_tombstone" + settings.SECRET_KEY.encode()).digest()
    inactive = (cut, now, cut)
    count = 0
    candidates = _ids(f"SELECT c.id FROM crm_customer c WHERE {_INACTIVE} ORDER BY c.id", *inactive)
    _ids(_KEPT, cut, cut, now)
    lock = "FOR UPDATE" if connection.vendor == "postgresql" else ""
    for batch in _batches(candidates):
        these = _in(len(batch))
        with transaction.atomic(), connection.cursor() as cursor:
            if lock:
                cursor.execute(f"SELECT id FROM crm_customer WHERE id IN {these} ORDER BY id {lock}", batch)
                cursor.execute(f"SELECT id FROM crm_order WHERE customer_id IN {these} ORDER BY id {lock}", batch)
            cursor.execute(
                "SELECT c.id, c.email, (SELECT COUNT(*) FROM crm_order o WHERE o.customer_id = c.id) "
                f"FROM crm_customer c WHERE c.id IN {these} AND {_INACTIVE}",
                [*batch, *inactive],
            )
            gone = cursor.fetchall()
            cursor.executemany(
                "INSERT INTO crm_customertombstone (id_hash, email_hash, reason, became, archive, orders, run_key, "
                "deleted_at) VALUES (%s, %s, 'no order within a year', %s, '', %s, 'hand', %s)",
                [
                    (
                        hmac.digest(key, str(pk).encode(), "sha256").hex(),
                        hmac.digest(key, email.lower().encode(), "sha256").hex(),
                        became, orders, now,
                    )
                    for pk, email, orders in gone
                ],
            )  # fmt: skip
            ids = [row[0] for row in gone]
            these = _in(len(ids))
            if became == "anonymised":
                cursor.execute(
                    "UPDATE crm_customer SET name = 'Anonymised customer ' || id, "
                    "email = 'anonymised-' || id || '@customers.invalid', phone = '', anonymised_at = %s "
                    f"WHERE id IN {these}",
                    [now, *ids],
                )
            else:
                orders = f"(SELECT id FROM crm_order WHERE customer_id IN {these})"
                cursor.execute(f"DELETE FROM crm_orderitem WHERE order_id IN {orders}", ids)
                cursor.execute(f"DELETE FROM crm_order WHERE customer_id IN {these}", ids)
                cursor.execute(f"DELETE FROM crm_customer WHERE id IN {these}", ids)
            count += len(ids)
    return count


def _totals() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COUNT(*), SUM(CAST(ROUND(total * 100) AS bigint)) FILTER (WHERE status <> 'cancelled') "
            f"FROM crm_order WHERE {'+' if connection.vendor == 'sqlite' else ''}ordered_at < %s",
            [_at(NOW)],
        )
        count = int(cursor.fetchone()[0])
        cursor.execute("SELECT COUNT(*) FROM crm_customer WHERE created_at < %s", [_at(NOW)])
    return count


def _low_stock() -> int:
    now = _at(NOW)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO crm_restock (\"key\", created_at, count) VALUES ('hand', %s, 0)", [now])
        cursor.execute(
            'INSERT INTO crm_stockmovement (product_id, delta, reason, "key", stock_after, created_at) '
            "SELECT id, 10, 'restock', 'hand', stock + 10, %s FROM crm_product WHERE stock < 10 ORDER BY id",
            [now],
        )
        cursor.execute("UPDATE crm_product SET stock = stock + 10 WHERE stock < 10")
        cursor.execute(
            "SELECT p.name, m.stock_after FROM crm_stockmovement m JOIN crm_product p ON p.id = m.product_id "
            "WHERE m.key = 'hand' ORDER BY p.id"
        )
        count = len(cursor.fetchall())
        cursor.execute("UPDATE crm_restock SET count = %s WHERE \"key\" = 'hand'", [count])
    return count


def _reminders() -> int:
    now, first, last = _at(NOW), _at(NOW - timedelta(days=30)), _at(NOW - timedelta(hours=24))
    pending = _ids(
        "SELECT o.id FROM crm_order o WHERE o.status = 'pending' AND o.ordered_at > %s AND o.ordered_at <= %s "
        "AND NOT EXISTS (SELECT 1 FROM crm_mail m WHERE m.\"order\" = o.id AND m.kind = 'reminder') "
        "ORDER BY o.ordered_at, o.id",
        first, last,
    )  # fmt: skip
    for batch in _batches(pending):
        _mail([("reminder", f"reminder:order-{pk}:1", None, None, pk, now, now) for pk in batch])
    return len(pending)


def _mail(rows: list[Any]) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(
            'INSERT INTO crm_mail (kind, "key", recipient_id, report_id, "order", state, reason, due_at, tries, '
            "run_key, created_at) VALUES (%s, %s, %s, %s, %s, 'waiting', '', %s, 0, 'hand', %s) ON CONFLICT DO NOTHING",
            rows,
        )


_UNPLANNED = """
    SELECT r.id FROM crm_recipient r WHERE r.frequency = 'daily' AND r.created_at <= %s AND NOT EXISTS (
        SELECT 1 FROM crm_mail m WHERE m.recipient_id = r.id AND m.report_id = 1)
"""


def _digests() -> int:
    now, due = _at(NOW), _at(NOW.replace(hour=8))
    readers = _ids(_UNPLANNED, now)
    for batch in _batches(readers):
        _mail([("digest", f"digest:daily:2026-11-21:recipient-{pk}", pk, 1, None, due, now) for pk in batch])
    return len(readers)


def _archive() -> int:
    """Old orders to one compressed file, read back for its digest, then out of their table."""
    old = _ids("SELECT id FROM crm_order WHERE ordered_at < %s ORDER BY ordered_at, id", _at(NOW - timedelta(days=900)))
    settings.CRM_ARCHIVE_DIR.mkdir(exist_ok=True)
    path = settings.CRM_ARCHIVE_DIR / "orders.jsonl.gz"
    columns = "id, customer_id, status, ordered_at, total, confirmation, confirmation_tried_at"
    gone = []
    with gzip.open(path, "wt", compresslevel=6) as file, connection.cursor() as cursor:
        for batch in _batches(old):
            these = _in(len(batch))
            cursor.execute(f"SELECT {columns} FROM crm_order WHERE id IN {these} AND status NOT IN {_OPEN}", batch)
            orders = {row[0]: (row, []) for row in cursor.fetchall()}
            cursor.execute(
                f"SELECT id, order_id, product_id, quantity, unit_price FROM crm_orderitem WHERE order_id IN {these}",
                batch,
            )
            for row in cursor.fetchall():
                if row[1] in orders:
                    orders[row[1]][1].append(row)
            file.writelines(json.dumps(each, default=str) + "\n" for each in orders.values())
            gone += orders
    with gzip.open(path, "rb") as file:
        hashlib.file_digest(file, "sha256")
    for batch in _batches(gone):
        these = _in(len(batch))
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM crm_orderitem WHERE order_id IN {these}", batch)
            cursor.execute(f"DELETE FROM crm_order WHERE id IN {these}", batch)
    return len(gone)


def _import() -> int:
    pieces = _ids("SELECT content FROM crm_importpiece WHERE of_id = 1 ORDER BY number")
    rows = list(csv.DictReader(io.StringIO(b"".join(map(bytes, pieces)).decode())))
    now = _at(NOW)
    for batch in _batches(rows):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO crm_customer (name, email, phone, created_at) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT DO NOTHING",
                [(row["name"], row["email"], row["phone"], now) for row in batch],
            )
            cursor.execute("UPDATE crm_customerimport SET rows_done = rows_done + %s WHERE id = 1", [len(batch)])
    return len(rows)


def _sessions() -> int:
    expired = _ids("SELECT session_key FROM django_session WHERE expire_date < %s ORDER BY session_key", _at(NOW))
    for batch in _batches(expired):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM django_session WHERE session_key IN {_in(len(batch))} AND expire_date < %s",
                [*batch, _at(NOW)],
            )
    return len(expired)


HAND: dict[str, Callable[[], int]] = {
    "cleanup, delete": lambda: _cleanup("deleted"),
    "cleanup, anonymise": lambda: _cleanup("anonymised"),
    "totals of the report": _totals,
    "low stock": _low_stock,
    "reminders planned": _reminders,
    "digests planned": _digests,
    "digests, nothing to plan": _digests,
    "orders archived": _archive,
    "customers imported": _import,
    "sessions expired": _sessions,
}


def _naive_cleanup() -> int:
    count = 0
    for customer in Customer.objects.filter(created_at__lt=YEAR_AGO):
        if customer.orders.filter(ordered_at__gte=YEAR_AGO).exists() or customer.orders.filter(status__in=Order.OPEN):
            continue
        tombstones.write(
            [(customer.pk, customer.email, customer.orders.count())], became="deleted", now=NOW, key="naive"
        )
        customer.orders.all().delete()
        customer.delete()
        if (count := count + 1) == FEW:
            break
    return count


def _naive_totals() -> int:
    cents = [each.total for each in Order.objects.filter(ordered_at__lt=NOW) if each.status != "cancelled"]
    sum(cents, Decimal(0))
    return Order.objects.count()


def _naive_low_stock() -> int:
    count = 0
    for product in Product.objects.filter(stock__lt=10):
        product.stock += 10
        product.save()
        StockMovement.objects.create(
            product=product, delta=10, reason="restock", key="naive", stock_after=product.stock, created_at=NOW
        )
        if (count := count + 1) == FEW:
            break
    return count


def _naive_reminders() -> int:
    count = 0
    for order in Order.objects.filter(status="pending", ordered_at__gt=NOW - timedelta(days=30)):
        if not Mail.objects.filter(order=order.pk).exists():
            Mail.objects.create(kind="reminder", key=f"naive-{order.pk}", order=order.pk, due_at=NOW, created_at=NOW)
        if (count := count + 1) == FEW:
            break
    return count


def _naive_sessions() -> int:
    count = 0
    for session in Session.objects.filter(expire_date__lt=NOW):
        session.delete()
        if (count := count + 1) == FEW:
            break
    return count


NAIVE: dict[str, Callable[[], int]] = {
    "cleanup, delete": _naive_cleanup,
    "totals of the report": _naive_totals,
    "low stock": _naive_low_stock,
    "reminders planned": _naive_reminders,
    "sessions expired": _naive_sessions,
}
