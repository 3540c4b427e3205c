"""Signatures as Standard Webhooks has them: webhook-id, webhook-timestamp, and `v1,` with an HMAC-SHA256 of both."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

# How far the signer's clock may be from this host's, and so how long a request that was overheard can be repeated.
TOLERANCE_SECONDS = 300
TIMESTAMP = re.compile(r"[0-9]{1,11}", re.ASCII)
# No dot: it parts the id from the time in what is signed.
MESSAGE_ID = re.compile(r"[!-\-/-~]{1,256}", re.ASCII)


def sign(key: bytes, message_id: str, timestamp: str, body: bytes = b"") -> str:
    """Return what the header webhook-signature says of *body*, sent as *message_id* at *timestamp*."""
    signed = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(signed.digest()).decode()}"


def why_not(headers: Mapping[str, str], body: bytes, keys: Iterable[bytes]) -> str:
    """Say why the request is not to be believed; empty where it is. Strangers learn nothing past the signature."""
    message_id, stamp, given = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not (message_id and stamp and given):
        return "The headers webhook-id, webhook-timestamp and webhook-signature are all needed."
    if not MESSAGE_ID.fullmatch(message_id):
        return "webhook-id is not 1 to 256 printable characters without a dot."
    if not TIMESTAMP.fullmatch(stamp):
        return "webhook-timestamp is no number of seconds since 1970."
    signatures = [each.encode(errors="replace") for each in given.split(" ")]
    expected = [sign(key, message_id, stamp, body).encode() for key in keys]
    # Each is compared to its end, and all of them: how long this takes tells nothing of how much was right.
    matches = [hmac.compare_digest(ours, theirs) for ours in expected for theirs in signatures]
    if not any(matches):
        return (
            "The signature does not match: expected v1, and in base64 the HMAC-SHA256 of the id, a dot, the timestamp, "
            "a dot and the body, keyed with this host's secret."
        )
    off = int(stamp) - time.time()
    if abs(off) > TOLERANCE_SECONDS:
        side = "ahead of" if off > 0 else "behind"
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return (
            f"The timestamp is {abs(off):.0f} s {side} this host's clock ({now}), and {TOLERANCE_SECONDS} s are "
            "allowed: set the clock that is wrong, and sign each request anew."
        )
    return ""


class Taken:
    """The requests that were answered while their signature holds, so that the same one is not taken twice.

    Of this process only: a repeated tick does no harm, so the memory is worth no table. A sender that tries again
    signs a new timestamp under the same id; that is another request.
    """

    LONGEST = 10_000

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def claim(self, headers: Mapping[str, str]) -> bool:
        """Say whether the request of *headers*, which was signed, is new; from now on it is not."""
        request, now = self._key(headers), time.time()
        with self._lock:
            for old in [each for each, until in self._until.items() if until < now]:
                del self._until[old]
            if request in self._until:
                return False
            if len(self._until) >= self.LONGEST:
                del self._until[next(iter(self._until))]
            self._until[request] = int(request[1]) + TOLERANCE_SECONDS
        return True

    def release(self, headers: Mapping[str, str]) -> None:
        """Let the request be sent once more: nothing was done for it."""
        with self._lock:
            self._until.pop(self._key(headers), None)

    @staticmethod
    def _key(headers: Mapping[str, str]) -> tuple[str, str]:
        return headers["webhook-id"], headers["webhook-timestamp"]
