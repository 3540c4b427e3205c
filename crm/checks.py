"""Checks of the CRM: what its settings cannot refuse by themselves."""

import stat
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks

from crm.privacy import files_of


@checks.register(checks.Tags.security, deploy=True)
def data_is_private(**given: Any) -> list[checks.CheckMessage]:
    """Warn, with --deploy, of data that other accounts of this machine can read; the first connection closes it.

    Not at every start: a script's error output is for what went wrong in it.
    """
    names = (each["NAME"] for each in settings.DATABASES.values() if each["ENGINE"].endswith("sqlite3"))
    paths = [settings.VAR_DIR, *(path for name in names for path in files_of(name))]
    return [
        checks.Warning(
            f"Other accounts of this machine can read {path} (mode {mode:04o}).",
            hint=f"Run, as its owner: chmod {'700' if path.is_dir() else '600'} {path}",
            id="crm.W001",
        )
        for path in paths
        if path.exists() and (mode := stat.S_IMODE(path.stat().st_mode)) & 0o044 and not _holds_static_files(path)
    ]


def _holds_static_files(path: Path) -> bool:
    # In an image, var/ belongs to root and holds what collectstatic put there, which is for everybody.
    return path.is_dir() and {each.name for each in path.iterdir()} <= {"static"}
