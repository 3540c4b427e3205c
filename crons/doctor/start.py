"""The start of the project in cron's own environment, and what a line needs of the disk."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator

from crons.doctor import bare, missing
from crons.doctor.findings import BAD, GOOD, Finding
from crons.jobs import ShellBody, registry
from crons.ledger import deployment
from crons.targets import CrontabTarget, crontab, state
from crons.targets.installation import Installation

# Set by every line that is written, and by Django.
OF_EVERY_START = ("DJANGO_SETTINGS_MODULE", "TZ")


def examine(name: str | None) -> Iterator[Finding]:
    """Start the project in cron's environment, and yield what differs from here."""
    installation = Installation.find(state.folder() / "log")
    started = bare.start(installation)
    yield from _variables(started)
    if started.stage != "end":
        stage = started.stage or "the interpreter"
        check = installation.shell(str(installation.manage_py), "check")
        variables = " ".join(f"{key}={value}" for key, value in bare.environment().items())
        yield Finding(
            "start",
            BAD,
            f"in cron's environment it stops at {stage} (exit {started.exit_code}): {started.last_line}",
            "a start that comes to its work",
            f"See it all: env -i {variables} /bin/sh -c {shlex.quote(check)}",
        )
        return
    yield Finding("start", GOOD, f"{installation.python} starts with {started.found['settings_module']}")
    here = deployment.here()
    if started.found["identity"] != here.identity:
        yield Finding(
            "database",
            BAD,
            f"cron's environment leads to {started.found['described']}",
            f"{here.described}, where this shell leads to",
            "Have both read the same: see the variables above, CRONS['ENV_FILE'].",
        )
    elif not started.found["has_tables"]:
        yield Finding("database", BAD, f"{here.described} lacks the tables of crons", "its tables", "manage.py migrate")
    else:
        yield Finding("database", GOOD, here.described)
    for module, why in started.found["broken"].items():
        hint = "Mend it; what it reads of the environment belongs into the settings, or into CRONS['ENV_FILE']."
        yield Finding(
            "declarations", BAD, f"{module} fails in cron's environment: {why}", "a module that declares", hint
        )
    wanted = {name} if name else set(registry.entries)
    if missing := sorted(wanted - set(started.found["entries"])):
        yield Finding(
            "entries",
            BAD,
            f"not declared in cron's environment: {', '.join(missing)}",
            "the same entries as here",
            "Look for what declares them only where a variable is set.",
        )
    if not started.found["enabled"]:
        yield Finding("enabled", BAD, "CRONS['ENABLED'] is off there", "on", "Set it, and CRONS_ENABLED, to on.")


def _variables(started: bare.Start) -> Iterator[Finding]:
    for name, is_set in started.differing(os.environ).items():
        if name not in OF_EVERY_START:
            yield Finding(
                f"variable {name}",
                BAD,
                "the settings read another value there" if is_set else "the settings read it, and cron has none",
                "what this shell has",
                missing.INTO_ENV_FILE,
            )


def examine_files(name: str | None) -> Iterator[Finding]:
    """Yield whether the logs can be written, and whether the programs of the jobs are there."""
    folder = Installation.find(state.folder() / CrontabTarget().key / "log").log_dir
    there = next(path for path in [folder, *folder.parents] if path.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        yield Finding("log directory", GOOD, str(folder))
    else:
        yield Finding(
            "log directory",
            BAD,
            f"{there} cannot be written by {crontab.account()}",
            "a directory that it may write",
            f"chown {crontab.account()} {there}, or set CRONS['LOG_DIR'].",
        )
    for each in registry.entries.values():
        body = registry.jobs[each.job].body
        if name in (None, each.name) and isinstance(body, ShellBody):
            yield from _program(each.name, body)


def _program(name: str, body: ShellBody) -> Iterator[Finding]:
    program = body.program[0]
    what, installation = f"program of {name}", Installation.find(state.folder())
    if "/" not in program:
        yield from missing.program(what, program, installation)
        return
    path = installation.folder / (body.cwd or "") / program
    if shutil.which(path) is None:
        yield Finding(what, BAD, f"{path} is not there, or not executable", "a program", "chmod +x it.")
