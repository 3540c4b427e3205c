"""Which rules a zone has on this machine: tells when a new release of the time zone data has changed them."""

from __future__ import annotations

import hashlib
import importlib.resources
import zoneinfo
from functools import cache
from pathlib import Path


@cache
def fingerprint(zone: str) -> str:
    """Return a hash of the zone's rules, or "" where it has no data; it changes only when they do."""
    for folder in zoneinfo.TZPATH:
        path = Path(folder) / zone
        if path.is_file():
            return _hash(path.read_bytes())
    try:
        packaged = importlib.resources.files("tzdata") / "zoneinfo" / zone
        return _hash(packaged.read_bytes())
    except (ModuleNotFoundError, OSError):
        return ""


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
