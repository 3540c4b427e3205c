"""What a declaration may say: each mistake is refused where it is made, in words that name it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from crons.exceptions import InvalidJob, nearest_and_all
from crons.jobs.callables import Body, CommandBody
from crons.jobs.plain_json import why_not_plain
from crons.jobs.policies import OURS, Policy
from crons.jobs.registered import registry

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,99}\Z")


def make_policy(name: str, given: Mapping[str, Any], base: Policy = OURS) -> Policy:
    """Build the policy of job *name* from what its declaration gives over CRONS["DEFAULTS"] over *base*.

    Raises: InvalidJob naming the key, with the nearest one.
    """
    defaults = registry.defaults()
    for key in (*given, *defaults):
        if key not in Policy.__dataclass_fields__:
            where = name if key in given else "CRONS['DEFAULTS']"
            raise InvalidJob(f"{where}: {key!r} is no policy.{nearest_and_all(key, Policy.__dataclass_fields__)}")
    try:
        return replace(base, **{**defaults, **given})
    except InvalidJob as error:
        raise InvalidJob(f"{_to_blame(name, defaults)}: {error}") from error


def check_name(name: str) -> None:
    """Raise InvalidJob if *name* cannot name a job or an entry."""
    if not (isinstance(name, str) and NAME.match(name)):
        raise InvalidJob(
            f"{name!r} cannot name a job: expected 1 to 100 letters, digits and _.:-, the first a letter or _."
        )


def check_text(name: str, key: str, value: Any) -> None:
    """Raise InvalidJob if *value* is no text."""
    if not isinstance(value, str):
        raise InvalidJob(f"{name}: {key}={value!r}: expected a text.")


def check_body(name: str, body: Any) -> None:
    """Raise InvalidJob if calling *body* makes a generator: the job would succeed each time and never have run."""
    if inspect.isgeneratorfunction(body) or inspect.isasyncgenfunction(body):
        raise InvalidJob(f"{name} is a generator (it has a yield), so calling it runs nothing: take the yield out.")


def check_args(name: str, body: Body, args: Mapping[str, Any], *, are_all: bool = True) -> None:
    """Raise InvalidJob if *args* are not plain JSON, or *body* cannot be called with them.

    Without *are_all*, whoever runs the job gives it the arguments that are missing.
    """
    if why := why_not_plain(args):
        raise InvalidJob(f"{name}: of its args, {why}.")
    if isinstance(body, CommandBody):
        return
    try:
        signature = inspect.signature(body)
    except ValueError as error:
        raise InvalidJob(f"{name} does not say what it can be called with: {error}. Wrap it in a function.") from error
    given = dict.fromkeys(missing_args(body, args)) if not are_all else {}
    if "context" in signature.parameters:
        given["context"] = None
    try:
        signature.bind(**{**given, **args})
    except TypeError as error:
        names = f"Given: {', '.join(args)}" if args else "No arguments are given"
        raise InvalidJob(f"{name}{signature} cannot be called: {error}. {names}.") from error


def missing_args(body: Body, args: Mapping[str, Any]) -> list[str]:
    """Name the keyword arguments that *body* cannot be called without and that *args* lack."""
    if isinstance(body, CommandBody):
        return []
    return [
        each.name
        for each in inspect.signature(body).parameters.values()
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        and each.default is each.empty
        and each.name != "context"
        and each.name not in args
    ]


def _to_blame(name: str, defaults: Mapping[str, Any]) -> str:
    try:
        replace(OURS, **defaults)
    except InvalidJob:
        return "CRONS['DEFAULTS']"
    return name


def check_texts(name: str, key: str, given: Iterable[str]) -> tuple[str, ...]:
    """Return *given* as a tuple; raise InvalidJob if they are not texts."""
    # A str is iterable: aliases="old" would become the three aliases o, l and d.
    texts = (given,) if isinstance(given, str | bytes) or not isinstance(given, Iterable) else tuple(given)
    if texts == (given,) or not all(isinstance(text, str) for text in texts):
        raise InvalidJob(f"{name}: {key}={given!r}: expected a list of texts, for example {key}=['one'].")
    return texts
