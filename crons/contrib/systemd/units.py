"""The texts of systemd units, and the mark that says whose they are. Pure.

The first line of each of our files names its deployment, as the block in a crontab does. A file without
that line is somebody else's, whatever its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from crons.targets.blocks import FACT, checksum

MARK = re.compile(r"# crons ([0-9a-f]{16}) ([^\n]*)\n")
UNSAFE = re.compile(r"^\.|[^A-Za-z0-9:_.]")

# To import a large project, and to look at what fell due in a week.
START_SECONDS = 300
# For every service. What a per-user manager may not do is in SYSTEM.
HARDENING = """\
UMask=0027
NoNewPrivileges=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=@chown
SystemCallErrorNumber=EPERM
""".splitlines()
SYSTEM = """\
CapabilityBoundingSet=
AmbientCapabilities=
DevicePolicy=closed
PrivateDevices=yes
PrivateUsers=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
""".splitlines()
# What ProtectHome= hides.
HOMES = ("/home", "/root")


@dataclass(frozen=True)
class Command:
    """How the services of a deployment start: as whom, where, with what, and what they may write."""

    folder: str
    program: Sequence[str]
    account: str  # "" for a unit of the account's own manager
    env: Mapping[str, str]
    env_file: str
    writable: Sequence[str]
    stop_seconds: int
    watchdog_seconds: int

    def service(self, description: str, *words: str, stays: bool = False) -> list[str]:
        """Write the service that calls `manage.py` with *words*; one that *stays* is brought back."""
        lines = ["[Unit]", f"Description={_plain(description)}"]
        lines += ["StartLimitIntervalSec=0"] if stays else []
        if self.account:
            lines += ["Wants=network-online.target", "After=network-online.target"]
        lines += ["", "[Service]", f"Type={'notify' if stays else 'oneshot'}"]
        # Started when its first look is through; started anew when its loop hangs.
        lines += ["NotifyAccess=main", f"TimeoutStartSec={START_SECONDS}"] if stays else []
        lines += [f"WatchdogSec={self.watchdog_seconds}"] if stays else []
        lines += [f"User={self.account}"] if self.account else []
        lines += [f"WorkingDirectory={_plain(self.folder)}"]
        lines += [f"Environment={quoted(f'{name}={value}', command=False)}" for name, value in self.env.items()]
        lines += [f"EnvironmentFile={_plain(self.env_file)}"] if self.env_file else []
        program, *others = [*self.program, *words]
        # $ means a variable in all words but the first, which is taken as it stands.
        called = [quoted(program, command=False), *map(quoted, others)]
        lines.append(f"ExecStart={' '.join(called)}")
        lines += ["Restart=always", "RestartSec=2"] if stays else []
        # Only the scheduler is told to end; it ends its jobs itself, within its own grace.
        lines += ["KillMode=mixed", f"TimeoutStopSec={self.stop_seconds}"]
        lines += HARDENING
        if self.account:
            lines += [*SYSTEM, *self._places()]
        return lines + (["", "[Install]", f"WantedBy={self.wanted_by}"] if stays else [])

    @property
    def wanted_by(self) -> str:
        """What starts a service at boot, or at the account's first log-in."""
        return "multi-user.target" if self.account else "default.target"

    def _places(self) -> list[str]:
        places = (self.folder, *self.program, *self.writable)
        homes = any(path.startswith(f"{home}/") for path in places for home in HOMES)
        public = [path for path in self.writable if f"{path}/".startswith(("/tmp/", "/var/tmp/"))]
        lines = [f"ProtectHome={'read-only' if homes else 'yes'}", f"PrivateTmp={'no' if public else 'yes'}"]
        return lines + [f"ReadWritePaths={quoted(f'-{path}', command=False)}" for path in self.writable]


def timer(description: str, calendars: Iterable[str], *, persistent: bool) -> list[str]:
    """Write the timer of the service of its own name; *persistent*: one that was missed while off is made up for."""
    lines = ["[Unit]", f"Description={_plain(description)}", "", "[Timer]"]
    lines += [f"OnCalendar={text}" for text in calendars]
    # Else systemd may be a minute late, to spare batteries.
    lines += ["AccuracySec=1s", f"Persistent={'yes' if persistent else 'no'}"]
    return [*lines, "", "[Install]", "WantedBy=timers.target"]


def make(key: str, lines: Sequence[str], **facts: str) -> str:
    """Write a unit's file; *facts* are kept in its first line."""
    body = "\n".join(lines) + "\n"
    mark = " ".join(f"{name}={value}" for name, value in {**facts, "sum": checksum(body.encode())}.items())
    return f"# crons {key} {mark} (written by manage.py crons apply, do not edit)\n{body}"


def facts(content: str, key: str) -> dict[str, str] | None:
    """Return what the first line of a file says; None unless it carries the mark of *key*."""
    mark = MARK.match(content)
    return dict(FACT.findall(mark[2])) if mark and mark[1] == key else None


def is_as_written(content: str, key: str) -> bool:
    """Say whether a file of ours is as it was written."""
    known = facts(content, key)
    return known is not None and known.get("sum") == checksum(content.partition("\n")[2].encode())


def escaped(name: str) -> str:
    """Write *name* as the instance in a unit's name, as systemd-escape does; %I is *name* again."""
    return UNSAFE.sub(lambda found: "".join(f"\\x{byte:02x}" for byte in found[0].encode()), name)


def quoted(word: str, *, command: bool = True) -> str:
    """Write one word of a line: nothing in it means anything to systemd, but the instance, which is "%I" as a whole."""
    if word == "%I":
        return word
    word = _plain(word).replace("\\", "\\\\").replace('"', '\\"')
    if command:
        word = word.replace("$", "$$")
    return f'"{word}"' if re.search(r"[^\w@%+=:,./$-]", word) or not word else word


def _plain(text: str) -> str:
    return text.replace("%", "%%").replace("\n", " ")
