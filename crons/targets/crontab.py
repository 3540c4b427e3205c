"""An account's crontab, through the program of that name."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from django.utils import timezone

from crons import deployment
from crons.conf import conf
from crons.exceptions import TargetError
from crons.jobs import Declaration
from crons.targets import blocks, crond, fitting, state
from crons.targets.base import Plan, Target, Unfit
from crons.targets.installation import Installation

TICK, PER_JOB = "tick", "per-job"
LONGEST_COMMAND = 998  # in bytes; Debian's cron refuses the whole crontab for one that is longer
TIMEOUT_SECONDS = 30
NO_CRONTAB = re.compile(rb"no crontab for|can't open '[^/]")
# Debian's crontab -l writes a carriage return and a backspace as these two letters.
MASKED = {b"\r": b"\\r", b"\b": b"\\b"}
TICK_REMEDY = "One tick line fires everything: manage.py crons apply --tick."


class CrontabTarget(Target):
    """A marked block in the crontab of the account that this process runs as."""

    name = "crontab"

    def __init__(self, *, take_over: bool = False) -> None:
        super().__init__(take_over=take_over)
        self.key = hashlib.sha256(deployment.here().identity.encode()).hexdigest()[:16]
        self.place = hashlib.sha256(deployment.located().identity.encode()).hexdigest()[:8]
        self.backups = state.Backups(self.key)

    def plan(self, declarations: Iterable[Declaration], *, mode: str | None = None) -> Plan:
        """Compare the block with what the declarations say."""
        found = read()
        content = found or b""
        block = blocks.find(content, self.key)
        self._refuse_of_others(block)
        installation = Installation.find(state.folder() / self.key / "log")
        mode = mode or (block.facts.get("mode", TICK) if block else TICK)
        lines, refused = _lines(declarations, installation, mode, timezone.now())
        head = b"# " + os.fsencode(installation.folder)
        new = blocks.make(self.key, [head, *lines], mode=mode, place=self.place)
        above = blocks.settings_above(content, block) if block else []
        # Where it stands and nothing of others reaches it, it stays: a crontab may begin with a comment on itself.
        stays = block is not None and not above and content[block.start : block.end] == new
        return Plan(
            target=self.name,
            mode=mode,
            found=found,
            wanted=found if stays else blocks.replace(content, block, new),
            ours=_shown(content, block),
            ours_wanted=tuple(_text(new).splitlines()),
            drift=_drift(block, above),
            refused=refused,
            notes=tuple(_notes(installation)),
        )

    def plan_undo(self, *, everything: bool = False) -> Plan:
        """Take our block out, or put that of the newest backup in its place; what others changed since stays."""
        found = read()
        content = found or b""
        block = blocks.find(content, self.key)
        self._refuse_of_others(block)
        kept = None if everything else self.backups.newest()
        if kept is None and not everything:
            raise TargetError(
                f"nothing to undo: no backup in {self.backups.folder}. "
                "To take our lines out altogether: manage.py crons undo --all"
            )
        before = self.backups.read(kept) if kept else None
        old = blocks.find(before or b"", self.key)
        new = (before or b"")[old.start : old.end] if old else b""
        wanted = blocks.replace(content, block, new)
        return Plan(
            target=self.name,
            mode=old.facts.get("mode", TICK) if old else "",
            found=found,
            # Where there was no crontab before ours, and nothing came since, there is none again.
            wanted=None if not wanted and before is None else wanted,
            ours=_shown(content, block),
            ours_wanted=tuple(_text(new).splitlines()),
            drift=_drift(block, []),
            undoes=kept,
        )

    def write(self, plan: Plan) -> Path | None:
        """Install what *plan* wants, with a backup of what was there."""
        with state.locked(self.name):
            self.backups.prepare()
            Installation.find(state.folder() / self.key / "log").make_log_dir()
            _refuse_changed(plan)
            kept = self.backups.keep(plan.found)
            try:
                _install(plan.wanted)
            except TargetError:
                self.backups.drop(kept)
                raise
            _verify(plan, kept)
            return kept

    def write_undo(self, plan: Plan) -> Path | None:
        """Install what *plan* wants, and keep what it undid."""
        with state.locked(self.name):
            _refuse_changed(plan)
            undone = self.backups.keep(plan.found, suffix=state.UNDONE)
            if not plan.is_in_step:
                _install(plan.wanted)
                _verify(plan, undone)
            if plan.undoes is not None:
                self.backups.drop(plan.undoes)
            return undone

    def _refuse_of_others(self, block: blocks.Block | None) -> None:
        if block is None or self.take_over or not conf.identity or block.facts.get("place") == self.place:
            return
        where = _text(block.body).partition("\n")[0].removeprefix("# ")
        raise TargetError(
            f"the crontab has a block of {conf.identity!r} for another database, written in {where}: two projects "
            "with one CRONS['IDENTITY']? Give each its own. If the database of this one has moved: --take-over"
        )


def read() -> bytes | None:
    """Return this account's crontab, byte for byte; None where it has none.

    Raises: TargetError if it cannot be read, or not faithfully.
    """
    done = _call("-l")
    if done.returncode:
        if NO_CRONTAB.search(done.stderr):
            return None
        raise _refused("read", done.stderr)
    listed = done.stdout
    if not any(masked in listed for masked in MASKED.values()):
        return listed
    # Those letters, or the bytes that -l shows so? Editing gives the file itself, and cat changes nothing of it.
    edited = _call("-e", VISUAL="cat", EDITOR="cat")
    if edited.returncode == 0 and listed in (edited.stdout, _masked(edited.stdout)):
        return edited.stdout
    raise TargetError(
        "the crontab holds carriage returns or backspaces, or \\r or \\b in letters, and neither crontab -l nor "
        "crontab -e tells which, so it could not be written back as it is: nothing was changed. "
        "Take them out with crontab -e."
    )


def _call(*words: str, given: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("crontab") or shutil.which("crontab", path="/usr/bin:/bin")
    if program is None:
        raise TargetError(
            "there is no program crontab here: install cron (apt-get install cron), "
            "or use a scheduler of our own: manage.py crons serve"
        )
    try:
        return subprocess.run(
            [program, *words],
            input=given,
            capture_output=True,
            env={**os.environ, "LC_ALL": "C", **env},
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TargetError(f"crontab {' '.join(words)} did not end within {TIMEOUT_SECONDS} seconds.") from error
    except OSError as error:
        raise TargetError(f"{program} cannot be started: {error.strerror}.") from error


def _install(content: bytes | None) -> None:
    done = _call("-r") if content is None else _call("-", given=content)
    if done.returncode:
        raise _refused("written", done.stderr)


def _refused(deed: str, stderr: bytes) -> TargetError:
    told = " ".join(_text(stderr).split()) or "it did not say why"
    user = account()
    why = ""
    if "not allowed" in told:
        why = f" {crond.objection(user) or f'Root must let {user!r} in, see {crond.ALLOW} and {crond.DENY}.'}"
    return TargetError(f"the crontab of {user} could not be {deed}, and nothing was changed: crontab says: {told}{why}")


def _refuse_changed(plan: Plan) -> None:
    if read() != plan.found:
        raise TargetError("the crontab was changed since it was planned, so nothing was written: look at it again.")


def _verify(plan: Plan, kept: Path) -> None:
    if read() != plan.wanted:
        raise TargetError(
            "the crontab, read back, is not what was written: somebody else changed it at the same moment. "
            f"What it was before is in {kept}; look at both."
        )


def _lines(
    declarations: Iterable[Declaration], installation: Installation, mode: str, now: datetime
) -> tuple[list[bytes], tuple[tuple[str, str], ...]]:
    if mode == TICK:
        return [_line("* * * * *", installation.command("crons", "tick", log="tick.log"))], ()
    machine, where = crond.zone()
    lines, refused = [], []
    for each in sorted(declarations, key=lambda declaration: declaration.name):
        zone = each.schedule.zone or conf.time_zone
        try:
            command = installation.command("crons", "run", each.name, "--scheduled", log=f"{each.name}.log")
            texts = fitting.texts(each.schedule, ZoneInfo(zone), machine, now)
            lines += [_line(text, command) for text in texts]
        except Unfit as error:
            clocks = f"; its zone is {zone}, cron's is {where}" if "zone" in str(error) else ""
            refused.append(
                (each.name, f"{each.schedule.text!r} cannot be a crontab line: {error}{clocks}. {TICK_REMEDY}")
            )
    return lines, tuple(refused)


def _line(schedule: str, command: bytes) -> bytes:
    escaped = command.replace(b"%", b"\\%")
    if len(escaped) > LONGEST_COMMAND:
        raise TargetError(
            f"a line would have {len(escaped)} bytes behind its schedule and cron takes {LONGEST_COMMAND}: "
            "install the project under a shorter path."
        )
    return schedule.encode() + b" " + escaped


def _drift(block: blocks.Block | None, above: list[tuple[int, str]]) -> str:
    if block is None:
        return ""
    told = [] if block.is_as_written else ["it was edited by hand"]
    told += [f"{name}= on line {number} stands above it and holds for it" for number, name in above]
    return "; ".join(told)


def _notes(installation: Installation) -> Iterable[str]:
    owner = installation.manage_py.stat().st_uid
    if owner != os.getuid():
        yield (
            f"{installation.folder} belongs to the user id {owner} and this is the crontab of {account()}: "
            "jobs will run as that account. If that is not meant, call this as the owner."
        )
    if installation.env_file is not None and not os.access(installation.env_file, os.R_OK):
        yield f"CRONS['ENV_FILE'], {installation.env_file}, cannot be read: no line would get beyond it."
    if objection := crond.objection(account()):
        yield objection


def account() -> str:
    """Name the account whose crontab this is: as the kernel knows it, for that is what crontab goes by."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _shown(content: bytes, block: blocks.Block | None) -> tuple[str, ...]:
    return tuple(_text(content[block.start : block.end]).splitlines()) if block else ()


def _masked(content: bytes) -> bytes:
    for byte, letters in MASKED.items():
        content = content.replace(byte, letters)
    return content


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
