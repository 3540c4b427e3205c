"""What is said of one thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass

GOOD, WARN, BAD = "good", "warn", "bad"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. *level*: good, warn (may be meant), bad."""

    what: str
    level: str
    found: str
    expected: str = ""
    do: str = ""
