"""A shop of a size at which jobs show what they cost: made by the database itself, a chunk a transaction.

Each value follows from the row's number and the shop's last moment, by the same arithmetic on every database. So
who was killed goes on where the numbers end, and two shops of one size and moment are equal.
"""
# ruff: noqa: S608 (what is put into the texts stands in this file; the only values are whole numbers)

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.management.color import no_style
from django.db import connection, transaction
from django.db.models import Max, Model

from crm.models import Customer, Order, OrderItem, Product

PAST = timedelta(days=1095)
CHUNK = 20_000
FEWEST = 200  # with less there is nobody of some fates
# A customer's e-mail address says of what shop it is; the domain is nobody's (RFC 2606).
_DOMAIN = "shop-{}.example"
_FIRST = ("Amina", "Bao", "Carlos", "Dagny", "Ewa", "Farid", "Grace", "Hana", "Ivan", "Jun", "Kofi", "Lea", "Mateo")
_LAST = ("Adeyemi", "Berg", "Castillo", "Dubois", "Eriksen", "Fischer", "Garcia", "Haddad", "Ito", "Jansen", "Kaya")
_MATERIALS = ("Oak", "Linen", "Copper", "Walnut", "Wool", "Slate", "Birch", "Cork", "Brass", "Felt")
_THINGS = ("Desk Lamp", "Notebook", "Tray", "Bookend", "Planter")
_DAY = 86_400

Say = Callable[[str, int, int], None]


class NotOurs(Exception):
    """There are rows that the shop would be mixed with; nothing was written."""


@dataclass(frozen=True)
class Shop:
    """So many customers; three orders and a tenth of a product for each; *now* is its last moment."""

    customers: int
    now: datetime

    @property
    def orders(self) -> int:
        return 3 * self.customers

    @property
    def products(self) -> int:
        return max(2, self.customers // 10)


def begun(customers: int, now: datetime) -> Shop:
    """Give the shop to be written: the one that is there, whole or in part, else a new one.

    Raises: NotOurs.
    """
    first = Customer.objects.order_by("pk").first()
    if first is None:
        if Product.objects.exists():
            raise NotOurs("There are products already. Name an empty database in DATABASE_URL.")
        return Shop(customers, now.replace(microsecond=0))
    if first.pk != 1 or not first.email.endswith("@" + _DOMAIN.format(customers)):
        raise NotOurs(
            f"There are customers already, and not those of a shop of {customers:,}: the first is {first}. "
            "Name an empty database in DATABASE_URL, or give the number that this shop was begun with."
        )
    return Shop(customers, first.created_at + PAST)


def write(shop: Shop, on_progress: Say) -> None:
    """Have all rows of *shop* there; those that are there already are left alone.

    Args: *on_progress* is called with (what, how many, of how many) after each chunk.
    Cost: flat memory; a transaction for each CHUNK rows; two minutes of processor time for 1,000,000 customers.
    """
    _fill(Customer, shop.customers, [_customers(shop)], on_progress)
    _fill(Product, shop.products, [_products()], on_progress)
    _fill(Order, shop.orders, [_orders(shop), _items(shop)], on_progress)
    with connection.cursor() as cursor:
        # Else the plans are those of an empty shop: for a while on PostgreSQL, for ever on SQLite.
        cursor.execute("ANALYZE")


def _fill(model: type[Model], count: int, statements: list[str], on_progress: Say) -> None:
    what = str(model._meta.verbose_name_plural)
    last = model._default_manager.aggregate(last=Max("pk"))["last"] or 0
    # Whoever uses the shop before it is whole must get numbers that are free.
    resets = connection.ops.sequence_reset_sql(no_style(), [model, OrderItem])
    while last < count:
        until = min(last + CHUNK, count)
        first = f"SELECT CAST({last + 1} AS bigint)"
        numbers = f"WITH RECURSIVE numbers(n) AS ({first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {until})"
        with transaction.atomic(), connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement.replace("WITH numbers", numbers))
            for statement in resets:
                cursor.execute(statement)
        last = until
        on_progress(what, last, count)


def _customers(shop: Shop) -> str:
    name = f"{_one_of(_FIRST, _random('n', 1))} || ' ' || {_one_of(_LAST, _random('n', 2))}"
    domain = _DOMAIN.format(shop.customers)
    phone = f"'+1555' || CAST(1000000 + {_random('n', 3)} % 9000000 AS text)"
    return f"""
        INSERT INTO crm_customer (id, name, email, phone, created_at)
        WITH numbers
        SELECT n, name, lower(replace(name, ' ', '.')) || '.' || CAST(n AS text) || '@{domain}',
            CASE WHEN n % 5 = 0 THEN '' ELSE {phone} END, {_moment(_signed_up(shop, "n"))}
        FROM (SELECT n, {name} AS name FROM numbers) AS named ORDER BY n
    """


def _products() -> str:
    name = f"{_one_of(_MATERIALS, 'n')} || ' ' || {_one_of(_THINGS, 'n / 10')} || ' ' || CAST(n AS text)"
    return f"""
        INSERT INTO crm_product (id, name, price, stock)
        WITH numbers
        SELECT n, {name}, {_price("n")} / 100.0, {_random("n", 5)} % 120 FROM numbers ORDER BY n
    """


def _orders(shop: Shop) -> str:
    end, span = int(shop.now.timestamp()), int(PAST.total_seconds())
    # One second before the last moment at the latest, and later with each number, as in a shop.
    at = f"{end - span} + (n - 1) * {span - 1} / {shop.orders}"
    # How many customers had signed up by then: what _signed_up says, turned round.
    fifth = max(1, shop.customers // 5)
    signed_up = f"{fifth} + (at - {end - span}) * {shop.customers - fifth} / {span}"
    # A stride, not chance: of those who buy, hardly one goes without an order for a year.
    stride = f"(n * 7919) % {shop.customers}"
    # 17 of a hundred have not bought for over a year: the one 17 numbers further, or a hundred before, buys instead.
    other = "CASE WHEN c >= 100 THEN c - 83 ELSE c + 17 END"
    buys = f"CASE WHEN at >= {end - 372 * _DAY} AND c % 100 < 17 THEN {other} ELSE c END"
    status = f"""
        CASE WHEN {_random("n", 7)} % 100 < 6 THEN 'cancelled'
            WHEN at < {end - 21 * _DAY} AND n % 500 > 0 THEN 'completed'
            WHEN n % 3 = 0 OR n % 500 = 0 THEN 'pending' WHEN n % 3 = 1 THEN 'paid' ELSE 'shipped' END
    """
    total = f"{_price(_product(shop, 0))} * {_quantity(0)} + (n % 2) * {_price(_product(shop, 1))} * {_quantity(1)}"
    return f"""
        INSERT INTO crm_order (id, customer_id, status, ordered_at, total, confirmation)
        WITH numbers
        SELECT n, 1 + ({buys}), {status}, {_moment("at")}, ({total}) / 100.0, ''
        FROM (
            SELECT n, at, CASE WHEN c < signed_up THEN c ELSE c % signed_up END AS c
            FROM (SELECT n, at, {stride} AS c, {signed_up} AS signed_up FROM (SELECT n, {at} AS at FROM numbers) AS o1)
                AS o2
        ) AS o3 ORDER BY n
    """


def _items(shop: Shop) -> str:
    """Every other order has a second item."""
    product = f"CASE WHEN line = 0 THEN {_product(shop, 0)} ELSE {_product(shop, 1)} END"
    quantity = f"CASE WHEN line = 0 THEN {_quantity(0)} ELSE {_quantity(1)} END"
    return f"""
        INSERT INTO crm_orderitem (id, order_id, product_id, quantity, unit_price)
        WITH numbers
        SELECT n + n / 2 + line, n, product, quantity, {_price("product")} / 100.0
        FROM (
            SELECT n, line, {product} AS product, {quantity} AS quantity
            FROM numbers CROSS JOIN (SELECT 0 AS line UNION ALL SELECT 1) AS lines WHERE line <= n % 2
        ) AS item ORDER BY n, line
    """


def _signed_up(shop: Shop, n: str) -> str:
    """A fifth is there from the first day; the others come one after the other."""
    start, span, fifth = int((shop.now - PAST).timestamp()), int(PAST.total_seconds()), max(1, shop.customers // 5)
    return f"{start} + CASE WHEN {n} > {fifth} THEN ({n} - {fifth}) * {span - 1} / {shop.customers - fifth} ELSE 0 END"


def _product(shop: Shop, line: int) -> str:
    first = f"{_random('n', 8)} % {shop.products}"
    return f"(1 + ({first} + {line} * (1 + {_random('n', 9)} % {shop.products - 1})) % {shop.products})"


def _price(product: str) -> str:
    return f"(490 + {_random(product, 4)} % 24410)"


def _quantity(line: int) -> str:
    return f"(1 + {_random('n', 10 + line)} % 3)"


def _one_of(values: tuple[str, ...], index: str) -> str:
    cases = " ".join(f"WHEN {number} THEN '{value}'" for number, value in enumerate(values))
    return f"CASE ({index}) % {len(values)} {cases} END"


def _random(n: str, salt: int) -> str:
    """Give a number from 0 to 2³² that looks like chance, the same for the same *n* and *salt*; never beyond 2⁶³."""
    return f"((CAST({n} AS bigint) * 2654435761 + {salt * 97_654_321}) % 4294967296 * 40503 % 4294967291)"


def _moment(seconds: str) -> str:
    return f"to_timestamp({seconds})" if connection.vendor == "postgresql" else f"datetime({seconds}, 'unixepoch')"
