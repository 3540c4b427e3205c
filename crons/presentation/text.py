"""Recorded text made safe to look at: what would steer a terminal or deceive a reader is shown or gone."""

from __future__ import annotations

import re

# What moves a terminal's cursor or paints it, sets its title or fills its clipboard. A sequence that does not end
# on its line is none: else one that never ends would hide all that follows.
_ESCAPES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[ -/]+[0-~]|\x1b[0-OQ-WYZ\\`-~]"
)
# They choose how the character before looks, and can carry text of their own that nobody sees.
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# Control characters, halves of characters, what turns the direction of reading, and what has no width.
_CONTROL = r"\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff"
_TURNING = r"\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_WIDTHLESS = (
    r"\xad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0"
    r"\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
)
_UNSEEN = re.compile(f"[{_CONTROL}{_TURNING}{_WIDTHLESS}]")
_UNSEEN_IN_JSON = re.compile(f"[{_CONTROL}{_TURNING}{_WIDTHLESS}\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# Of these, what no language needs: the words around a recorded text, in a page, may be Persian or Hebrew.
_DECEIVING = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2060-\u2065\u2066-\u206f\ufeff\U000e0000-\U000e0fff]"
)


def readable(text: str) -> str:
    """Return *text* without escape sequences; each character that nobody would see is shown as �."""
    lines = _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _UNSEEN.sub("�", _SELECTORS.sub("", lines))


def readable_line(text: str) -> str:
    """Return *text* the same way, and on one line."""
    return " ".join(readable(text).split())


def readable_json(text: str) -> str:
    """Return the JSON *text*, its values the same, with escapes for what nobody would see."""
    return _UNSEEN_IN_JSON.sub(_escaped, text)


def readable_page(text: str) -> str:
    """Return the page *text* with � for what deceives its readers in any language."""
    return _DECEIVING.sub("�", text)


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
