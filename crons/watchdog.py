"""Ask a site from another machine whether its jobs are well, and say so when that changes.

    * * * * *  python3 -m crons.watchdog https://shop.example.com/crons/health --token-file ~/.crons-token

Standard library only, and this file alone: it may be copied to a machine that has no Django. A look is one request.
It prints what a person has to know and nothing else, so that cron mails it: when a site is not well for the second
look in a row, every hour while that lasts, and when it is well again.
Exit code 0: well. 1: not well, or no answer. 2: this look could not be made.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

LONGEST_ANSWER_BYTES = 1_000_000
MOST_LINES = 20
LONGEST_LINE = 300
COMMAND_SECONDS = 60
WELL = ("well", "ready", "live")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Unusable(Exception):
    """This look cannot be made; the text says what came, what was expected and what to do."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it would send the token along to whatever address is named."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Look once; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        token = _token(options.token_file)
        _require_private(options.url, token, plain=options.plain_http)
        with _state_of(options.state or _default_state(options.url)) as (file, before):
            trouble = _look(options.url, token, options.timeout)
            after, message = _judge(before, trouble, options, time.time())
            if message:
                _tell(f"{options.url} {message}", options.run)
            _keep(file, after)  # last: what could not be sent is sent at the next look
    except Unusable as error:
        print(f"crons watchdog: {error}", file=sys.stderr)  # noqa: T201 (a program of its own)
        return 2
    return 1 if trouble else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m crons.watchdog", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", metavar="URL", help="The site's /crons/health.")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="Holds the token of CRONS['MONITORING'].")
    parser.add_argument("--state", type=Path, metavar="FILE", help="What the last look saw; by default in ~/.cache.")
    parser.add_argument(
        "--looks", type=_at_least_one, default=2, metavar="N", help="Tell after N bad looks; default 2."
    )
    parser.add_argument(
        "--repeat", type=_seconds, default=3600, metavar="SECONDS", help="Tell again after; 0: never. Default 3600."
    )
    parser.add_argument(
        "--timeout", type=_at_least_one, default=20, metavar="SECONDS", help="For one look; default 20."
    )
    parser.add_argument("--run", metavar="COMMAND", help="Give the text to this program, too, on its standard input.")
    parser.add_argument("--plain-http", action="store_true", help="Send the token unencrypted to another machine.")
    return parser


def _at_least_one(text: str) -> int:
    number = _seconds(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is less than 1")
    return number


def _seconds(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def _token(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        lines = [line.strip() for line in path.expanduser().read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, ValueError) as error:
        raise Unusable(f"the token file {path} cannot be read: {error}") from error
    found = [line for line in lines if line]
    if not found or not found[0].isascii() or not found[0].isprintable():
        raise Unusable(f"the token file {path} holds no token, expected one on its first line")
    return found[0]


def _require_private(url: str, token: str, *, plain: bool) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise Unusable(f"{url!r} is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f]", url):
        raise Unusable(f"{url!r} is no address to look at, expected such as https://shop.example.com/crons/health")
    if token and parts.scheme == "http" and host not in LOOPBACK and not plain:
        raise Unusable(f"the token would go to {host} unencrypted: name the https address, or say --plain-http")


def _default_state(url: str) -> Path:
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", url)[-150:]
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crons-watchdog" / f"{name}.json"


@contextmanager
def _state_of(path: Path) -> Iterator[tuple[IO[str], dict[str, Any]]]:
    """Open what the last look left, locked: two looks at once would both tell."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise Unusable(f"the state cannot be kept in {path}: {error}. Name another file with --state") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Unusable(f"another look at {path} is going on; it ends by itself") from error
        file.seek(0)
        try:
            found = json.load(file)
        except ValueError:
            found = None  # new, or cut off by a full disk: as at the first look
        yield file, found if isinstance(found, dict) else {}


def _keep(file: IO[str], state: dict[str, Any]) -> None:
    try:
        file.seek(0)
        file.truncate()
        json.dump(state, file)
        file.flush()
    except OSError as error:
        raise Unusable(f"what this look saw cannot be kept, so the next one will tell it again: {error}") from error


def _look(url: str, token: str, seconds: int) -> str:
    """Ask once; return what is wrong, or nothing."""
    headers = {"Accept": "application/json", "User-Agent": "crons-watchdog"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with _deadline(seconds):
            try:
                with opener.open(urllib.request.Request(url, headers=headers), timeout=seconds) as answer:
                    return _trouble(answer.status, answer.read(LONGEST_ANSWER_BYTES), "")
            except urllib.error.HTTPError as error:
                with error:
                    return _trouble(error.code, error.read(LONGEST_ANSWER_BYTES), error.headers.get("Location", ""))
    except TimeoutError:
        return f"gave no whole answer within {seconds} s"
    except (OSError, ValueError) as error:  # http.client's errors are told by the next line
        return f"gave no answer: {_line(str(getattr(error, 'reason', error)))}"
    except Exception as error:  # noqa: BLE001 (whatever a server may send: that is trouble, not an end of watching)
        return f"gave no answer that can be read: {type(error).__name__}: {_line(str(error))}"


@contextmanager
def _deadline(seconds: int) -> Iterator[None]:
    """Raise TimeoutError after *seconds*, also where a byte comes now and then, or a name server is silent."""

    def stop(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _trouble(status: int, body: bytes, location: str) -> str:
    if location:
        return f"answers {status} and names {_line(location)}: nothing is followed, look at that address itself"
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        return f"answers {status}, but not as crons does: is this the address of /crons/health?"
    if status == 200:
        return "" if told.get("status") in WELL else f"answers 200 with the status {_line(str(told.get('status')))}"
    problems = told.get("problems")
    if not isinstance(problems, list) or not problems:
        return f"answers {status}: {_line(str(told.get('error') or told.get('status') or 'nothing more'))}"
    lines = [_problem(each) for each in problems[:MOST_LINES]]
    more = len(problems) - len(lines)
    return "\n  ".join([f"answers {status}:", *lines, *([f"and {more} more"] if more else [])])


def _problem(found: Any) -> str:
    if not isinstance(found, dict):
        return _line(str(found))
    about = [str(found[name]) for name in ("kind", "entry", "text") if found.get(name)]
    return _line(": ".join(about))


def _line(text: str) -> str:
    """Return *text* on one line, bounded, without what could steer a terminal or turn what follows around."""
    shown = "".join(each if each.isprintable() else " " for each in text)
    return shown if len(shown) <= LONGEST_LINE else f"{shown[:LONGEST_LINE]}…"


def _judge(before: dict[str, Any], trouble: str, options: argparse.Namespace, now: float) -> tuple[dict[str, Any], str]:
    """Say what to keep, and what to tell; nothing where nothing has changed."""
    since, looks, told_at = before.get("since"), before.get("looks"), before.get("told_at")
    since = since if isinstance(since, int | float) and 0 < since <= now else now
    told_at = told_at if isinstance(told_at, int | float) else None
    if not trouble:
        lasted = f"is well again, after {_length(now - since)}" if told_at is not None else ""
        return {}, lasted
    looks = looks + 1 if isinstance(looks, int) and looks > 0 else 1
    if looks == 1:
        since = now
    # A clock that was set back since must not keep it silent.
    is_due = told_at is None or (options.repeat and not 0 <= now - told_at < options.repeat)
    message = ""
    if looks >= options.looks and is_due:
        message, told_at = f"{trouble}\nsince {_utc(since)}", now
    return {"since": since, "looks": looks, "told_at": told_at}, message


def _utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _length(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _tell(text: str, command: str | None) -> None:
    print(text, flush=True)  # noqa: T201 (as above)
    if not command:
        return
    try:
        subprocess.run(shlex.split(command), input=text, text=True, check=True, timeout=COMMAND_SECONDS)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise Unusable(
            f"--run {command!r} did not take the text: {error}; it is tried again at the next look"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
