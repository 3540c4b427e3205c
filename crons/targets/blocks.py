"""Our part of a crontab: the lines between two comments that carry a deployment's mark. Pure, in bytes.

The block stands at the top: settings such as SHELL=, PATH= or CRON_TZ= hold for all lines below them,
so those of others do not reach it there; and it sets nothing itself, so it changes nothing for others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from crons.exceptions import TargetError

LINES = re.compile(rb"[^\n]*\n|[^\n]+")
# Also with the blanks that an editor may have left around it.
MARK = re.compile(rb"[ \t]*# (begin|end) crons ([0-9a-f]{16})(?:[ \t]+([^\r\n]*?))?\s*\Z")
SETTING = re.compile(rb"[ \t]*[\"']?[A-Za-z_]\w*[\"']?[ \t]*=")
FACT = re.compile(r"(\w+)=(\S+)")


@dataclass(frozen=True)
class Block:
    """A block as it stands in a crontab: *start* and *end* in bytes, *first* is its line's number, from 1."""

    key: str
    start: int
    end: int
    first: int
    facts: dict[str, str]
    body: bytes

    @property
    def is_as_written(self) -> bool:
        """Whether its lines are those that were written."""
        return self.facts.get("sum") == checksum(self.body)


def make(key: str, lines: Sequence[bytes], **facts: str) -> bytes:
    """Write a block; *facts* are kept in its first line."""
    body = b"".join(line + b"\n" for line in lines)
    mark = " ".join(f"{name}={value}" for name, value in {**facts, "sum": checksum(body)}.items())
    begin = f"# begin crons {key} {mark} (written by manage.py crons apply, do not edit)\n"
    return begin.encode() + body + f"# end crons {key}\n".encode()


def find(content: bytes, key: str) -> Block | None:
    """Return the block of *key*.

    Raises: as find_all.
    """
    return find_all(content).get(key)


def find_all(content: bytes) -> dict[str, Block]:
    """Return all blocks by their keys.

    Raises: TargetError if the marks of any block are not pairs, one behind the other, each key once.
    """
    found: dict[str, Block] = {}
    opened: tuple[int, int, int, str, str] | None = None  # first line, start, end of that line, key, facts
    at = 0
    for number, line in enumerate(LINES.findall(content), start=1):
        at += len(line)
        mark = MARK.match(line)
        if mark is None:
            continue
        word, whose = mark[1].decode(), mark[2].decode()
        if word == "begin":
            if opened is not None:
                raise _broken(number, f"begins a block inside that of line {opened[0]}")
            if whose in found:
                raise _broken(number, f"begins the block of line {found[whose].first} a second time")
            opened = (number, at - len(line), at, whose, (mark[3] or b"").decode("ascii", "replace"))
        elif opened is None or opened[3] != whose:
            raise _broken(number, "ends a block that does not begin above it")
        else:
            first, start, body_start, _, told = opened
            body = content[body_start : at - len(line)]
            found[whose] = Block(whose, start, at, first, dict(FACT.findall(told)), body)
            opened = None
    if opened is not None:
        raise _broken(opened[0], "begins a block that does not end")
    return found


def replace(content: bytes, old: Block | None, new: bytes) -> bytes:
    """Return *content* without *old*, and with *new* at its top."""
    return new + (content if old is None else content[: old.start] + content[old.end :])


def settings_above(content: bytes, block: Block) -> list[tuple[int, str]]:
    """List (line, name) of the settings of others that hold for the lines of *block*."""
    lines = enumerate(LINES.findall(content[: block.start]), start=1)
    return [
        (number, line.split(b"=")[0].strip().decode("ascii", "replace"))
        for number, line in lines
        if SETTING.match(line)
    ]


def checksum(body: bytes) -> str:
    """Return a checksum by which an edit by hand is noticed; who wants to can forge it."""
    return hashlib.sha256(body).hexdigest()[:16]


def _broken(number: int, what: str) -> TargetError:
    return TargetError(
        f"line {number} of the crontab {what}, so it is not known which lines are ours. Nothing was changed: "
        "mend the lines '# begin crons …' and '# end crons …' with crontab -e, or delete that block whole."
    )
