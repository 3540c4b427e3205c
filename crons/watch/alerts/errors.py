"""What went wrong with a channel, in words that show no secret of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from crons.exceptions import CronsError
from crons.redaction import Redaction, for_people
from crons.watch.alerts.channels import alerts

LONGEST_ERROR = 500


def in_words(error: Exception, channel: str) -> str:
    """Return what *error* says, without the addresses of *channel*: code of others may show what it called."""
    text = str(error) if isinstance(error, CronsError) else f"{type(error).__name__}: {error}"
    setting = alerts().channels.get(channel)
    hidden = Redaction(_secrets(setting.options) if setting else ()).hide(text)
    return " ".join(str(for_people(hidden)).split())[:LONGEST_ERROR]


def _secrets(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the addresses among *options*, and the parts of them that open something."""
    for value in options.values():
        text = _first_line(value) if isinstance(value, Path) else value
        if isinstance(text, str) and "://" in text:
            parts = urlsplit(text)
            yield from (text, parts.path, parts.query, parts.password or "")
            # Of a chat's address each part may be a token, the host too: slack://TokenA/TokenB.
            yield from parts.path.split("/")


def _first_line(path: Path) -> str:
    try:
        return path.read_text().partition("\n")[0].strip()
    except (OSError, ValueError):
        return ""
