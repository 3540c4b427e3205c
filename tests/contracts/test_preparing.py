"""What a fork would share is refused, closed or made anew before it: connections, pools, log handlers."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from logging.handlers import QueueHandler, QueueListener, SocketHandler, SysLogHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pytest_django.plugin import DjangoDbBlocker

from crons.exceptions import CronsError
from crons.executors import forking
from crons.verdicts import Outcome
from tests.contracts.hosting import Host


def test_an_open_connection_is_refused(django_db_blocker: DjangoDbBlocker, tmp_path: Path) -> None:
    """Forked jobs would share it, and speak all at once over one socket."""
    script = (
        "import django; from django.conf import settings; settings.configure("
        "INSTALLED_APPS=['crons'], DATABASES={'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'x.db'}})\n"
        "django.setup()\n"
        "from django.db import connection; connection.ensure_connection()\n"
        "from crons.executors.process.executor import ProcessExecutor\n"
        "ProcessExecutor(alias='process').prepare()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.strip().endswith(
        "prepare() came after a database connection was opened (default): forked jobs would share it. "
        "Prepare first, or close it with django.db.connections.close_all()."
    )


def test_an_open_pool_is_refused(monkeypatch: pytest.MonkeyPatch, make_host: Callable[[str], Host]) -> None:
    """close_all() hands a connection back to its pool, which goes on in each forked process."""

    class Pooled:
        alias = "default"
        _connection_pools: ClassVar = {"default": object()}

    monkeypatch.setattr(forking, "connections", connections_of(default=Pooled()))

    with pytest.raises(CronsError) as refused:
        make_host("process")

    assert str(refused.value) == (
        "prepare() came while a pool of database connections was open (default): forked jobs would share them. "
        "Prepare first, or close it with django.db.connections['default'].close_pool()."
    )


def test_the_pools_of_all_databases_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where this thread has asked only one of them, or none."""
    pools: dict[str, object] = {"default": object(), "reports": object()}

    class Pooled:
        _connection_pools = pools

        def __init__(self, alias: str) -> None:
            self.alias = alias

        def close_pool(self) -> None:
            del pools[self.alias]

    monkeypatch.setattr(forking, "connections", connections_of(**{alias: Pooled(alias) for alias in pools}))

    forking.close_shared()

    assert pools == {}


def connections_of(**pooled: object) -> Any:
    class Connections(dict[str, object]):
        settings: ClassVar = {alias: {"OPTIONS": {"pool": True}} for alias in pooled}

        def all(self, *, initialized_only: bool) -> list[object]:
            return []

        def close_all(self) -> None:
            """Hand them back to their pools."""

    return Connections(pooled)


def test_a_connection_that_stays_open_is_at_its_end_in_a_job(
    make_host: Callable[[str], Host], caplog: pytest.LogCaptureFixture
) -> None:
    """A cache's, an SDK's: nothing here knows how to close it, and two processes must not speak over it."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as ours,
        server.accept()[0] as theirs,
    ):
        with caplog.at_level(logging.INFO, "crons.executors"):
            host = make_host("process")
        attempt = host.start("speaks_over", descriptor=ours.fileno())
        assert host.ending(attempt).outcome == Outcome.SUCCEEDED
        ours.sendall(b"from the host")
        heard = theirs.recv(100)

    assert host.text(attempt) == "b'' BrokenPipeError\n"
    assert heard == b"from the host"
    assert caplog.messages[-1].startswith("Forking a process that is connected to 127.0.0.1:")


@pytest.mark.parametrize("kind", [queue.Queue, queue.SimpleQueue])
@pytest.mark.parametrize("stops", ["in the project's atexit", "nowhere"])
def test_a_log_queue_is_written_by_the_job_itself(
    make_host: Callable[[str], Host], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: Any, stops: str
) -> None:
    """The thread that empties it is not there after the fork: what a job logged was lost."""
    waiting, written = kind(), logging.FileHandler(tmp_path / "log")
    listener = QueueListener(waiting, written)
    listener.start()
    monkeypatch.setattr(logging.getLogger("shop"), "handlers", [QueueHandler(waiting)])
    if stops == "in the project's atexit":
        atexit.register(listener.stop)
    host = make_host("process")
    atexit.unregister(listener.stop)

    ending = host.run("logs_to_the_shop")
    logging.getLogger("shop").error("from the host")
    listener.stop()
    written.close()

    assert (ending.outcome, ending.error) == (Outcome.SUCCEEDED, "")
    assert (tmp_path / "log").read_text() == "from the job\nfrom the host\n"


@pytest.mark.parametrize("handler", [SocketHandler, partial(SysLogHandler, socktype=socket.SOCK_STREAM)])
def test_a_log_handler_connects_anew_after_a_fork(
    make_host: Callable[[str], Host], monkeypatch: pytest.MonkeyPatch, handler: Callable[..., logging.Handler]
) -> None:
    """Ended under its hands it would lose the first record of each job."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        shop = handler(*address) if handler is SocketHandler else handler(address)
        monkeypatch.setattr(logging.getLogger("shop"), "handlers", [shop])
        logging.getLogger("shop").error("before the fork")
        forking.close_shared()
        host = make_host("process")
        host.run("logs_to_the_shop")
        records = []
        for _ in range(2):
            with server.accept()[0] as connection:
                records.append(connection.recv(4096))
        shop.close()

    assert [b"before the fork" in records[0], b"from the job" in records[1]] == [True, True]


def test_threads_are_warned_of(make_host: Callable[[str], Host], caplog: pytest.LogCaptureFixture) -> None:
    import threading

    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="statsd")
    thread.start()

    with caplog.at_level(logging.WARNING, "crons.executors"):
        make_host("process")

    stop.set()
    thread.join()
    assert "statsd" in caplog.text
