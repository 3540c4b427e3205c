"""Errors that a client may see, with a stable code; every other exception is masked."""

from graphql import GraphQLError


class ClientError(GraphQLError):
    """An error of the client's making, shown as it is, with `extensions.code`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, extensions={"code": code})


def is_unexpected(error: GraphQLError) -> bool:
    """Tell whether *error* comes from an exception that nobody meant for the client."""
    return error.original_error is not None and not isinstance(error.original_error, GraphQLError)
