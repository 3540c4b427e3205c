"""This machine's cron, the lines in it, and whether anything looks at the clock."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from datetime import timedelta

from django.apps import apps

from crons import api
from crons.doctor.findings import BAD, GOOD, WARN, Finding
from crons.exceptions import CronsError
from crons.ledger import database_now
from crons.sources import past_ledger
from crons.sources.crontab_files import begins_jobs, command_of, job_past_ledger
from crons.sources.shell_words import programs
from crons.targets import CrontabTarget, SystemdTarget, beat_rows, blocks, crond, declared, state
from crons.targets.installation import Installation

BEAT_SAVES = timedelta(minutes=5)  # beat writes down what it fired every three


def look(name: str | None) -> Iterator[Finding]:
    """Look at this machine's cron, and whether anything looks at the clock."""
    alive = api.schedulers()
    by_beat = yield from _rows_of_beat()
    by_units = yield from _units()
    by_cron = yield from _lines(name, has_scheduler=bool(alive) or by_beat or by_units)
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
        told = ", ".join(f"{beat.kind} on {beat.host} (pid {beat.pid})" for beat in alive)
        yield Finding("triggers", GOOD, told)
    elif not by_cron and not by_beat and not by_units:
        yield Finding(
            "triggers",
            BAD,
            "no scheduler has shown a sign of life, and no line here calls this project: nothing will fire",
            "a scheduler or a line",
            "manage.py crons apply, or start manage.py crons serve. Triggers on other hosts are not seen from here.",
        )


def _lines(name: str | None, *, has_scheduler: bool) -> Generator[Finding, None, bool]:
    """Yield findings on the crontab; return whether a line calls this project."""
    try:
        plan = CrontabTarget().plan(declared())
    except CronsError as error:
        # Where a scheduler runs, nobody needs a crontab.
        level = WARN if has_scheduler else BAD
        yield Finding("crontab", level, str(error), "a crontab that can be read", "See the message.")
        return False
    by_hand = _lines_by_hand(plan.found or b"")
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
    if twice := sorted(past_ledger.find().entries):
        found = f"runs twice as soon as crons serve or tick runs, once past the ledger: {', '.join(twice)}"
        yield Finding("django-crontab's lines", BAD, found, "lines that go through the ledger", past_ledger.WAYS_OUT)
    return bool(plan.ours or by_hand)


def _rows_of_beat() -> Generator[Finding, None, bool]:
    """Yield a finding on django-celery-beat's rows, where ours are; return whether its beat should fire them."""
    fired = beat_rows.last_tick() if apps.is_installed(beat_rows.APP) else None
    if fired is None:
        return False
    if not fired.enabled:
        found = "the row crons.tick is disabled: what no row fires is not done"
        yield Finding("beat", BAD, found, "an enabled row", "Enable it in the admin of django-celery-beat.")
    elif fired.at is None or database_now() - fired.at > BEAT_SAVES:
        last = f"last at {fired.at:%Y-%m-%d %H:%M:%S} UTC" if fired.at else "not yet"
        remedy = "Start a beat: celery -A PROJECT beat. It writes this down every three minutes."
        yield Finding("beat", WARN, f"our rows are there, and beat fired crons.tick {last}", "each minute", remedy)
    else:
        yield Finding("beat", GOOD, f"fires crons.tick, last at {fired.at:%Y-%m-%d %H:%M:%S} UTC")
    return fired.enabled


def _units() -> Generator[Finding, None, bool]:
    """Yield a finding on systemd's units, where ours are; return whether they fire."""
    fires = False
    for system in (False, True):
        what = "the machine's systemd" if system else "systemd of this account"
        try:
            names, dead = SystemdTarget(system=system).started()
        except CronsError as error:
            yield Finding("systemd", WARN, str(error), "units that can be read", "See the message.")
            continue
        if dead:
            found = f"installed in {what} and not running: {', '.join(dead)}"
            remedy = f"manage.py crons plan --to systemd{' --system' if system else ''} says what to type."
            yield Finding("systemd", BAD, found, "running units", remedy)
        elif names:
            yield Finding("systemd", GOOD, f"our units run in {what}: {', '.join(names)}")
        fires = fires or bool(names and not dead)
    return fires


def _lines_by_hand(content: bytes) -> list[str]:
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
