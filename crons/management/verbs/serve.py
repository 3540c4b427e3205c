"""`crons serve`: the built-in scheduler."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from crons.management.verbs import Out, Verb

if TYPE_CHECKING:  # imported for a scheduler only: `crons --help` needs no models
    from crons.ledger import Recorded
    from crons.models import Run


class Serve(Verb):
    """Looks at the clock the moment something is due, until it is stopped."""

    name = "serve"
    help = (
        "run the built-in scheduler until SIGTERM or Ctrl-C; any number may run at once\n"
        "At a terminal it prints how each run and slot ended; elsewhere only what failed, was missed or lost;\n"
        "with --json each, as a line of `crons history --json` with its event."
    )
    example = "serve"
    checks = "__all__"
    leaves_zones = True
    output_decides = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--reload", action="store_true", help="start anew when code changes; with DEBUG only")
        parser.add_argument("-q", "--quiet", action="store_true", help="print no verdicts")

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        from django.conf import settings

        from crons.exceptions import CronsError
        from crons.triggers.serve import Scheduler, start_anew
        from crons.triggers.session import Session

        if options["reload"] and not settings.DEBUG:
            raise CronsError("--reload needs DEBUG = True: in production a deploy restarts the scheduler.")
        with Session("serve", "serve") as session, printing(out, quiet=options["quiet"]):
            anew = Scheduler(session, out.note, reload=options["reload"]).run()
        if anew:
            start_anew()
        return 0


@contextmanager
def printing(out: Out, *, quiet: bool = False) -> Iterator[None]:
    """Print what this process writes down meanwhile of how runs and slots end."""
    from crons.signals import recorded, run_ended

    if quiet:
        yield
        return

    def on_ended(run: Run, **_: Any) -> None:
        _print_run(run, out)

    def on_recorded(recorded: Recorded, **_: Any) -> None:
        _print_ranges(recorded, out)

    run_ended.connect(on_ended)
    recorded.connect(on_recorded)
    try:
        yield
    finally:
        run_ended.disconnect(on_ended)
        recorded.disconnect(on_recorded)


def _print_run(run: Run, out: Out) -> None:
    from crons.presentation import as_json, describe_run, local

    if out.json:
        out.row({"event": "run.ended", "model": "run", **as_json(run)})
        return
    ended = describe_run(run)
    if not (out.is_terminal or ended.tone == "bad"):
        return
    zone = run.entry.zone
    asked = f"slot {local(run.slot_at, zone)}" if run.slot_at else f"{run.kind} run"
    out.line(f"{run.entry.name}, {asked}: {ended.text} (run {run.pk})", ended.tone)


def _print_ranges(recorded: Recorded, out: Out) -> None:
    from crons.conf import conf
    from crons.models import Entry
    from crons.presentation import as_json, describe_verdict, local

    ids = {each.entry_id for each in recorded.ranges}
    entries = Entry.objects.using(conf.database).in_bulk(ids) if ids else {}
    for each in recorded.ranges:
        entry = entries.get(each.entry_id)
        if entry is None:
            continue  # deleted since
        if out.json:
            each.entry = entry
            out.row({"event": "slots.accounted", "model": "range", **as_json(each)})
            continue
        ended = describe_verdict(each.verdict, each.reason)
        if not (out.is_terminal or ended.tone == "bad"):
            continue
        first, last = local(each.first_at, entry.zone), local(each.last_at, entry.zone)
        span = f"slot {last}" if each.count == 1 else f"{each.count} slots from {first} to {last}"
        out.line(f"{entry.name}, {span}: {ended.text}", ended.tone)
