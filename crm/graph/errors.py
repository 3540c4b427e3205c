"""Errors that a client may see, with a stable code; every other exception is masked."""

import re

from graphql import GraphQLError

_SUGGESTION = re.compile(r" Did you mean [^?]*\?")


class ClientError(GraphQLError):
    """An error of the client's making, shown as it is, with `extensions.code`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, extensions={"code": code})


def is_unexpected(error: GraphQLError) -> bool:
    """Tell whether *error* comes from an exception that nobody meant for a client."""
    return error.original_error is not None and not isinstance(error.original_error, GraphQLError)


def masked(error: GraphQLError) -> GraphQLError:
    """Give *error* as a client may see it: what nobody meant for a client loses its text, keeps its place."""
    if not is_unexpected(error):
        return error
    return GraphQLError(
        "Something went wrong on our side. It was logged.",
        nodes=error.nodes,
        path=error.path,
        extensions={"code": "INTERNAL"},
    )


def without_suggestions(error: GraphQLError) -> GraphQLError:
    """Give *error* without its "Did you mean …?", which spells out the schema to those who may not read it."""
    error.message = _SUGGESTION.sub("", error.message)
    return error
