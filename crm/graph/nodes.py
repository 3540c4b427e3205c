"""Types that payloads name."""

import strawberry
import strawberry_django
from strawberry import relay

from crm import models

OrderStatus = strawberry.enum(models.Order.Status, name="OrderStatus")


@strawberry_django.type(models.Product, description="Something that is sold.")
class Product(relay.Node):
    id: relay.NodeID[int]
    name: str
    price: strawberry.auto
    stock: int


@strawberry_django.type(models.Order, description="What a customer ordered at one moment.")
class Order(relay.Node):
    id: relay.NodeID[int]
    status: OrderStatus
    ordered_at: strawberry.auto
    total: strawberry.auto
