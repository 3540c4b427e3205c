"""DATABASE_URL to Django's DATABASES entry, strictly: an unknown part is refused, never ignored.

sqlite:///relative.sqlite3          sqlite:////absolute/path.sqlite3
postgres://user:password@host:5432/name?sslmode=require
postgres://user@/name?host=/var/run/postgresql      (unix socket)
"""

from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_SQLITE_WAIT_SECONDS = 20
_POSTGRES_OPTIONS = frozenset({"sslmode", "sslrootcert", "connect_timeout", "application_name"})


def from_url(url: str, *, base: Path) -> dict[str, Any]:
    """Give the DATABASES entry for *url*; relative SQLite paths start at *base*.

    Raises: ImproperlyConfigured, without the password, when a part is missing or not known.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # Without the cause: it shows what stands where the port should, which may be half a password.
        raise ImproperlyConfigured(
            "DATABASE_URL has no readable host and port. Write special characters of the password "
            f"as percent codes, such as %2F for a slash. {_EXPECTED}"
        ) from None
    if parts.fragment:
        raise ImproperlyConfigured(f"DATABASE_URL has a '#': write it as %23 in a password. {_EXPECTED}")
    if parts.scheme == "sqlite":
        return _sqlite(_path(parts, base))
    if parts.scheme in ("postgres", "postgresql"):
        return _postgres_from(parts, port)
    raise ImproperlyConfigured(f"DATABASE_URL starts with {parts.scheme!r}. {_EXPECTED}")


_EXPECTED = "Expected sqlite:///path or postgres://user:password@host:port/name."


def _sqlite(path: Path) -> dict[str, Any]:
    """Give the entry for the SQLite file at *path*: writers queue up, readers never wait."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            "timeout": _SQLITE_WAIT_SECONDS,
            # Take the write lock at BEGIN: a deferred transaction that turns writer fails at once
            # with "database is locked" where another wrote since it read; no timeout helps it.
            "transaction_mode": "IMMEDIATE",
            # FULL: in WAL mode NORMAL may lose the last commits when the power goes.
            "init_command": (
                f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout={_SQLITE_WAIT_SECONDS * 1000};"
            ),
        },
    }


def _path(parts: SplitResult, base: Path) -> Path:
    if parts.netloc or parts.query or len(parts.path) < 2:
        raise ImproperlyConfigured(
            "DATABASE_URL for SQLite takes a path only: sqlite:///relative.sqlite3 or sqlite:////absolute.sqlite3."
        )
    # The first slash ends the empty host; what follows is the path.
    return base / unquote(parts.path[1:])


def _postgres_from(parts: SplitResult, port: int | None) -> dict[str, Any]:
    name = unquote(parts.path.removeprefix("/"))
    if not name or "/" in name:
        raise ImproperlyConfigured(f"DATABASE_URL names no database after the host. {_EXPECTED}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    socket_dir = options.pop("host", "")
    if socket_dir and (parts.hostname or not socket_dir.startswith("/")):
        raise ImproperlyConfigured(
            "DATABASE_URL: ?host= takes the directory of a unix socket (an absolute path), "
            "with no host before it: postgres://user@/name?host=/var/run/postgresql."
        )
    if unknown := sorted(options.keys() - _POSTGRES_OPTIONS):
        raise ImproperlyConfigured(
            f"DATABASE_URL: unknown option {unknown[0]!r}. Known: host, {', '.join(sorted(_POSTGRES_OPTIONS))}."
        )
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": socket_dir or unquote(parts.hostname or ""),
        "PORT": str(port or ""),
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options,
    }
