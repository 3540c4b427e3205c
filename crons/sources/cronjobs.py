"""django-crontab's CRONJOBS setting: each line is bound to the job it names, or becomes one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from crons.bodies import Body
from crons.exceptions import CronsError, DeclarationError
from crons.jobs import Declaration, Job, check_args, check_body, check_name, make_policy, registry
from crons.schedules import cron
from crons.sources.base import Binding, Problem, Reading, Source, imported, says

FIX = "See docs/howto/django-crontab.md for the forms that a line may have."


@dataclass(frozen=True)
class Line:
    """One tuple of CRONJOBS, in either of django-crontab's two formats."""

    number: int
    schedule_text: str
    path: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def ref(self) -> str:
        """Name the line for people."""
        return f"CRONJOBS[{self.number}]"


class CronjobsSource(Source):
    """Binds a line to the job whose function it names; declares a job where code declares none."""

    name = "cronjobs"

    def read(self) -> Reading:
        """Return entries for undeclared functions, doors for declared ones, problems for the rest."""
        declarations, bindings, problems = [], [], []
        lines = getattr(settings, "CRONJOBS", ())
        if not isinstance(lines, list | tuple):
            return Reading(problems=(Problem("E030", f"CRONJOBS is {lines!r}, expected a list of tuples.", FIX),))
        for number, raw in enumerate(lines):
            try:
                line = read_line(number, raw)
                body = _function(line)
                job = registry.job_for(body)
                if job is not None and job.source == "code":
                    bindings.append(Binding(_entry_of(job, line), line.schedule_text, line.ref))
                else:
                    declarations.append(_declare(line, body))
            except CronsError as error:
                problems.append(Problem("E030", str(error), FIX))
        return Reading(tuple(declarations), tuple(bindings), tuple(problems))

    def entry_name(self, raw: Sequence[Any]) -> str:
        """Return the entry that a tuple of CRONJOBS belongs to.

        Raises: DeclarationError if it cannot be read or names nothing.
        """
        number = next((number for number, each in enumerate(getattr(settings, "CRONJOBS", ())) if each == raw), 0)
        line = read_line(number, raw)
        body = _function(line)
        job = registry.job_for(body)
        return _entry_of(job, line) if job is not None and job.source == "code" else _name(line)


def read_line(number: int, raw: object) -> Line:
    """Read one tuple: (schedule, function), (schedule, function, redirect), or with args and kwargs.

    Raises: DeclarationError saying which form was expected.
    """
    parts = list(raw) if isinstance(raw, list | tuple) else []
    texts = len(parts) >= 2 and all(isinstance(part, str) for part in parts[:2])
    # Format 1: (schedule, function[, redirect]); format 2: (schedule, function, args, kwargs[, redirect]).
    if texts and (len(parts) == 2 or (len(parts) == 3 and isinstance(parts[2], str))):
        return Line(number, parts[0], parts[1])
    if texts and len(parts) in (3, 4, 5) and isinstance(parts[2], list | tuple):
        kwargs = parts[3] if len(parts) > 3 else {}
        if isinstance(kwargs, dict):
            return Line(number, parts[0], parts[1], tuple(parts[2]), kwargs)
    raise DeclarationError(
        f"CRONJOBS[{number}] is {raw!r}, expected (schedule, 'path.to.function') "
        "or (schedule, 'path.to.function', [args], {kwargs})."
    )


def _function(line: Line) -> Body:
    body: Body = imported(line.ref, line.path)
    if not callable(body):
        raise DeclarationError(f"{line.ref} names {line.path!r}, which is a {type(body).__name__}, not a function.")
    return body


def _entry_of(job: Job, line: Line) -> str:
    """Find the entry of *job* that a line means: its arguments decide, then its schedule."""
    entries = [each for each in registry.entries.values() if each.job == job.name and dict(each.args) == line.kwargs]
    if line.args or not entries:
        given = ", ".join([*map(repr, line.args), *(f"{key}={value!r}" for key, value in line.kwargs.items())])
        raise DeclarationError(
            f"{line.ref} calls {line.path}({given}), but code declares {job.name!r} with other arguments: "
            f"declare this call too, with entry('a_name', {job.name!r}, cron({line.schedule_text!r}), args=…)."
        )
    return next((each.name for each in entries if says(each.schedule, line.schedule_text)), entries[0].name)


def _declare(line: Line, body: Body) -> Declaration:
    name = _name(line)
    ref = f"{line.ref} {line.path}"
    schedule = cron(line.schedule_text)
    check_name(name)
    check_body(name, body)
    called = _Bound(body, line.args) if line.args else body
    check_args(name, called, line.kwargs)
    # Positional arguments have no names to keep in a row, so they belong to the job itself.
    job = Job(
        name,
        called,
        make_policy(name, {}),
        source="cronjobs",
        source_ref=ref,
    )
    registry.jobs[name] = job
    declaration = Declaration(name, name, schedule, line.kwargs, "cronjobs", ref)
    registry.entries[name] = declaration
    return declaration


def _name(line: Line) -> str:
    marked: tuple[Any, ...] = ()
    if line.args or line.kwargs:
        marked = (line.args, sorted(line.kwargs.items()))
    if not _is_first(line):
        marked += (line.schedule_text,)
    if not marked:
        return line.path
    return f"{line.path}:{hashlib.sha256(repr(marked).encode()).hexdigest()[:6]}"


def _is_first(line: Line) -> bool:
    """Say whether no earlier line makes the same call on another schedule: those after it need names of their own."""
    for number, raw in enumerate(getattr(settings, "CRONJOBS", ())):
        try:
            other = read_line(number, raw)
        except DeclarationError:
            continue
        if (other.path, other.args, other.kwargs) == (line.path, line.args, line.kwargs):
            return other.schedule_text == line.schedule_text
    return True


@dataclass(frozen=True)
class _Bound:
    body: Body
    args: tuple[Any, ...]

    def __call__(self, **kwargs: Any) -> Any:
        return self.body(*self.args, **kwargs)
