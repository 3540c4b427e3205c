"""What django-crontab's settings say besides CRONJOBS: what stands around the command of its crontab lines."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

_PART = re.compile(
    r"""'(?P<single>[^']*)'|"(?P<double>(?:\\.|[^"\\])*)"|\\(?P<escaped>.)|(?P<plain>[^\s'"\\;&|<>()]+)"""
)
_NAME = re.compile(r"([A-Za-z_]\w*)=")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_SHELL_ONLY = re.compile(r"`|\$\(|\$\{(?!\w+\})")  # what a program prints, and ${NAME:-…}
_REDIRECTIONS = re.compile(r"""(?:\s*(?:[0-9]*|&)(?:>>?|>\||>&|<)\s*(?:'[^']*'|"[^"]*"|&?[^\s'"\\;&|<>()]+))*\s*\Z""")
_HOME = re.compile(r"(?:^|(?<=:))~(?=[/:]|\Z)")
_COMMENT = re.compile(r"(?:^|(?<=\s))#[^'\"]*\Z")
# What is read before the first line of CRONJOBS can be: a value of it there changes nothing any more.
TOO_LATE = ("DJANGO_SETTINGS_MODULE",)


@dataclass(frozen=True)
class Prefix:
    """CRONTAB_COMMAND_PREFIX: the assignments in it, and what else it says, which only a shell can do."""

    environment: Mapping[str, str]
    left: str = ""


def prefix() -> Prefix:
    """Read CRONTAB_COMMAND_PREFIX as the shell would: NAME=value …, also behind env or export."""
    text = _text("CRONTAB_COMMAND_PREFIX")
    found: dict[str, str] = {}
    left = []
    at = len(text) - len(text.lstrip())
    while at < len(text):
        start = at
        if word := re.compile(r"(?:/usr/bin/)?env(?=\s)|export(?=\s)|;|&&").match(text, at):
            at = word.end()
        elif name := _NAME.match(text, at):
            value, at = _value(text, name.end(), found)
            if value is None or name[1] in TOO_LATE:
                left.append(text[start:at])
            else:
                found[name[1]] = value
        else:
            rest = re.match(r"[^;&]*(?:;|&&?|\Z)", text[at:])
            at += len(rest[0]) if rest else len(text)
            left.append(text[start:at])
        at += len(text[at:]) - len(text[at:].lstrip())
    return Prefix(found, " ".join(left).strip())


def environment() -> dict[str, str]:
    """Return what CRONTAB_COMMAND_PREFIX puts into the environment of each line, and so of each of its jobs.

    A PYTHONPATH in it is followed by this process: the lines' functions are imported from there.
    """
    found = dict(prefix().environment)
    for folder in reversed([each for each in found.get("PYTHONPATH", "").split(os.pathsep) if each]):
        if folder not in sys.path:
            sys.path.insert(1, folder)
    return found


def beyond_redirections(suffix: str) -> str:
    """Return what a suffix does besides sending output somewhere: empty where it does no more, and of a comment."""
    suffix = _COMMENT.sub("", suffix)
    return "" if _REDIRECTIONS.match(suffix) else suffix.strip()


def shell_only() -> Iterator[tuple[str, str]]:
    """Yield each setting of which something holds in django-crontab's own lines alone, and what that is."""
    if left := prefix().left:
        yield "CRONTAB_COMMAND_PREFIX", left
    if left := beyond_redirections(_text("CRONTAB_COMMAND_SUFFIX")):
        yield "CRONTAB_COMMAND_SUFFIX", left


def _text(name: str) -> str:
    given: Any = getattr(settings, name, "")
    return given if isinstance(given, str) else ""


def _value(text: str, at: int, known: Mapping[str, str]) -> tuple[str | None, int]:
    """Return the value of an assignment, None where only a shell can tell it, and where it ends."""
    value, is_known = "", True
    while part := _PART.match(text, at):
        at = part.end()
        piece = next(each for each in part.groups() if each is not None)
        if part.lastgroup == "double":
            piece = re.sub(r'\\(["\\])', r"\1", piece)
        if part.lastgroup in ("double", "plain"):
            is_known = is_known and not _SHELL_ONLY.search(piece)
            if part.lastgroup == "plain" and text[part.start() - 1] in "=:":
                piece = _HOME.sub(lambda match: _looked_up("HOME", known), piece)
            piece = _VARIABLE.sub(lambda match: _looked_up(match[1] or match[2], known), piece)
        value += piece
    if text[at - 1 : at + 1] == "$(":
        return None, len(text)
    return value if is_known else None, at


def _looked_up(name: str, known: Mapping[str, str]) -> str:
    return known.get(name, os.environ.get(name, ""))
