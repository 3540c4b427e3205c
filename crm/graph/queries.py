"""What can be asked."""

from collections.abc import Iterable

import strawberry
import strawberry_django
from strawberry import Info

from crm import models
from crm.graph.permissions import require
from crm.graph.types import Connection, Customer


@strawberry.type
class Query:
    @strawberry.field(description="A greeting, for anyone: says that the API answers.")
    def hello(self) -> str:
        return "Hello, GraphQL!"

    @strawberry_django.connection(Connection[Customer], description="The customers in order of id. For staff.")
    def customers(self, info: Info) -> Iterable[Customer]:
        require(info, "customers:read")
        return models.Customer.objects.order_by("pk")
