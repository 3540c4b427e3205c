"""The machine's cron: whether it runs, whom it serves, which clock it reads. Reads only."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from crons.exceptions import TargetError
from crons.schedules import zones

ALLOW, DENY = Path("/etc/cron.allow"), Path("/etc/cron.deny")
LOCALTIME = Path("/etc/localtime")
DEFAULTS = Path("/etc/default/cron")
PROC = Path("/proc")
NAMES = ("cron", "crond", "cronie", "busybox-crond", "fcron")
PATH = "/usr/bin:/bin"
"""What Debian's cron gives to a job that says nothing else."""


def is_running() -> bool | None:
    """Say whether a cron daemon runs here; None where processes cannot be seen."""
    if not (PROC / "self").exists():
        return None
    return bool(_pids())


def objection(user: str) -> str:
    """Say why *user* may not have a crontab, and what to do; "" where nothing in the files is against it.

    Source: crontab(1) of Debian: whatever the files say, root may.
    """
    if user == "root":
        return ""
    allowed, denied = _names(ALLOW), _names(DENY)
    if allowed is not None:
        return "" if user in allowed else f"{ALLOW} exists and does not name {user!r}: root must add that line."
    if denied is not None and user in denied:
        return f"{DENY} names {user!r}: root must delete that line."
    return ""


def zone() -> tuple[tzinfo, str]:
    """Return the zone in which cron reads its fields, and where that is said.

    A TZ that cron was started with wins over the machine's; the TZ of this process says nothing, for Django sets it.
    Raises: TargetError if it is not known.
    """
    name, where = _tz_of_daemon()
    if name:
        return _named(name, where)
    try:
        with LOCALTIME.open("rb") as data:
            return ZoneInfo.from_file(data), f"{LOCALTIME}{_linked()}"
    except FileNotFoundError:
        return UTC, f"UTC, because there is no {LOCALTIME}"
    except (OSError, ValueError) as error:
        raise TargetError(f"the machine's zone is not known: {LOCALTIME} cannot be read: {error}.") from error


def system_lines() -> list[tuple[str, bytes]]:
    """Return (file:line, line) of /etc/crontab and /etc/cron.d, as far as this account may read them."""
    found = []
    for path in [Path("/etc/crontab"), *sorted(Path("/etc/cron.d").glob("*"))]:
        with suppress(OSError):
            lines = path.read_bytes().split(b"\n")
            found += [(f"{path}:{number}", line) for number, line in enumerate(lines, start=1)]
    return found


def _pids() -> list[int]:
    found = []
    for each in PROC.glob("[0-9]*"):
        with suppress(OSError):
            if (each / "comm").read_text().strip() in NAMES:
                found.append(int(each.name))
    return found


def _names(path: Path) -> list[str] | None:
    try:
        return [line.strip() for line in path.read_text(errors="replace").splitlines()]
    except FileNotFoundError:
        return None
    except OSError:  # it exists and this account may not read it: the program crontab says why it refuses
        return None


def _tz_of_daemon() -> tuple[str, str]:
    for pid in _pids():
        with suppress(OSError):
            for variable in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                if variable.startswith(b"TZ="):
                    return os.fsdecode(variable[3:]), f"TZ of cron (pid {pid})"
            return "", ""
    # Only root may read that; Debian starts cron with this file as its environment.
    with suppress(OSError):
        if found := re.search(r"^\s*TZ=[\"']?([^\"'\s#]+)", DEFAULTS.read_text(errors="replace"), re.MULTILINE):
            return found[1], f"TZ in {DEFAULTS}"
    return "", ""


def _named(name: str, where: str) -> tuple[tzinfo, str]:
    bare = name.removeprefix(":")
    if zones.is_zone(bare):
        return ZoneInfo(bare), f"{bare}, {where}"
    try:
        with Path(bare if os.path.isabs(bare) else "").open("rb") as data:
            return ZoneInfo.from_file(data), f"{bare}, {where}"
    except (OSError, ValueError) as error:
        raise TargetError(
            f"the machine's zone is not known: {where} is {name!r}, expected an IANA name such as Europe/Berlin."
        ) from error


def _linked() -> str:
    target = os.path.realpath(LOCALTIME)
    _, found, name = target.partition("/zoneinfo/")
    return f", {name}" if found else ""
