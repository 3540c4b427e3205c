"""What arguments may be: plain JSON that every database keeps, that comes back as it went, and that a page can show.

A refusal names arguments and never their values: whoever reads it need not know the secrets among them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from crons.exceptions import Refused

MAX_DEPTH = 100  # nested lists and mappings; pages and commands show no more
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # in JSON; a backslash before it makes it six characters


def why_not_plain(args: Mapping[Any, Any]) -> str:
    """Say which of *args* cannot be kept and shown, and why; nothing where all can."""
    for name, value in args.items():
        if not isinstance(name, str):
            return "the name of each has to be a text"
        if why := _why_not(name) or _why_not(value):
            return f"{name!r} {why}"
    return ""


def value_of(text: str) -> Any:
    """Read what somebody typed as the value of an argument: JSON where it reads as such, else a text.

    Raises: Refused if it is JSON that is nested too deeply to be read.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise Refused("its JSON is nested too deeply; expected a flat value") from error
    except ValueError:
        return text


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _why_not(value: Any) -> str:
    if _is_deeper(value, MAX_DEPTH - 1):
        return (
            f"has lists and dicts nested {MAX_DEPTH} levels deep or more, expected fewer. "
            "Pass a flat value, or the path of a file"
        )
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError) as error:  # a half of a surrogate pair is a ValueError, too
        return f"cannot be kept as JSON: {error}"
    if _NUL.search(text):
        return "has a NUL in it, which no database keeps"
    if json.loads(text) != value:
        return "changes on its way through JSON: use texts, numbers, lists, dicts"
    return ""


def _is_deeper(value: Any, levels: int) -> bool:
    """Say whether lists and dicts are nested in *value* more than *levels* deep, going no further than that."""
    if not isinstance(value, Mapping | list | tuple):
        return False
    within = value.values() if isinstance(value, Mapping) else value
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in within)
