"""Arguments that somebody gives a run: values for what was declared, checked before anything is recorded."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.core.management import BaseCommand, get_commands, load_command_class

from crons.exceptions import Refused, nearest
from crons.jobs import CommandBody, ShellBody, check_args, missing_args, registry, why_not_plain
from crons.models import Entry

# Of Django's own options those that decide which code runs, and where its words go.
NOT_FOR_RUNS = frozenset(
    {"settings", "pythonpath", "traceback", "skip_checks", "help", "version", "stdout", "stderr", "force_color"}
)


@dataclass(frozen=True)
class Parameter:
    """One argument that a run may be given. *kind* is its annotation as written; *default* that of the signature.

    *declared*: the entry's own value, *is_declared* where it has one.
    """

    name: str
    kind: str = ""
    default: Any = None
    has_default: bool = False
    declared: Any = None
    is_declared: bool = False

    @property
    def is_needed(self) -> bool:
        """Whether no run can do without somebody giving it."""
        return not (self.has_default or self.is_declared)


def parameters_of(entry: Entry) -> tuple[list[Parameter], bool]:
    """List what a run of *entry* can be given by name, and say whether it takes names besides.

    Raises: UnknownJob if this process does not know the job; Refused if the options of its command cannot be read.
    """
    body = registry.get(entry.job).body
    if isinstance(body, ShellBody):
        return [], False
    if isinstance(body, CommandBody):
        names = sorted(_options_of(body.command_name) - NOT_FOR_RUNS)
        return [_with_declared(entry, Parameter(name, has_default=True)) for name in names], False
    parameters = list(inspect.signature(body).parameters.values())
    found = [_with_declared(entry, _parameter(each)) for each in parameters if _is_given_by_name(each)]
    return found, any(each.kind == each.VAR_KEYWORD for each in parameters)


def _parameter(each: inspect.Parameter) -> Parameter:
    kind = "" if each.annotation is each.empty else inspect.formatannotation(each.annotation).strip("'\"")
    has_default = each.default is not each.empty
    return Parameter(each.name, kind, each.default if has_default else None, has_default)


def _with_declared(entry: Entry, each: Parameter) -> Parameter:
    if each.name not in entry.args:
        return each
    return replace(each, declared=entry.args[each.name], is_declared=True)


def check(entry: Entry, args: Mapping[str, Any]) -> None:
    """Raise Refused, or InvalidJob, unless the job of *entry* can be called with *args* over the entry's own.

    Raises: UnknownJob if this process does not know the job, and so cannot tell.
    """
    body = registry.get(entry.job).body
    if why := why_not_plain(args):
        raise Refused(f"arguments of {entry.name!r}: {why}.")
    if isinstance(body, ShellBody):
        raise Refused(f"{entry.name!r} runs a program with the arguments it was declared with; it takes no others.")
    known = _known_to(body)
    for key in args:
        if known is not None and key not in known:
            takes = f"It takes: {', '.join(known)}." if known else "It takes none."
            raise Refused(f"{entry.name!r} takes no argument {key!r}.{nearest(key, known)} {takes}")
    check_complete(entry, args)
    check_args(entry.name, body, {**entry.args, **args})


def check_complete(entry: Entry, args: Mapping[str, Any]) -> None:
    """Raise Refused if the job of *entry* needs arguments that neither its declaration nor *args* give.

    A process that does not know the job cannot tell, and says nothing.
    """
    job = registry.jobs.get(entry.job)
    missing = missing_args(job.body, {**entry.args, **args}) if job else []
    if missing:
        how = " ".join(f"--arg {each}=…" for each in missing)
        raise Refused(
            f"{entry.name!r} cannot run without {', '.join(missing)}, which its declaration leaves to who runs it: "
            f"manage.py crons run {entry.name} {how}"
        )


def _known_to(body: Any) -> list[str] | None:
    """List what *body* can be given; None where it takes any name."""
    if isinstance(body, CommandBody):
        return sorted(_options_of(body.command_name) - NOT_FOR_RUNS)
    parameters = inspect.signature(body).parameters.values()
    if any(each.kind == each.VAR_KEYWORD for each in parameters):
        return None
    return [each.name for each in parameters if _is_given_by_name(each)]


def _is_given_by_name(each: inspect.Parameter) -> bool:
    # The context is what the ledger says of the attempt; nobody else may say it.
    return each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY) and each.name != "context"


def _options_of(command_name: str) -> set[str]:
    app = get_commands().get(command_name)
    if app is None:
        raise Refused(f"the command {command_name!r} does not exist, so its options are not known.")
    command = app if isinstance(app, BaseCommand) else load_command_class(app, command_name)
    parser = command.create_parser("manage.py", command_name)
    return {action.dest for action in parser._actions} | set(command.stealth_options)
