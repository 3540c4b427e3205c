"""Moments and lengths in the words of people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def local(at: datetime, zone: str) -> str:
    """Write a moment in *zone* with its offset, so that both hours of a fold can be told apart."""
    try:
        there = at.astimezone(ZoneInfo(zone))
    except (ValueError, OSError, KeyError):  # no such zone on this machine: UTC says so by its offset
        there = at.astimezone(UTC)
    # Not by strftime, which takes five times as long: a page has three thousand moments.
    written = there.isoformat(" ", "seconds")
    return f"{written[:19]} {written[19:25]}"


def utc(at: datetime) -> str:
    """Write a moment where no zone is known, in messages and recorded reasons: "2026-10-25 01:30:00 UTC"."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def length(span: timedelta) -> str:
    """Write a length with its two largest units: "3 h 12 min"; below ten seconds with a tenth: "1.2 s"."""
    seconds = max(span.total_seconds(), 0)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    parts: list[tuple[int, str]] = []
    for unit, size in UNITS:
        count, whole = divmod(whole, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)


def distance(at: datetime, now: datetime) -> str:
    """Write how far off a moment is: "in 3 h 12 min", "4 min ago"."""
    away = timedelta(seconds=round((at - now).total_seconds()))
    if not away:
        return "now"
    words = _whole(abs(away))
    return f"in {words}" if away > timedelta(0) else f"{words} ago"


def iso(at: datetime) -> str:
    """Write a moment for programs: ISO 8601 in UTC, with Z."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _whole(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    return f"{seconds} s" if seconds < 10 else length(span)
