"""Crontab files in the project: a line that calls an entry point of ours is bound to that job's entry."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePath

from django.core.management import get_commands

from crons.conf import conf
from crons.exceptions import DeclarationError, InvalidSetting
from crons.extensions import extensions
from crons.jobs import CommandBody, Job, registry
from crons.sources.base import Binding, Problem, Reading, Source, without_secrets
from crons.sources.shell_words import programs

UNREADABLE = (
    "Name each file by its path in CRONS['CRONTAB_FILES'] (a pattern such as *.txt is none), as UTF-8, and readable by "
    "this account; what is gone for good, take out of the setting. The other files are read all the same."
)
FIX = (
    "A line is five time fields (or a nickname) and a command; settings are NAME=value; # starts a comment. "
    "cron refuses a whole file for one line that is none."
)
LINE = re.compile(r"\s*(?P<schedule>@\w+|(?:\S+\s+){4}\S+)\s+(?P<command>\S.*)\Z")
# Those that crontab files of projects name; a program of such a name would have to be called by its path.
ACCOUNTS = frozenset({"root", "www-data", "nginx", "apache", "nobody", "ubuntu", "django"})
LOOKS = ("tick", "serve")  # verbs of manage.py crons that begin whatever is due
SETTING = re.compile(r"""\s*(?:[A-Za-z_]\w*|'[^']*'|"[^"]*")\s*=""")


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
        """Return a binding for each line that calls a declared job, a problem for each other line."""
        bindings, problems = [], []
        try:
            paths = conf.crontab_files
        except InvalidSetting as error:
            return Reading(problems=(Problem("E001", str(error), "It takes a list of paths.", is_broken=True),))
        for path in paths:
            try:
                lines, faults = read_file(path)
            except DeclarationError as error:
                problems.append(Problem("W071", without_secrets(str(error)), UNREADABLE, is_broken=True))
                continue
            problems += [Problem("W071", without_secrets(fault), FIX, is_broken=True) for fault in faults]
            for line in lines:
                name = job_of(line.command)
                if past := job_past_ledger(line.command):
                    problems.append(_past(line, past))
                elif name is None and not any(map(looks_at_clock, programs(line.command))):
                    message = without_secrets(f"{line.ref} calls no declared job: {line.command}")
                    problems.append(Problem("W031", message, NO_JOB))
                elif name is not None:
                    bindings.append(Binding(name, line.schedule_text, line.ref))
        return Reading((), tuple(bindings), tuple(problems))


NO_JOB = "Name a script after its job, or call manage.py crons run NAME --scheduled, to have it accounted for."


def read_file(path: Path) -> tuple[list[Line], list[str]]:
    """Return the job lines of a crontab file, in order, and what is wrong with those that are none.

    Raises: DeclarationError if the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeclarationError(f"the crontab file {path} cannot be read: {error}.") from error
    lines: list[Line] = []
    faults: list[str] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        if not raw.strip() or raw.lstrip().startswith("#") or SETTING.match(raw):
            continue
        found = LINE.match(raw)
        if found is None:
            faults.append(f"{path}:{number}: {raw!r} is not a crontab line.")
            continue
        command = _without_account(found["command"], path)
        lines.append(Line(f"{path.name}:{number}", " ".join(found["schedule"].split()), command))
    return lines, faults


def command_of(raw: str, *, of_system: bool = False) -> str:
    """Return the command of one line of a crontab; empty where it is none. *of_system*: an account stands before it."""
    found = LINE.match(raw)
    if found is None or raw.lstrip().startswith("#") or SETTING.match(raw):
        return ""
    return found["command"].partition(" ")[2].strip() if of_system else found["command"]


def _without_account(command: str, path: Path) -> str:
    """Return *command* without the account that runs it, which lines of /etc/crontab and /etc/cron.d have."""
    first, _, rest = command.partition(" ")
    is_of_system = path == Path("/etc/crontab") or path.parent.name == "cron.d"
    return rest.strip() if rest.strip() and (is_of_system or first in ACCOUNTS) else command


def job_of(command: str) -> str | None:
    """Return the declared entry that a crontab command calls, or None.

    It calls one by `crons run NAME`, or by a script or management command of the job's name.
    """
    return next((name for name in map(entry_of, programs(command)) if name), None)


def job_past_ledger(command: str) -> Job | None:
    """Return the job whose management command a line calls by itself: the ledger sees nothing of that."""
    called = {words[1] for words in programs(command) if is_django(words) and len(words) > 1}
    bodies = ((job, job.body) for job in registry.jobs.values())
    return next((job for job, body in bodies if isinstance(body, CommandBody) and body.command_name in called), None)


def is_django(words: list[str]) -> bool:
    """Say whether a program, called with these words, is Django's command line."""
    return PurePath(words[0]).name in ("manage.py", "django-admin")


def looks_at_clock(words: list[str]) -> bool:
    """Say whether a program, called with these words, begins what is due, whatever that is."""
    verb, *args = words[1:] if is_django(words) else [""]
    if verb == "crons":
        return next((word for word in args if word in ("run", *LOOKS)), "") in LOOKS
    apps = {app for each in extensions() for command, app in each.commands.items() if command == verb}
    return bool(apps) and get_commands().get(verb) in apps


def begins_jobs(words: list[str]) -> bool:
    """Say whether a program, called with these words, enters the ledger; not all that this project has does."""
    return looks_at_clock(words) or entry_of(words) is not None


def _past(line: Line, job: Job) -> Problem:
    return Problem(
        "W082",
        f"{line.ref} calls the management command of the job {job.name} by itself: it does the work past the ledger, "
        "so that it is done twice as soon as something fires the job.",
        f"Have the line call manage.py crons run {job.name} --scheduled; or take it away, where something else fires.",
    )


def entry_of(words: list[str]) -> str | None:
    """Return the entry that one program, called with these words, fires."""
    program = PurePath(words[0])
    if is_django(words):
        command, *args = words[1:2] or [""], *words[2:]
        name = _run_by(args) if command == ["crons"] else command[0]
    elif program.suffix or "/" in words[0]:
        name = program.stem
    else:
        return None  # a program of the machine, such as cp: no job's, whatever it is called
    return name if name in registry.entries else None


def _run_by(args: list[str]) -> str:
    """Return the entry that `crons run …` names; empty for other verbs."""
    words = [word for word in args if not word.startswith("-")]
    if not words or words[0] != "run":
        return ""
    return next((word for word in words[1:] if word in registry.entries), "")
