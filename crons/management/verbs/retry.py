"""`crons retry`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from crons import api
from crons.management.verbs import Out, Verb, find_run, operator, run_number
from crons.presentation import as_json, words
from crons.verdicts import Verdict


class Retry(Verb):
    """Try a run again."""

    name = "retry"
    help = (
        "Let a run that is over and did not succeed be tried once more: the same slot, the same context.key.\n"
        "A slot that was missed or skipped is run after all. Any scheduler begins it; this does not wait for it."
    )
    example = 'retry 1042 --reason "the mail server is back"'

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("run", metavar="RUN_ID", type=run_number, help="A run's number, from crons history.")
        parser.add_argument("--reason", default="", help="Why; it is kept in the audit trail.")

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        was = find_run(options["run"])
        api.retry(was.pk, by=operator(), reason=options["reason"])
        run = find_run(was.pk)
        if out.json:
            out.row(as_json(run))
            return 0
        out.line(f"run {run.pk} of {run.entry.name} is tried again. See: manage.py crons show {run.pk}")
        if was.verdict in (Verdict.LOST, Verdict.TIMED_OUT):
            out.note(f"Its last attempt is {words(was.verdict)}: it may have done some of its work already.")
        return 0
