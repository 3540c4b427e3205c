"""Where this project is installed, and how somebody who knows nothing of it starts its commands."""

from __future__ import annotations

import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from crons.conf import conf
from crons.exceptions import TargetError

# In a crontab line: cron turns \% into %, and releases differ in what they make of other backslashes.
UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(frozen=True)
class Installation:
    """The interpreter, manage.py and settings of this process, as absolute paths."""

    python: Path
    manage_py: Path
    settings_module: str
    env_file: Path | None
    log_dir: Path

    @property
    def folder(self) -> Path:
        """The project's directory, in which its commands start."""
        return self.manage_py.parent

    @property
    def variables(self) -> str:
        """What stands before the interpreter on a line."""
        return f"DJANGO_SETTINGS_MODULE={shlex.quote(self.settings_module)} " if self.settings_module else ""

    @classmethod
    def find(cls, log_dir: Path) -> Installation:
        """Return that of this process; *log_dir* unless CRONS["LOG_DIR"] says another.

        Raises: TargetError if there is no manage.py, or a path cannot be written on a crontab line.
        """
        module = os.environ.get("DJANGO_SETTINGS_MODULE", "")
        # Not resolved: the link .venv/bin/python is what makes it the environment's, and "current" a release.
        found = cls(_absolute(sys.executable), _manage_py(), module, conf.env_file, conf.log_dir or log_dir)
        for path in (found.python, found.manage_py, found.env_file, found.log_dir):
            if path is not None and UNSAFE.search(str(path)):
                raise TargetError(
                    f"the path {str(path)!r} has a backslash or a control character, which a crontab line cannot "
                    "carry safely: install the project, or set CRONS['LOG_DIR'], elsewhere."
                )
        return found

    def command(self, *words: str, log: str) -> bytes:
        """Write the shell command that runs `manage.py …` from anywhere, with what it prints appended to *log*."""
        # In braces, so that errors of cd and of the environment file go into the log as well: cron would mail them.
        line = f"{{ {self.shell(str(self.manage_py), *words)}; }} >> {_quoted(self.log_dir / log)} 2>&1"
        return os.fsencode(line)

    def shell(self, *words: str) -> str:
        """Write the shell command that has the interpreter run *words* from anywhere."""
        parts = [f"cd {_quoted(self.folder)}"]
        if self.env_file is not None:
            parts.append(f"set -a && . {_quoted(self.env_file)} && set +a")
        parts.append(self.variables + shlex.join([str(self.python), *words]))
        return " && ".join(parts)

    def make_log_dir(self) -> None:
        """Make the directory of the logs.

        Raises: TargetError if lines could not write there: the shell would end before the job begins.
        """
        try:
            self.log_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            why = error.strerror
            if self.log_dir.is_symlink():
                why = f"it is a link to {os.readlink(self.log_dir)}, which is no directory"
            raise TargetError(
                f"the log directory {self.log_dir} cannot be made: {why}. "
                "Make it writable for this account, or set CRONS['LOG_DIR']."
            ) from error
        if not os.access(self.log_dir, os.W_OK | os.X_OK):
            raise TargetError(
                f"this account may not write to the log directory {self.log_dir}: make it writable, "
                "or set CRONS['LOG_DIR']."
            )


def _manage_py() -> Path:
    called = Path(sys.argv[0])
    tried = [_absolute(called)] if called.name == "manage.py" else []
    tried += [Path(folder) / "manage.py" for folder in (getattr(settings, "BASE_DIR", None), Path.cwd()) if folder]
    for path in tried:
        if path.is_file():
            return path
    raise TargetError(
        f"manage.py was not found; looked for {', '.join(map(str, tried))}. "
        "Call this as manage.py crons …, or set BASE_DIR in the settings to the directory of manage.py."
    )


def _absolute(path: str | Path) -> Path:
    # $PWD keeps links such as /srv/shop/current, which getcwd() resolves; it is believed only where both are one place.
    cwd, pwd = Path.cwd(), os.environ.get("PWD", "")
    start = Path(pwd) if os.path.isabs(pwd) and os.path.exists(pwd) and os.path.samefile(pwd, cwd) else cwd
    return Path(os.path.normpath(start / path))


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
