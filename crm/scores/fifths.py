"""Fifths of many values: counted in batches, parted by four of the values, so that equal ones are in the same fifth.

Values are rounded to three digits first: of a million amounts of money some thousands are left, which one row holds.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

PARTS = 5
_DIGITS = 3


def rounded(value: int) -> int:
    """Give *value* with its first three digits only, towards zero."""
    step = 10 ** max(0, len(str(abs(value))) - _DIGITS)
    return value - value % step if value >= 0 else -rounded(-value)


def limits(tally: Mapping[int, int]) -> list[int]:
    """Give the values at the end of each fifth but the last, of *tally*: how many have each value.

    Of none there are none.
    """
    total = sum(tally.values())
    wanted = [-(-total * part // PARTS) for part in range(1, PARTS)] if total else []
    found: list[int] = []
    seen = 0
    for value in sorted(tally):
        seen += tally[value]
        while len(found) < len(wanted) and wanted[len(found)] <= seen:
            found.append(value)
    return found


def score(value: int, parted_by: Sequence[int]) -> int:
    """Give the fifth that *value* is in, from 1: one more than the limits below it."""
    return 1 + bisect_left(parted_by, rounded(value))
