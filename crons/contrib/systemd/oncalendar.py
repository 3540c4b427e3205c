"""An entry's schedule in systemd's OnCalendar=: in UTC where that is exact, else in its own zone if systemd agrees.

systemd means most of it as Debian's cron does, but not what happens when clocks change: it leaves out what
a gap swallows, and much of a fold's second pass. So what it makes of an expression is asked, and compared.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from crons.presentation.moments import local
from crons.schedules import AnyOf, Cron, Every, Never, Schedule, WallClock, cron, zones
from crons.targets import fitting
from crons.targets.base import Unfit

YEAR = timedelta(days=366)
# Clock changes of so long are looked at: a schedule of one day a year meets few of them.
HORIZON = timedelta(days=3653)
NEAR = timedelta(hours=3)  # no zone sets its clock by more
MOST = 1000  # slots of the year that are compared one by one; of denser schedules the first
TIMEOUT_SECONDS = 60
DAY_SECONDS, WEEK = 86400, timedelta(days=7)
WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
ELAPSE = re.compile(r"^ *(?:Next elapse|Iter\. #\d+): \w{3} (\S+ \S+) UTC$", re.MULTILINE)


def texts(schedule: Schedule, zone: str, now: datetime) -> list[str]:
    """Return what OnCalendar= must say to elapse when *schedule* is due in *zone*, all year; none for NEVER.

    Raises: Unfit, with the reason.
    Cost: none where UTC will do; else a few calls of systemd-analyze.
    """
    if isinstance(schedule, Never):
        return []
    if isinstance(schedule, AnyOf):
        return list(dict.fromkeys(text for part in schedule.parts for text in texts(part, zone, now)))
    if isinstance(schedule, Every):
        return _of_every(schedule, now)
    if not isinstance(schedule, Cron):
        raise Unfit(f"systemd knows no {type(schedule).__name__}")
    try:
        return [text for line in fitting.texts(schedule, ZoneInfo(zone), UTC, now) for text in _of_clock(line, "UTC")]
    except Unfit:
        found = written(schedule.clock, zone)
    if difference := differs(schedule, zone, found, now):
        raise Unfit(difference)
    return found


def written(clock: WallClock, zone: str) -> list[str]:
    """Write a crontab's five fields as OnCalendar= has them; two where either of both day fields is enough."""
    months = _field(clock.months, 1, 12)
    time = f"{_field(clock.hours, 0, 23)}:{_field(clock.minutes, 0, 59)}:00 {zone}"
    days = f"*-{months}-{_field(clock.days, 1, 31)} {time}"
    weekdays = ",".join(WEEKDAYS[day] for day in sorted(clock.weekdays))
    if len(clock.weekdays) == 7:
        return [days if clock.both_days else f"*-{months}-* {time}"]
    if clock.both_days:
        return [f"{weekdays} {days}"]
    return [days, f"{weekdays} *-{months}-* {time}"]


def differs(schedule: Schedule, zone: str, found: Collection[str], now: datetime) -> str:
    """Say where systemd makes other moments of *found* than *schedule* has; "" where it does not.

    Compared are a year from *now*, and all clock changes of ten years.
    """
    tz = ZoneInfo(zone)
    for after, until in _spans(schedule, tz, now):
        ours = schedule.between(after, until, tz)
        theirs = elapses(found, after, until, len(ours) + 1)
        if ours != theirs:
            odd = min(set(ours) ^ set(theirs))
            who = "systemd leaves out" if odd in ours else "systemd adds"
            return f"{who} {local(odd, zone)}, {_near_change(odd, tz)}"
    return ""


def elapses(found: Iterable[str], after: datetime, until: datetime, count: int) -> list[datetime]:
    """List the moments in (after, until] that systemd makes of *found*, of each at most *count*.

    Raises: Unfit if it cannot be asked, or refuses.
    """
    return sorted({each for text in found for each in _asked(text, after, count) if each <= until})


def _asked(text: str, after: datetime, count: int) -> list[datetime]:
    program = shutil.which("systemd-analyze")
    if program is None:
        raise Unfit(
            "its zone changes its clock, and there is no systemd-analyze here to ask what systemd makes of that"
        )
    command = [program, "calendar", f"--base-time={after:%Y-%m-%d %H:%M:%S} UTC", f"--iterations={count}", text]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "TZ": "UTC", "LC_ALL": "C", "SYSTEMD_COLORS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unfit(f"systemd-analyze could not be asked: {error}") from error
    if done.returncode:
        told = " ".join(done.stderr.split()) or f"it ended with {done.returncode}"
        raise Unfit(f"systemd cannot read {text!r}: {told}")
    return [datetime.fromisoformat(each).replace(tzinfo=UTC) for each in ELAPSE.findall(done.stdout)]


def _spans(schedule: Schedule, tz: ZoneInfo, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    start = now.replace(second=0, microsecond=0)
    slots = schedule.between(start, start + YEAR, tz, MOST)
    for change in zones.changes(start, start + HORIZON, tz):
        after = change.at.replace(microsecond=0) - NEAR
        # Where nothing of ours is near, nothing of theirs is: both read the same fields.
        if schedule.between(after, after + 2 * NEAR, tz, 1):
            yield after, after + 2 * NEAR
    if slots:
        yield start, slots[-1] if len(slots) == MOST else start + YEAR


def _of_clock(line: str, zone: str) -> list[str]:
    return written(cron(line).clock, zone)


def _of_every(schedule: Every, now: datetime) -> list[str]:
    seconds = schedule.interval // zones.SECOND
    if seconds < 60 and 60 % seconds == 0:
        return [f"*-*-* *:*:{_step(0, seconds, 60)} UTC"]
    if seconds % 60 or (DAY_SECONDS % seconds and schedule.interval != WEEK):
        raise Unfit(f"no OnCalendar says {schedule.rhythm}: it begins anew each minute, hour and day")
    return [text for line in fitting.texts(schedule, UTC, UTC, now) for text in _of_clock(line, "UTC")]


def _field(values: Collection[int], low: int, high: int) -> str:
    ordered = sorted(values)
    if len(ordered) == high - low + 1:
        return "*"
    step = ordered[1] - ordered[0] if len(ordered) > 2 else 0
    if step > 1 and ordered == list(range(ordered[0], high + 1, step)):
        return f"{ordered[0]:02}/{step}"
    return ",".join(f"{value:02}" for value in ordered)


def _step(start: int, step: int, size: int) -> str:
    return "*" if step == 1 else f"{start:02}/{step}" if step < size else f"{start:02}"


def _near_change(moment: datetime, tz: ZoneInfo) -> str:
    near = next(zones.changes(moment - timedelta(days=1), moment + timedelta(days=1), tz), None)
    return "where the clock changes" if near is not None else "and the clock does not even change there"
