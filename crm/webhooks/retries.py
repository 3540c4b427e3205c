"""When to try again: over three days, later where the receiver asks for it, and less often while it keeps failing."""

import hashlib
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

# Before each try, since the one before it; as Standard Webhooks recommends.
WAITS = (
    timedelta(0), timedelta(seconds=5), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=2),
    timedelta(hours=5), timedelta(hours=10), timedelta(hours=14), timedelta(hours=20), timedelta(hours=24),
)  # fmt: skip
MOST_TRIES = len(WAITS)
JITTER = 0.2
# As long as a receiver may ask for; more would outlast the tries.
LONGEST_WAIT = timedelta(hours=24)
PAUSED_FROM = 4  # failures in a row
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=6)
DISABLED_AFTER = timedelta(days=5)

SLOW_DOWN = (429, 503)
GONE = 410


def next_try_at(name: str, tries: int, now: datetime) -> datetime | None:
    """Give when what has failed *tries* times is tried again, or None where that was the last time.

    The jitter is a hash of *name* and *tries*: the same however often it is asked for, and other for each.
    """
    if tries >= MOST_TRIES:
        return None
    digest = hashlib.sha256(f"{name}:{tries}".encode()).digest()
    share = int.from_bytes(digest[:4]) / 2**32
    return now + WAITS[tries] * (1 - JITTER + 2 * JITTER * share)


def asked_to_wait_until(retry_after: str, now: datetime) -> datetime | None:
    """Read a Retry-After header, seconds or a date; None where it says nothing, at most LONGEST_WAIT away."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        # By the length first: a number of a thousand digits is none to reckon with.
        seconds = int(text) if len(text) <= 9 else 10**9
        return now + min(timedelta(seconds=seconds), LONGEST_WAIT)
    try:
        at = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return min(max(at, now), now + LONGEST_WAIT)


def paused_until(failures: int, now: datetime) -> datetime | None:
    """Give until when an endpoint with so many failures in a row is left alone; None: not at all."""
    if failures < PAUSED_FROM:
        return None
    # Bounded before it is reckoned: two to the power of a thousand failures is no length of time.
    return now + min(FIRST_PAUSE * (1 << min(failures - PAUSED_FROM, 16)), LONGEST_PAUSE)
