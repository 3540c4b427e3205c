"""The GraphQL schema: the parts of crm.graph joined, under their limits. Its text is schema.graphql."""

import strawberry
from graphql import GraphQLError
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from crm.graph.errors import is_unexpected
from crm.graph.execution import Execution
from crm.graph.idempotency import Idempotency
from crm.graph.limits import Limits
from crm.graph.mutations import Mutation
from crm.graph.queries import Query
from crm.graph.scalars import SCALARS
from crm.graph.sizes import MAX_PAGE
from crm.graph.subscriptions import Subscription
from crm.graph.time_limit import as_client_errors


class _Schema(strawberry.Schema):
    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Log what went wrong on this side; a client's mistakes are the client's to read."""
        super().process_errors([error for error in as_client_errors(errors) if is_unexpected(error)], execution_context)


schema = _Schema(
    Query,
    Mutation,
    Subscription,
    extensions=[Limits, Idempotency],
    execution_context_class=Execution,
    config=StrawberryConfig(
        relay_max_results=MAX_PAGE,
        sort_schema=True,
        scalar_map=SCALARS,
    ),
)
