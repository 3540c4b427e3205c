"""`manage.py crons VERB …`: one command; it imports only the verb that was asked for."""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandParser, DjangoHelpFormatter

from crons.checks.asking import declarations_must_be_whole
from crons.exceptions import nearest
from crons.jobs import registry
from crons.management.commandline import CommandLine
from crons.management.verbs import VERBS, Out, Verb, load


class Layout(argparse.RawDescriptionHelpFormatter, DjangoHelpFormatter):
    """Django's help, with the lines of descriptions and examples left as they are."""


class VerbParser(CommandParser):
    """Reads the arguments of one verb; asks the verb for them only once it has been named."""

    def __init__(self, *, verb_name: str, common: Sequence[argparse.Action], **options: Any) -> None:
        super().__init__(add_help=False, formatter_class=Layout, **options)
        self._verb_name = verb_name
        self._common = common
        self._is_filled = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Declare the verb's arguments, then parse."""
        if not self._is_filled:
            self._fill()
        return super().parse_known_args(args, namespace)

    def _fill(self) -> None:
        verb = load(self._verb_name)
        self.description = verb.help
        self.epilog = f"example:\n  manage.py crons {verb.example}"
        verb.add_arguments(self)
        self.add_argument("--json", action="store_true", help="Print one JSON object per line, and nothing else.")
        self.add_argument(
            "--raw", action="store_true", help="Print recorded text as it was written, control characters too."
        )
        if verb.checks:
            self.add_argument("--skip-checks", action="store_true", help="Skip system checks.")
        for action in self._common:
            # Django's options may stand before the verb and after it; silence after it must not undo what stood before.
            quiet = copy.copy(action)
            quiet.default = argparse.SUPPRESS
            self._add_action(quiet)
        self._is_filled = True


class Command(CommandLine):
    """The frame of the verbs. From code, give options as texts: call_command("crons", "list", "--all")."""

    help = "Scheduled work: see what is due, what became of it, and run it."
    requires_system_checks = []
    verb: Verb | None = None

    def add_arguments(self, parser: CommandParser) -> None:
        """Know every verb by name."""
        common = list(parser._actions)
        verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", parser_class=VerbParser)
        for name, (_, text) in VERBS.items():
            verbs.add_parser(name, help=text, verb_name=name, common=common)

    def run_from_argv(self, argv: list[str]) -> None:
        """Run a command line; an unknown verb is a mistake of usage (2)."""
        asked = argv[2] if len(argv) > 2 else "-"
        if not asked.startswith("-") and asked not in VERBS:
            self.stderr.write(f"{asked!r} is no verb of crons.{nearest(asked, VERBS)} Verbs: {', '.join(VERBS)}.")
            sys.exit(2)
        super().run_from_argv(argv)

    def execute(self, *args: Any, **options: Any) -> Any:
        """Run the system checks that the verb asks for, then the verb."""
        if options.get("verb"):
            self.verb = load(options["verb"])
            self.requires_system_checks = self.verb.checks  # type: ignore[assignment] # the stubs know only lists
            self.output_decides, self.ends_with_reader = self.verb.output_decides, self.verb.ends_with_reader
            self.failure_code = self.verb.failure_code
        options.setdefault("skip_checks", False)
        # Around the checks too: some of Django's ask the database.
        with self.refusals_in_one_line(options):
            if self.requires_system_checks:
                registry.load()
            with declarations_must_be_whole(leaving_zones=self.verb is not None and self.verb.leaves_zones):
                return super().execute(*args, **options)

    def handle(self, *args: Any, **options: Any) -> None:
        """Let the verb do it; end with its exit code."""
        colour = True if options["force_color"] else False if options["no_color"] else None
        as_json = bool(options.get("json"))
        out = Out(
            self.stdout,
            self.stderr,
            as_json=as_json,
            colour=False if as_json else colour,
            as_written=bool(options.get("raw")),
        )
        try:
            code = self.verb.handle(options, out) if self.verb else self._introduce()
            self.stdout.flush()  # a closed pipe shows here, not in a complaint of Python's at its exit
        except BrokenPipeError:
            code = 0  # whoever read this has seen enough
        if code:
            sys.exit(code)

    def _introduce(self) -> int:
        width = max(map(len, VERBS))
        verbs = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in VERBS.items())
        self.stdout.write(f"{self.help}\n\nmanage.py crons VERB …\n\n{verbs}\n\nmanage.py crons VERB --help says more.")
        return 0
