"""What Quartz and its like write in a field and cron cannot read, and what to write instead."""

from __future__ import annotations

import re

WEEKDAYS = {
    "SUN": "Sunday", "MON": "Monday", "TUE": "Tuesday", "WED": "Wednesday", "THU": "Thursday", "FRI": "Friday",
    "SAT": "Saturday",
}  # fmt: skip
ORDINALS = ("1st", "2nd", "3rd", "4th", "5th")


def recipe(field: str, term: str) -> str:
    """Say what *term* means in Quartz and what to write here; empty where it is no word of Quartz's."""
    term = term.upper()
    if term == "?":
        return "Quartz's ? for a field that does not matter: write *"
    meaning, instead = {"day of month": _of_month, "day of week": _of_week}.get(field, _of_other)(term)
    return f"Quartz's word for {meaning}, which cron does not have: {instead}" if meaning else ""


def _of_other(term: str) -> tuple[str, str]:
    return "", ""


def _of_month(term: str) -> tuple[str, str]:
    if term == "L":
        return "the last day of a month", _days("28-31", "tomorrow is the 1st")
    if term in ("LW", "WL"):
        return "the last weekday of a month", _days("26-31", "it is a weekday and the month has no later one")
    if (before := re.fullmatch("L-([1-9]|1[0-9]|2[0-7])", term)) is not None:
        away = int(before[1])
        return f"{away} days before the last of a month", _days(
            f"{28 - away}-{31 - away}", f"the month ends in {away} days"
        )
    if (near := re.fullmatch("([1-9]|[12][0-9]|3[01])W", term)) is not None:
        day = int(near[1])
        # A weekday is never looked for in another month: around the 1st and the last it may be two days off.
        first, last = (day, day + 2) if day == 1 else (day - 2 if day > 27 else day - 1, min(day + 1, 31))
        return f"the weekday nearest to day {day}", _days(f"{first}-{last}", "it is that weekday")
    return "", ""


def _of_week(term: str) -> tuple[str, str]:
    if term == "L":
        return "Saturday", "write SAT"
    if (last := re.fullmatch("([0-7]|[A-Z]{3})L", term)) is not None and _is_day(last[1]):
        return f"the last {_name(last[1])} of a month", _days(
            "22-31", f"it is {_a(last[1])} and the next one is in another month", week="*"
        )
    nth = re.fullmatch("([0-7]|[A-Z]{3})#([1-5])", term)
    if nth is None or not _is_day(nth[1]):
        return "", ""
    number = int(nth[2])
    days = f"{7 * number - 6}-{min(7 * number, 31)}"
    return f"the {ORDINALS[number - 1]} {_name(nth[1])} of a month", _days(days, f"it is {_a(nth[1])}", week="*")


def _days(days: str, unless: str, week: str = "") -> str:
    fields = f"day of month {days}" + (f" and day of week {week}" if week else "")
    return f"write {fields}, and have the job return at once unless {unless}"


def _is_day(text: str) -> bool:
    return text.isdecimal() or text in WEEKDAYS


def _name(text: str) -> str:
    return WEEKDAYS.get(text, f"day {text} of the week (Quartz counts from 1, Sunday)")


def _a(text: str) -> str:
    return f"a {WEEKDAYS[text]}" if text in WEEKDAYS else "that day"
