"""What is wrong with a value that someone gave, said so that a person and a program can act on it."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db import models

from crm.models import kept_email
from crm.plain_text import UNSEEN


class Code(StrEnum):
    """What kind of mistake it is. The names stay: programs decide by them."""

    REQUIRED = "REQUIRED"  # a value is missing or empty
    INVALID = "INVALID"  # a value breaks a rule; the message says which
    TAKEN = "TAKEN"  # another row has the value that only one may have
    NOT_FOUND = "NOT_FOUND"  # nothing has this id
    NOT_ALLOWED = "NOT_ALLOWED"  # the state of the row does not allow this
    OUT_OF_STOCK = "OUT_OF_STOCK"  # there are fewer than wanted
    TOO_MANY = "TOO_MANY"  # more items than one request may have
    NOT_DONE = "NOT_DONE"  # nothing is wrong with it, but others of a request for all or nothing have problems


_OF_DJANGO = {"blank": Code.REQUIRED, "null": Code.REQUIRED, "required": Code.REQUIRED}


class Problem(NamedTuple):
    """One thing that is wrong: a stable code, a sentence, and the way to the value, outermost first."""

    code: Code
    message: str
    path: tuple[str | int, ...] = ()

    def below(self, *path: str | int) -> "Problem":
        """Give the same problem of a value that lies further inside."""
        return self._replace(path=(*path, *self.path))


class Refused(Exception):
    """What was asked was not done, for these problems; nothing was written."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(" ".join(problem.message for problem in problems))
        self.problems = list(problems)


def of_fields(row: models.Model, fields: Iterable[str]) -> list[Problem]:
    """List what is wrong with the values of *fields* in *row*, by the rules of the model.

    Texts lose the white space around them first. Cost: no queries.
    """
    found = []
    for name in fields:
        field: Any = row._meta.get_field(name)
        value = getattr(row, name)
        if isinstance(value, str):
            value = value.strip()
            if not is_writable(value):
                found.append(Problem(Code.INVALID, f"The {name} has control characters. Leave them out.", (name,)))
                continue
        try:
            setattr(row, name, _as_kept(field, field.clean(value, row)))
        except ValidationError as error:
            code = _OF_DJANGO.get(error.error_list[0].code or "", Code.INVALID)
            message = f"The {name} is missing." if code == Code.REQUIRED else " ".join(error.messages)
            found.append(Problem(code, message, (name,)))
    return found


def is_text(text: str) -> bool:
    """Say whether a database takes *text* at all, to look for it: no NUL, no half of a surrogate pair."""
    return not any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in text)


def is_writable(text: str) -> bool:
    """Say whether *text* may be kept: no control character, no half of a surrogate pair, nothing that UNSEEN finds."""
    return not (UNSEEN.search(text) or any("\ud800" <= letter <= "\udfff" for letter in text))


def too_many(count: int, most: int, *path: str | int) -> Problem:
    """Give the problem of a list that is longer than one request may have."""
    return Problem(Code.TOO_MANY, f"There are {count}; at most {most} at once. Send them in parts.", path)


def _as_kept(field: Any, value: Any) -> Any:
    """Give *value* as it will stand in the database: 1 is 1.00, minus zero is zero, X@Y.DE is X@y.de."""
    if isinstance(field, models.EmailField):
        return kept_email(value)
    if isinstance(field, models.DecimalField) and value is not None:
        return value.quantize(Decimal(1).scaleb(-field.decimal_places)) + 0
    return value
