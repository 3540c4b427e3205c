"""Secrets that settings give, as texts or in files: whatever is wrong with one, no message shows it."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Any

from crons.exceptions import InvalidSetting

SHORTEST_SECRET = 32
# As Standard Webhooks writes a key of bytes, and how many it asks for at the least.
KEY_PREFIX = "whsec_"
SHORTEST_KEY_BYTES = 24


def read_secrets(given: Any, key: str) -> tuple[str, ...]:
    """Return the secrets that the setting *key* was given: texts, and the lines of files.

    Raises: InvalidSetting.
    """
    several = given if isinstance(given, (list, tuple)) else [given]
    if not all(isinstance(each, (str, Path)) for each in several):
        raise InvalidSetting(f"{key} is neither a text, nor a pathlib.Path, nor a list of them.")
    found = [secret for each in several for secret in (read_lines(each, key) if isinstance(each, Path) else [each])]
    secrets = tuple(each for each in found if each)
    for each in secrets:
        _check_secret(each, key)
    return secrets


def signing_key(secret: str, key: str) -> bytes:
    """Return the bytes that *secret* signs with: what stands in base64 behind `whsec_`, else the text itself.

    Raises: InvalidSetting where it is no base64, or short.
    """
    if not secret.startswith(KEY_PREFIX):
        return secret.encode()
    text = secret.removeprefix(KEY_PREFIX)
    try:
        found = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)  # senders may leave the padding out
    except (binascii.Error, ValueError):
        found = b""
    if len(found) < SHORTEST_KEY_BYTES:
        raise InvalidSetting(
            f"{key} has a secret that begins with {KEY_PREFIX}, and what follows is no base64 of at least "
            f"{SHORTEST_KEY_BYTES} bytes, as `openssl rand -base64 32` makes it."
        )
    return found


def read_lines(path: Path, key: str) -> list[str]:
    """Return the lines of a file that only its owner may read; at least one.

    Raises: InvalidSetting.
    """
    about = f"{key}: the file {path}"
    if not path.is_absolute():
        raise InvalidSetting(f"{about} needs an absolute path: a site may be started anywhere.")
    try:
        _check_mode(path, about)
        found = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line]
    except (OSError, ValueError) as error:
        raise InvalidSetting(f"{about} cannot be read: {error}.") from error
    if not found:
        raise InvalidSetting(f"{about} is empty, expected a secret on each line.")
    return found


def _check_mode(path: Path, about: str) -> None:
    # systemd lends credentials by an access list, whose mask shows as rights of a group.
    lent = os.environ.get("CREDENTIALS_DIRECTORY")
    mode = path.stat().st_mode & 0o777
    if mode & 0o077 and not (lent and path.is_relative_to(lent)):
        raise InvalidSetting(
            f"{about} has mode {mode:04o}, so that other accounts can read or change it. "
            f"Run: chmod 600 {path}; if others may have read it, change the secret too."
        )


def _check_secret(secret: str, key: str) -> None:
    # A long path would do as a secret, which anybody could guess.
    if secret.startswith("/") and Path(secret).exists():
        raise InvalidSetting(f"{key} has the path of a file as a text: make it a pathlib.Path.")
    if len(secret) < SHORTEST_SECRET:
        raise InvalidSetting(
            f"{key} has a secret of {len(secret)} characters, expected at least {SHORTEST_SECRET}, "
            "as `openssl rand -hex 32` makes them."
        )
    if any(each.isspace() for each in secret):
        raise InvalidSetting(
            f"{key} has a secret with a blank or a line break in it, which a caller's shell would "
            "not send: read it with .strip(), or take another."
        )
