"""systemd as a target: timers and services of this deployment, in the account's own units or the machine's."""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings
from django.utils import timezone

from crons.conf import conf
from crons.contrib.systemd import oncalendar, systemctl, unit_files, units
from crons.exceptions import TargetError
from crons.jobs import Declaration, registry
from crons.targets import PER_JOB, SERVE, TICK, Installation, Plan, Target, Unfit, Words, state

SYSTEM_UNITS = Path("/etc/systemd/system")
EVERY_MINUTE = ["*-*-* *:*:00 UTC"]
# Beyond the scheduler's own grace: what it needs to cancel the rest and write that down.
STOP_MARGIN_SECONDS = 20
# A look that the database does not answer is cut after a lease, and tried once more.
WATCHDOG_MARGIN_SECONDS = 60
NAME_LONGEST = 255


class SystemdTarget(Target):
    """Unit files of the account's own manager, or with *system* of the machine's, as *account*."""

    name = "systemd"
    modes: ClassVar[tuple[str, ...]] = (TICK, PER_JOB, SERVE)
    words = Words("the set of systemd units", "our part", "timer")
    options: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "system": {"action": "store_true", "help": "systemd: the machine's units, not this account's."},
        "account": {"metavar": "NAME", "help": "systemd --system: who the jobs run as; manage.py's owner."},
    }

    def __init__(self, *, take_over: bool = False, system: bool = False, account: str | None = None) -> None:
        super().__init__(take_over=take_over)
        self.system = system
        self.account = account
        self.folder = SYSTEM_UNITS if system else _home() / ".config" / "systemd" / "user"
        self.prefix = unit_files.prefix(self.key)
        self.scope = f"systemd-{'system' if system else 'user'}"
        self.backups = state.Backups(f"{self.scope}-{self.key}", file=".units")
        if account and not system:
            raise TargetError("--account goes with --system: an account's own units run as that account.")

    def plan(self, declarations: Iterable[Declaration], *, mode: str | None = None) -> Plan:
        """Compare our unit files with what the declarations say."""
        found = unit_files.read(self.folder, self.key)
        self._refuse_of_others(found)
        mode = mode or self._mode_of(found)
        installation = self._installation()
        wanted, refused = self._wanted(list(declarations), installation, mode)
        return self._planned(found, wanted, mode, refused=refused, notes=tuple(self._notes(installation, wanted)))

    def plan_undo(self, *, everything: bool = False) -> Plan:
        """Take our units out, or put those of the newest backup in their place."""
        found = unit_files.read(self.folder, self.key)
        self._refuse_of_others(found)
        kept = None if everything else self.backups.newest(but=unit_files.dumped(found))
        if kept is None and not everything:
            raise TargetError(
                f"nothing to undo: no backup in {self.backups.folder}. "
                "To take our units out altogether: manage.py crons undo --to systemd --all"
            )
        wanted = unit_files.loaded(self.backups.read(kept) if kept else None)
        return self._planned(found, wanted, self._mode_of(wanted) if wanted else "", undoes=kept)

    def started(self) -> tuple[list[str], list[str]]:
        """List our installed units that start by themselves, and those of them that do not run now."""
        names = unit_files.starting(unit_files.read(self.folder, self.key))
        if not names or systemctl.is_running(system=self.system):
            return names, systemctl.inactive(names, system=self.system)
        return names, names

    def write(self, plan: Plan) -> Path | None:
        """Write the files, and have systemd know and start them, with a backup of what was there."""
        with self._alone(plan):
            self._make_log_dir()
            kept = self.backups.keep(plan.found)
            try:
                self._have(unit_files.loaded(plan.found), unit_files.loaded(plan.wanted))
            except TargetError:
                self.backups.drop(kept)
                raise
            return kept

    def write_undo(self, plan: Plan) -> Path | None:
        """Have what *plan* wants, and keep what it undid."""
        with self._alone(plan):
            undone = self.backups.keep(plan.found, suffix=state.UNDONE)
            self._have(unit_files.loaded(plan.found), unit_files.loaded(plan.wanted))
            if plan.undoes is not None:
                self.backups.use(plan.undoes)
            return undone

    @contextmanager
    def _alone(self, plan: Plan) -> Iterator[None]:
        """Keep others of us out; refuse where somebody was faster, or the files are not for this account."""
        with state.locked(self.scope):
            self.backups.prepare()
            if self.system and not os.access(self.folder, os.W_OK):
                raise TargetError(f"{self.folder} is root's: call this as root (sudo), or without --system.")
            if unit_files.dumped(unit_files.read(self.folder, self.key)) != plan.found:
                raise TargetError("the units were changed since they were planned, so nothing was written: look again.")
            yield

    def _have(self, found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
        runs = systemctl.is_running(system=self.system)
        starting = unit_files.starting(wanted)
        gone = [name for name in unit_files.starting(found) if name not in starting]
        changed = [name for name in starting if wanted[name] != found.get(name)]
        if runs and gone:
            # Not waited for: a scheduler that ends writes to the database, where this change is being recorded.
            systemctl.run("disable", "--now", "--no-block", *gone, system=self.system)
        try:
            unit_files.write(self.folder, found, wanted)
            if runs:
                self._start(changed)
        except (OSError, TargetError) as error:
            with suppress(OSError, TargetError):
                unit_files.write(self.folder, wanted, found)
                if runs:
                    self._start(unit_files.starting(found))
            raise TargetError(f"{_message(error)}. The units were put back as they were.") from error

    def _start(self, names: Sequence[str]) -> None:
        systemctl.run("daemon-reload", system=self.system)
        if names:
            systemctl.run("enable", *names, system=self.system)
            # Not "enable --now": what runs already would keep its old times.
            systemctl.run("restart", "--no-block", *names, system=self.system)

    def _wanted(
        self, declarations: list[Declaration], installation: Installation, mode: str
    ) -> tuple[dict[str, str], tuple[tuple[str, str], ...]]:
        command = self._command(installation)
        bodies: dict[str, list[str]] = {}
        refused: list[tuple[str, str]] = []
        where = str(installation.folder)
        if mode == SERVE:
            bodies[f"{self.prefix}.service"] = command.service(f"Scheduler of {where}", "crons", "serve", stays=True)
        if mode == PER_JOB:
            timers, refused = self._timers(declarations)
            if timers:
                bodies |= timers
                bodies[f"{self.prefix}-run@.service"] = command.service(
                    f"Job of {where}", "crons", "run", "%I", "--scheduled"
                )
        if mode == TICK or refused:
            bodies[f"{self.prefix}.service"] = command.service(f"Tick of {where}", "crons", "tick", "--while-busy")
            bodies[f"{self.prefix}.timer"] = units.timer(f"Tick of {where}", EVERY_MINUTE, persistent=False)
        made = {name: units.make(self.key, body, mode=mode, place=self.place) for name, body in sorted(bodies.items())}
        return made, tuple(refused)

    def _timers(self, declarations: list[Declaration]) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
        now = timezone.now()
        made, refused = {}, []
        for each in sorted(declarations, key=lambda declaration: declaration.name):
            name = f"{self.prefix}-run@{units.escaped(each.name)}.timer"
            zone = each.schedule.zone or conf.time_zone
            try:
                _refuse_overlapping(each)
                if len(name) > NAME_LONGEST:
                    raise Unfit(f"its unit's name would have {len(name)} characters, and systemd takes {NAME_LONGEST}")
                calendars = oncalendar.texts(each.schedule, zone, now)
            except Unfit as error:
                refused.append((each.name, f"{each.schedule.text!r} in {zone}: {error}; the tick timer fires it"))
                continue
            if calendars:
                made[name] = units.timer(f"Slots of {each.name}", calendars, persistent=True)
        return made, refused

    def _command(self, installation: Installation) -> units.Command:
        env = {"DJANGO_SETTINGS_MODULE": installation.settings_module} if installation.settings_module else {}
        return units.Command(
            folder=str(installation.folder),
            program=[str(installation.python), str(installation.manage_py)],
            account=self._account(installation) if self.system else "",
            env=env,
            env_file=str(installation.env_file or ""),
            writable=_writable(),
            stop_seconds=int(conf.drain.total_seconds()) + STOP_MARGIN_SECONDS,
            watchdog_seconds=int(2 * conf.lease.total_seconds()) + WATCHDOG_MARGIN_SECONDS,
        )

    def _installation(self) -> Installation:
        found = Installation.find(state.folder() / self.key / "log")
        if set("'\"") & set(str(found.python)):
            raise TargetError(
                f"the path {found.python} has a quote, and systemd starts no program of such a name: "
                "make the environment elsewhere."
            )
        return found

    def _account(self, installation: Installation) -> str:
        if self.account:
            with suppress(KeyError):
                return pwd.getpwnam(self.account).pw_name
            raise TargetError(f"there is no account {self.account!r} on this machine: expected one for --account.")
        owner = installation.manage_py.stat().st_uid
        if not owner:
            raise TargetError(
                f"{installation.manage_py} belongs to root, and jobs do not run as root unasked: "
                "name the account that they run as with --account NAME."
            )
        try:
            return pwd.getpwuid(owner).pw_name
        except KeyError as error:
            raise TargetError(
                f"{installation.manage_py} belongs to the user id {owner}, which has no name: "
                "name the account that jobs run as with --account NAME."
            ) from error

    def _planned(
        self,
        found: Mapping[str, str],
        wanted: Mapping[str, str],
        mode: str,
        *,
        refused: tuple[tuple[str, str], ...] = (),
        notes: tuple[str, ...] = (),
        undoes: Path | None = None,
    ) -> Plan:
        edited = [name for name, content in found.items() if not units.is_as_written(content, self.key)]
        return Plan(
            target=self.name,
            mode=mode,
            found=unit_files.dumped(found),
            wanted=unit_files.dumped(wanted),
            ours=unit_files.describe(found),
            ours_wanted=unit_files.describe(wanted),
            drift=f"edited by hand: {', '.join(edited)}" if edited else "",
            refused=refused,
            notes=notes,
            ticks=True,
            undoes=undoes,
        )

    def _notes(self, installation: Installation, wanted: Mapping[str, str]) -> Iterable[str]:
        starts = unit_files.starting(wanted)
        if starts and not systemctl.is_running(system=self.system):
            yield (
                f"no systemd answers here, so apply writes the files only. Where one runs, type: "
                f"{systemctl.command('daemon-reload', system=self.system)} && "
                f"{systemctl.command('enable', '--now', *(_shell(name) for name in starts), system=self.system)}"
            )
        elif dead := systemctl.inactive([name for name in starts if (self.folder / name).exists()], system=self.system):
            remedy = systemctl.command("start", *map(_shell, dead), system=self.system)
            yield f"not running: {', '.join(dead)}; type: {remedy}"
        if not self.system:
            user = _user()
            if not Path("/var/lib/systemd/linger", user).exists():
                yield f"units of {user} run while {user} is logged in; to have them run always: loginctl enable-linger"
        if (path := installation.env_file) is not None:
            yield from _env_file_notes(path)

    def _mode_of(self, found: Mapping[str, str]) -> str:
        known = [units.facts(content, self.key) or {} for content in found.values()]
        return next((each["mode"] for each in known if each.get("mode") in self.modes), TICK)

    def _refuse_of_others(self, found: Mapping[str, str]) -> None:
        if self.take_over or not conf.identity:
            return
        for name, content in found.items():
            if (units.facts(content, self.key) or {}).get("place") != self.place:
                raise TargetError(
                    f"{self.folder / name} is of {conf.identity!r} for another database: two projects with one "
                    "CRONS['IDENTITY']? Give each its own. If the database of this one has moved: --take-over"
                )

    def _make_log_dir(self) -> None:
        path = conf.log_dir
        if path is None or path.exists():
            return
        installation = self._installation()
        installation.make_log_dir()
        if self.system:
            account = pwd.getpwnam(self._account(installation))
            os.chown(path, account.pw_uid, account.pw_gid)


def _refuse_overlapping(declaration: Declaration) -> None:
    found = registry.jobs.get(declaration.job)
    if found is not None and found.policy.overlap == "allow":
        raise Unfit("it may overlap itself, and systemd starts no service that runs already")


def _writable() -> list[str]:
    """List the directories that jobs are known to write to."""
    databases = [
        Path(str(each["NAME"])).parent
        for each in settings.DATABASES.values()
        if str(each["ENGINE"]).endswith("sqlite3") and os.path.isabs(str(each["NAME"]))
    ]
    media = Path(settings.MEDIA_ROOT) if settings.MEDIA_ROOT else None
    found = [*databases, *([conf.log_dir] if conf.log_dir else []), *([media] if media and media.is_absolute() else [])]
    return [str(path) for path in dict.fromkeys(found)]


def _env_file_notes(path: Path) -> Iterable[str]:
    try:
        mode = path.stat().st_mode
        text = path.read_text(errors="replace")
    except OSError as error:
        yield f"CRONS['ENV_FILE'], {path}, cannot be read: {error.strerror}. No unit would start."
        return
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        yield f"CRONS['ENV_FILE'], {path}, is open to other accounts: chmod 600 {path}"
    if re.search(r"^\s*export\s", text, re.MULTILINE):
        yield f"CRONS['ENV_FILE'], {path}, has lines with export, which systemd passes over: write NAME=value."
    if re.search(r"^[^#\n]*[$`]", text, re.MULTILINE):
        yield f"CRONS['ENV_FILE'], {path}, has $ or `: a shell fills those in, systemd takes them as they stand."


def _message(error: OSError | TargetError) -> str:
    return str(error) if isinstance(error, TargetError) else f"{error.filename} cannot be written: {error.strerror}"


def _shell(name: str) -> str:
    return f"'{name}'" if "\\" in name else name


def _home() -> Path:
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError as error:
        raise TargetError(f"the user id {os.geteuid()} has no home, so no units of its own: --system") from error


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name
