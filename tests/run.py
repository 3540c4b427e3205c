"""One run of the tests: its name, its directory, its database server; shared by all of its processes.

The first process makes them and hands them on through the environment; xdist's workers and the
subprocesses of tests find them there.
"""

import atexit
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

from tests import postgres

NAME = "CRONS_TEST_RUN"
_DIRECTORY = "CRONS_TEST_DIRECTORY"
_WANTED = "CRONS_TEST_DATABASE"
_LONGEST_PARENT = 60
_IS_FIRST = NAME not in os.environ


def is_first_process() -> bool:
    """Say whether this process began the run; xdist's workers and the tests' subprocesses did not."""
    return _IS_FIRST


def name() -> str:
    """Give the name that every process of this run carries in its environment."""
    return os.environ.setdefault(NAME, uuid.uuid4().hex[:12])


def directory() -> Path:
    """Give the run's directory, deleted when the first process ends.

    Its path is short: that of a unix socket in it may have 107 characters.
    """
    if _DIRECTORY not in os.environ:
        parent = "/tmp" if len(tempfile.gettempdir()) > _LONGEST_PARENT else None
        path = os.environ[_DIRECTORY] = tempfile.mkdtemp(prefix="crons-", dir=parent)
        _at_end(shutil.rmtree, path, True)
    return Path(os.environ[_DIRECTORY])


def database_url() -> str:
    """Give the URL of the database that the tests run on; starts their own server where one is wanted.

    Raises: ValueError for a DATABASE_URL of another kind than CRONS_TEST_DATABASE asks for.
    """
    url = os.environ.get("DATABASE_URL", "")
    wanted = os.environ.get(_WANTED, "")
    if wanted not in ("", "sqlite", "postgres"):
        raise ValueError(f"{_WANTED} is {wanted!r}, expected sqlite or postgres.")
    if url and wanted and url.startswith("postgres") != (wanted == "postgres"):
        raise ValueError(f"{_WANTED} is {wanted}, DATABASE_URL names another kind: unset one of them.")
    if url:
        return url
    if wanted != "postgres":
        return f"sqlite:///{directory() / 'unused.sqlite3'}"
    server = postgres.Server(directory() / "pg")
    _at_end(server.stop)
    return server.url("postgres")


def _at_end(action: Callable[..., object], *arguments: object) -> None:
    owner = os.getpid()

    def act() -> None:
        if os.getpid() == owner:  # not in a child that forked and left by the front door
            action(*arguments)

    # The last registered goes first: the server stops, then its directory goes.
    atexit.register(act)


name()
