"""Whether our units run in systemd."""

from __future__ import annotations

from collections.abc import Iterable

from crons.contrib.systemd.target import SystemdTarget
from crons.doctor.findings import BAD, GOOD, WARN, Finding
from crons.exceptions import CronsError


def examine() -> tuple[Iterable[Finding], bool]:
    """Return a finding for each of its managers that has units of ours, and whether they fire."""
    findings, fires = [], False
    for system in (False, True):
        what = "the machine's systemd" if system else "systemd of this account"
        try:
            names, dead = SystemdTarget(system=system).started()
        except CronsError as error:
            findings.append(Finding("systemd", WARN, str(error), "units that can be read", "See the message."))
            continue
        if dead:
            found = f"installed in {what} and not running: {', '.join(dead)}"
            remedy = f"manage.py crons plan --to systemd{' --system' if system else ''} says what to type."
            findings.append(Finding("systemd", BAD, found, "running units", remedy))
        elif names:
            findings.append(Finding("systemd", GOOD, f"our units run in {what}: {', '.join(names)}"))
        fires = fires or bool(names and not dead)
    return findings, fires
