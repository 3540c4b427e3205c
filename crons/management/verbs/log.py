"""`crons log`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import BooleanField
from django.db.models.expressions import RawSQL

from crons import api
from crons.exceptions import CronsError, Refused
from crons.management.verbs import Out, Verb, at_least_one, find_run, run_or_name
from crons.models import Attempt, OutputChunk, Run
from crons.presentation import as_json, describe_arguments, describe_run
from crons.triggers.following import Follower, current_attempt
from crons.verdicts import State, Verdict

STOPPED_BY_CTRL_C = 130
# Written out, not as a parameter: else SQLite reads all runs of an entry instead of crons_run_running.
RUNNING = RawSQL(f"crons_run.state = '{State.RUNNING}'", (), output_field=BooleanField())


class Log(Verb):
    """What an attempt wrote."""

    name = "log"
    help = "Print what a run wrote, its streams in the order in which they were written."
    example = "log nightly_report --stream stderr"
    ends_with_reader = True

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "run", metavar="RUN_ID|NAME", type=run_or_name, help="A run's number, or an entry: its last run begun."
        )
        parser.add_argument("--attempt", type=at_least_one, metavar="N", help="Which try; the last by default.")
        parser.add_argument("--stream", choices=["stdout", "stderr", "log"], help="Only this one.")
        parser.add_argument(
            "--follow", action="store_true", help="Print what comes until the run is over; end as it ends."
        )

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        if options["follow"]:
            if options["attempt"]:
                raise Refused("--follow shows every attempt as it comes, so it cannot be one --attempt only.")
            return follow(run_to_follow(options["run"]), out, options["stream"] or "")
        run = _run(options["run"])
        attempt = _attempt(run, options["attempt"])
        if run.args:
            out.note(f"run {run.pk} was given {describe_arguments(run.args)}")
        chunks = OutputChunk.objects.filter(attempt=attempt).order_by("seq")
        if options["stream"]:
            chunks = chunks.filter(stream=options["stream"])
        written = False
        for chunk in chunks:  # bounded by OUTPUT_LIMIT_BYTES; a cursor on the server would need a session of its own
            written = True
            _print(chunk, out)
        if attempt.error and not options["stream"]:
            _print_error(attempt, out, is_first=not written)
        elif not written:
            what = f" to {options['stream']}" if options["stream"] else ""
            out.note(f"run {attempt.run_id}, attempt {attempt.number} wrote nothing{what}.")
        return 0


def follow(run: Run, out: Out, stream: str = "", *, pause: Callable[[float], None] = time.sleep) -> int:
    """Print what *run* writes until it is over; return 0 if it succeeded, else what its last attempt exited with."""

    def show(chunk: OutputChunk) -> None:
        if not stream or chunk.stream == stream:
            _print(chunk, out)

    follower = Follower(run, out.note, show)
    try:
        follower.follow(pause=pause)
    except KeyboardInterrupt:
        out.note(f"run {run.pk} goes on. See: manage.py crons show {run.pk}")
        return STOPPED_BY_CTRL_C
    if follower.was_deleted:
        return 1
    run = follower.run
    out.note(f"run {run.pk} of {run.entry.name}: {describe_run(run).text}")
    return _exit_code(run)


def _print(chunk: OutputChunk, out: Out) -> None:
    if out.json:
        out.row(as_json(chunk))
    else:
        out.text(chunk.text)
        out.stdout.flush()


def _print_error(attempt: Attempt, out: Out, *, is_first: bool) -> None:
    if out.json:
        out.row({"attempt": attempt.pk, "seq": None, "stream": "error", "text": attempt.error})
        return
    out.text(f"{'' if is_first else chr(10)}error\n{attempt.error.rstrip()}\n")


def _exit_code(run: Run) -> int:
    if run.verdict == Verdict.SUCCEEDED:
        return 0
    last = current_attempt(run)
    code = (last.exit_code if last else None) or 1
    return code if code > 0 else 128 - code  # as a shell says of what a signal ended


def _run(asked: int | str) -> Run:
    if isinstance(asked, int):
        return find_run(asked)
    run = api.history(asked).filter(tries__gt=0).first()
    if run is None:
        raise CronsError(f"{asked!r} has never run, so it wrote nothing. See: manage.py crons history {asked}")
    return run


def run_to_follow(asked: int | str) -> Run:
    """Return the run that is meant: of an entry the one that goes, else the next to begin, else the last."""
    if isinstance(asked, int):
        return find_run(asked)
    # Ordered here: in the order of the slots SQLite would walk through all of them.
    going = max(api.history(asked).filter(RUNNING).order_by(), key=lambda run: (run.planned_at, run.pk), default=None)
    waiting = api.history(asked).filter(wake_at__isnull=False).order_by("wake_at", "pk")
    return going or waiting.first() or _run(asked)


def _attempt(run: Run, number: int | None) -> Attempt:
    attempts = run.attempts.order_by("-number")
    found = attempts.filter(number=number).first() if number else attempts.first()
    if found is not None:
        return found
    if number:
        raise CronsError(f"run {run.pk} has no attempt {number}: it was tried {run.tries} time(s).")
    raise CronsError(f"run {run.pk} was never begun, so it wrote nothing: {describe_run(run).text}.")
