"""The types of the API. Every one names its NodeID: without it the id is searched anew for each row."""

from typing import Any, Self

import strawberry
import strawberry_django
from strawberry import Info, relay
from strawberry.relay.types import NodeIterableType, NodeType
from strawberry_django.relay import DjangoCursorConnection

from crm import models
from crm.graph.errors import ClientError
from crm.graph.limits import DEFAULT_PAGE, MAX_PAGE


@strawberry_django.type(models.Customer, description="Someone who buys.")
class Customer(relay.Node):
    id: relay.NodeID[int]
    name: str = strawberry_django.field(description="Full name.")
    email: str = strawberry_django.field(description="E-mail address, unique whatever its case.")
    phone: str = strawberry_django.field(description="Phone number, or empty.")
    created_at: strawberry.auto = strawberry_django.field(description="When the customer signed up.")


@strawberry.type(name="Connection", description="A page of a list; cursors are keys, so changes shift nothing.")
class Connection(DjangoCursorConnection[NodeType]):
    @classmethod
    def resolve_connection(
        cls,
        nodes: NodeIterableType[NodeType],
        *,
        info: Info,
        before: str | None = None,
        after: str | None = None,
        first: int | None = None,
        last: int | None = None,
        **kwargs: Any,
    ) -> Self:
        """Give the page, of DEFAULT_PAGE rows unless asked, of MAX_PAGE at most."""
        if first is not None and last is not None:
            raise ClientError("BAD_USER_INPUT", "Give first or last, not both.")
        for name, value in (("first", first), ("last", last)):
            if value is not None and not 0 <= value <= MAX_PAGE:
                raise ClientError("BAD_USER_INPUT", f"{name} is {value}; expected 0 to {MAX_PAGE}.")
        if first is None and last is None:
            first = DEFAULT_PAGE
        try:
            return super().resolve_connection(
                nodes, info=info, before=before, after=after, first=first, last=last, **kwargs
            )
        except ValueError as error:
            raise ClientError(
                "BAD_USER_INPUT",
                "after or before is no cursor of this list. Pass one of its cursors unchanged.",
            ) from error
