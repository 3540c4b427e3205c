"""Keeping secrets out of what is stored: their values are replaced wherever a job writes them."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from django.conf import global_settings, settings
from django.core.exceptions import ImproperlyConfigured

from crons.conf import conf
from crons.exceptions import InvalidSetting
from crons.jobs.plain_json import MAX_DEPTH
from crons.redaction.shapes import MASK as MASK
from crons.redaction.shapes import Secrecy as Secrecy
from crons.redaction.shapes import (
    is_secret,
    is_working_directory,
    lines_of,
    secrets_in,
    within,
    without_secrets_in,
)
from crons.redaction.shapes import secrecy_of as secrecy_of

_LONGEST_FILE = 16_384  # a key or a few tokens; a longer file is not read
RECENT_SECONDS = 1.0
SHORTEST = 8  # shorter values ("test", "admin") would garble the output and hide nothing

# Django's own settings are public (AUTH_USER_MODEL, PASSWORD_HASHERS …) but for these.
_SECRET_OF_DJANGO = frozenset({"SECRET_KEY", "SECRET_KEY_FALLBACKS", "EMAIL_HOST_PASSWORD"})


class Redaction:
    """Hides *secrets* in texts.

    Cost: one search per secret and text; a text is copied only where something is hidden.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        # The longest first: a secret that contains another is hidden whole.
        self.secrets = sorted({text for text in secrets if len(text) >= SHORTEST}, key=len, reverse=True)
        self.longest = max(map(len, self.secrets), default=0)

    def hide(self, text: str) -> str:
        """Return *text* with every secret replaced."""
        for secret in self.secrets:
            if secret in text:
                text = text.replace(secret, MASK)
        return text

    def unfinished(self, text: str) -> int:
        """Say how many characters at the end of *text* may be the beginning of a secret."""
        most = 0
        for secret in self.secrets:
            at = text.find(secret[0], max(len(text) - len(secret) + 1, 0))
            while at != -1 and len(text) - at > most:
                if secret.startswith(text[at:]):
                    most = len(text) - at
                    break
                at = text.find(secret[0], at + 1)
        return most


class _Kept(NamedTuple):
    at: float
    settings: Any
    environment: dict[str, str]
    redaction: Redaction


_kept: _Kept | None = None


def of_project() -> Redaction:
    """Hide what the project's settings and environment keep secret, and CRONS["REDACT"].

    Secret is what has such a name (Django's error pages, Sentry and crons.redaction.shapes know them), and what has the
    form of a secret under any name: a password in a URL or a DSN, a webhook's address, a private key. Where a secret
    name holds the path of a file, the lines of that file are hidden, as they are now, and its path is not.
    """
    return Redaction(_forms([*_in_settings(), *_in_environment(os.environ), *conf.redact]))


def without_secrets_of(value: Any, name: str = "") -> Any:
    """Return *value*, such as the arguments of a job, with everything masked that is secret by its name or form."""
    return _masked(value, secrecy_of(name))


def for_people(value: Any) -> Any:
    """Return *value*, such as the arguments of a run or an audit event's, as pages, commands and mails may show it.

    Masked are what without_secrets_of masks, and what the project keeps secret under whatever name.
    """
    try:
        redaction = _recent()
    except InvalidSetting:  # the check crons.E001 reports it; until then nobody knows which texts CRONS["REDACT"] hides
        redaction = Redaction(())
    return _hidden(without_secrets_of(value), redaction)


def _recent() -> Redaction:
    """Return of_project(), at most a second old: reading it takes 30 ms, and a list shows a thousand rows."""
    global _kept
    now, given, environment = time.monotonic(), vars(settings).get("_wrapped"), dict(os.environ)
    # Settings are compared by identity: override_settings() puts another object in their place.
    is_recent = _kept is not None and now - _kept.at <= RECENT_SECONDS
    if _kept is None or not is_recent or _kept.settings is not given or _kept.environment != environment:
        _kept = _Kept(now, given, environment, of_project())
    return _kept.redaction


def _hidden(value: Any, redaction: Redaction, levels: int = MAX_DEPTH) -> Any:
    if not levels and isinstance(value, Mapping | list | tuple):
        return MASK
    if isinstance(value, Mapping):
        return {name: _hidden(each, redaction, levels - 1) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(each, redaction, levels - 1) for each in value]
    return redaction.hide(value) if isinstance(value, str) else value


def _masked(value: Any, secrecy: Secrecy, levels: int = MAX_DEPTH) -> Any:
    if not levels and isinstance(value, Mapping | list | tuple):
        return MASK
    if isinstance(value, Mapping):
        return {name: _masked(each, within(str(name), secrecy), levels - 1) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(each, secrecy, levels - 1) for each in value]
    if isinstance(value, str):
        return MASK if value and is_secret(value, secrecy) else without_secrets_in(value)
    return value


def _forms(secrets: Iterable[str]) -> Iterator[str]:
    for each in secrets:
        yield each
        yield quote(each, safe="", errors="replace")


def _in_settings() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dir(settings) names deprecated settings too, and reading one warns
        values = {name: _value_of(name) for name in dir(settings) if name.isupper()}
    for name, value in values.items():
        public = hasattr(global_settings, name) and name not in _SECRET_OF_DJANGO
        yield from _within(value, Secrecy.NONE if public else secrecy_of(name))


def _value_of(name: str) -> Any:
    try:
        return getattr(settings, name)
    except ImproperlyConfigured:  # what has no value has no secret: SECRET_KEY raises where it is empty
        return None


def _in_environment(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        secrecy = Secrecy.NONE if is_working_directory(name, value) else secrecy_of(name)
        yield from _within(value, secrecy)


def _within(value: Any, secrecy: Secrecy) -> Iterator[str]:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, os.PathLike):
        yield from _in_file(Path(value)) if secrecy else ()
    elif isinstance(value, str):
        yield from _in_text(value, secrecy)
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _within(each, within(str(name), secrecy))
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _within(each, secrecy)


def _in_text(text: str, secrecy: Secrecy) -> Iterator[str]:
    yield from secrets_in(text)
    yield from _in_json(text, secrecy)
    named = secrecy < Secrecy.CERTAIN or text.startswith("/")
    if secrecy and named and (lines := list(_in_file(Path(text)))):
        yield from lines
    elif is_secret(text, secrecy):
        yield text
        if "\n" in text or "\\n" in text:
            yield from lines_of(text)


def _in_json(text: str, secrecy: Secrecy) -> Iterator[str]:
    if text.lstrip()[:1] in ("{", "["):
        with suppress(ValueError, RecursionError):
            yield from _within(json.loads(text), secrecy)


def _in_file(path: Path) -> Iterator[str]:
    # A file that this process cannot read, a job cannot print either. Only regular files: reading a pipe would block.
    with suppress(OSError, ValueError):
        if path.is_file():
            with path.open(errors="replace") as file:
                text = file.read(_LONGEST_FILE)
            yield from secrets_in(text)
            yield from _in_json(text, Secrecy.NONE)
            yield from lines_of(text)
