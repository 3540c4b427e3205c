"""Keeping secrets out of what is stored: their values are replaced wherever a job writes them."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import global_settings, settings
from django.core.exceptions import ImproperlyConfigured
from django.views.debug import SafeExceptionReporterFilter

from crons.conf import conf

MASK = "********"
_FILE = "_FILE"
_LONGEST_FILE = 16_384  # a key or a few tokens; what is longer is no secret to be told by mistake
SHORTEST = 8  # shorter values ("test", "admin") would garble the output and hide nothing

# Django's own settings are public (AUTH_USER_MODEL, PASSWORD_HASHERS …) but for these.
_SECRET_OF_DJANGO = frozenset({"SECRET_KEY", "SECRET_KEY_FALLBACKS", "EMAIL_HOST_PASSWORD"})
_PASSWORD_IN_URL = re.compile(r"://[^/:@\s]*:([^/@\s]+)@")


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


def of_project() -> Redaction:
    """Hide what the project's settings and environment keep secret, and CRONS["REDACT"].

    Secret is what has a name that Django's own error pages hide, and a password in any URL. Where such a name
    ends in _FILE, the lines of that file are hidden, as they are now, and its path is not.
    """
    return Redaction([*_in_settings(), *_in_environment(os.environ), *conf.redact])


def _in_settings() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reading a deprecated setting warns, used by the project or not
        values = {name: _value_of(name) for name in dir(settings) if name.isupper()}
    for name, value in values.items():
        public = hasattr(global_settings, name) and name not in _SECRET_OF_DJANGO
        yield from _named(name, value, is_secret=not public and _names_secret(name))


def _value_of(name: str) -> Any:
    try:
        return getattr(settings, name)
    except ImproperlyConfigured:  # what has no value has no secret: SECRET_KEY raises where it is empty
        return None


def _in_environment(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        yield from _named(name, value, is_secret=_names_secret(name))


def _named(name: str, value: Any, *, is_secret: bool) -> Iterator[str]:
    if is_secret and name.endswith(_FILE) and isinstance(value, str | os.PathLike):
        yield from _in_file(Path(value))
    else:
        yield from _within(value, is_secret=is_secret)


def _in_file(path: Path) -> Iterator[str]:
    # What cannot be read here cannot be told by a job either; a pipe would wait for ever.
    with suppress(OSError, ValueError):
        if path.is_file():
            with path.open(errors="replace") as file:
                yield from map(str.strip, file.read(_LONGEST_FILE).splitlines())


def _within(value: Any, *, is_secret: bool) -> Iterator[str]:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        yield from _PASSWORD_IN_URL.findall(value)
        if is_secret:
            yield value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _within(each, is_secret=_names_secret(str(name)))
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _within(each, is_secret=is_secret)


def _names_secret(name: str) -> bool:
    return SafeExceptionReporterFilter.hidden_settings.search(name) is not None
