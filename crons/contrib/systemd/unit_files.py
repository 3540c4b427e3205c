"""Our unit files in a folder of units: read, written, and kept as one text."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from crons.contrib.systemd import units
from crons.exceptions import TargetError

UNIT = re.compile(r"(crons-[0-9a-f]{16}(?:-[\w@:.\\-]+)?\.(?:timer|service))\Z")


def prefix(key: str) -> str:
    """Return what the names of a deployment's units begin with."""
    return f"crons-{key}"


def read(folder: Path, key: str) -> dict[str, str]:
    """Return our files by name.

    Raises: TargetError for a file of our name that is not ours, or that cannot be read.
    """
    found = {}
    try:
        paths = sorted(folder.glob(f"{prefix(key)}*"))
        for path in paths:
            if not UNIT.match(path.name):
                continue  # a drop-in's directory, or an editor's copy
            content = path.read_text() if not path.is_symlink() else ""
            if units.facts(content, key) is None:
                raise TargetError(
                    f"{path} has a name of ours and does not begin with our mark, so it is not touched, and "
                    "nothing was changed: move it away, or delete it."
                )
            found[path.name] = content
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(f"the units in {folder} cannot be read: {error}.") from error
    return found


def write(folder: Path, found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Have *wanted* in place of *found*, each file whole or not at all.

    Raises: OSError
    """
    if wanted:
        folder.mkdir(parents=True, exist_ok=True)
    for name, content in wanted.items():
        if content == found.get(name):
            continue
        # Whole or not at all; systemd passes over names that begin with a dot.
        draft = folder / f".{name}.{os.getpid()}"
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(folder / name)
        finally:
            draft.unlink(missing_ok=True)
    for name in found.keys() - wanted.keys():
        (folder / name).unlink(missing_ok=True)


def starting(files: Mapping[str, str]) -> list[str]:
    """List the units that start by themselves; the others are started by those."""
    return sorted(name for name, content in files.items() if "\n[Install]\n" in content)


def dumped(files: Mapping[str, str]) -> bytes | None:
    """Write files as one text, for a plan and for a backup; None for none."""
    return json.dumps(files, sort_keys=True, indent=1).encode() if files else None


def loaded(kept: bytes | None) -> dict[str, str]:
    """Read what was kept; a backup that somebody changed must not name a file elsewhere."""
    try:
        files = json.loads(kept) if kept else {}
    except ValueError:
        files = None
    if isinstance(files, dict) and all(UNIT.match(name) and isinstance(text, str) for name, text in files.items()):
        return files
    raise TargetError("the backup is not what was written, so nothing was changed: look at it by hand.")


def describe(files: Mapping[str, str]) -> tuple[str, ...]:
    """List the lines of all files, for people."""
    lines: list[str] = []
    for name, content in sorted(files.items()):
        lines += [f"── {name}", *content.splitlines()]
    return tuple(lines)
