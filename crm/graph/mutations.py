"""What can be done. A mistake in the input is data, in the payload's errors; who may not ask gets an error."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import strawberry
from django.utils import timezone
from strawberry import Info

from crm import customers, orders, products, stock
from crm.bulk import Result
from crm.graph import inputs, payloads, peers
from crm.graph.ids import number_of
from crm.graph.imports import ImportMutation
from crm.graph.payloads import user_errors
from crm.graph.permissions import require
from crm.problems import Refused
from crons.contrib.graphql.schema import CronsMutation

Payload = TypeVar("Payload")


@strawberry.type
class Mutation(ImportMutation, CronsMutation):
    @strawberry.mutation(description="Make a customer. Asks for customers:write.")
    def create_customer(self, info: Info, input: inputs.CreateCustomerInput) -> payloads.CustomerPayload:
        require(info, "customers:write", "add")
        return _answer(
            payloads.CustomerPayload,
            lambda: {"customer": customers.create(_customer(input), now=timezone.now())},
        )

    @strawberry.mutation(description="Change a customer. Asks for customers:write.")
    def update_customer(self, info: Info, input: inputs.UpdateCustomerInput) -> payloads.CustomerPayload:
        require(info, "customers:write", "change")
        changes = inputs.given(input, "name", "email", "phone")
        return _answer(
            payloads.CustomerPayload,
            lambda: {"customer": customers.update(number_of(input.id, "Customer"), changes)},
        )

    @strawberry.mutation(description="Make customers, each by itself unless allOrNothing. Asks for customers:write.")
    def bulk_create_customers(self, info: Info, input: inputs.BulkCreateCustomersInput) -> payloads.CustomersPayload:
        require(info, "customers:write", "add")
        items = [_customer(each) for each in input.customers]
        return _answer_of_many(
            payloads.CustomersPayload,
            payloads.CustomerResult,
            ("customer", "customers"),
            lambda: customers.create_many(items, now=timezone.now(), all_or_nothing=input.all_or_nothing),
        )

    @strawberry.mutation(description="Make a product. Asks for products:write.")
    def create_product(self, info: Info, input: inputs.CreateProductInput) -> payloads.ProductPayload:
        require(info, "products:write", "add")
        return _answer(
            payloads.ProductPayload,
            lambda: {"product": products.create(_product(input), now=timezone.now())},
        )

    @strawberry.mutation(description="Change a product; a new stock leaves a movement. Asks for products:write.")
    def update_product(self, info: Info, input: inputs.UpdateProductInput) -> payloads.ProductPayload:
        require(info, "products:write", "change")
        changes = inputs.given(input, "name", "price", "stock")
        return _answer(
            payloads.ProductPayload,
            lambda: {"product": products.update(number_of(input.id, "Product"), changes, now=timezone.now())},
        )

    @strawberry.mutation(description="Make products, each by itself unless allOrNothing. Asks for products:write.")
    def bulk_create_products(self, info: Info, input: inputs.BulkCreateProductsInput) -> payloads.ProductsPayload:
        require(info, "products:write", "add")
        items = [_product(each) for each in input.products]
        return _answer_of_many(
            payloads.ProductsPayload,
            payloads.ProductResult,
            ("product", "products"),
            lambda: products.create_many(items, now=timezone.now(), all_or_nothing=input.all_or_nothing),
        )

    @strawberry.mutation(description="Make an order and take its items from the stock. Asks for orders:write.")
    def create_order(self, info: Info, input: inputs.CreateOrderInput) -> payloads.OrderPayload:
        require(info, "orders:write", "add")
        return _answer(
            payloads.OrderPayload,
            lambda: {"order": orders.create(_wish(input), now=timezone.now())},
        )

    @strawberry.mutation(description="Move an order on to its next status. Asks for orders:write.")
    def update_order(self, info: Info, input: inputs.UpdateOrderInput) -> payloads.OrderPayload:
        require(info, "orders:write", "change")
        return _answer(
            payloads.OrderPayload,
            lambda: {"order": orders.update(number_of(input.id, "Order"), input.status, now=timezone.now())},
        )

    @strawberry.mutation(description="Make orders, each by itself unless allOrNothing. Asks for orders:write.")
    def bulk_create_orders(self, info: Info, input: inputs.BulkCreateOrdersInput) -> payloads.OrdersPayload:
        require(info, "orders:write", "add")
        wishes = [_wish(each) for each in input.orders]
        return _answer_of_many(
            payloads.OrdersPayload,
            payloads.OrderResult,
            ("order", "orders"),
            lambda: orders.create_many(wishes, now=timezone.now(), all_or_nothing=input.all_or_nothing),
        )

    @strawberry.mutation(description="Raise every stock below 10 by 10, once for each key. Asks for stock:write.")
    def update_low_stock_products(
        self, info: Info, input: inputs.UpdateLowStockProductsInput | None = None
    ) -> payloads.RestockPayload:
        require(info, "stock:write")
        try:
            done = stock.update_low_stock(key=(input.key if input else None) or "", now=timezone.now())
        except Refused as refused:
            return payloads.RestockPayload(message=str(refused), errors=user_errors(refused.problems))
        products: list[Any] = done.products  # rows of Django
        count = len(products)
        peers.together(products)
        message = f"Raised the stock of {count} product{'' if count == 1 else 's'} by {stock.RAISED_BY}."
        if done.replayed:
            message = f"This was done before, under the same key: {message[0].lower()}{message[1:]}"
        return payloads.RestockPayload(products=products, message=message, count=count, replayed=done.replayed)


def _answer(payload: Callable[..., Payload], do: Callable[[], dict[str, Any]]) -> Payload:
    """Give the payload of what *do* gives, or of the problems for which it was refused."""
    try:
        return payload(**do())
    except Refused as refused:
        return payload(errors=user_errors(refused.problems))


def _answer_of_many(
    payload: Callable[..., Payload],
    one: Callable[..., Any],
    names: tuple[str, str],
    do: Callable[[], Sequence[Result[Any]]],
) -> Payload:
    """Give the payload of what became of many; *names* are those of one row and of the list in the input."""
    name, plural = names
    try:
        results = do()
    except Refused as refused:
        return payload(errors=user_errors(refused.problems, plural))
    peers.together([result.row for result in results if result.row is not None])
    answers = [
        one(**{name: result.row}, errors=user_errors(result.problems, plural, index))
        for index, result in enumerate(results)
    ]
    created = sum(result.row is not None for result in results)
    return payload(results=answers, created=created, failed=len(results) - created)


def _customer(values: inputs.CreateCustomerInput) -> dict[str, Any]:
    return {"name": values.name, "email": values.email, "phone": values.phone}


def _product(values: inputs.CreateProductInput) -> dict[str, Any]:
    return {"name": values.name, "price": values.price, "stock": values.stock}


def _wish(values: inputs.CreateOrderInput) -> orders.Wish:
    items = [orders.Line(number_of(item.product_id, "Product"), item.quantity) for item in values.items]
    return orders.Wish(number_of(values.customer_id, "Customer"), items)
