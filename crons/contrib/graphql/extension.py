"""What there is for GraphQL."""

from __future__ import annotations

from crons.extensions import Extension


class GraphQLExtension(Extension):
    """Nothing is found by itself: a project mixes `crons.contrib.graphql.schema` into its own schema."""


EXTENSION = GraphQLExtension()
