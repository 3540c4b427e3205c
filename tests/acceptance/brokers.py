"""Brokers for tests: a real Redis and a real RabbitMQ, each with data and socket or port of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests import ports

PATIENCE_SECONDS = 180
# Daemons lie in directories that only root's PATH has.
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


class Redis:
    """A Redis on a port of its own, which keeps nothing when it stops."""

    def __init__(self, folder: Path) -> None:
        self.port = ports.free()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and return when it answers."""
        program = shutil.which("redis-server", path=PATH)
        assert program is not None
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_port(self.port, self._process)

    def stop(self) -> None:
        """End it at once, with all that it had."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self, signal_number: int) -> None:
        """Stop or continue its process: it takes connections and says nothing meanwhile."""
        assert self._process is not None
        self._process.send_signal(signal_number)


@contextmanager
def redis(folder: Path) -> Iterator[Redis]:
    """Run a Redis while the body runs."""
    server = Redis(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def rabbitmq(folder: Path) -> Iterator[str]:
    """Run a RabbitMQ while the body runs; yield its URL."""
    port, erlang_port = ports.free(), ports.free()
    home = folder / "rabbit"
    home.mkdir(mode=0o700)
    (home / "enabled_plugins").write_text("[].\n")
    env = {
        "PATH": PATH,
        "HOME": str(home),
        "RABBITMQ_NODENAME": f"crons{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(erlang_port),
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_PID_FILE": str(home / "pid"),
        # Erlang's daemon of names, which it leaves behind: one of its own can be ended.
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(ports.free()),
        "ERL_EPMD_RELAXED_COMMAND_CHECK": "1",
        "LANG": "C.UTF-8",
    }
    program = "/usr/lib/rabbitmq/bin/rabbitmq-server"
    with (home / "out").open("wb") as out:
        process = subprocess.Popen([program], env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        wait_for_port(port, process)
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
        subprocess.run(["epmd", "-kill"], env=env, stdout=subprocess.DEVNULL, check=False)


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when somebody listens on *port*; fail when *process* ends before."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, f"it ended with {process.returncode}"
        time.sleep(0.1)  # sleeps: nobody tells of a port
    raise AssertionError(f"nobody listens on {port}")
