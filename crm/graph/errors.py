"""Errors that a client may see, with a stable code; every other exception is masked."""

from collections.abc import Iterable

from graphql import GraphQLError

UNAVAILABLE = "UNAVAILABLE"
_LONGEST_MESSAGE = 250
_LONGEST_KEY = 40
_MOST_PLACES = 2


class ClientError(GraphQLError):
    """An error of the client's making, shown as it is, with `extensions.code`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, extensions={"code": code})


def is_unexpected(error: GraphQLError) -> bool:
    """Tell whether *error* comes from an exception that nobody meant for a client."""
    return error.original_error is not None and not isinstance(error.original_error, GraphQLError)


def is_of_ours(error: GraphQLError) -> bool:
    """Tell whether *error* says nothing of what was asked, so that asking again may be answered otherwise."""
    return is_unexpected(error) or (error.extensions or {}).get("code") == UNAVAILABLE


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


def short(error: GraphQLError) -> GraphQLError:
    """Give *error* without the length that a client can give it: names, values and places of its own document."""
    path = [each[:_LONGEST_KEY] if isinstance(each, str) else each for each in error.path or ()]
    return GraphQLError(
        _cut(error.message),
        error.nodes[:_MOST_PLACES] if error.nodes else None,
        None if error.nodes else error.source,
        None if error.nodes else list(error.positions or ())[:_MOST_PLACES] or None,
        path or None,
        error.original_error,
        error.extensions,
    )


def first(errors: Iterable[GraphQLError] | None, most: int) -> list[GraphQLError] | None:
    """Give the first *most* of *errors* as a client may see them; None for none, as an answer without any has."""
    return [short(masked(error)) for error in list(errors or ())[:most]] or None


def _cut(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else f"{message[: _LONGEST_MESSAGE - 1]}…"
