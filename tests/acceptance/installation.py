"""The CRM as an operator installs it: the code, var/crm.env, and .venv beside manage.py."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.databases import OwnDatabase

ROOT = Path(__file__).resolve().parents[2]
CODE = ("crm", "crons", "manage.py")
SETTINGS = f"CRM_SECRET_KEY={'acceptance-' * 5}\nCRM_HTTPS=0\n"


@dataclass(frozen=True)
class Installation:
    """A copy of this checkout at *place*, with tables, on SQLite."""

    place: Path

    @classmethod
    def make(cls, place: Path) -> Installation:
        """Install it at *place*, which must not exist."""
        place.mkdir(parents=True)
        for name in CODE:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, place / name)
        (place / ".venv").symlink_to(sys.prefix)
        (place / "var").mkdir()
        (place / "var" / "crm.env").write_text(SETTINGS)
        (place / "var" / "crm.env").chmod(0o600)
        made = cls(place)
        OwnDatabase("sqlite", f"sqlite:///{made.database}", place / "var" / "log").migrate()
        return made

    @property
    def database(self) -> Path:
        """The database's file."""
        return self.place / "var" / "crm.sqlite3"

    def manage(self, *arguments: str) -> str:
        """Run manage.py to its good end, with a bare environment; return what it printed."""
        command = [str(self.place / ".venv/bin/python"), str(self.place / "manage.py"), *arguments]
        done = subprocess.run(
            command,
            env={"PATH": "/usr/bin:/bin"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Read from the database, from outside."""
        with sqlite3.connect(f"file:{self.database}?mode=ro", timeout=30, uri=True) as connection:
            return connection.execute(statement).fetchall()

    def lines(self, name: str) -> list[str]:
        """Read a file of var/; one that is not there has no lines."""
        path = self.place / "var" / name
        return path.read_text().splitlines() if path.exists() else []
