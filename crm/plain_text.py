"""Texts that people have typed, as a log line, a mail or a terminal may show them."""

import re

# What ends a line, drives a terminal, turns the direction of reading, or has no width and can carry text of its own;
# not what joins letters in Persian or Hindi.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]+"
)


def one_line(text: str) -> str:
    """Give *text* on one line, with a space for each run of characters that nobody sees."""
    return UNSEEN.sub(" ", text)
