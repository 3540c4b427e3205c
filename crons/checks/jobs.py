"""Checks that what jobs name is there: executors, groups, commands, programs, ways for their messages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from django.core.checks import CheckMessage, Error, Warning, register
from django.core.management import get_commands
from django.utils import timezone
from django.utils.module_loading import import_string

from crons.checks.asking import of_declarations
from crons.checks.base import TAG, sends
from crons.conf import conf
from crons.exceptions import nearest, nearest_and_all
from crons.jobs import CommandBody, ShellBody, registry
from crons.schedules import FAR_FUTURE, Schedule

# Of a week each weekday once, of a month each day.
SLOTS_LOOKED_AT = 32


@register(TAG)
@of_declarations
def check_executors() -> Iterator[CheckMessage]:
    """Check that every executor can be imported, and that jobs name only those."""
    for alias, spec in conf.executors.items():
        try:
            import_string(spec["BACKEND"])
        except (ImportError, KeyError, TypeError) as error:
            yield Error(
                f"CRONS['EXECUTORS'][{alias!r}] cannot be imported: {type(error).__name__}: {error}.",
                hint="Give it as {'BACKEND': 'path.to.Class', 'OPTIONS': {…}}.",
                id="crons.E002",
            )
    for job in registry.jobs.values():
        alias = job.policy.executor
        if alias not in conf.executors:
            yield Error(
                f"{job.name} ({job.source_ref}) names the executor {alias!r}, which is not in CRONS['EXECUTORS'].",
                hint=nearest_and_all(alias, sorted(conf.executors)).strip(),
                id="crons.E010",
            )


@register(TAG)
@of_declarations
def check_groups() -> Iterator[CheckMessage]:
    """Check that the groups of jobs have limits."""
    for job in registry.jobs.values():
        group = job.policy.group
        if group and group not in conf.groups:
            yield Warning(
                f"{job.name} ({job.source_ref}) is in the group {group!r}, which has no limit in CRONS['GROUPS'].",
                hint=nearest_and_all(group, sorted(conf.groups)).strip(),
                id="crons.W011",
            )


@register(TAG)
@of_declarations
def check_commands() -> Iterator[CheckMessage]:
    """Check that jobs made by command(…) call commands that exist."""
    known = get_commands()
    for job in registry.jobs.values():
        if isinstance(job.body, CommandBody) and job.body.command_name not in known:
            yield Error(
                f"{job.name} ({job.source_ref}) calls the management command {job.body.command_name!r}, "
                "which no installed app has.",
                hint=f"{nearest(job.body.command_name, known)} All of them: manage.py help".strip(),
                id="crons.E012",
            )


@register(TAG)
@of_declarations
def check_programs() -> Iterator[CheckMessage]:
    """Check that jobs made by shell(…) run programs that exist, where this machine is the one to run them."""
    for job in registry.jobs.values():
        if isinstance(job.body, ShellBody) and not sends(job.policy.executor) and (lack := _lack(job.body)):
            yield Warning(
                f"{job.name} ({job.source_ref}) runs {job.body.program[0]!r}, {lack}.",
                hint="Install it, or give its whole path: each of its runs would fail. "
                "If only other machines run it, name crons.W014 in SILENCED_SYSTEM_CHECKS.",
                id="crons.W014",
            )


@register(TAG)
@of_declarations
def check_routes() -> Iterator[CheckMessage]:
    """Check that what is sent elsewhere can get there, as far as settings tell."""
    senders = {alias: conf.make_executor(alias) for alias in conf.executors if sends(alias)}
    for job in registry.jobs.values():
        alias = job.policy.executor
        for problem in senders[alias].problems(job.policy.route) if alias in senders else ():
            yield Error(
                f"{job.name} ({job.source_ref}) is sent by the executor {alias!r}: {problem}.",
                hint="Mend route= of the job or the executor's OPTIONS in CRONS['EXECUTORS'], or give the job "
                "executor='process', which needs no messages.",
                id="crons.E013",
            )


@register(TAG)
@of_declarations
def check_watched() -> Iterator[CheckMessage]:
    """Check that what people are to be told of a job is neither always so nor never."""
    for job in registry.jobs.values():
        policy = job.policy
        if policy.expected is not None and policy.timeout is not None and policy.expected >= policy.timeout:
            yield Warning(
                f"{job.name} ({job.source_ref}) has expected={policy.expected!r} and timeout={policy.timeout!r}: "
                "it is killed before anybody is told that it takes longer than expected.",
                hint="Make expected= shorter than timeout=, or leave it out.",
                id="crons.W016",
            )
    for entry in registry.entries.values():
        silence = registry.get(entry.job).policy.max_silence
        if silence is not None and (longest := _longest_wait(entry.schedule)) is not None and longest >= silence:
            yield Warning(
                f"{entry.name} ({entry.source_ref}) has max_silence={silence!r}, and two of its next slots are "
                f"{longest!r} apart: people are told of a silence though every slot succeeds.",
                hint="Make max_silence= longer than that, and than a run takes besides.",
                id="crons.W016",
            )


def _longest_wait(schedule: Schedule) -> timedelta | None:
    """Return the longest distance of the next slots of *schedule*; None where it has none, or its zone is not here."""
    try:
        tz = ZoneInfo(schedule.zone or conf.time_zone)
    except (ValueError, OSError, KeyError):
        return None  # crons.E004 says so
    slots = [schedule.next_after(timezone.now(), tz)]
    while slots[-1] < FAR_FUTURE and len(slots) < SLOTS_LOOKED_AT:
        slots.append(schedule.next_after(slots[-1], tz))
    return max((later - earlier for earlier, later in pairwise(slots) if later < FAR_FUTURE), default=None)


def _lack(body: ShellBody) -> str:
    """Say why the program of *body* could not be started here, empty where it can."""
    program, cwd = body.program[0], body.cwd or ""
    if cwd and not os.path.isdir(cwd):
        return f"in {cwd!r}, which is no directory on this machine"
    if not os.path.dirname(program):
        path = os.environ.get("PATH", os.defpath)
        return "" if shutil.which(program, path=path) else f"which is in no directory of PATH here ({path})"
    place = os.path.join(cwd, program)
    if os.path.isfile(place):
        return "" if os.access(place, os.X_OK) else "which this account may not execute"
    return "which is no file on this machine"
