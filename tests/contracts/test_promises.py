"""What the documentation says of executors is what the tests hold them to."""

from __future__ import annotations

from pathlib import Path

from crons.conf import default_executors
from tests.contracts import promises

PAGE = Path(__file__).resolve().parents[2] / "docs/howto/choose.md"


def test_the_page_shows_the_table_that_the_tests_go_by() -> None:
    """Row by row: a promise that is taken back here would else stand there."""
    header = "| what holds | " + " | ".join(f"`{each}`" for each in promises.EXECUTORS) + " |"
    lines = PAGE.read_text().splitlines()
    first = lines.index(header) + 2

    shown = lines[first : lines.index("", first)]

    assert shown == [
        f"| {text} | " + " | ".join("yes" if each in keepers else "no" for each in promises.EXECUTORS) + " |"
        for text, keepers in promises.PROMISED.values()
    ]


def test_every_executor_that_there_is_without_a_setting_is_in_the_table() -> None:
    """Or one would come that nobody holds to anything."""
    assert set(promises.EXECUTORS) == set(default_executors())
