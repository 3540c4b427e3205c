"""django-cron's CRON_CLASSES setting: each class becomes a job, or is bound to the one declared under its code.

A class is known by what it has (`code`, `schedule`, `do`) and not by what it inherits from: those of
the real package are read like those of crons.contrib.django_cron.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from traceback import walk_tb
from typing import Any, cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils import timezone

from crons import ledger
from crons.conf import conf
from crons.contrib.django_cron.class_schedules import after_failure, is_each_call, refused, schedule_of
from crons.exceptions import CronsError, DeclarationError, InvalidJob, NotImported
from crons.executors.runner import current_context
from crons.jobs import (
    OF_OTHERS,
    Declaration,
    Job,
    check_body,
    check_name,
    check_text,
    check_texts,
    make_policy,
    registry,
)
from crons.models import Pause
from crons.schedules import Schedule
from crons.side_output import get_log
from crons.sources.base import NOT_IMPORTED, Binding, Problem, Reading, Source, imported, without_secrets

log = get_log("crons")
BY = "django-cron"
FIX = (
    "A line is the path of a class with code, do() and schedule = Schedule(…), which says run_every_mins= or "
    "run_at_times=['HH:MM', …]."
)
NOTIFIER = "django_cron.cron.FailedRunsNotificationCronJob"
ABOUT = ("owner", "description", "tags")
UNREAD = {
    "MIN_NUM_FAILURES": "a job's first failure is told, once, and again when it fails differently or works again",
    "SEND_FAILED_EMAIL": "failures are told to ADMINS",
    "remove_successful_cron_logs": 'runs are kept as long as CRONS["KEEP"] says',
}


class CronClassesSource(Source):
    """Declares a job per class; where code declares a job of that name, the class is another way to fire it."""

    name = "cron_classes"

    def read(self) -> Reading:
        """Return entries for the classes, bindings for those that code declares too, and problems."""
        declarations: dict[str, Declaration] = {}
        bindings, problems = [], []
        for ref, path in _lines():
            try:
                if path == NOTIFIER:
                    problems.append(Problem("W037", f"{ref} names {path}, which does nothing here.", NOTIFIED))
                    continue
                found = _class(ref, path)
                schedule = schedule_of(found, ref)
                twin = declarations.get(found.code)
                if twin is not None:
                    raise DeclarationError(
                        f"{ref} names {path}, whose code {found.code!r} is that of {twin.source_ref}: "
                        "give one of the classes another code, or take a line away."
                    )
                problems += _unread(found, ref)
                declared = registry.jobs.get(found.code)
                if declared is not None and declared.source != self.name:
                    bindings.append(Binding(found.code, schedule.text, f"{ref} {path}"))
                else:
                    declarations[found.code] = _declare(found, schedule, ref, path)
            except CronsError as error:
                # What is wrong with a value is said by who reads it, and that does not know whose it is.
                message = str(error) if str(error).startswith(ref) else f"{ref} {path}: {error}"
                hint = NOT_IMPORTED if isinstance(error, NotImported) else FIX
                problems.append(Problem("W072", without_secrets(message), hint, is_broken=True))
        return Reading(tuple(declarations.values()), tuple(bindings), tuple(problems))

    def modules(self) -> Iterable[str]:
        """Name the modules of the classes."""
        return (path.rpartition(".")[0] for _, path in _lines() if isinstance(path, str))


NOTIFIED = "Take the line away: failures are told to ADMINS by crons itself."


def paths() -> dict[str, str]:
    """Return the entries of CRON_CLASSES, by the path of their class; a line that cannot work is left out."""
    CronClassesSource().read()
    found = {}
    for ref, path in _lines():
        with suppress(DeclarationError):
            if path != NOTIFIER and (code := _class(ref, path).code) in registry.entries:
                found[path] = str(code)
    return found


@dataclass(frozen=True)
class ClassBody:
    """Makes an instance, calls its do(), and prints what that returns: django-cron kept it as the message.

    *hold_off*: how long after the start of an attempt that failed no other may begin.
    """

    found: type[Any]
    hold_off: timedelta | None = None

    def __call__(self) -> Any:
        began_at = timezone.now()
        try:
            message = self.found().do()
        except Exception:
            self._keep_away(began_at)
            raise
        if inspect.iscoroutine(message):
            return self._awaited(message, began_at)
        if message is not None and message != "":
            sys.stdout.write(f"{message}\n")
        return None

    async def _awaited(self, message: Any, began_at: datetime) -> Any:
        try:
            return await message
        except Exception:
            await sync_to_async(self._keep_away)(began_at)
            raise

    def _keep_away(self, began_at: datetime) -> None:
        """Pause the entry of this attempt, which failed, as long as its schedule says, unless a pause is there."""
        context = current_context()
        if self.hold_off is None or context is None:
            return
        minutes = self.found.schedule.retry_after_failure_mins
        reason = f"it failed, and retry_after_failure_mins={minutes} holds its slots off until then"
        try:
            if not Pause.objects.using(conf.database).filter(entry__name=context.entry).exists():
                until = began_at + self.hold_off
                ledger.pause(context.entry, ledger.database_now(), by=BY, reason=reason, until=until)
        except CronsError:  # the attempt's own failure is what has to be recorded
            about = {"event": "pause.failed", "entry": context.entry}
            log.exception("%s: its slots are not held off after the failure", context.entry, extra=about)


def _lines() -> Iterator[tuple[str, Any]]:
    lines = getattr(settings, "CRON_CLASSES", ())
    # One path in brackets without a comma is a text, and a text is a list of letters to Python.
    # What is no list at all is one line that cannot work.
    for number, path in enumerate(lines if isinstance(lines, list | tuple | set) else [lines]):
        yield f"CRON_CLASSES[{number}]", path


def _class(ref: str, path: Any) -> Any:
    if not isinstance(path, str):
        raise DeclarationError(f"{ref} is {path!r}, expected the path of a class, such as 'shop.cron.CloseOrders'.")
    try:
        found: Any = imported(ref, path)
    except DeclarationError as error:
        raise type(error)(f"{error}{_remedy(error.__cause__)}") from error
    if not isinstance(found, type):
        raise DeclarationError(f"{ref} names {path!r}, which is a {type(found).__name__}, not a class.")
    found = cast(Any, found)
    for name, what in (("code", "a code = 'app.name'"), ("schedule", "a schedule = Schedule(…)"), ("do", "a do()")):
        if not getattr(found, name, None):
            raise DeclarationError(f"{ref} names {path!r}, which lacks {what}.")
    if not callable(found.do):
        raise DeclarationError(f"{ref} names {path!r}, whose do is {found.do!r}, expected a method do(self).")
    if not hasattr(found.schedule, "run_every_mins"):
        raise DeclarationError(f"{ref} names {path!r}, whose schedule is {found.schedule!r}, expected Schedule(…).")
    if getattr(found, "APPEND_IP_TO_CODE", False):
        raise refused(
            found,
            ref,
            "APPEND_IP_TO_CODE asks for a run on each host, and a slot is run once for all of them: take it away, "
            "or put the work of a host into that host's own crontab",
        )
    try:
        check_name(found.code)
    except InvalidJob as error:
        raise refused(found, ref, str(error).removesuffix(".")) from error
    return found


def _remedy(error: BaseException | None) -> str:
    if getattr(error, "name", None) == "django_cron":
        return " Put 'crons.contrib.django_cron' first in INSTALLED_APPS: it stands in for that package."
    frames = (frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__ if error else None))
    if any(name.partition(".")[0] == "django_cron" for name in frames):
        return (
            " That is the package django-cron itself, which Django 5.1 and later cannot load: uninstall it, and put "
            "'crons.contrib.django_cron' first in INSTALLED_APPS, which stands in for it."
        )
    return ""


def _declare(found: Any, schedule: Schedule, ref: str, path: str) -> Declaration:
    given = getattr(found, "JOB_OPTIONS", {})
    if not isinstance(given, dict):
        raise refused(found, ref, f"JOB_OPTIONS is {given!r}, expected a dict of what @job takes")
    options = dict(given)
    about = {key: options.pop(key) for key in ABOUT if key in options}
    if getattr(found, "ALLOW_PARALLEL_RUNS", False):
        options.setdefault("overlap", "allow")
    retry, hold_off = after_failure(found, ref)
    if "retry" in options:
        hold_off = None
    elif retry is not None:
        options["retry"] = retry
    name = found.code
    tags = check_texts(name, "tags", about.pop("tags", ()))
    for key, value in about.items():
        check_text(name, key, value)
    check_body(name, found.do)
    job = Job(
        name,
        ClassBody(found, hold_off),
        make_policy(name, options, OF_OTHERS),
        owner=about.get("owner", ""),
        description=about.get("description") or _own_first_line(found),
        tags=tags,
        source=CronClassesSource.name,
        source_ref=f"{ref} {path}",
    )
    registry.jobs[name] = job
    registry.entries[name] = Declaration(name, name, schedule, {}, CronClassesSource.name, f"{ref} {path}")
    return registry.entries[name]


def _own_first_line(found: Any) -> str:
    return str(found.__dict__.get("__doc__") or "").strip().partition("\n")[0]


def _unread(found: Any, ref: str) -> Iterator[Problem]:
    if is_each_call(found):
        yield Problem(
            "W037",
            f"{ref} {found.__qualname__} says run_every_mins=0, which is each call of runcrons: crons serve and tick "
            "begin it every minute.",
            "Say how often it shall run: run_every_mins=5.",
        )
    for name, instead in UNREAD.items():
        if getattr(found, name, None):
            text = f"{ref} {found.__qualname__} says {name}, which nothing reads: {instead}."
            yield Problem("W037", text, f"Take {name} away when that will do.")
