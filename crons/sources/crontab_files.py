"""Crontab files in the project: a line that calls an entry point of ours is bound to that job's entry."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path, PurePath

from crons.conf import conf
from crons.exceptions import DeclarationError, InvalidSetting
from crons.jobs import registry
from crons.sources.base import Binding, Problem, Reading, Source

FIX = "A line is five time fields (or a nickname) and a command; settings are NAME=value; # starts a comment."
LINE = re.compile(r"\s*(?P<schedule>@\w+|(?:\S+\s+){4}\S+)\s+(?P<command>\S.*)\Z")
SETTING = re.compile(r"\s*[A-Za-z_]\w*\s*=")


@dataclass(frozen=True)
class Line:
    """One job line of a crontab file."""

    ref: str
    schedule_text: str
    command: str


class CrontabFilesSource(Source):
    """Reads CRONS["CRONTAB_FILES"]; it only binds: a shell command never becomes a job by being read."""

    name = "crontab_files"

    def read(self) -> Reading:
        """Return a door for each line that calls a declared job, a problem for each other line."""
        bindings, problems = [], []
        try:
            paths = conf.crontab_files
        except InvalidSetting as error:
            return Reading(problems=(Problem("E001", str(error), "It takes a list of paths."),))
        for path in paths:
            try:
                for line in read_file(path):
                    name = job_of(line.command)
                    if name is None:
                        problems.append(Problem("W031", f"{line.ref} calls no declared job: {line.command}", NO_JOB))
                    else:
                        bindings.append(Binding(name, line.schedule_text, line.ref))
            except DeclarationError as error:
                problems.append(Problem("E031", str(error), FIX))
        return Reading((), tuple(bindings), tuple(problems))


NO_JOB = "Name a script after its job, or call manage.py crons run NAME --scheduled, to have it accounted for."


def read_file(path: Path) -> list[Line]:
    """Return the job lines of a crontab file, in order.

    Raises: DeclarationError if the file cannot be read or a line is none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeclarationError(f"the crontab file {path} cannot be read: {error}.") from error
    lines = []
    for number, raw in enumerate(text.splitlines(), start=1):
        if not raw.strip() or raw.lstrip().startswith("#") or SETTING.match(raw):
            continue
        found = LINE.match(raw)
        if found is None:
            raise DeclarationError(f"{path}:{number}: {raw!r} is not a crontab line.")
        lines.append(Line(f"{path.name}:{number}", " ".join(found["schedule"].split()), found["command"]))
    return lines


def job_of(command: str) -> str | None:
    """Return the declared entry that a crontab command calls, or None.

    It calls one by `crons run NAME`, by a script or management command of the job's name.
    """
    try:
        words = shlex.split(command, comments=False)
    except ValueError:
        words = command.split()
    for before, word in zip(["", *words], words, strict=False):
        name = word if before in ("run", "manage.py") or before.endswith("/manage.py") else PurePath(word).stem
        if name in registry.entries:
            return name
    return None
