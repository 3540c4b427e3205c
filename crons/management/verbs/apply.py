"""`crons apply`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from crons import api
from crons.declarations import Retire
from crons.jobs import registry
from crons.management.verbs import Out, Verb, operator
from crons.management.verbs.plan import add_mode, add_target, make_target, show
from crons.targets import declared, targets


class Apply(Verb):
    """Declarations → rows → the crontab, or units."""

    name = "apply"
    help = (
        "Sync the declarations, as `crons sync` does, which retires what is declared no more, and have this\n"
        "account's crontab, or systemd, call them; what others wrote stays.\n"
        "Exit code 1 if nothing was changed because of an error, or if an entry has no line or cannot work."
    )
    example = "apply --to crontab --per-job"
    checks = "__all__"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_target(parser)
        add_mode(parser)

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        target = make_target(options)
        # Planned first: a crontab that cannot be read must not leave the rows changed alone.
        plan = target.plan(declared(), mode=options["mode"])
        plan.refuse_blocked()
        done = api.sync(retire=Retire.FEW, by=operator())
        backup = None if plan.is_in_step else target.apply(plan, operator())
        show(plan, out, backup=str(backup) if backup else None, problems=done.problems)
        if backup and not out.json:
            out.line(
                f"Installed in {targets()[plan.target].words.whole} ({plan.mode}). What it was before: {backup}", "good"
            )
        if done.retired and not out.json:
            out.line(f"retired: {', '.join(done.retired)}", "warn")
        for rename in done.renames:
            out.note(rename)
        for problem in done.problems:
            out.note(f"problem: {problem}")
        return 1 if (plan.refused and not plan.ticks) or registry.broken else 0
