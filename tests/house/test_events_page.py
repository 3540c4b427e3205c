"""One vocabulary of events: what the code says, what the table holds, and what the page tells are the same."""

from __future__ import annotations

import re
from pathlib import Path

import crons
from crons.events import EVENTS

HERE = Path(crons.__file__).parent
PAGE = (HERE.parent / "docs" / "howto" / "logs.md").read_text()
SAID = re.compile(r'"event": "([\w.]+)"')


def test_each_event_stands_in_the_table_and_is_said_somewhere():
    """A misspelt one would pass every filter of a log collector in silence."""
    said = {name for path in HERE.rglob("*.py") for name in SAID.findall(path.read_text())}

    assert said == set(EVENTS)


def test_the_page_has_each_event_with_its_fields():
    rows = dict(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| ([^|]*) \|", PAGE, re.MULTILINE))

    assert {name: tuple(re.findall(r"`(\w+)`", fields)) for name, fields in rows.items()} == EVENTS


def test_no_line_of_the_log_hides_what_it_is_about_in_a_name_of_its_own():
    """`extra` with an event of another form, or put together at run time, could not be found above."""
    odd = [path.name for path in HERE.rglob("*.py") if re.search(r"[\"']event[\"']: (?!\")", path.read_text())]

    assert [name for name in odd if name not in ("events.py", "outbox.py")] == []
