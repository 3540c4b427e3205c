"""Which programs a crontab line starts: the words that stand where a command stands, and no others.

It knows what lines in the field have in front of their program (cd … &&, env, nice, flock, sudo, uv run, docker
exec). What it does not know starts a program of its own, whose arguments are not looked at: a line that is not
understood is told to people, and a word that is taken for a job's would be believed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath

_TOKEN = re.compile(
    r"""(?P<space>[ \t]+)
    |(?P<comment>(?<![^\s;&|()])\#.*)
    |(?P<redirect>[0-9]*(?:>>|>\||>&|<<<|<<-?|<&|<>|>|<)|&>>?)
    |(?P<operator>\|\|?|&&?|;;?|[()\n])
    |(?P<word>(?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|[^\s'"\\|&;()<>])+)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_QUOTED = re.compile(r"""\\(.)|'([^']*)'|"((?:\\.|[^"\\])*)\"""", re.DOTALL)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_INTERPRETER = re.compile(r"(?:python|pypy)[0-9.]*\Z|(?:ba|da|z|k|a)?sh\Z|perl\Z|ruby\Z|node\Z|php[0-9.]*\Z")
_PYTHON = re.compile(r"(?:python|pypy)[0-9.]*\Z")
_SHELL = re.compile(r"(?:ba|da|z|k|a)?sh\Z")
# Words of the shell that a command follows.
_RESERVED = frozenset({"!", "{", "do", "then", "else", "elif", "if", "while", "until", "time", "exec", "command"})


@dataclass(frozen=True)
class _Wrapper:
    """A program that starts another: which of its options take a value, and what stands before the other."""

    valued: str = ""
    positional: int = 0
    subcommands: tuple[str, ...] = ()


_WRAPPERS = {
    "env": _Wrapper("-u -C -S --unset --chdir"),
    "nice": _Wrapper("-n --adjustment"),
    "ionice": _Wrapper("-c -n -p --class --classdata"),
    "timeout": _Wrapper("-k -s --kill-after --signal", 1),
    "flock": _Wrapper("-w -E --wait --timeout --conflict-exit-code", 1),
    "sudo": _Wrapper("-u -g -h -p -C -D -R -T -U -r -t --user --group --host --prompt --chdir"),
    "doas": _Wrapper("-u -C"),
    "su": _Wrapper("-s -g -G --shell --group", 1),
    "runuser": _Wrapper("-u -g -G -s --user --group --shell"),
    "gosu": _Wrapper(positional=1),
    "su-exec": _Wrapper(positional=1),
    "setuidgid": _Wrapper(positional=1),
    "chpst": _Wrapper("-u -U -b -e -n -l -L -m -d -o -p -f -c -r -t"),
    "envdir": _Wrapper(positional=1),
    "stdbuf": _Wrapper("-i -o -e --input --output --error"),
    "taskset": _Wrapper(positional=1),
    "chrt": _Wrapper("-T -P -D", 1),
    "systemd-cat": _Wrapper("-t -p --identifier --priority"),
    "systemd-run": _Wrapper("-p -u --property --unit --uid --gid --slice --description"),
    "dotenv": _Wrapper("-f --file", subcommands=("run",)),
    "uv": _Wrapper("--with --python -p --project --directory --env-file --group --extra", subcommands=("run",)),
    "poetry": _Wrapper("-C -P --directory --project", subcommands=("run",)),
    "pdm": _Wrapper("-p --project", subcommands=("run",)),
    "pipenv": _Wrapper(subcommands=("run",)),
    "honcho": _Wrapper("-e -f --env --procfile", subcommands=("run",)),
    "docker": _Wrapper(
        "-u -e -w -f -p --user --env --env-file --workdir --file --project-name --context",
        1,
        ("exec", "compose exec", "compose run", "container exec"),
    ),
    "docker-compose": _Wrapper("-u -e -w -f -p --user --env --workdir --file --project-name", 1, ("exec", "run")),
    "podman": _Wrapper("-u -e -w --user --env --env-file --workdir", 1, ("exec", "container exec")),
    "nohup": _Wrapper(),
    "setsid": _Wrapper(),
    "chronic": _Wrapper(),
    "cronic": _Wrapper(),
    "run-one": _Wrapper(),
    "unbuffer": _Wrapper(),
    "ddtrace-run": _Wrapper(),
    "opentelemetry-instrument": _Wrapper(),
    "xvfb-run": _Wrapper("-n -f -e -p -s -w"),
}


def programs(line: str) -> Iterator[list[str]]:
    """Yield each program that the command of a crontab line starts, with its arguments, without what starts it."""
    for words in _simple_commands(_without_input(line)):
        yield from _unwrapped(words)


def _without_input(line: str) -> str:
    r"""Return the command alone: behind a % stands what it reads, and \% is a % of its own."""
    return re.split(r"(?<!\\)%", line, maxsplit=1)[0].replace(r"\%", "%")


def _simple_commands(text: str) -> Iterator[list[str]]:
    words: list[str] = []
    is_target = False  # what follows a redirection is a file
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "operator" or kind == "other":
            yield words
            words = []
        elif kind == "word" and is_target:
            is_target = False
        elif kind == "word":
            words.append(_QUOTED.sub(_bare, match[0]))
        if kind in ("redirect", "operator"):
            is_target = kind == "redirect"
    yield words


def _bare(match: re.Match[str]) -> str:
    if match[3] is not None:
        return re.sub(r'\\(["\\$`\n])', r"\1", match[3])
    return str(match[1] if match[1] is not None else match[2])


def _unwrapped(words: list[str]) -> Iterator[list[str]]:
    """Yield what *words* start in the end: what env, sudo and the like are told to start, or they themselves."""
    while words and (words[0] in _RESERVED or _ASSIGNMENT.match(words[0])):
        words = words[1:]
    if not words:
        return
    name = PurePath(words[0]).name
    if _INTERPRETER.match(name):
        rest = _script(words[1:], name)
    elif name in _WRAPPERS:
        rest = _behind(words[1:], _WRAPPERS[name], takes_text=name in ("su", "runuser", "flock"))
    else:
        yield words
        return
    if isinstance(rest, str):
        for command in _simple_commands(rest):
            yield from _unwrapped(command)
    elif _INTERPRETER.match(name) and rest:
        yield rest
    else:
        yield from _unwrapped(rest)


def _script(words: list[str], name: str) -> list[str] | str:
    """Return the script that an interpreter runs, with its arguments; a text of shell commands; else nothing."""
    is_shell, is_python = bool(_SHELL.match(name)), bool(_PYTHON.match(name))
    while words and words[0].startswith("-"):
        option, *words = words
        if is_shell and re.match(r"-[a-z]*c\Z", option):
            return words[0] if words else []
        if is_python and option == "-m" and words[:1] == ["django"]:
            return ["django-admin", *words[1:]]
        if not is_shell and option in ("-c", "-e", "-m", "-r", "-"):
            return []
        if (is_python and option in ("-W", "-X")) or (is_shell and re.match(r"-[a-z]*[oO]\Z", option)):
            words = words[1:]
    return words


def _behind(words: list[str], wrapper: _Wrapper, *, takes_text: bool) -> list[str] | str:
    """Return what stands behind a wrapper's options and own arguments; nothing where it starts nothing."""
    if takes_text:
        for option, value in pairwise(words):
            if option in ("-c", "--command"):
                return value
    words = _behind_options(words, wrapper)
    if wrapper.subcommands:
        chosen = ""
        while words and chosen not in wrapper.subcommands:
            chosen = f"{chosen} {words[0]}".strip()
            words = _behind_options(words[1:], wrapper)
        if chosen not in wrapper.subcommands:
            return []
    return _behind_options(words[wrapper.positional :], wrapper)


def _behind_options(words: list[str], wrapper: _Wrapper) -> list[str]:
    valued = wrapper.valued.split()
    while words and (words[0].startswith("-") or _ASSIGNMENT.match(words[0])):
        if words[0] == "--":
            return words[1:]
        words = words[2:] if words[0] in valued else words[1:]
    return words
