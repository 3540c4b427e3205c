"""Errors that a client may see, with a stable code; every other exception is masked."""

from graphql import GraphQLError


class ClientError(GraphQLError):
    """An error of the client's making, shown as it is, with `extensions.code`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, extensions={"code": code})


def masked(error: GraphQLError) -> GraphQLError:
    """Give *error* as a client may see it: what nobody meant for a client loses its text, keeps its place."""
    cause = error.original_error
    if cause is None or isinstance(cause, GraphQLError):
        return error
    if isinstance(cause, RecursionError):
        # The parser follows braces by recursion, and a thousand tokens are enough to exhaust it.
        return ClientError("TOO_LARGE", "The document is nested too deeply. Ask for less, or in parts.")
    return GraphQLError(
        "Something went wrong on our side. It was logged.",
        nodes=error.nodes,
        path=error.path,
        extensions={"code": "INTERNAL"},
    )
