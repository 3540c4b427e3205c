"""What lists may be narrowed by and in which order they may stand: columns that an index serves, nothing else."""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import reduce
from operator import or_
from typing import Any, Generic, TypeVar

import strawberry
from django.db.models import Q, Value
from django.db.models.functions import Lower
from django.db.models.lookups import Exact
from strawberry import UNSET
from strawberry.utils.str_converters import to_camel_case

from crm import models
from crm.graph import ids
from crm.graph.errors import ClientError
from crm.models import kept_email
from crm.problems import is_text

MAX_LIST = 100
_MAX_TEXT = 254
_MAX_DIGITS = 12
_MAX_AMOUNT = Decimal(10) ** _MAX_DIGITS

OrderStatus = models.Order.Status
strawberry.enum(OrderStatus, name="OrderStatus", description="How far an order has come.")

Operand = TypeVar("Operand")
_ID_OF = {"customer": "Customer", "order": "Order", "product": "Product"}


@strawberry.enum(description="From the smallest or earliest on, or from the largest or latest.")
class Direction(StrEnum):
    ASC = "asc"
    DESC = "desc"


# ── operators ─────────────────────────────────────────────────────────────────────────────────────


@strawberry.input(name="Filter", description="Equal to a value, or to one of several.")
class Matching(Generic[Operand]):
    exact: Operand | None = strawberry.field(default=UNSET, description="Equal to this.")
    in_list: list[Operand] | None = strawberry.field(default=UNSET, description="Equal to one of these, 100 at most.")


@strawberry.input(name="RangeFilter", description="Within bounds; all that are given hold.")
class Between(Generic[Operand]):
    exact: Operand | None = strawberry.field(default=UNSET, description="Equal to this.")
    gt: Operand | None = strawberry.field(default=UNSET, description="Above this.")
    gte: Operand | None = strawberry.field(default=UNSET, description="This or above.")
    lt: Operand | None = strawberry.field(default=UNSET, description="Below this.")
    lte: Operand | None = strawberry.field(default=UNSET, description="This or below.")


# ── per type ──────────────────────────────────────────────────────────────────────────────────────


@strawberry.input(description="Which customers. All conditions hold together.")
class CustomerFilter:
    pk: Matching[int] | None = strawberry.field(default=UNSET, description="The number people see.")
    email: Matching[str] | None = strawberry.field(default=UNSET, description="E-mail address, whatever its case.")
    created_at: Between[datetime] | None = strawberry.field(default=UNSET, description="When they signed up.")


@strawberry.input(description="Which products. All conditions hold together.")
class ProductFilter:
    pk: Matching[int] | None = strawberry.field(default=UNSET, description="The number people see.")
    price: Between[Decimal] | None = strawberry.field(default=UNSET, description="Price of one.")
    stock: Between[int] | None = strawberry.field(default=UNSET, description="How many are there.")


@strawberry.input(description="Which orders. All conditions hold together.")
class OrderFilter:
    pk: Matching[int] | None = strawberry.field(default=UNSET, description="The number people see.")
    customer: Matching[strawberry.ID] | None = strawberry.field(default=UNSET, description="Whose, by id.")
    status: Matching[OrderStatus] | None = strawberry.field(default=UNSET, description="How far they have come.")
    ordered_at: Between[datetime] | None = strawberry.field(default=UNSET, description="When they were made.")


@strawberry.input(description="Which items. All conditions hold together.")
class OrderItemFilter:
    order: Matching[strawberry.ID] | None = strawberry.field(default=UNSET, description="Of which orders, by id.")
    product: Matching[strawberry.ID] | None = strawberry.field(default=UNSET, description="Of which products, by id.")


@strawberry.input(one_of=True, description="One key to order customers by.")
class CustomerOrder:
    pk: Direction | None = strawberry.field(default=UNSET, description="The number people see.")
    name: Direction | None = strawberry.field(default=UNSET, description="Full name.")
    created_at: Direction | None = strawberry.field(default=UNSET, description="When they signed up.")


@strawberry.input(one_of=True, description="One key to order products by.")
class ProductOrder:
    pk: Direction | None = strawberry.field(default=UNSET, description="The number people see.")
    name: Direction | None = strawberry.field(default=UNSET, description="Name.")
    price: Direction | None = strawberry.field(default=UNSET, description="Price of one.")
    stock: Direction | None = strawberry.field(default=UNSET, description="How many are there.")


@strawberry.input(one_of=True, description="One key to order orders by.")
class OrderOrder:
    pk: Direction | None = strawberry.field(default=UNSET, description="The number people see.")
    status: Direction | None = strawberry.field(default=UNSET, description="How far they have come, by name.")
    ordered_at: Direction | None = strawberry.field(default=UNSET, description="When they were made.")


@strawberry.input(one_of=True, description="One key to order items by.")
class OrderItemOrder:
    pk: Direction | None = strawberry.field(default=UNSET, description="The order they were added in.")


# ── to Django ─────────────────────────────────────────────────────────────────────────────────────


def condition(filters: Any) -> Q:
    """Give the condition that *filters*, one of the filter inputs or None, asks for.

    Raises: ClientError BAD_USER_INPUT for a value that no row can have. An explicit null, and a column without
        a condition, are refused too: a client whose variable is empty by mistake must not get every row there is.
    """
    found = Q()
    for name, operators in _given("filters", filters):
        place = f"filters.{to_camel_case(name)}"
        given = _given(place, operators)
        if not given:
            raise ClientError("BAD_USER_INPUT", f"{place} has no condition. Give one, or leave it out.")
        for operator, value in given:
            found &= _compare(name, operator, value, f"{place}.{to_camel_case(operator)}")
    return found


def order(keys: Sequence[Any] | None) -> tuple[str, ...]:
    """Give the columns that *keys*, inputs with one key each, ask for; the last one is the primary key.

    Raises: ClientError BAD_USER_INPUT when a key comes twice.
    """
    columns: list[str] = []
    sign = ""
    for key in keys or ():
        ((name, direction),) = _given("ordering", key)
        if name in [column.removeprefix("-") for column in columns]:
            raise ClientError("BAD_USER_INPUT", f"ordering names {to_camel_case(name)} twice. Name each key once.")
        sign = "-" if direction == Direction.DESC else ""
        columns.append(sign + name)
    numbers = [index for index, column in enumerate(columns) if column in ("pk", "-pk")]
    if numbers:
        return tuple(columns[: numbers[0] + 1])
    # In the direction of the key before it, so that one index serves both.
    return (*columns, f"{sign}pk")


def moment(given: datetime, place: str) -> datetime:
    """Give *given* in UTC.

    Raises: ClientError BAD_USER_INPUT if it has no offset, or its year in UTC is not 1 to 9999.
    """
    if given.utcoffset() is None:
        raise ClientError(
            "BAD_USER_INPUT", f"{place} is {given.isoformat()}: add the offset, such as {given.isoformat()}+00:00."
        )
    try:
        return given.astimezone(UTC)
    except OverflowError as error:
        raise ClientError(
            "BAD_USER_INPUT", f"{place} is {given.isoformat()}, not a moment of years 1 to 9999."
        ) from error


def amount(given: Decimal, place: str) -> Decimal:
    """Give *given*, an amount of money.

    Raises: ClientError BAD_USER_INPUT if it is not finite, too large for any column, or has parts of a cent.
    """
    # Its size by the exponent first: arithmetic on 1e999999999 overflows.
    if not given.is_finite() or given.adjusted() > _MAX_DIGITS or abs(given) >= _MAX_AMOUNT or given != round(given, 2):
        shown = str(given)[:40]
        raise ClientError(
            "BAD_USER_INPUT", f"{place} is {shown}; expected an amount below {_MAX_AMOUNT:f} with two decimals at most."
        )
    return given


def _given(place: str, value: Any) -> list[tuple[str, Any]]:
    if value is None or value is UNSET:
        return []
    pairs = [(each.name, getattr(value, each.name)) for each in dataclasses.fields(value)]
    for name, inner in pairs:
        if inner is None:
            raise ClientError(
                "BAD_USER_INPUT", f"{place}.{to_camel_case(name)} is null. Give a value, or leave it out."
            )
    return [(name, inner) for name, inner in pairs if inner is not UNSET]


def _compare(name: str, operator: str, value: Any, place: str) -> Q:
    if operator == "in_list":
        if len(value) > MAX_LIST:
            raise ClientError("BAD_USER_INPUT", f"{place} has {len(value)} values; at most {MAX_LIST}. Ask in parts.")
        operator, value = "in", [_checked(name, each, place) for each in value]
    else:
        value = _checked(name, value, place)
    if name == "email":
        return _same_email(value if operator == "in" else [value])
    return Q(**{f"{name}_id__{operator}" if name in _ID_OF else f"{name}__{operator}": value})


def _same_email(addresses: list[str]) -> Q:
    # The unique index is on the address in lower case, as the database's own lower() has it.
    same = (Q(Exact(Lower("email"), Lower(Value(kept_email(address))))) for address in addresses)
    return reduce(or_, same, Q(pk__in=[]))


def _checked(name: str, value: Any, place: str) -> Any:
    if name in _ID_OF:
        return ids.number_of(value, _ID_OF[name])
    if isinstance(value, datetime):
        return moment(value, place)
    if isinstance(value, Decimal):
        return amount(value, place)
    if type(value) is str and (len(value) > _MAX_TEXT or not is_text(value)):
        raise ClientError(
            "BAD_USER_INPUT", f"{place} is longer than {_MAX_TEXT} characters, or has a NUL or half a character."
        )
    return value
