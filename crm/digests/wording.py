"""Figures and days as people read them; the same on every machine, whatever its language."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any


def money(text: str | None) -> str:
    """Give *text*, an amount, with its thousands apart; a dash where there is none."""
    return f"{Decimal(text):,.2f}" if text is not None else "–"


def plural(count: int, noun: str) -> str:
    """Give "1 order", "2,000 orders"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def title(data: dict[str, Any]) -> str:
    """Name the report's period: "Saturday 21 November 2026", "Week 47, 16 to 22 November 2026"."""
    first = date.fromisoformat(data["first_day"])
    if data["kind"] == "daily":
        return f"{first:%A} {first.day} {first:%B} {first.year}"
    last = first + timedelta(days=6)
    start = f"{first.day}" if first.month == last.month else f"{first.day} {first:%B}"
    if first.year != last.year:
        start += f" {first.year}"
    return f"Week {first.isocalendar()[1]}, {start} to {last.day} {last:%B} {last.year}"


def change(now: str | int | None, then: str | int | None, before: str) -> str:
    """Say how *now* compares with *then*, the figure of the period called *before*."""
    if now is None or then is None:
        return f"none {before}" if then is None else ""
    new, old = Decimal(now), Decimal(then)
    if new == old:
        return f"as {before}"
    if not old:
        return f"none {before}"
    # Rounded half up, as people do.
    percent = abs((new - old) * 100 / old).quantize(Decimal(1), "ROUND_HALF_UP")
    sign = "▲" if new > old else "▼"
    return f"{sign} {percent:,} % on {before}" if percent else f"as good as {before}"
