"""The GraphQL schema: the parts of crm.graph joined, under their limits. Its text is schema.graphql."""

import strawberry
from django.conf import settings
from strawberry.schema.config import StrawberryConfig
from strawberry_django.optimizer import DjangoOptimizerExtension

from crm.graph.limits import MAX_PAGE, Limits
from crm.graph.queries import Query

schema = strawberry.Schema(
    Query,
    extensions=[Limits, DjangoOptimizerExtension],
    config=StrawberryConfig(
        relay_max_results=MAX_PAGE,
        # "Did you mean …?" spells out the schema to those who may not read it.
        disable_field_suggestions=not settings.DEBUG,
        sort_schema=True,
    ),
)
