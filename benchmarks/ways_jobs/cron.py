"""The job: a line in a file; BENCH_MODE has it fail, or wait until it is let go."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

from crons import cron, every, job

SECONDS = int(os.environ.get("BENCH_EVERY", "0"))
PATIENCE_SECONDS = 60


class BeatFailed(Exception):
    """What BENCH_MODE=fail asks for."""


@job(every(timedelta(seconds=SECONDS)) if SECONDS else cron("*/5 * * * *"))
def beat() -> None:
    """Note the time, as a heartbeat does."""
    said = {"at": time.time(), "modules": len(sys.modules)}
    mark = Path(os.environ["BENCH_MARK"])
    with mark.open("a") as file:
        file.write(json.dumps(said) + "\n")
    mode = os.environ.get("BENCH_MODE")
    if mode == "fail":
        raise BeatFailed
    until = time.monotonic() + PATIENCE_SECONDS
    while mode == "wait" and not mark.with_suffix(".go").exists() and time.monotonic() < until:
        time.sleep(0.01)
