"""django-cron's CRON_CLASSES setting: each class becomes a job, or is bound to the one declared under its code.

A class is known by what it has (`code`, `schedule`, `do`) and not by what it inherits from: those of
the real package are read like those of crons.compat.django_cron.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from traceback import walk_tb
from typing import Any, cast

from django.conf import settings

from crons.exceptions import CronsError, DeclarationError, InvalidJob
from crons.jobs import Declaration, Job, check_body, check_name, check_text, check_texts, make_policy, registry
from crons.policies import Retry
from crons.schedules import Schedule, any_of, cron, every
from crons.sources.base import Binding, Problem, Reading, Source, imported

FIX = "See docs/howto/django-cron.md for what a class may say."
NOTIFIER = "django_cron.cron.FailedRunsNotificationCronJob"
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5]?[0-9])\Z")
DAY_MINUTES = 1440
LONGEST_TEXT = 255
MOST_RETRIES = 100
ABOUT = ("owner", "description", "tags")
UNREAD = {
    "MIN_NUM_FAILURES": "a job's first failure is told, once, and again when it fails differently or works again",
    "SEND_FAILED_EMAIL": "failures are told to ADMINS",
    "remove_successful_cron_logs": 'runs are kept as long as CRONS["KEEP"] says',
}


class CronClassesSource(Source):
    """Declares a job per class; where code declares a job of that name, the class is a second door to it."""

    name = "cron_classes"

    def read(self) -> Reading:
        """Return entries for the classes, doors for those that code declares too, and problems."""
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
                    declarations[found.code] = _declare(found, schedule, f"{ref} {path}")
            except CronsError as error:
                problems.append(Problem("E037", str(error), FIX))
        return Reading(tuple(declarations.values()), tuple(bindings), tuple(problems))


NOTIFIED = "Take the line away: failures are told to ADMINS by crons itself (docs/reference/settings.md#mail_admins)."


def paths() -> dict[str, str]:
    """Return the entries of CRON_CLASSES, by the path of their class; a line that cannot work is left out."""
    CronClassesSource().read()
    found = {}
    for ref, path in _lines():
        with suppress(DeclarationError):
            if path != NOTIFIER and (code := _class(ref, path).code) in registry.entries:
                found[path] = str(code)
    return found


def schedule_of(found: type[Any], ref: str) -> Schedule:
    """Return the one schedule that a class's Schedule(…) means.

    Raises: DeclarationError naming the class and why it cannot be had.
    """
    says = found.schedule
    weekdays = _numbers(found, ref, "run_weekly_on_days", 0, 6)
    days = _numbers(found, ref, "run_monthly_on_days", 1, 31)
    if weekdays and days:
        raise _refused(
            found,
            ref,
            "run_weekly_on_days together with run_monthly_on_days means days that are both, and no cron text can "
            "say that: keep one of them, and test for the other in do()",
        )
    fields = f"{','.join(map(str, days)) or '*'} * {','.join(WEEKDAYS[day] for day in weekdays) or '*'}"
    minutes, times = says.run_every_mins, says.run_at_times or []
    listed = times if isinstance(times, Iterable) and not isinstance(times, str) else [times]
    parts = [] if minutes is None else [_every(found, ref, minutes, fields)]
    by_minute: dict[int, set[int]] = defaultdict(set)
    for text in listed:
        match = TIME.match(text) if isinstance(text, str) else None
        if match is None:
            raise _refused(found, ref, f"run_at_times has {text!r}, expected a time such as '06:30'")
        by_minute[int(match[2])].add(int(match[1]))
    for minute, hours in sorted(by_minute.items(), key=lambda item: (min(item[1]), item[0])):
        parts.append(cron(f"{minute} {','.join(map(str, sorted(hours)))} {fields}"))
    if not parts:
        raise _refused(found, ref, "its schedule has neither run_every_mins nor run_at_times, so it never runs")
    whole = any_of(*parts)
    if len(whole.text) > LONGEST_TEXT:
        raise _refused(found, ref, f"run_at_times has too many times for one schedule ({len(whole.text)} characters)")
    return whole


@dataclass(frozen=True)
class ClassBody:
    """Makes an instance, calls its do(), and prints what that returns: django-cron kept it as the message."""

    found: type[Any]

    def __call__(self) -> Any:
        message = self.found().do()
        if inspect.iscoroutine(message):
            return message
        if message is not None and message != "":
            sys.stdout.write(f"{message}\n")
        return None


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
        raise DeclarationError(f"{error}{_remedy(error.__cause__)}") from error
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
        raise _refused(
            found,
            ref,
            "APPEND_IP_TO_CODE asks for a run on each host, and a slot is run once for all of them: take it away, "
            "or put the work of a host into that host's own crontab",
        )
    try:
        check_name(found.code)
    except InvalidJob as error:
        raise _refused(found, ref, str(error).removesuffix(".")) from error
    return found


def _remedy(error: BaseException | None) -> str:
    if getattr(error, "name", None) == "django_cron":
        return " Put 'crons.compat.django_cron' first in INSTALLED_APPS: it stands in for that package."
    frames = (frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__ if error else None))
    if any(name.partition(".")[0] == "django_cron" for name in frames):
        return (
            " That is the package django-cron itself, which Django 5.1 and later cannot load: uninstall it, and put "
            "'crons.compat.django_cron' first in INSTALLED_APPS, which stands in for it."
        )
    return ""


def _declare(found: Any, schedule: Schedule, ref: str) -> Declaration:
    given = getattr(found, "JOB_OPTIONS", {})
    if not isinstance(given, dict):
        raise _refused(found, ref, f"JOB_OPTIONS is {given!r}, expected a dict of what @job takes")
    options = dict(given)
    about = {key: options.pop(key) for key in ABOUT if key in options}
    if getattr(found, "ALLOW_PARALLEL_RUNS", False):
        options.setdefault("overlap", "allow")
    if found.schedule.retry_after_failure_mins:
        options.setdefault("retry", _retry(found, ref))
    name = found.code
    tags = check_texts(name, "tags", about.pop("tags", ()))
    for key, value in about.items():
        check_text(name, key, value)
    check_body(name, found.do)
    job = Job(
        name,
        ClassBody(found),
        make_policy(name, options),
        owner=about.get("owner", ""),
        description=about.get("description") or _own_first_line(found),
        tags=tags,
        source=CronClassesSource.name,
        source_ref=ref,
    )
    registry.jobs[name] = job
    registry.entries[name] = Declaration(name, name, schedule, {}, CronClassesSource.name, ref)
    return registry.entries[name]


def _own_first_line(found: Any) -> str:
    return str(found.__dict__.get("__doc__") or "").strip().partition("\n")[0]


def _retry(found: Any, ref: str) -> Retry:
    minutes = found.schedule.retry_after_failure_mins
    if not _is_number(minutes) or minutes <= 0:
        raise _refused(found, ref, f"retry_after_failure_mins is {minutes!r}, expected a number of minutes")
    # django-cron tries until it succeeds; here the next slot takes over, and what it makes good is not tried again.
    between = found.schedule.run_every_mins or DAY_MINUTES
    times = min(MOST_RETRIES, max(1, int(between / minutes) - 1))
    wait = timedelta(minutes=minutes)
    return Retry(times, wait=wait, backoff=1, longest=wait)


def _every(found: Any, ref: str, minutes: Any, fields: str) -> Schedule:
    if not _is_number(minutes) or minutes <= 0:
        raise _refused(found, ref, f"run_every_mins is {minutes!r}, expected a number of minutes")
    if fields == "* * *":
        return every(timedelta(minutes=minutes))
    if minutes < 60 and 60 % minutes == 0:
        return cron(f"*/{minutes} * {fields}" if minutes > 1 else f"* * {fields}")
    if minutes < DAY_MINUTES and minutes % 60 == 0 and DAY_MINUTES % minutes == 0:
        return cron(f"0 */{minutes // 60} {fields}")
    if minutes == DAY_MINUTES:
        return cron(f"0 0 {fields}")
    raise _refused(
        found,
        ref,
        f"run_every_mins={minutes} on certain days cannot be said in cron's fields: take minutes that divide an "
        "hour, hours that divide a day, or run_at_times",
    )


def _numbers(found: Any, ref: str, name: str, least: int, most: int) -> list[int]:
    given = getattr(found.schedule, name, None)
    if given is None:
        return []
    numbers = list(given) if isinstance(given, list | tuple | set | frozenset | range) else []
    if not numbers or not all(isinstance(each, int) and least <= each <= most for each in numbers):
        raise _refused(found, ref, f"{name} is {given!r}, expected a list of numbers from {least} to {most}")
    return sorted(set(numbers))


def _unread(found: Any, ref: str) -> Iterator[Problem]:
    for name, instead in UNREAD.items():
        if getattr(found, name, None):
            text = f"{ref} {found.__qualname__} says {name}, which nothing reads: {instead}."
            yield Problem("W037", text, f"Take {name} away when that will do.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _refused(found: Any, ref: str, why: str) -> DeclarationError:
    return DeclarationError(f"{ref} {found.__module__}.{found.__qualname__}: {why}.")
