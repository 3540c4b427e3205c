"""Run the demo: the web server and the scheduler, on SQLite, until Ctrl-C (`make run`).

A small supervisor in the foreground. It brings back what dies, and nothing it started outlives it.
PORT is the web server's port, default 8000. PAST=0 leaves out the shop's past: the ledger is empty then.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
KILL_AFTER_SECONDS = 4.0  # with what follows, all has stopped within 5
POLL_SECONDS = 0.1
# A child that lived for less died at once; after so many deaths at once in a row, waiting will not help.
QUICK_DEATH_SECONDS = 10.0
QUICK_DEATHS = 5
LONGEST_PAUSE_SECONDS = 30.0
LAST_LINES = 15
# The past comes before the sync: what is declared now was declared a week ago.
BEFORE = (("migrate", "--no-input", "--verbosity=0"), ("demo_data",))
AFTER = (("crons", "sync"), ("service_token", "jobs"))
# Name and password of the account that the set-up made, for as long as they open.
LOGIN = Path(os.environ.get("DEMO_LOGIN_FILE") or ROOT / "var" / "demo_login")
JOBS = ("crons", "list")

_COLOURS = {"web": 36, "cron": 33}
_libc = ctypes.CDLL(None)
_print_lock = threading.Lock()


class Child:
    """A process in a session of its own, started again when it dies, its output shown under its name."""

    def __init__(self, name: str, command: list[str], stop_signal: signal.Signals, env: dict[str, str]) -> None:
        self.name = name
        self._command, self._stop_signal, self._env = command, stop_signal, env
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._quick_deaths = 0
        self._start_at = 0.0
        self._process: subprocess.Popen[str] | None = None

    def tend(self) -> bool:
        """Start it when it is due; say whether it is worth going on."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._start_at:
                self._start(now)
            return True
        status = self._process.poll()
        if status is None:
            return True
        self._process = None
        self._quick_deaths = self._quick_deaths + 1 if now - self._started_at < QUICK_DEATH_SECONDS else 1
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"
        if self._quick_deaths >= QUICK_DEATHS:
            last = "\n".join(self._last)
            say(f"{self.name} {how}, {QUICK_DEATHS} times in a row. Its last lines:\n{last}")
            return False
        pause = min(2.0 ** (self._quick_deaths - 1), LONGEST_PAUSE_SECONDS)
        self._start_at = now + pause
        say(f"{self.name} {how}; starting it again in {pause:g} s.")
        return True

    def has_spoken(self) -> bool:
        """Say whether it has written a line."""
        return bool(self._last)

    def ask_to_stop(self) -> None:
        """Send it the signal on which it ends in good order."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self._stop_signal)

    def has_stopped(self) -> bool:
        """Say whether it has ended."""
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """Kill it with its process group; nothing happens where it has ended."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _start(self, now: float) -> None:
        self._started_at = now
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=self._env, text=True, errors="replace", stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=partial(end_with_parent, self._stop_signal),
        )  # fmt: skip
        threading.Thread(target=self._show, args=(self._process,), daemon=True).start()

    def _show(self, process: "subprocess.Popen[str]") -> None:
        prefix = coloured(f"{self.name:<4} |", _COLOURS[self.name])
        for line in process.stdout or ():
            self._last.append(line.rstrip())
            say(f"{prefix} {line.rstrip()}")


class Demo:
    """The whole: checks, set-up, both children, the end."""

    def __init__(self, port: int) -> None:
        self._url = f"http://{HOST}:{port}"
        self._port = port
        self._is_stopping = False
        # The development mode: static files without collectstatic, a page to try GraphQL, a secret key made here.
        self._env = {
            "CRM_DEBUG": "1",
            # The heartbeat asks the web server that runs here, as a visitor would.
            "CRM_GRAPHQL_URL": f"{self._url}/graphql",
            **os.environ,
            "PYTHONUNBUFFERED": "1",
        }
        self._children = [
            Child("web", web_command(port), signal.SIGTERM, self._env),
            # At a SIGINT, as from a terminal, the scheduler gives its jobs 2 s instead of 30.
            Child("cron", manage("crons", "serve"), signal.SIGINT, self._env),
        ]

    def run(self) -> int:
        """Set up, run until a signal or until a child cannot be kept alive; the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)
        if not self._set_up():
            return 0 if self._is_stopping else 1
        is_up = is_announced = False
        scheduler = self._children[-1]
        try:
            while not self._is_stopping:
                # The scheduler comes second: the heartbeat that it catches up at its start asks the web server.
                if any(not child.tend() for child in self._children[: None if is_up else 1]):
                    return 1
                is_up = is_up or answers(self._port)
                # Only once the scheduler has spoken: until then the list shows what is overdue as what comes next.
                if is_up and scheduler.has_spoken() and not is_announced:
                    is_announced = True
                    threading.Thread(target=self._announce, daemon=True).start()
                time.sleep(POLL_SECONDS)
            say("Stopping.")
            return 0
        finally:
            self._end()

    def _set_up(self) -> bool:
        process = subprocess.Popen(
            set_up_command(), cwd=ROOT, env=self._env, stdin=subprocess.DEVNULL,
            start_new_session=True, preexec_fn=partial(end_with_parent, signal.SIGTERM),
        )  # fmt: skip
        while process.poll() is None:
            if self._is_stopping:
                process.terminate()
            time.sleep(POLL_SECONDS)
        if process.returncode and not self._is_stopping:
            say("The set-up failed, for the reason above; nothing was started.", sys.stderr)
        return not process.returncode and not self._is_stopping

    def _announce(self) -> None:
        jobs = subprocess.run(
            manage(*JOBS), cwd=ROOT, env=self._env, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if self._is_stopping:
            return
        listing = jobs.stdout.rstrip() or jobs.stderr.rstrip()
        places = [("Jobs", "/crons/"), ("Admin", "/admin/"), ("GraphQL", "/graphql")]
        lines = [listing, "", *(f"  {name:<8} {self._url}{path}" for name, path in places)]
        lines += [f"  {'Log in':<8} {login()}", f"  {'Look':<8} docs/tour.md: what there is to see, in two minutes", ""]
        say("\n".join(["", *lines, "Ctrl-C stops both.", ""]))

    def _end(self) -> None:
        until = time.monotonic() + KILL_AFTER_SECONDS
        for child in self._children:
            child.ask_to_stop()
        with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C: at once
            signal.signal(signal.SIGINT, signal.default_int_handler)
            while not all(child.has_stopped() for child in self._children) and time.monotonic() < until:
                time.sleep(POLL_SECONDS)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for child in self._children:
            child.kill()

    def _stop(self, *_: object) -> None:
        self._is_stopping = True


def main() -> int:
    """Check what can be checked beforehand, then run."""
    if "--set-up" in sys.argv:
        return set_up()
    text = os.environ.get("PORT") or "8000"
    problem = port_problem(text) or folder_problem(ROOT / "var")
    if problem:
        say(problem, sys.stderr)
        return 1
    if os.environ.get("DATABASE_URL"):
        say("DATABASE_URL is set: the demo data goes there, not to var/crm.sqlite3.")
    return Demo(int(text)).run()


def set_up() -> int:
    """Make all that the demo needs in this one process: Django starts once, which is most of the time."""
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "crm.settings")
    from django.core.management import execute_from_command_line  # the supervisor itself needs no Django

    def call(commands: Iterable[Sequence[str]]) -> None:
        for arguments in commands:
            try:
                execute_from_command_line(["manage.py", *arguments])
            except SystemExit as end:
                if end.code:
                    raise

    call(BEFORE)
    from deploy.demo import account, past  # they need Django to be set up

    if os.environ.get("PAST") != "0":
        say(past.make(announce=say))
    call(AFTER)
    account.ensure(LOGIN)
    return 0


def login(path: Path = LOGIN) -> str:
    """Give name and password as they stand beside the address."""
    with contextlib.suppress(OSError, ValueError):
        name, password = path.read_text().split()
        return f"as {name}, password {password}"
    return "as the superuser you know; a new password: .venv/bin/python manage.py changepassword NAME"


def port_problem(text: str) -> str:
    """Say in one line why the web server cannot listen on port *text*; empty when it can."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        return f"PORT={text} is no port. Expected a number from 1 to 65535, such as: PORT=8001 make run"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, int(text)))
        except PermissionError:
            return f"Port {text} is for root only. Take one above 1023: PORT=8000 make run"
        except OSError:
            other = 8000 if int(text) != 8000 else 8001
            return f"Port {text} is in use. Stop what uses it, or: PORT={other} make run"
    return ""


def folder_problem(path: Path) -> str:
    """Say in one line why the data cannot be kept in *path*; empty when it can."""
    try:
        path.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return ""
    except OSError as error:
        return f"Cannot write to {path}: {error.strerror}. The data goes there: make it writable."


def answers(port: int) -> bool:
    """Say whether something listens on *port*; uvicorn does so only when the application is loaded."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def set_up_command() -> list[str]:
    """Give the command line that calls set_up()."""
    return [sys.executable, __file__, "--set-up"]


def web_command(port: int) -> list[str]:
    """Give the command line of the web server."""
    uvicorn = [sys.executable, "-m", "uvicorn", "crm.asgi:application", "--host", HOST, "--port", str(port)]
    return [*uvicorn, "--no-proxy-headers", "--lifespan", "off", "--timeout-graceful-shutdown", "2"]


def manage(*arguments: str) -> list[str]:
    """Give the command line of manage.py with *arguments*."""
    return [sys.executable, str(ROOT / "manage.py"), *arguments]


def end_with_parent(number: signal.Signals) -> None:
    """Have the kernel tell this process to end when the supervisor is killed and can tell nobody."""
    if sys.platform == "linux":
        _libc.prctl(1, number)


def coloured(text: str, colour: int) -> str:
    """Give *text* in *colour* on a terminal that wants colours, plain elsewhere."""
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        return f"\033[{colour}m{text}\033[0m"
    return text


def say(text: str, file: TextIO | None = None) -> None:
    """Print whole lines, never two threads' mixed; a terminal or reader that went away stops nothing."""
    with _print_lock, contextlib.suppress(OSError):
        print(text, file=file, flush=True)


if __name__ == "__main__":
    sys.exit(main())
