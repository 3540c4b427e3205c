"""`crons plan`, and what it shares with `apply` and `undo`."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping
from typing import Any

from crons.exceptions import Refused
from crons.ledger import deployment
from crons.management.verbs import Out, Verb
from crons.redaction import for_people
from crons.targets import Plan as Planned
from crons.targets import declared, targets
from crons.targets.base import PER_JOB, SERVE, TICK, Target

DIFFERS = 3
TONES = {"+": "good", "-": "bad", " ": ""}


class Plan(Verb):
    """What is installed against what is declared."""

    name = "plan"
    help = (
        "Show what apply would change; nothing is changed. Exit code 0: nothing. 3: something.\n"
        "1: it is as it would be written, and some entries are not in it, or run twice."
    )
    example = "plan --to crontab"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_target(parser)
        add_mode(parser)

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        deployment.refuse_a_copy()
        plan = make_target(options).plan(declared(), mode=options["mode"])
        show(plan, out)
        if not plan.is_in_step:
            return DIFFERS
        return 1 if plan.blocked or (plan.refused and not plan.ticks) else 0


def add_target(parser: argparse.ArgumentParser) -> None:
    """Take --to, and what is for one target only."""
    parser.add_argument("--to", default="crontab", choices=sorted(targets()), help="The foreign schedule.")
    _add_options(parser, *(each.options for each in targets().values()))


def add_mode(parser: argparse.ArgumentParser) -> None:
    """Take the mode, what is for one target only, and --take-over."""
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--tick", dest="mode", action="store_const", const=TICK, help="One line, each minute, that runs what is due."
    )
    mode.add_argument(
        "--per-job", dest="mode", action="store_const", const=PER_JOB, help="A line per entry, on its own schedule."
    )
    mode.add_argument("--serve", dest="mode", action="store_const", const=SERVE, help="A scheduler that is kept alive.")
    _add_options(parser, *(each.plan_options for each in targets().values()))
    parser.add_argument(
        "--take-over", action="store_true", help="Take over what this IDENTITY installed though its database moved."
    )


def make_target(options: Mapping[str, Any]) -> Target:
    """Return the target that *options* name.

    Raises: Refused for an option that is another target's.
    """
    kind = targets()[options["to"]]
    given = {name: options[name] for each in targets().values() for name in _taken(each) if options.get(name)}
    if others := sorted(given.keys() - _taken(kind)):
        takes = next(each.name for each in targets().values() if others[0] in _taken(each))
        raise Refused(f"--{others[0].replace('_', '-')} is not for --to {kind.name}; it is for --to {takes}.")
    if (mode := options.get("mode")) and mode not in kind.modes:
        raise Refused(f"--{mode} is not for --to {kind.name}: expected --{' or --'.join(kind.modes)}.")
    return kind(take_over=options["take_over"], **given)


def _add_options(parser: argparse.ArgumentParser, *options: Mapping[str, Mapping[str, Any]]) -> None:
    for of_target in options:
        for name, how in of_target.items():
            parser.add_argument(f"--{name.replace('_', '-')}", dest=name, **how)


def _taken(kind: type[Target]) -> set[str]:
    return {*kind.options, *kind.plan_options}


def show(plan: Planned, out: Out, **more: Any) -> None:
    """Print a plan: its difference, how the installed part is not ours any more, and what has no line."""
    where, part, piece = targets()[plan.target].words
    if out.json:
        out.row(
            {
                "model": "plan",
                "target": plan.target,
                "mode": plan.mode,
                "in_step": plan.is_in_step,
                "drift": plan.drift,
                "found": for_people(plan.ours),
                "wanted": for_people(plan.ours_wanted),
                "refused": [{"entry": entry, "reason": reason} for entry, reason in plan.refused],
                "notes": list(plan.notes),
                **({"blocked": list(plan.blocked)} if plan.blocked else {}),
                **more,
            }
        )
    else:
        for line in for_people(_difference(plan)):
            out.line(line, TONES.get(line[:1], ""))
        if plan.is_in_step:
            out.line(
                f"{where[0].upper()}{where[1:]} is as it should be ({plan.mode or f'without {piece}s of ours'}).",
                "good",
            )
    if plan.drift:
        out.note(f"{part} in {where} is not as it was written: {plan.drift}.")
    for entry, reason in plan.refused:
        out.note(f"no {piece} for {entry}: {reason}")
    for reason in plan.blocked:
        out.note(f"apply refuses: {reason}.")
    for note in plan.notes:
        out.note(f"note: {note}")


def _difference(plan: Planned) -> list[str]:
    lines = list(difflib.unified_diff(plan.ours, plan.ours_wanted, "installed", "wanted", n=1000, lineterm=""))[3:]
    if lines or plan.is_in_step:
        return lines
    moved = "moved to the top" if plan.target == "crontab" else "what they carry is written anew"
    return [f"  {line}" for line in plan.ours_wanted] + [moved]
