"""Settings from the environment, read strictly: a wrong value stops the start and names its variable.

Cron starts programs with an almost empty environment, so the variables may also stand in a file,
one `NAME=value` a line: `var/crm.env`, or the file that CRM_ENV_FILE names.
What the process was started with wins over the file.
"""

import os
import re
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from crm.privacy import refuse_open_secret

_ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_YES, _NO = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


def load(path: Path) -> None:
    """Add the variables of the file at *path* that the environment does not have; no file, nothing added.

    Raises: ImproperlyConfigured for a file that others can read, or a line that is neither empty, a comment nor
        NAME=value.
    """
    if not path.is_file():
        return
    refuse_open_secret(path)
    for name, value in _assignments(path):
        os.environ.setdefault(name, value)


def text(name: str, default: str = "") -> str:
    """Give the variable *name*, or *default* where it is not set or empty."""
    return os.environ.get(name, "").strip() or default


def names(name: str, default: str = "") -> list[str]:
    """Give the comma-separated values of *name*, without empty ones."""
    return [part.strip() for part in text(name, default).split(",") if part.strip()]


def flag(name: str, *, default: bool) -> bool:
    """Give the yes or no of *name*."""
    value = text(name).lower()
    if not value:
        return default
    if value in _YES or value in _NO:
        return value in _YES
    raise ImproperlyConfigured(f"{name}={value!r} is neither yes nor no. Set it to 1 or 0.")


def whole(name: str, default: int) -> int:
    """Give the whole number, zero or more, of *name*."""
    value = text(name, str(default))
    if value.isascii() and value.isdigit():
        return int(value)
    raise ImproperlyConfigured(f"{name}={value!r} is not a whole number. Set it to one, such as {default}.")


def share(name: str, default: float) -> float:
    """Give the share, from 0 to 1, of *name*."""
    value = text(name, str(default))
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if 0 <= number <= 1:
        return number
    raise ImproperlyConfigured(f"{name}={value!r} is not a share. Set it from 0 to 1; 0.5 is one half.")


def networks(name: str) -> list[IPv4Network | IPv6Network]:
    """Give the networks of *name*, comma-separated."""
    found = []
    for each in names(name):
        try:
            found.append(ip_network(each))
        except ValueError as error:
            raise ImproperlyConfigured(f"{name}: {each!r} is no network. Write one such as 10.1.0.0/16.") from error
    return found


def ports(name: str, default: str) -> frozenset[int]:
    """Give the port numbers of *name*, comma-separated."""
    found = names(name, default)
    for each in found:
        if not (each.isascii() and each.isdigit() and 0 < len(each) < 6 and 0 < int(each) < 65536):
            raise ImproperlyConfigured(f"{name}: {each!r} is no port. Write numbers such as 443,8443.")
    return frozenset(map(int, found))


def _assignments(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(line)
        if match is None:
            # The line itself is not shown: it may hold a secret.
            raise ImproperlyConfigured(f"{path}, line {number}: expected NAME=value. Correct the line.")
        name, value = match.groups()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        yield name, value


def run_number() -> int | None:
    """Give the number of the run that this process works for, by which its page is found; None where there is none."""
    return int(os.environ.get("CRONS_RUN", "0")) or None
