"""What verbs print with: tables and facts for people, one JSON object per line for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from crons.presentation import Cell, iso, readable, readable_json, readable_line

TONES = {"good": "32", "bad": "31", "warn": "33", "quiet": "2"}
RICH_TONES = {"good": "green", "bad": "bold red", "warn": "yellow", "quiet": "dim", "": ""}


class Stream(Protocol):
    """Django's OutputWrapper, as far as it is used here."""

    def write(self, msg: str = "", style_func: Any = None, ending: str | None = None) -> None:
        """Write *msg*, ended by *ending* unless it already is."""

    def isatty(self) -> bool:
        """Say whether a person reads this."""

    def flush(self) -> None:
        """Let out what was written."""


class Out:
    """Where a verb prints: *json* says that stdout takes one JSON object per line and nothing else.

    Recorded text is made readable on its way, into files and pipes too, unless *as_written*.
    """

    def __init__(
        self,
        stdout: Stream,
        stderr: Stream,
        *,
        as_json: bool = False,
        colour: bool | None = None,
        as_written: bool = False,
    ) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self.json = as_json
        self.as_written = as_written
        self.is_terminal = not as_json and stdout.isatty()
        self.colour = _wants_colour(self.is_terminal) if colour is None else colour

    def row(self, row: Mapping[str, Any]) -> None:
        """Print one JSON object."""
        text = json.dumps(row, ensure_ascii=False, default=_plain)
        try:
            text.encode(getattr(self.stdout, "encoding", None) or "utf-8")
        except UnicodeEncodeError:
            text = json.dumps(row, default=_plain)  # JSON's own escapes, which stay JSON
        self.stdout.write(text if self.as_written else readable_json(text), ending="\n")

    def line(self, text: str = "", tone: str = "") -> None:
        """Print one line for people."""
        self.stdout.write(self._coloured(self._readable(text), tone), ending="\n")

    def note(self, text: str) -> None:
        """Print one line beside the output."""
        # Django paints all of stderr as errors; most notes are none.
        self.stderr.write(self._readable(text), style_func=str, ending="\n")

    def text(self, text: str) -> None:
        """Print *text* without ending the line."""
        self.stdout.write(self._readable(text), ending="")

    def facts(self, facts: Sequence[tuple[str, str | Cell]]) -> None:
        """Print labels and values in two columns, those without a value left out."""
        cells = [(label, self._one_line(value)) for label, value in facts]
        cells = [(label, cell) for label, cell in cells if cell.text]
        width = max((len(label) for label, _ in cells), default=0)
        for label, cell in cells:
            value = self._coloured(cell.text, cell.tone)
            self.stdout.write(f"  {label:<{width}}  {value}", ending="\n")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str | Cell]]) -> None:
        """Print *rows* under *columns*: by rich where it is installed and a person looks, else aligned by blanks."""
        cells = [[self._one_line(value) for value in row] for row in rows]
        if not (self.is_terminal and self._table_by_rich(columns, cells)):
            self._plain_table(columns, cells)

    def _plain_table(self, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        table = [[Cell(column, "quiet") for column in columns], *rows]
        widths = [max(len(row[index].text) for row in table) for index in range(len(columns))]
        for row in table:
            # Padded before it is coloured, or the colour's own characters would count.
            padded = [Cell(cell.text.ljust(width), cell.tone) for cell, width in zip(row, widths, strict=True)]
            padded[-1] = row[-1]
            self.stdout.write("  ".join(self._coloured(cell.text, cell.tone) for cell in padded).rstrip(), ending="\n")

    def _table_by_rich(self, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> bool:
        try:
            from rich.console import Console  # an extra; costs 50 ms, so only where a table meets a terminal
            from rich.table import Table
            from rich.text import Text
        except ImportError:
            return False
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*[Text(cell.text, RICH_TONES[cell.tone]) for cell in row])
        console = Console(force_terminal=self.colour, no_color=not self.colour, highlight=False)
        with console.capture() as captured:
            console.print(table)
        self.stdout.write(captured.get(), ending="")
        return True

    def _readable(self, text: str) -> str:
        return text if self.as_written else readable(text)

    def _one_line(self, value: str | Cell) -> Cell:
        cell = _cell(value)
        text = " ".join(cell.text.split()) if self.as_written else readable_line(cell.text)
        return Cell(text, cell.tone)

    def _coloured(self, text: str, tone: str) -> str:
        return f"\x1b[{TONES[tone]}m{text}\x1b[0m" if self.colour and tone and text else text


def _wants_colour(is_terminal: bool) -> bool:
    return is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _cell(value: str | Cell) -> Cell:
    return value if isinstance(value, Cell) else Cell(value)


def _plain(value: object) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{value!r} has no JSON form")
