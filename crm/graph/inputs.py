"""What a mutation is given: one input each. What an update leaves out stays as it is."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import strawberry
from strawberry import UNSET

from crm.graph.filters import OrderStatus

_ID = "Id of the {}, as the API gave it."


@strawberry.input(description="A new customer.")
class CreateCustomerInput:
    name: str = strawberry.field(description="Full name, up to 200 characters.")
    email: str = strawberry.field(description="E-mail address that no other customer has, whatever its case.")
    phone: str | None = strawberry.field(default=None, description="As +15551234567 or 555-123-4567.")


@strawberry.input(description="A customer's new values; what is left out stays.")
class UpdateCustomerInput:
    id: strawberry.ID = strawberry.field(description=_ID.format("customer"))
    name: str | None = strawberry.field(default=UNSET, description="Full name, up to 200 characters.")
    email: str | None = strawberry.field(default=UNSET, description="E-mail address that no other customer has.")
    phone: str | None = strawberry.field(default=UNSET, description="As +15551234567 or 555-123-4567; null clears it.")


@strawberry.input(description="Up to a hundred new customers.")
class BulkCreateCustomersInput:
    customers: list[CreateCustomerInput] = strawberry.field(description="The customers; of one address the first.")
    all_or_nothing: bool = strawberry.field(default=False, description="Make none where one has an error.")


@strawberry.input(description="A new product.")
class CreateProductInput:
    name: str = strawberry.field(description="Up to 200 characters.")
    price: Decimal = strawberry.field(description="Zero or more, with two decimal places, as text or number.")
    stock: int | None = strawberry.field(default=0, description="How many there are, zero or more.")


@strawberry.input(description="A product's new values; what is left out stays.")
class UpdateProductInput:
    id: strawberry.ID = strawberry.field(description=_ID.format("product"))
    name: str | None = strawberry.field(default=UNSET, description="Up to 200 characters.")
    price: Decimal | None = strawberry.field(default=UNSET, description="Orders keep the price of their day.")
    stock: int | None = strawberry.field(default=UNSET, description="How many there are, whatever was there before.")


@strawberry.input(description="Up to a hundred new products.")
class BulkCreateProductsInput:
    products: list[CreateProductInput] = strawberry.field(description="The products.")
    all_or_nothing: bool = strawberry.field(default=False, description="Make none where one has an error.")


@strawberry.input(description="So many of one product.")
class OrderItemInput:
    product_id: strawberry.ID = strawberry.field(description=_ID.format("product"))
    quantity: int = strawberry.field(default=1, description="One or more.")


@strawberry.input(description="A new order, at the prices of now.")
class CreateOrderInput:
    customer_id: strawberry.ID = strawberry.field(description=_ID.format("customer"))
    items: list[OrderItemInput] = strawberry.field(description="One to a hundred, each product once.")


@strawberry.input(description="An order's next status.")
class UpdateOrderInput:
    id: strawberry.ID = strawberry.field(description=_ID.format("order"))
    status: OrderStatus = strawberry.field(
        description="PENDING goes on to PAID, SHIPPED, COMPLETED; until then to CANCELLED, which puts back the stock."
    )


@strawberry.input(description="Up to a hundred new orders.")
class BulkCreateOrdersInput:
    orders: list[CreateOrderInput] = strawberry.field(description="The orders; the first get what stock there is.")
    all_or_nothing: bool = strawberry.field(default=False, description="Make none where one has an error.")


@strawberry.input(description="How to restock.")
class UpdateLowStockProductsInput:
    key: str | None = strawberry.field(
        default=None,
        description="A call that repeats a key, up to 200 characters, restocks nothing and is told what the first did.",
    )


def given(values: Any, *names: str) -> Mapping[str, Any]:
    """Give those of the values *names* that the client sent, null included."""
    return {name: getattr(values, name) for name in names if getattr(values, name) is not UNSET}
