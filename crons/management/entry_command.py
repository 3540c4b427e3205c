"""For a project's own command that is a way into one entry, such as one that a script of its crontab calls.

::

    from crons.management.entry_command import EntryCommand

    class Command(EntryCommand):
        entry = "clean_inactive_customers"
        help = "Delete the customers without an order in the last year, recorded as a run."
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any, ClassVar

from crons.management.commandline import CommandLine
from crons.management.output import Out
from crons.management.verbs.base import operator
from crons.side_output import Echo
from crons.triggers.by_name import run_entry


class EntryCommand(CommandLine):
    """Does what `crons run` does for *entry*, with its options and its exit codes.

    Within an attempt, that is where the job itself has started the command, it does the attempt's work instead.
    """

    entry: ClassVar[str]
    """The entry's name, as `manage.py crons list` shows it."""

    output_decides = False
    requires_system_checks = []  # a slot must not wait for them, nor be lost for a warning elsewhere

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take --scheduled, --wait and --foreground."""
        parser.add_argument("--scheduled", action="store_true", help="this is the slot due now, not a manual run")
        parser.add_argument("--wait", action="store_true", help="if another has this slot, wait for how it ends")
        parser.add_argument(
            "--foreground", action="store_true", help="run in this process, so that a debugger works; no time-out"
        )

    def arguments(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Give the keyword arguments that the job gets for this run only; such a run is one besides the schedule."""
        return {}

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the entry; end with 0 where it succeeded or somebody else has the slot, with 1 otherwise."""
        out = Out(self.stdout, self.stderr)
        with self.refusals_in_one_line(options):
            ran = run_entry(
                self.entry,
                out.note,
                by=operator(),
                # Without the option, as for a line in an old crontab, it is found out: see run_entry.
                scheduled=options["scheduled"] or None,
                args=self.arguments(options),
                wait=options["wait"],
                foreground=options["foreground"],
                echo=Echo(),
            )
        if ran.code:
            sys.exit(ran.code)
