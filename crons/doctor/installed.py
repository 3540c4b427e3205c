"""This machine's cron, and whether anything looks at the clock."""

from __future__ import annotations

from collections.abc import Iterator

from crons import api
from crons.doctor.findings import BAD, GOOD, WARN, Finding
from crons.doctor.lines import examine_lines
from crons.extensions import extensions
from crons.presentation import describe_scheduler
from crons.targets import crond


def examine(name: str | None) -> Iterator[Finding]:
    """Yield whether cron runs here, what its lines are, and whether anything looks at the clock at all."""
    alive = api.schedulers()
    by_others = False
    for each in extensions():
        findings, fires = each.examine()
        yield from findings
        by_others = by_others or fires
    by_cron = yield from examine_lines(name, has_scheduler=bool(alive) or by_others)
    is_running = crond.is_running()
    if is_running is False and by_cron:
        yield Finding(
            "cron daemon",
            WARN if alive else BAD,
            "no process called cron or crond runs here",
            "one, for the lines in the crontab",
            "systemctl start cron; in a container, crons serve instead.",
        )
    elif is_running:
        yield Finding("cron daemon", GOOD, "runs")
    if alive:
        yield Finding("triggers", GOOD, ", ".join(describe_scheduler(beat) for beat in alive))
    elif not by_cron and not by_others:
        yield Finding(
            "triggers",
            BAD,
            "no scheduler has shown a sign of life, and no line here calls this project: nothing will fire",
            "a scheduler or a line",
            "manage.py crons apply, or start manage.py crons serve. Triggers on other hosts are not seen from here.",
        )
