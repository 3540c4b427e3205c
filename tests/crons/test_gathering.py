"""Gathering: short jobs end in flocks, and the host waits a moment for the next before it writes."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace
from typing import Any

from crons.attempts import Finished
from crons.executors.process.executor import ProcessExecutor
from crons.verdicts import Ending, Outcome


def test_the_host_sleeps_while_it_gathers(monkeypatch: Any) -> None:
    """It once asked the kernel again and again meanwhile, on a core that the jobs could have had."""
    executor = ProcessExecutor(alias="process", max_running=2)
    executor._attempts[2] = SimpleNamespace(give_up_at=math.inf)  # type: ignore[assignment] # one that still runs
    executor._reports.add_ending(Finished(1, Ending(Outcome.SUCCEEDED)))
    waits: list[float] = []
    select = executor._selector.select
    monkeypatch.setattr(executor._selector, "select", lambda wait: waits.append(wait) or select(wait))  # type: ignore[func-returns-value]

    executor._gather(time.monotonic() + 60)

    assert 1 <= len(waits) <= 3
    assert 0 < waits[0] <= 0.005
