"""django-crontab's CRONJOBS setting: each line is bound to the job it names, or becomes one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management import call_command, get_commands

from crons.contrib.django_crontab.line_settings import environment
from crons.contrib.django_crontab.lines import Line, marked_name, name_of, read_line
from crons.exceptions import CronsError, DeclarationError, InvalidSchedule, NotImported, nearest
from crons.jobs import (
    OF_OTHERS,
    Body,
    CommandBody,
    Declaration,
    Job,
    check_args,
    check_body,
    check_name,
    make_policy,
    registry,
)
from crons.redaction import without_secrets_of
from crons.schedules import NEVER, cron
from crons.sources.base import LEFT, NOT_IMPORTED, Binding, Masking, NewPause, Problem, Reading, Source, imported, says

FIX = (
    "A line is (schedule, 'path.to.function'), with [args] and {kwargs} behind it where the function takes some, "
    "and a redirection at its end."
)
TIMES = (
    "Write five fields as cron reads them, or a nickname such as @daily; cron itself takes no more than that. "
    "Until then crons runs nothing for this line, and all else as before."
)


class CronjobsSource(Source):
    """Binds a line to the job whose function or command it names; declares a job where code declares none."""

    name = "cronjobs"

    def read(self) -> Reading:
        """Return entries for undeclared functions, bindings for declared ones, problems for the rest."""
        declarations, bindings, problems = [], [], []
        lines, given, masking = getattr(settings, "CRONJOBS", ()), environment(), Masking()
        seen: dict[str, str] = {}
        if not isinstance(lines, list | tuple):
            return Reading(problems=(_problem(masking, f"CRONJOBS is {lines!r}, expected a list of tuples.", FIX),))
        for number, raw in enumerate(lines):
            where, hint = f"CRONJOBS[{number}]", FIX
            try:
                line = read_line(number, raw)
                where, hint = f"{line.ref} {line.called}", LEFT
                first = seen.setdefault(marked_name(line, line.moments), line.ref)
                if first != line.ref and not line.is_at_reboot:
                    problems.append(_once_more(line, first, masking))
                    continue
                body = _body(line)
                job = _declared_for(body)
                if job is None:
                    declarations.append(_declare(line, body, given, masking))
                    continue
                name = _entry_of(job, line)
                registry.jobs[job.name] = replace(job, environment=given)
                if not line.is_at_reboot:
                    bindings.append(Binding(name, line.schedule_text, line.ref))
            except CronsError as error:
                # What is wrong with a value is said by who reads it, and that does not know whose it is.
                message = str(error) if str(error).startswith(f"CRONJOBS[{number}]") else f"{where}: {error}"
                problems.append(_problem(masking, message, _next_step(error, hint)))
        return Reading(tuple(declarations), tuple(bindings), tuple(problems))

    def modules(self) -> Iterable[str]:
        """Name the modules of the functions that lines name."""
        return (line.path.rpartition(".")[0] for line in readable_lines())

    def rename_rows(self, now: datetime) -> list[str]:
        """Have each row called as the line is whose history it holds."""
        from crons.contrib.django_crontab.rows import carry_over  # it reads lines by this class

        return carry_over(now)

    def paused_from_start(self) -> Mapping[str, NewPause]:
        """Return what django-crontab's own lines run past the ledger."""
        from crons.contrib.django_crontab import past_ledger  # it reads lines by this class

        # Asked once in a sync, whose end calls end_pauses: each time is a call of the program crontab.
        self._past_ledger = found = past_ledger.find()
        return dict.fromkeys(found.entries, NewPause(past_ledger.BY, found.reason))

    def end_pauses(self, now: datetime) -> list[str]:
        """End the pauses of what they run no more."""
        from crons.contrib.django_crontab import past_ledger  # it reads lines by this class

        past_ledger.end_pauses(self._past_ledger, now)
        return past_ledger.describe_twice(self._past_ledger)

    def entry_name(self, raw: object) -> str:
        """Return the entry that a tuple of CRONJOBS belongs to.

        Raises: DeclarationError if it cannot be read or names nothing.
        """
        number = next((number for number, each in enumerate(getattr(settings, "CRONJOBS", ())) if each == raw), 0)
        line = read_line(number, raw)
        job = _declared_for(_body(line))
        return _entry_of(job, line) if job is not None else name_of(line, readable_lines())


def readable_lines() -> list[Line]:
    """Return the lines of CRONJOBS that have one of its forms, in their order."""
    return list(_readable())


def _readable() -> Iterator[Line]:
    lines = getattr(settings, "CRONJOBS", ())
    for number, raw in enumerate(lines if isinstance(lines, list | tuple) else ()):
        try:
            yield read_line(number, raw)
        except DeclarationError:
            continue  # read() says it


def _problem(masking: Masking, text: str, hint: str) -> Problem:
    return Problem("W030", masking.hide(text), hint, is_broken=True)


def _next_step(error: CronsError, otherwise: str) -> str:
    if isinstance(error, NotImported):
        return NOT_IMPORTED
    return TIMES if isinstance(error, InvalidSchedule) else otherwise


def _once_more(line: Line, first: str, masking: Masking) -> Problem:
    text = f"{line.ref} {line.called} is {first} once more: cron calls it for each of these lines, crons once."
    return Problem("W030", masking.hide(text), "Take one of them away, or give them other times or other arguments.")


def _body(line: Line) -> Body:
    try:
        body: Body = imported(line.ref, line.path)
    except DeclarationError as error:
        # Entry points of packages have a colon there.
        hint = f" Write {line.path.replace(':', '.')!r}." if ":" in line.path else ""
        raise type(error)(f"{error}{hint}") from error
    if not callable(body):
        raise DeclarationError(f"{line.ref} names {line.path!r}, which is a {type(body).__name__}, not a function.")
    if body is not call_command:
        return body
    if not line.command:
        raise DeclarationError(
            f"{line.ref} calls {line.path} without the name of a command, expected ['clearsessions']."
        )
    if line.command not in get_commands():
        hint = nearest(line.command, get_commands())
        raise DeclarationError(f"{line.ref} calls manage.py {line.command}, which no installed app has.{hint}")
    return CommandBody(line.command, line.command_args)


def _declared_for(body: Body) -> Job | None:
    """Return the job of code that *body* is: the same function, or the same command with the same arguments."""
    of_code = [job for job in registry.jobs.values() if job.source == "code"]
    if not isinstance(body, CommandBody):
        return next((job for job in of_code if job.body is body), None)
    same = (job for job in of_code if job.body == body)
    # As a crontab line that calls manage.py NAME: the command that has a job's name enters that job's entry.
    return next(same, next((job for job in of_code if job.name == body.command_name and not body.command_args), None))


def _entry_of(job: Job, line: Line) -> str:
    """Find the entry of *job* that a line means: its arguments decide, then its schedule."""
    args = () if line.command else line.args
    entries = [each for each in registry.entries.values() if each.job == job.name and dict(each.args) == line.kwargs]
    if args or not entries:
        raise DeclarationError(
            f"{line.ref} calls {line.call}, but code declares {job.name!r} with other arguments: "
            f"declare this call too, with entry('a_name', {job.name!r}, cron({line.schedule_text!r}), args=…)."
        )
    if line.is_at_reboot:
        return entries[0].name
    return next((each.name for each in entries if says(each.schedule, line.schedule_text)), entries[0].name)


def _declare(line: Line, body: Body, given: Mapping[str, str], masking: Masking) -> Declaration:
    name = name_of(line, readable_lines())
    ref = f"{line.ref} {line.called}"
    schedule = NEVER if line.is_at_reboot else cron(line.schedule_text)
    check_name(name)
    taken = registry.jobs.get(name)
    if taken is not None and taken.source != CronjobsSource.name:
        raise DeclarationError(
            f"{ref} would be called {name!r}, as another job is ({taken.source_ref}): give that one another name=."
        )
    check_body(name, body)
    # Positional arguments have no names to keep in a row, so they belong to the job itself.
    called = _Bound(body, line.args) if line.args and not line.command else body
    check_args(name, called, line.kwargs)
    job = Job(
        name,
        called,
        make_policy(name, {}, OF_OTHERS),
        description=_description(line, body, masking),
        source="cronjobs",
        source_ref=ref,
        environment=given,
    )
    registry.jobs[name] = job
    declaration = Declaration(name, name, schedule, line.kwargs, "cronjobs", ref)
    registry.entries[name] = declaration
    return declaration


def _description(line: Line, body: Body, masking: Masking) -> str:
    """Say what is called where the path alone does not; else what the function says of itself."""
    if line.args or line.kwargs:
        masked = replace(line, args=tuple(without_secrets_of(line.args)), kwargs=without_secrets_of(line.kwargs))
        return masking.hide(masked.call)
    return str(getattr(body, "__doc__", "") or "").strip().partition("\n")[0]


@dataclass(frozen=True)
class _Bound:
    body: Body
    args: tuple[Any, ...]

    def __call__(self, **kwargs: Any) -> Any:
        return self.body(*self.args, **kwargs)
