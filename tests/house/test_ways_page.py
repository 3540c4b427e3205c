"""docs/ways.md shows the ways that the benchmark fires, in its order."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks import ways

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ways.md"


def test_every_way_that_is_measured_is_in_both_tables():
    """A figure of a way that is gone, or a way without figures, is an opinion."""
    measured, troubled = re.findall(r"^\| way \| (?:wall|recorded) .*\n\|[-|]+\n((?:\|.*\n)+)", PAGE.read_text(), re.M)

    names = [re.findall(r"^\| `(.+?)`", table, re.M) for table in (measured, troubled)]

    assert names[0] == [*(way.name for way in ways.ways()), "crons serve"]
    assert names[1] == [way.name for way in ways.ways()]
