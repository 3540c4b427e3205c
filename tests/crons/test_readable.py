"""Text that others wrote, made safe to look at: in terminals, pages and mails."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest

from crons.presentation import readable, readable_json, readable_line, readable_page

# Format characters that have a shape of their own: signs of Arabic, Syriac, Kaithi and of hieroglyphs.
SEEN = {
    *range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440),
}  # fmt: skip
# Drawn as nothing, though their category is that of letters, marks or nothing.
BLANK = {0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x3164, 0xFFA0, 0xE0080, 0xE01F0}


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        pytest.param("\x1b[31mred\x1b[0m", "red", id="colour"),
        pytest.param("\x9b31mred", "red", id="colour in one character"),
        pytest.param("a\x1b]0;title\x07b", "ab", id="title"),
        pytest.param("a\x1b]52;c;cm0gLXJm\x1b\\b", "ab", id="clipboard"),
        pytest.param("a\x9d52;c;cm0gLXJm\x9cb", "ab", id="clipboard in one character"),
        pytest.param("\x1b]8;;https://evil.example\x1b\\text\x1b]8;;\x1b\\", "text", id="link"),
        pytest.param("\x1bP+q544e\x1b\\a\x1b_x\x1b\\b\x1b^y\x1b\\c", "abc", id="device strings"),
        pytest.param("\x1b[2J\x1b[H\x1bc\x1b(0all", "all", id="screen"),
        pytest.param("50 %\r100 %\r\ndone", "50 %\n100 %\ndone", id="returns"),
        pytest.param("\x1b]0;never ended\nthe rest", "\ufffd]0;never ended\nthe rest", id="hides nothing after it"),
        pytest.param("\x1b]0;a\nb\x07", "\ufffd]0;a\nb\ufffd", id="hides no line"),
        pytest.param("invoice\u202efdp.exe", "invoice\ufffdfdp.exe", id="turned"),
        pytest.param("pay\u200bpal", "pay\ufffdpal", id="no width"),
        pytest.param("ok\U000e0041\U000e0042", "ok\ufffd\ufffd", id="tags"),
        pytest.param("sure \u2714\ufe0f \U0001f44d\U000e0120", "sure \u2714 \U0001f44d", id="selectors"),
        pytest.param("grüße €\tשלום 你好 👍", "grüße €\tשלום 你好 👍", id="left alone"),
    ],
)
def test_what_steers_or_deceives_is_shown_or_gone(written: str, shown: str) -> None:
    """What is hidden from a reader must not hide more than itself."""
    assert readable(written) == shown


def test_a_line_stays_one() -> None:
    """A name with a line feed would look like two rows."""
    assert readable_line(" a\r\nb\tc\x1b[1m ") == "a b c"


def test_no_character_of_unicode_passes_unseen() -> None:
    """A list made by hand forgets some: the newest Unicode that Python knows is asked."""
    unseen = {chr(code) for code in range(sys.maxunicode + 1) if _is_unseen(code)}
    passed = {char for char in unseen if char in readable(f"a{char}b")}

    assert passed == set()
    assert len(unseen) > 2_000


def test_json_keeps_its_values_and_shows_every_character() -> None:
    """For programs nothing may change; JSON stands on terminals as well."""
    value = {"text": ",".join(chr(code) for code in range(sys.maxunicode + 1) if _is_unseen(code)) + "grüße"}

    text = readable_json(json.dumps(value, ensure_ascii=False))

    assert json.loads(text) == value
    assert text.endswith('grüße"}')
    assert readable(text) == text


def test_a_page_may_be_in_any_language() -> None:
    """The admin's own words have joiners in Persian and marks in Hebrew; what turns a whole line is in none of them."""
    persian = "می\u200cشود \u200f"

    assert readable_page(f"{persian}\u202e\U000e0041\x9b\r\n") == f"{persian}\ufffd\ufffd\ufffd\r\n"


def _is_unseen(code: int) -> bool:
    if code in (0x09, 0x0A) or code in SEEN:
        return False
    return unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp") or code in BLANK
