"""What an attempt has started, such as a script, asks for its own job: the attempt is the run, this is its work."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

from crons import ledger
from crons.exceptions import UnknownJob
from crons.executors import Outcome
from crons.executors.runner import run
from crons.jobs import registry
from crons.side_output import BestEffort


def do_the_work(name: str) -> int:
    """Call the job itself: this process was started by an attempt, which has the ledger's part.

    Raises: UnknownJob if the attempt that the environment names is not running.
    """
    given = os.environ["CRONS_ATTEMPT"]
    begun = ledger.read_attempt(int(given)) if given.isdecimal() else None
    if begun is None:
        raise UnknownJob(
            f"CRONS_ATTEMPT is {given!r}, which is no running attempt in this database. "
            "It is set for what an attempt starts; unset it to start a run from here."
        )
    ending = run(replace(begun, job=registry.get(name).name))
    if ending.outcome != Outcome.SUCCEEDED:
        BestEffort(sys.stderr).write(ending.error.rstrip() + "\n")
        return ending.exit_code or 1
    return 0
