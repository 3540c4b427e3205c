"""System checks: every mistake in settings and declarations, with an id and a hint.

=========== =======================================================================
crons.E001  a setting in CRONS cannot work
crons.E002  an executor cannot be imported
crons.E003  USE_TZ is off
crons.E004  a zone is unknown
crons.E010  a job names an executor that does not exist
crons.W011  a job names a group without a limit
crons.E012  a job calls a management command that does not exist
crons.E013  the messages of a job would get nowhere
crons.W014  a job runs a program that is not on this machine
crons.E015  a `cron` module cannot be imported
crons.E030  a line of CRONJOBS cannot work
crons.E031  a crontab file cannot be read
crons.W031  a line of a crontab file calls no declared job
crons.E032  a line and the code disagree on a schedule
crons.W033  a setting's name is nearly CRONJOBS, CRON_CLASSES or CRONS
crons.W034  django_crontab fires past the ledger: crons.compat.django_crontab is missing
crons.W035  django_crontab fires past the ledger: crons.compat.django_crontab stands after it
crons.E037  a class of CRON_CLASSES cannot work
crons.W037  a class of CRON_CLASSES says something that nothing reads
crons.W038  django_cron is installed as an app
crons.W040  with --deploy: alerts go to ADMINS, and there are none
crons.W041  with --deploy: SQLite may forget what it has committed (synchronous=OFF)
crons.W042  with --deploy: the ledger is kept in memory
crons.W043  with --deploy: this process counts as part of a test suite
crons.W050  a job is run by Celery's workers and is neither idempotent nor uses context.atomic
crons.E051  a job is a Celery task with autoretry_for
crons.W052  a Celery application takes pickle from its broker
=========== =======================================================================

The docs/reference/checks.md has a section for each.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any
from zoneinfo import ZoneInfo

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.management import get_commands
from django.utils.module_loading import import_string

from crons import fences, suite
from crons.bodies import CommandBody, ShellBody
from crons.conf import conf
from crons.exceptions import CronsError, InvalidSetting
from crons.executors.celery import CelerySender
from crons.executors.sending import Sender
from crons.jobs import Job, make_policy, registry
from crons.schedules import parse
from crons.sources import SOURCES
from crons.sources.base import Binding, Problem, says

TAG = "crons"
DJANGO_CRONTAB, COMPAT = "django_crontab", "crons.compat.django_crontab"
DJANGO_CRON, CLASSES_COMPAT = "django_cron", "crons.compat.django_cron"
# What nothing reads under a misspelt name, and what is lost by that.
OURS = {
    "CRONJOBS": "its lines are installed nowhere",
    "CRON_CLASSES": "its classes are never run",
    "CRONS": "what it says is not heeded",
}
FORGETFUL = re.compile(r"synchronous\s*=\s*(off|0)\b", re.IGNORECASE)


def _known_good(check: Callable[..., Iterator[CheckMessage]]) -> Callable[..., list[CheckMessage]]:
    """Let a check that stumbles over a setting say nothing: crons.E001 says it."""

    def checked(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
        try:
            return list(check())
        except InvalidSetting:
            return []

    checked.__name__, checked.__doc__ = check.__name__, check.__doc__
    return checked


@register(TAG)
@_known_good
def check_settings() -> Iterator[CheckMessage]:
    """Check settings.CRONS and the settings of Django that it needs."""
    problems = conf.problems()
    if not problems:
        try:
            make_policy("CRONS['DEFAULTS']", {})
        except CronsError as error:
            problems.append(str(error))
    for text in problems:
        yield Error(text, hint="Keys, units and defaults: docs/reference/settings.md.", id="crons.E001")
    if not settings.USE_TZ:
        yield Error(
            "USE_TZ is False, so moments would be stored without a zone.",
            hint="Set USE_TZ = True: slots are kept in UTC and shown in each entry's zone.",
            id="crons.E003",
        )


@register(TAG)
@_known_good
def check_executors() -> Iterator[CheckMessage]:
    """Check that every executor can be imported, and that jobs name only those."""
    for alias, spec in conf.executors.items():
        try:
            import_string(spec["BACKEND"])
        except (ImportError, KeyError, TypeError) as error:
            yield Error(
                f"CRONS['EXECUTORS'][{alias!r}] cannot be imported: {_told(error)}.",
                hint="Give it as {'BACKEND': 'path.to.Class', 'OPTIONS': {…}}.",
                id="crons.E002",
            )
    for job in registry.jobs.values():
        alias = job.policy.executor
        if alias not in conf.executors:
            yield Error(
                f"{job.name} ({job.source_ref}) names the executor {alias!r}, which is not in CRONS['EXECUTORS'].",
                hint=_did_you_mean(alias, conf.executors),
                id="crons.E010",
            )


@register(TAG)
@_known_good
def check_celery_jobs() -> Iterator[CheckMessage]:
    """Check that jobs which run elsewhere stand being cut off, and that one ledger alone tries them again."""
    for job in registry.jobs.values():
        if getattr(job.body, "autoretry_for", ()):
            yield Error(
                f"{job.name} ({job.source_ref}) is a Celery task with autoretry_for: Celery would try it again "
                "behind the ledger's back.",
                hint="Take autoretry_for away, and declare the job with retry=Retry(…).",
                id="crons.E051",
            )
        if job.policy.executor in conf.executors and not job.policy.idempotent and _is_run_by_celery(job):
            yield Warning(
                f"{job.name} ({job.source_ref}) is run by Celery's workers and is neither idempotent nor uses "
                "context.atomic: when a worker is lost, nobody knows what it has done, and it is not run again.",
                hint="Say idempotent=True if it may run twice, or wrap its writes in `with context.atomic():`.",
                id="crons.W050",
            )


@register(TAG)
@_known_good
def check_pickle() -> Iterator[CheckMessage]:
    """Check that what jobs are sent through carries no objects: whoever reaches the broker could send any."""
    used = {job.policy.executor for job in registry.jobs.values()}
    for alias in sorted(used & set(conf.executors)):
        sender = conf.make_executor(alias) if _sends(alias) else None
        if isinstance(sender, CelerySender) and not list(sender.problems({})) and sender.takes_pickle:
            yield Warning(
                f"The Celery application of the executor {alias!r} takes pickle: whoever can write to its broker can "
                "have the workers run any code.",
                hint="Set accept_content = ['json'] (CELERY_ACCEPT_CONTENT in Django's settings); messages of crons "
                "are JSON.",
                id="crons.W052",
            )


@register(TAG)
@_known_good
def check_routes() -> Iterator[CheckMessage]:
    """Check that what is sent elsewhere can get there, as far as settings tell."""
    senders = {alias: conf.make_executor(alias) for alias in conf.executors if _sends(alias)}
    for job in registry.jobs.values():
        alias = job.policy.executor
        for problem in senders[alias].problems(job.policy.route) if alias in senders else ():
            yield Error(
                f"{job.name} ({job.source_ref}) is sent by the executor {alias!r}: {problem}.",
                hint="See EXECUTORS in docs/reference/settings.md.",
                id="crons.E013",
            )


@register(TAG)
@_known_good
def check_groups() -> Iterator[CheckMessage]:
    """Check that the groups of jobs have limits."""
    for job in registry.jobs.values():
        group = job.policy.group
        if group and group not in conf.groups:
            yield Warning(
                f"{job.name} ({job.source_ref}) is in the group {group!r}, which has no limit in CRONS['GROUPS'].",
                hint=_did_you_mean(group, conf.groups),
                id="crons.W011",
            )


@register(TAG)
@_known_good
def check_commands() -> Iterator[CheckMessage]:
    """Check that jobs made by command(…) call commands that exist."""
    known = get_commands()
    for job in registry.jobs.values():
        if isinstance(job.body, CommandBody) and job.body.command_name not in known:
            yield Error(
                f"{job.name} ({job.source_ref}) calls the management command {job.body.command_name!r}, "
                "which no installed app has.",
                hint=f"{_guess(job.body.command_name, known)}All of them: manage.py help",
                id="crons.E012",
            )


@register(TAG)
@_known_good
def check_programs() -> Iterator[CheckMessage]:
    """Check that jobs made by shell(…) run programs that exist, where this machine is the one to run them."""
    for job in registry.jobs.values():
        if isinstance(job.body, ShellBody) and not _sends(job.policy.executor) and (lack := _lack(job.body)):
            yield Warning(
                f"{job.name} ({job.source_ref}) runs {job.body.program[0]!r}, {lack}.",
                hint="Install it, or give its whole path: each of its runs would fail. "
                "If only other machines run it, name crons.W014 in SILENCED_SYSTEM_CHECKS.",
                id="crons.W014",
            )


@register(TAG)
@_known_good
def check_zones() -> Iterator[CheckMessage]:
    """Check that this machine knows every zone that is used."""
    used = {conf.time_zone: "CRONS['TIME_ZONE']" if conf.time_zone != settings.TIME_ZONE else "TIME_ZONE"}
    for entry in registry.entries.values():
        if entry.schedule.zone:
            used.setdefault(entry.schedule.zone, f"{entry.name} ({entry.source_ref})")
    for zone, user in used.items():
        try:
            ZoneInfo(zone)
        except (ValueError, OSError, KeyError):
            yield Error(
                f"{user} names the zone {zone!r}, which is not in this machine's time zone data.",
                hint="Use a name such as 'Europe/Berlin'; where the system has no zones, install tzdata.",
                id="crons.E004",
            )


@register(TAG)
@_known_good
def check_sources() -> Iterator[CheckMessage]:
    """Check what CRONJOBS, CRON_CLASSES and crontab files say, and that it is what the code says."""
    readings = [source.read() for source in SOURCES]
    for reading in readings:
        for problem in reading.problems:
            yield _message(problem)
    for reading in readings:
        for binding in reading.bindings:
            yield from _disagreement(binding)


@register(TAG)
@_known_good
def check_spelling() -> Iterator[CheckMessage]:
    """Check that no setting is nearly called what is read."""
    for name in filter(str.isupper, dir(settings)):
        near = difflib.get_close_matches(name, OURS, 1, 0.8)
        # Nobody mistypes the first letter and reads on; ICONS is a word of its own.
        if name not in OURS and near and name[0] == near[0][0]:
            yield Warning(
                f"settings.{name} is nearly {near[0]}, and nothing reads it: {OURS[near[0]]}.",
                hint=f"Rename it to {near[0]}.",
                id="crons.W033",
            )


@register(TAG, Tags.compatibility)
@_known_good
def check_django_cron() -> Iterator[CheckMessage]:
    """Check that django-cron's app is not installed: its classes need none, and its command runs past the ledger."""
    installed = [config.name for config in apps.get_app_configs()]
    if DJANGO_CRON in installed:
        has = "stands in for it" if CLASSES_COMPAT in installed else "runs its classes through the ledger"
        yield Warning(
            f"django_cron is in INSTALLED_APPS, and {CLASSES_COMPAT} {has}.",
            hint=f"Put {CLASSES_COMPAT!r} first in INSTALLED_APPS, and take {DJANGO_CRON!r} away.",
            id="crons.W038",
        )


@register(TAG, Tags.compatibility)
@_known_good
def check_django_crontab() -> Iterator[CheckMessage]:
    """Check that what django-crontab installs goes through the ledger."""
    installed = [config.name for config in apps.get_app_configs()]
    if DJANGO_CRONTAB not in installed:
        return
    if COMPAT not in installed:
        yield Warning(
            "django_crontab is installed without crons.compat.django_crontab: what its lines fire is not recorded.",
            hint=f"Put {COMPAT!r} before {DJANGO_CRONTAB!r} in INSTALLED_APPS.",
            id="crons.W034",
        )
    elif installed.index(COMPAT) > installed.index(DJANGO_CRONTAB):
        yield Warning(
            "crons.compat.django_crontab stands after django_crontab, whose command wins: what its lines fire "
            "is not recorded.",
            hint=f"Put {COMPAT!r} before {DJANGO_CRONTAB!r} in INSTALLED_APPS.",
            id="crons.W035",
        )


@register(TAG, deploy=True)
def check_suite(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that nobody has left the mark of a test suite in the environment."""
    if os.environ.get(suite.VARIABLE, "0") == "0":
        return []
    return [
        Warning(
            f"{suite.VARIABLE} is set, so this process counts as part of a test suite: "
            "serve, tick and run begin nothing.",
            hint="Take it out of the environment, of unit files and env files; the pytest plugin sets it by itself.",
            id="crons.W043",
        )
    ]


@register(TAG, deploy=True)
@_known_good
def check_deployment() -> Iterator[CheckMessage]:
    """Check that failures reach somebody and that commits last."""
    if conf.mail_admins and not settings.ADMINS:
        yield Warning(
            "Nobody is told when a job fails: alerts go to ADMINS, and ADMINS is empty.",
            hint="Fill ADMINS, or say that you look elsewhere: CRONS = {'MAIL_ADMINS': False}.",
            id="crons.W040",
        )
    database: dict[str, Any] = settings.DATABASES[conf.database]
    if not database["ENGINE"].endswith("sqlite3"):
        return
    if FORGETFUL.search(str(database.get("OPTIONS", {}).get("init_command", ""))):
        yield Warning(
            f"DATABASES[{conf.database!r}] sets synchronous=OFF: after a power failure a slot may run twice.",
            hint="Use synchronous=FULL for the database of the ledger.",
            id="crons.W041",
        )
    name = str(database["NAME"])
    if ":memory:" in name or "mode=memory" in name:
        yield Warning(
            f"DATABASES[{conf.database!r}] is kept in memory: each process has a ledger of its own, gone when it ends.",
            hint="Name a file, or use a database server.",
            id="crons.W042",
        )


def _message(problem: Problem) -> CheckMessage:
    kind = Error if problem.id.startswith("E") else Warning
    return kind(problem.text, hint=problem.hint, id=f"crons.{problem.id}")


def _disagreement(binding: Binding) -> Iterator[CheckMessage]:
    declared = registry.entries[binding.entry]
    try:
        if says(declared.schedule, binding.schedule_text):
            return
        read = parse(binding.schedule_text).text
    except CronsError as error:
        read = f"{binding.schedule_text}, which cannot be read: {error}"
    yield Error(
        f"{binding.entry} is on two schedules: {declared.schedule.text or 'none'!r} in {declared.source_ref}, "
        f"{read!r} in {binding.ref}.",
        hint="Write the same schedule in both places; the code's decides which slots there are.",
        id="crons.E032",
    )


def _is_run_by_celery(job: Job) -> bool:
    """Say whether messages to Celery's workers carry *job*, and nothing in its source fences what it writes."""
    backend = conf.executors[job.policy.executor].get("BACKEND", "")
    try:
        is_sent = issubclass(import_string(backend), CelerySender)
    except (ImportError, TypeError):
        return False  # crons.E002 says it
    return is_sent and not fences.uses_atomic(job.body)


def _sends(alias: str) -> bool:
    try:
        return issubclass(conf.executor_class(alias), Sender)
    except (InvalidSetting, TypeError):
        return False  # crons.E002 says it


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


def _did_you_mean(word: str, known: Any) -> str:
    return f"{_guess(word, known)}Known: {', '.join(sorted(known)) or 'none'}."


def _guess(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"Did you mean {near[0]!r}? " if near else ""


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
