"""A line of CRONJOBS as a value: what it says, and the name of the entry that it becomes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from crons.exceptions import DeclarationError, InvalidSchedule
from crons.schedules import cron

REBOOT = "@reboot"


@dataclass(frozen=True)
class Line:
    """One tuple of CRONJOBS, in either of django-crontab's two formats."""

    number: int
    schedule_text: str
    path: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    suffix: str = ""

    @property
    def ref(self) -> str:
        """Name the line for people."""
        return f"CRONJOBS[{self.number}]"

    @property
    def is_at_reboot(self) -> bool:
        """Whether cron fires it when it starts, which is a moment that no schedule has."""
        return self.schedule_text.strip() == REBOOT

    @property
    def command(self) -> str:
        """The management command that it calls; empty where it calls another function."""
        is_command = self.path.endswith(".call_command") and self.args and isinstance(self.args[0], str)
        return str(self.args[0]) if is_command else ""

    @property
    def command_args(self) -> tuple[str, ...]:
        """What the command is given, flat and as texts: so does Django call it."""
        given = [each if isinstance(each, list | tuple) else [each] for each in self.args[1:]]
        return tuple(str(each) for several in given for each in several)

    @property
    def called(self) -> str:
        """What it calls, without arguments: the path of a function, or the command that call_command gets."""
        return f"manage.py {self.command}" if self.command else self.path

    @property
    def call(self) -> str:
        """What it calls, for people: as Python has it, or a command as a shell has it."""
        if self.command:
            options = [f"--{key.replace('_', '-')}={value}" for key, value in self.kwargs.items()]
            return " ".join(["manage.py", self.command, *self.command_args, *options])
        given = [*map(repr, self.args), *(f"{key}={value!r}" for key, value in self.kwargs.items())]
        return f"{self.path}({', '.join(given)})"

    @property
    def moments(self) -> str:
        """What tells its moments from those of other lines: blanks and capitals do not."""
        try:
            return cron(self.schedule_text).text
        except InvalidSchedule:
            return self.schedule_text.strip()


def read_line(number: int, raw: object) -> Line:
    """Read one tuple: (schedule, function), (schedule, function, redirect), or with args and kwargs.

    What works in django-crontab works here: no suffix may be None, and what stands behind it is not read.
    Raises: DeclarationError saying which form was expected.
    """
    parts = list(raw) if isinstance(raw, list | tuple) else []
    texts = len(parts) >= 2 and all(isinstance(part, str) for part in parts[:2])
    # Format 1: (schedule, function[, redirect]); format 2: (schedule, function, args, kwargs[, redirect]).
    if texts and (len(parts) == 2 or (len(parts) == 3 and isinstance(parts[2], str))):
        return Line(number, parts[0], parts[1], suffix="".join(parts[2:]))
    if texts and len(parts) >= 3 and isinstance(parts[2], list | tuple):
        kwargs = parts[3] if len(parts) > 3 else {}
        suffix = (parts[4] or "") if len(parts) > 4 else ""
        if isinstance(kwargs, dict) and isinstance(suffix, str):
            _refuse_nameless(number, parts[1], parts[2])
            return Line(number, parts[0], parts[1], tuple(parts[2]), kwargs, suffix)
    raise DeclarationError(
        f"CRONJOBS[{number}] is {raw!r}, expected (schedule, 'path.to.function') "
        "or (schedule, 'path.to.function', [args], {kwargs})."
    )


def _refuse_nameless(number: int, path: str, args: Sequence[Any]) -> None:
    """Refuse arguments that are no JSON: they are part of the entry's name, and of django-crontab's hash."""
    try:
        json.dumps(list(args))
    except (TypeError, ValueError, RecursionError) as error:
        raise DeclarationError(
            f"CRONJOBS[{number}] {path}: its arguments are no plain JSON ({error}): use texts, numbers, lists, dicts."
        ) from error


def name_of(line: Line, lines: Iterable[Line]) -> str:
    """Name the entry of *line* by what it calls; by its moments too where other *lines* make the same call.

    The order of the lines does not matter, and a line that is left alone keeps its name when its schedule changes.
    """
    moments = {each.moments for each in lines if plain_name(each) == plain_name(line)}
    return marked_name(line, line.moments) if len(moments | {line.moments}) > 1 else plain_name(line)


def plain_name(line: Line) -> str:
    """Name a line by its call alone."""
    if line.command:
        more = (line.args[1:], _ordered(line.kwargs))
        return f"call_command:{line.command}" + (f":{_digest(more)}" if any(more) else "")
    return f"{line.path}:{_digest(_given(line))}" if _given(line) else line.path


def marked_name(line: Line, moments: str) -> str:
    """Name a line by its call and these moments."""
    first = f"call_command:{line.command}" if line.command else line.path
    return f"{first}:{_digest((*_given(line), moments))}"


def former_names(line: Line, moments: str) -> set[str]:
    """Return what rows of this call may be called: now, and by earlier releases, which looked at the lines' order."""
    given = _given(line)
    before = {f"{line.path}:{_digest(given)}" if given else line.path, f"{line.path}:{_digest((*given, moments))}"}
    return {plain_name(line), marked_name(line, moments), *before}


def hash_of(raw: Sequence[Any]) -> str:
    """Return the hash by which django-crontab's own crontab lines call a tuple of CRONJOBS.

    Raises: TypeError where its arguments are no JSON; django-crontab writes no line then.
    """
    text = json.JSONEncoder(sort_keys=True).encode(raw)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _given(line: Line) -> tuple[Any, ...]:
    return (line.args, _ordered(line.kwargs)) if line.args or line.kwargs else ()


def _ordered(kwargs: dict[Any, Any]) -> list[tuple[Any, Any]]:
    return sorted(kwargs.items(), key=lambda item: str(item[0]))


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:6]
