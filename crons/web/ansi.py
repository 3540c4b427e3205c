"""What jobs write in colour, as HTML: colours and bold become classes, and nothing else of what steers a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from crons.presentation import readable

_COLOURING = re.compile(r"(?:\x1b\[|\x9b)([0-9;:]*)m")
# A sequence whose end is not written yet.
_BEGUN = re.compile(r"(?:\x1b(?:\[[0-9;:]*)?|\x9b[0-9;:]*)\Z")
COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_STATE = re.compile(r"(?:b?)(?:[0-7]?)\Z")


def coloured(text: str, state: str = "") -> tuple[SafeString, str]:
    """Return *text* as HTML, and the state in which it ends; *state* is that of the text before it.

    A state is short and safe in an address: `b` for bold, then a digit of a colour. Backgrounds, hidden and blinking
    text are left out: with them a text could hide.
    """
    state = state if _STATE.match(state) else ""
    text = _BEGUN.sub("", text)
    parts, last = [], 0
    for found in _COLOURING.finditer(text):
        parts.append(_span(text[last : found.start()], state))
        state, last = _follow(state, found[1]), found.end()
    parts.append(_span(text[last:], state))
    return mark_safe("".join(parts)), state  # each part is escaped in _span


def _span(text: str, state: str) -> str:
    if not text:
        return ""
    shown = escape(readable(text))
    classes = ["ansi-bold" if each == "b" else f"ansi-{COLOURS[int(each)]}" for each in state]
    return f'<span class="{" ".join(classes)}">{shown}</span>' if classes else shown


def _follow(state: str, sequence: str) -> str:
    bold, colour = state.startswith("b"), state.removeprefix("b")
    codes = _codes(sequence)
    for code in codes:
        if code == 0:
            bold, colour = False, ""
        elif code in (1, 22):
            bold = code == 1
        elif code in (38, 48, 58):
            # 38;5;N is one of 256, 38;2;R;G;B any: the first sixteen have names. Of 48 and 58 only the arguments go.
            chosen = _chosen(codes)
            colour = str(chosen % 8) if code == 38 and chosen is not None else colour
        elif code == 39:
            colour = ""
        elif 30 <= code <= 37 or 90 <= code <= 97:
            colour = str(code % 10)
    return ("b" if bold else "") + colour


def _codes(sequence: str) -> Iterator[int]:
    # Nobody needs a number of more digits, and Python reads none of 5,000.
    return iter([int(each) if each and len(each) < 5 else 0 for each in re.split("[;:]", sequence)])


def _chosen(codes: Iterator[int]) -> int | None:
    kind = next(codes, None)
    if kind == 5:
        number = next(codes, 256)
        return number if number < 16 else None
    if kind == 2:
        for _ in range(3):
            next(codes, None)
    return None
