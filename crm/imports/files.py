"""Reading a file that somebody sent: its rows, a few at a time, or what kind of file it is that is no CSV."""

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

COLUMNS = ("name", "email", "phone")
REQUIRED = ("name", "email")
# A line, or a value in quotes with lines of its own; more is a file that has no lines, or a quote that never ends.
LONGEST_LINE = 20_000
_SEPARATORS = (",", ";", "\t")
_EXPECTED = "Expected CSV in UTF-8 whose first line is: name,email,phone"


class NotCsv(ValueError):
    """The file cannot be read as what is expected; the message says where, and what to do."""


@dataclass(frozen=True)
class Row:
    """One row of the file by its number, the header being 1: its values by column, or what is wrong with its form."""

    number: int
    cells: list[str]
    values: dict[str, str]
    problem: str = ""


def rows(pieces: Iterable[bytes]) -> Iterator[Row]:
    """Yield the rows below the header, one after the other; empty lines are none.

    Raises: NotCsv, at the place where that shows.
    Cost: memory for a piece and a row.
    """
    lines = _lines(pieces)
    header = next(lines, "")
    if not header.strip():
        raise NotCsv(f"The file is empty. {_EXPECTED}")
    separator = max(_SEPARATORS, key=header.count)
    # Strict: what follows a closing quote would be taken for more of the value.
    reader = csv.reader(chain([header], lines), delimiter=separator, strict=True)
    number = 0
    try:
        columns = _columns(next(reader))
        number = 1
        for cells in reader:
            number += 1  # of empty ones too: as a spreadsheet counts
            if not any(cell.strip() for cell in cells):
                continue
            problem = "" if len(cells) == len(columns) else f"It has {len(cells)} values; expected {len(columns)}."
            yield Row(number, cells, dict(zip(columns, cells, strict=False)), problem)
    except csv.Error as error:
        raise NotCsv(f"After row {number}: {error}. Check the quotes.") from error


def _columns(header: list[str]) -> list[str]:
    names = [name.strip().lower().replace("e-mail", "email") for name in header]
    missing = [name for name in REQUIRED if name not in names]
    if missing or len(set(names)) < len(names) or set(names) - set(COLUMNS):
        shown = ", ".join(name[:40] for name in names[:10])
        raise NotCsv(f"The first line has the columns {shown!r}. {_EXPECTED}; phone may be left out.")
    return names


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines with their ends, as text."""
    source = io.BufferedReader(_Pieces(pieces))
    if source.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise NotCsv('The file is in UTF-16. Save it as "CSV UTF-8".')
    text = io.TextIOWrapper(source, encoding="utf-8-sig", newline="")
    number = 0
    try:
        while line := text.readline(LONGEST_LINE + 1):
            number += 1
            if "\0" in line:
                raise NotCsv(f"Line {number} has a NUL byte: this is no text file. {_EXPECTED}")
            if len(line) > LONGEST_LINE:
                raise NotCsv(f"Line {number} has more than {LONGEST_LINE} characters. {_EXPECTED}")
            yield line
    except UnicodeDecodeError as error:
        raise NotCsv(f'After line {number} comes what is not UTF-8. Save the file as "CSV UTF-8".') from error


class _Pieces(io.RawIOBase):
    """The pieces as one file to be read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = bytes(piece)
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size
