"""`doctor NAME --run`: a run in cron's environment; of one that failed, what it lacked there and this shell has.

A guess from its output, by the words of shells, env and Python, which docs/howto/crontab.md promises: a job that works
here and fails under cron prints `KeyError: 'STRIPE_KEY'`, and this says where to put that variable.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from crons.doctor import bare
from crons.doctor.findings import BAD, GOOD, WARN, Finding
from crons.targets import state
from crons.targets.installation import Installation

COMPLAINT = re.compile(
    r"error|fail|not set|unset|unbound|missing|require|undefined|not found|no such file|set the", re.IGNORECASE
)
# As dash, bash and env say it.
NO_PROGRAM = re.compile(
    r"^\S*(?:sh|/)\S*: (?:line )?\d+: ([^\s:/]+): (?:command )?not found|^\S*env: \W?([\w.+-]+)\W?: No such",
    re.MULTILINE,
)
NO_FILE = re.compile(r"No such file or directory: '([^']+)'")
ASCII = re.compile(r"'ascii' codec can't (?:en|de)code")
LOCALE = ("LC_ALL", "LC_CTYPE", "LANG")
INTO_ENV_FILE = "Put it into the file that CRONS['ENV_FILE'] names, or into one that the settings read."


def run(name: str) -> tuple[bare.Ended, list[Finding]]:
    """Run an entry once besides its schedule, started as cron would start it; say how it ended, and what it lacked."""
    installation = Installation.find(state.folder() / "log")
    command = installation.shell(str(installation.manage_py), "crons", "run", name, "--manual")
    ended = bare.run(command, timeout_seconds=None)
    if not ended.exit_code:
        return ended, [Finding(f"run of {name}", GOOD, "it succeeded in cron's environment")]
    lacked = list(name_lacking(ended.output, installation))
    do = f"All that it wrote: manage.py crons log {name}. Does it work from this shell? manage.py crons run {name}"
    found = f"it ended with exit code {ended.exit_code} in cron's environment"
    return ended, [*lacked, Finding(f"run of {name}", BAD, found, "0", "Mend what is named above." if lacked else do)]


def name_lacking(output: str, installation: Installation) -> Iterator[Finding]:
    """Name what *output* complains of and this shell has."""
    complaints = [line for line in output.splitlines() if COMPLAINT.search(line)]
    text = "\n".join(complaints)
    words = set(re.findall(r"\w+", text))
    for name in sorted(words & set(os.environ) - set(bare.environment()) - {"_"}):
        yield Finding(
            f"variable {name}", BAD, "the run asks for it, and cron has none", "what this shell has", INTO_ENV_FILE
        )
    files = dict.fromkeys(NO_FILE.findall(text))
    programs = dict.fromkeys([one or other for one, other in NO_PROGRAM.findall(text)])
    # Python says of a program what it says of a file.
    programs |= dict.fromkeys(name for name in files if "/" not in name and shutil.which(name))
    for name in programs:
        yield from program(f"program {name}", name, installation)
    for name in files:
        if name not in programs:
            yield from _file(name, installation.folder)
    if ASCII.search(text) and any(os.environ.get(name) for name in LOCALE):
        yield Finding(
            "variable LANG",
            WARN,
            "cron has none, so programs may take all text for ASCII",
            "what this shell has",
            "Name the encoding where a file or a pipe is opened, or put LANG=C.UTF-8 into CRONS['ENV_FILE'].",
        )


def program(what: str, name: str, installation: Installation) -> Iterator[Finding]:
    """Say where the program *name* is in this shell, unless a line finds it too."""
    path, here = bare.path(installation), shutil.which(name)
    if shutil.which(name, path=path):
        return
    if here is None:
        found = f"{name} is on the PATH neither of cron, {path}, nor of this shell"
        yield Finding(what, BAD, found, "a program", "Install it; chmod +x.")
        return
    yield Finding(
        what,
        BAD,
        f"{name} is {here} in this shell, and not on cron's PATH={path}",
        "a program that cron finds",
        f"Name it by its absolute path, or put PATH={os.path.dirname(here)}:{path} into CRONS['ENV_FILE'].",
    )


def _file(name: str, folder: Path) -> Iterator[Finding]:
    if not os.path.isabs(name):
        if os.path.exists(name) and not (folder / name).exists():
            found = f"it is there from {Path.cwd()}, and a line starts in {folder}"
            yield Finding(f"file {name}", BAD, found, "a file from anywhere", "Name it by its absolute path.")
        return
    home, here = bare.environment()["HOME"], os.environ.get("HOME", "")
    if here and here != home and name.startswith(f"{home}/") and os.path.exists(here + name.removeprefix(home)):
        yield Finding(
            "variable HOME",
            BAD,
            f"it is {home} under cron, the home of the account; there is no {name}",
            f"{here}, as in this shell",
            "Put the file into the account's home, or call this as the account whose home it is.",
        )
