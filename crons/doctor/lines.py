"""The lines that call this project: ours in this account's crontab, and those that somebody wrote by hand."""

from __future__ import annotations

import os
from collections.abc import Generator

from crons.doctor.findings import BAD, GOOD, WARN, Finding
from crons.exceptions import CronsError
from crons.sources.crontab_files import begins_jobs, command_of, job_past_ledger
from crons.sources.shell_words import programs
from crons.targets import CrontabTarget, blocks, crond, declared, state
from crons.targets.installation import Installation


def examine_lines(name: str | None, *, has_scheduler: bool) -> Generator[Finding, None, bool]:
    """Yield findings on the crontab; return whether a line calls this project."""
    try:
        plan = CrontabTarget().plan(declared())
    except CronsError as error:
        # Where a scheduler runs, nobody needs a crontab.
        level = WARN if has_scheduler else BAD
        yield Finding("crontab", level, str(error), "a crontab that can be read", "See the message.")
        return False
    by_hand = lines_by_hand(plan.found or b"")
    if not plan.ours:
        found = f"no line of ours; by hand: {', '.join(by_hand)}" if by_hand else "no line of ours"
        yield Finding("crontab", GOOD, found)
    elif plan.is_in_step:
        yield Finding("crontab", GOOD, f"our lines are installed ({plan.mode})")
    else:
        why = plan.drift or "the declarations, paths or settings have changed since"
        yield Finding(
            "crontab", BAD, f"our lines are not as they should be: {why}", "as declared", "manage.py crons apply"
        )
    if plan.ours:
        for entry, reason in plan.refused:
            if name in (None, entry):
                yield Finding(
                    f"line of {entry}", WARN if has_scheduler else BAD, reason, "a line", "crons apply --tick"
                )
    for note in plan.notes:
        yield Finding("crontab", WARN, note)
    return bool(plan.ours or by_hand)


def lines_by_hand(content: bytes) -> list[str]:
    """Name the lines that somebody else wrote and that call this project."""
    installation = Installation.find(state.folder())
    folder = os.fsencode(installation.folder)
    if block := blocks.find(content, CrontabTarget().key):
        # Emptied and not taken out: people count lines in the whole file.
        content = content[: block.start] + b"\n" * content[block.start : block.end].count(b"\n") + content[block.end :]
    lines = [(f"line {number}", line, False) for number, line in enumerate(content.split(b"\n"), start=1)]
    lines += [(where, line, True) for where, line in crond.system_lines()]
    found = []
    for where, line, of_system in lines:
        command = command_of(line.decode("utf-8", "replace"), of_system=of_system)
        if folder not in line or job_past_ledger(command):
            continue
        if any(begins_jobs(words) for words in programs(command)):
            found.append(where)
    return found
