"""`crons doctor`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from crons import doctor
from crons.exceptions import Refused
from crons.management.verbs import Out, Verb


class Doctor(Verb):
    """Works here, fails under cron: why."""

    name = "doctor"
    help = (
        "Start the project as cron would, without its work, and say what is missing there; look at this\n"
        "machine's cron, its clocks, and at jobs that take longer than they have.\n"
        "Exit code 0: nothing is wrong. 1: something is, with what to do."
    )
    example = "doctor clean_inactive_customers --run"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("entry", metavar="NAME", nargs="?", help="Only what this entry needs.")
        parser.add_argument(
            "--run", action="store_true", help="Then run it once, as cron would start it, and name what it lacked."
        )

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        name = options["entry"]
        if options["run"] and name is None:
            raise Refused("--run needs the NAME of the entry that is to be run.")
        levels = []
        for finding in doctor.examine(name):
            levels.append(finding.level)
            _show(finding, out)
        if options["run"]:
            if not out.json:
                out.line(f"Running {name} as cron would start it; what it prints is shown when it has ended.")
            ended, findings = doctor.run(name)
            if out.json:
                out.row({"model": "run", "entry": name, "exit_code": ended.exit_code, "output": ended.output})
            elif ended.output.strip():
                out.line(ended.output.rstrip("\n"))
            for finding in findings:
                levels.append(finding.level)
                _show(finding, out)
        wrong = levels.count(doctor.BAD)
        if not out.json:
            out.line(f"{wrong} wrong: mend the first, then ask again." if wrong else "Nothing is wrong.")
        return 1 if wrong else 0


def _show(finding: doctor.Finding, out: Out) -> None:
    if out.json:
        out.row({"model": "finding", **asdict(finding)})
        return
    expected = f"; expected {finding.expected}" if finding.expected else ""
    word = {doctor.GOOD: "ok", doctor.WARN: "look", doctor.BAD: "BAD"}[finding.level]
    out.line(f"{word:<4}  {finding.what}: {finding.found}{expected}", finding.level)
    if finding.do:
        out.line(f"      do: {finding.do}")
