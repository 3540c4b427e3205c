"""What a mutation answers: one payload each, with the object or with errors that a program can act on."""

from collections.abc import Callable, Iterable
from typing import Any

import strawberry
from strawberry import Info
from strawberry.extensions import FieldExtension
from strawberry.utils.str_converters import to_camel_case

from crm.graph.permissions import require
from crm.graph.types import Customer, Order, Product
from crm.problems import Code, Problem

strawberry.enum(Code, name="UserErrorCode", description="What kind of mistake it is. These names stay: decide by them.")


class Reads(FieldExtension):
    """A field of a payload that shows a row: whoever may write rows need not see what else stands in them."""

    def __init__(self, scope: str) -> None:
        self._scope = scope

    def resolve(self, next_: Callable[..., Any], source: Any, info: Info, **kwargs: Any) -> Any:
        require(info, self._scope)
        return next_(source, info, **kwargs)


@strawberry.type(description="One thing that is wrong with an input. Nothing of it was written.")
class UserError:
    code: Code = strawberry.field(description="What kind of mistake it is.")
    message: str = strawberry.field(description="What came, what was expected, for people.")
    path: list[str] = strawberry.field(description='The way to the value, such as ["input", "items", "0", "quantity"].')


@strawberry.type(description="The customer, or the errors that kept it from being written.")
class CustomerPayload:
    customer: Customer | None = strawberry.field(
        default=None,
        extensions=[Reads("customers:read")],
        description="The customer as it is now. Needs customers:read.",
    )
    errors: list[UserError] = strawberry.field(default_factory=list, description="Empty where it was written.")


@strawberry.type(description="What became of one customer of many.")
class CustomerResult:
    customer: Customer | None = strawberry.field(
        extensions=[Reads("customers:read")], description="The customer, if it was made. Needs customers:read."
    )
    errors: list[UserError] = strawberry.field(description="Empty where it was made.")


@strawberry.type(description="What became of many customers.")
class CustomersPayload:
    results: list[CustomerResult] = strawberry.field(default_factory=list, description="One for each, in their order.")
    created: int = strawberry.field(default=0, description="How many were made.")
    failed: int = strawberry.field(default=0, description="How many were not.")
    errors: list[UserError] = strawberry.field(default_factory=list, description="Of the request as a whole.")


@strawberry.type(description="The product, or the errors that kept it from being written.")
class ProductPayload:
    product: Product | None = strawberry.field(
        default=None, extensions=[Reads("products:read")], description="The product as it is now. Needs products:read."
    )
    errors: list[UserError] = strawberry.field(default_factory=list, description="Empty where it was written.")


@strawberry.type(description="What became of one product of many.")
class ProductResult:
    product: Product | None = strawberry.field(
        extensions=[Reads("products:read")], description="The product, if it was made. Needs products:read."
    )
    errors: list[UserError] = strawberry.field(description="Empty where it was made.")


@strawberry.type(description="What became of many products.")
class ProductsPayload:
    results: list[ProductResult] = strawberry.field(default_factory=list, description="One for each, in their order.")
    created: int = strawberry.field(default=0, description="How many were made.")
    failed: int = strawberry.field(default=0, description="How many were not.")
    errors: list[UserError] = strawberry.field(default_factory=list, description="Of the request as a whole.")


@strawberry.type(description="The order, or the errors that kept it from being written.")
class OrderPayload:
    order: Order | None = strawberry.field(
        default=None, extensions=[Reads("orders:read")], description="The order as it is now. Needs orders:read."
    )
    errors: list[UserError] = strawberry.field(default_factory=list, description="Empty where it was written.")


@strawberry.type(description="What became of one order of many.")
class OrderResult:
    order: Order | None = strawberry.field(
        extensions=[Reads("orders:read")], description="The order, if it was made. Needs orders:read."
    )
    errors: list[UserError] = strawberry.field(description="Empty where it was made.")


@strawberry.type(description="What became of many orders.")
class OrdersPayload:
    results: list[OrderResult] = strawberry.field(default_factory=list, description="One for each, in their order.")
    created: int = strawberry.field(default=0, description="How many were made.")
    failed: int = strawberry.field(default=0, description="How many were not.")
    errors: list[UserError] = strawberry.field(default_factory=list, description="Of the request as a whole.")


@strawberry.type(description="What a restock did.")
class RestockPayload:
    products: list[Product] = strawberry.field(
        default_factory=list,
        extensions=[Reads("products:read")],
        description="The products that were raised, with the stock that each had after it. Needs products:read.",
    )
    message: str = strawberry.field(description="The same in a sentence.")
    count: int = strawberry.field(default=0, description="How many products were raised.")
    replayed: bool = strawberry.field(default=False, description="It was done earlier under this key; nothing is new.")
    errors: list[UserError] = strawberry.field(default_factory=list, description="Empty where it was done.")


def user_errors(found: Iterable[Problem], *path: str | int) -> list[UserError]:
    """Give *found* as a client reads them, with the way from the mutation's argument on."""
    return [
        UserError(
            code=problem.code,
            message=problem.message,
            path=["input", *(str(part) for part in path), *(to_camel_case(str(part)) for part in problem.path)],
        )
        for problem in found
    ]
