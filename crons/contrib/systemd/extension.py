"""What there is for systemd."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from crons.extensions import Extension

if TYPE_CHECKING:
    from crons.doctor.findings import Finding
    from crons.targets.base import Target


class SystemdExtension(Extension):
    """Its timers fire jobs, or it keeps a scheduler alive."""

    def targets(self) -> Iterable[type[Target]]:
        """Return its units."""
        from crons.contrib.systemd.target import SystemdTarget

        return (SystemdTarget,)

    def examine(self) -> tuple[Iterable[Finding], bool]:
        """Say whether our units run."""
        from crons.contrib.systemd import doctor

        return doctor.examine()


EXTENSION = SystemdExtension()
