"""Global ids of the API: base64 of type and number, as Relay has them."""

import re

import strawberry
from strawberry.relay.utils import from_base64

from crm.graph.errors import ClientError

_LARGEST = 2**63 - 1


def parse(given: strawberry.ID) -> tuple[str, int]:
    """Give the type and the number that *given* stands for.

    Raises: ClientError BAD_USER_INPUT if it is no id of this API.
    """
    try:
        type_name, number = from_base64(given)
    except ValueError as error:
        raise _no_id(given) from error
    if not re.fullmatch("[0-9]{1,19}", number) or int(number) > _LARGEST:
        raise _no_id(given)
    return type_name, int(number)


def number_of(given: strawberry.ID, type_name: str) -> int:
    """Give the number of the *type_name* that *given* stands for.

    Raises: ClientError BAD_USER_INPUT if it is no id, or that of something else.
    """
    found, number = parse(given)
    if found != type_name:
        raise ClientError("BAD_USER_INPUT", f"The id {_shown(given)} is of type {_shown(found)}; expected {type_name}.")
    return number


def _no_id(given: str) -> ClientError:
    return ClientError("BAD_USER_INPUT", f"{_shown(given)} is no id. Pass the id of a node unchanged.")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
