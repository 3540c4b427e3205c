"""Databases of single tests, for tests whose subprocesses must see what they commit."""

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from tests import run

_ROOT = Path(__file__).resolve().parent.parent


@dataclass
class OwnDatabase:
    """A database that only one test knows. *env* is the whole environment for its subprocesses."""

    vendor: str
    url: str
    log_dir: Path
    env: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.env = {
            **os.environ,
            "DATABASE_URL": self.url,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "CRONS_TEST_DATABASE": "",
            "CRM_LOG_DIR": str(self.log_dir),
            "PYTHONPATH": str(_ROOT),
        }

    def migrate(self) -> "OwnDatabase":
        """Give it all tables, and none of the rows it had.

        Cost: the first call of a run migrates a template (seconds); the others copy it (some 10 ms).
        """
        if self.vendor == "sqlite":
            for suffix in ("-wal", "-shm"):  # of the database that is replaced
                Path(f"{_path_of(self.url)}{suffix}").unlink(missing_ok=True)
            shutil.copyfile(_sqlite_template(), _path_of(self.url))
        else:
            template = _postgres_template(self.url)
            drop(self.url)
            _create(self.url, template)
        return self

    def prepared(self, name: str, prepare: Callable[["OwnDatabase"], None]) -> "OwnDatabase":
        """Give it what *prepare* made of a database that was migrated, known by *name*.

        Cost: the first call of a run prepares a template; the others copy it.
        """
        if self.vendor == "sqlite":
            template = OwnDatabase("sqlite", f"sqlite:///{run.directory() / name}.sqlite3", self.log_dir)
        else:
            template = OwnDatabase("postgresql", f"{_template_url(self.url, name)}", self.log_dir)
        with _once(f"{name}.ready") as is_first:
            if is_first:
                prepare(template.migrate())
        if self.vendor == "sqlite":
            shutil.copyfile(_path_of(template.url), _path_of(self.url))
        else:
            drop(self.url)
            _create(self.url, urlsplit(template.url).path.removeprefix("/"))
        return self

    def manage(self, *arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
        """Call manage.py with *arguments* on this database; the result has text stdout and stderr."""
        return _manage(self.env, *arguments, **options)


@contextmanager
def own_database(directory: Path) -> Iterator[OwnDatabase]:
    """Lend an empty database of the kind the tests run on; files go to *directory*."""
    server = run.database_url()
    log_dir = directory / "log"
    log_dir.mkdir()
    if server.startswith("sqlite"):
        yield OwnDatabase("sqlite", f"sqlite:///{directory / 'own.sqlite3'}", log_dir)
        return
    url = _sibling(server, f"crons_own_{uuid.uuid4().hex[:12]}")
    _create(url, "template0")
    try:
        yield OwnDatabase("postgresql", url, log_dir)
    finally:
        drop(url)


@contextmanager
def copies(database: OwnDatabase) -> Iterator[Callable[[Path], OwnDatabase]]:
    """Lend a way to copy *database*, which nobody may be using, into another folder or another database."""
    made: list[str] = []

    def copy(folder: Path) -> OwnDatabase:
        log_dir = folder / "log"
        log_dir.mkdir()
        if database.vendor == "sqlite":
            # Not the file alone: the newest commits may lie in its log.
            source, target = sqlite3.connect(_path_of(database.url)), sqlite3.connect(folder / "copy.sqlite3")
            with closing(source), closing(target):
                source.backup(target)
            return OwnDatabase("sqlite", f"sqlite:///{folder / 'copy.sqlite3'}", log_dir)
        url = _sibling(database.url, f"crons_own_{uuid.uuid4().hex[:12]}")
        made.append(url)
        _create(url, urlsplit(database.url).path.removeprefix("/"))
        return OwnDatabase("postgresql", url, log_dir)

    try:
        yield copy
    finally:
        for url in made:
            drop(url)


def drop(url: str) -> None:
    """Drop the PostgreSQL database of *url* where it exists; its connections are cut."""
    _administer(url, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(_name_of(url)))


def drop_template() -> None:
    """Drop what migrate() left on a server that outlives the run."""
    url = os.environ.get("DATABASE_URL", "")
    if url.startswith("postgres"):
        for ready in run.directory().glob("*.ready"):
            drop(_template_url(url, ready.stem))


def _sqlite_template() -> Path:
    path = run.directory() / "template.sqlite3"
    with _once("template.ready") as is_first:
        if is_first:
            _migrated(f"sqlite:///{path}")
    return path


def _postgres_template(url: str) -> str:
    template = _template_url(url)
    with _once("template.ready") as is_first:
        if is_first:
            _create(template, "template0")
            _migrated(template)
    return urlsplit(template).path.removeprefix("/")


def _migrated(url: str) -> None:
    env = {**os.environ, "DATABASE_URL": url, "CRONS_TEST_DATABASE": "", "PYTHONPATH": str(_ROOT)}
    env["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    done = _manage(env, "migrate", "--no-input", "--verbosity=0")
    if done.returncode:
        raise RuntimeError(f"migrate ended {done.returncode}: {done.stderr}")


def _manage(env: dict[str, str], *arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(_ROOT / "manage.py"), *arguments]
    given = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "timeout": 180, **options}
    return subprocess.run(command, env=env, **given)  # type: ignore[call-overload,no-any-return]


@contextmanager
def _once(name: str) -> Iterator[bool]:
    """Say True to the first process of the run that comes here and ends well, under a lock that all take."""
    ready = run.directory() / name
    with ready.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        is_first = not ready.exists()
        yield is_first
        ready.touch()


def _create(url: str, template: str) -> None:
    order = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(_name_of(url), sql.Identifier(template))
    _administer(url, order)


def _administer(url: str, order: sql.Composed) -> None:
    with psycopg.connect(_sibling(url, "postgres"), autocommit=True) as connection:
        connection.execute(order)


def _template_url(url: str, name: str = "template") -> str:
    return _sibling(url, f"crons_{name}_{run.name()}")


def _sibling(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def _name_of(url: str) -> sql.Identifier:
    return sql.Identifier(urlsplit(url).path.removeprefix("/"))


def _path_of(url: str) -> Path:
    return Path(urlsplit(url).path.removeprefix("/"))
