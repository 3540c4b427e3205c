"""What `crons serve` tells whoever started it: by a real datagram socket, from its loop, and never from a thread."""

from __future__ import annotations

import os
import select
import socket
import threading
from types import SimpleNamespace

import pytest

from crons.exceptions import LedgerUnavailable
from crons.side_output import Notifier
from crons.triggers import serve

PATIENCE_SECONDS = 60


@pytest.fixture(params=["path", "abstract"])
def listener(request, tmp_path, monkeypatch):
    """Whoever started it, which waits at a socket of either kind."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@crons-test-{os.getpid()}-{id(request)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(name.replace("@", "\0", 1))
        end.settimeout(PATIENCE_SECONDS)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        monkeypatch.setenv("WATCHDOG_USEC", "1")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        yield end


def told(end):
    """The lines of the message that comes next."""
    return end.recv(4096).decode().split("\n")


def is_silent(end):
    """Whether nothing has come."""
    return select.select([end], [], [], 0) == ([], [], [])


class Hangs:
    """A session whose second look hangs until it is let go, and whose third one fails."""

    stopping = None
    executors = {"process": SimpleNamespace(running=lambda: [1, 2], trouble="", broken=False)}

    def __init__(self):
        self.looks, self.hangs, self.let_go = 0, threading.Event(), threading.Event()
        self.watchdog = self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def free(self):
        return 2

    def work(self, wait):
        pass

    def look(self):
        self.looks += 1
        if self.looks == 2:
            self.hangs.set()
            assert self.let_go.wait(PATIENCE_SECONDS)
        if self.looks == 3:
            raise LedgerUnavailable("the database did not answer: s3cret")
        return 0.0


def test_a_loop_that_hangs_is_not_alive(listener, monkeypatch):
    """A thread would go on saying that it is while nothing is recorded any more."""
    session = Hangs()
    scheduler = serve.Scheduler(session, say=print)
    monkeypatch.setattr(scheduler, "_look", session.look)
    monkeypatch.setattr(scheduler, "_note", lambda error: setattr(scheduler, "failures", 1) or 0.0)
    loop = threading.Thread(target=lambda: [scheduler._turn() for _ in range(3)])

    loop.start()
    try:
        status = "STATUS=looks at the clock; 2 running here, 2 more could"
        assert told(listener) == ["READY=1", status]
        assert told(listener) == ["WATCHDOG=1"]
        assert session.hangs.wait(PATIENCE_SECONDS)
        assert is_silent(listener)
    finally:
        session.let_go.set()
        loop.join(PATIENCE_SECONDS)

    assert told(listener) == ["WATCHDOG=1"]
    # It turns though it fails: to start it anew would not bring the database back.
    assert told(listener) == ["STATUS=1 looks in a row failed; the log says why", "WATCHDOG=1"]
    assert is_silent(listener)


def test_jobs_do_not_inherit_it_and_what_starts_anew_does(listener):
    """A job that told it is ready would answer for the scheduler."""
    given = {name: os.environ[name] for name in Notifier.NAMES}
    notifier = Notifier()

    assert not any(name in os.environ for name in Notifier.NAMES)
    notifier.give_back()
    assert {name: os.environ[name] for name in Notifier.NAMES} == given
    notifier.stopping("two\nlines")
    assert told(listener) == ["STOPPING=1", "STATUS=two lines"]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "many"},
        {"NOTIFY_SOCKET": "vsock:2:1234", "WATCHDOG_USEC": "-1"},
        {"NOTIFY_SOCKET": "@" + "x" * 200, "WATCHDOG_USEC": "1"},
    ],
)
def test_where_nobody_listens_it_is_silent(given, monkeypatch):
    """It decides nothing: a scheduler works without whoever started it."""
    for name in Notifier.NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    notifier = Notifier()

    notifier.ready("x")
    notifier.alive("y")
    notifier.stopping("z")


def test_another_process_that_is_watched_is_not_answered_for(listener, monkeypatch):
    """WATCHDOG_PID names who is to answer: a wrapper may have started this one."""
    monkeypatch.setenv("WATCHDOG_PID", "1")
    notifier = Notifier()

    notifier.ready("x")
    notifier.alive("x")

    assert told(listener) == ["READY=1", "STATUS=x"]
    assert is_silent(listener)


def test_a_full_socket_holds_nothing_up(listener):
    """Whoever started it may not read for a while."""
    notifier = Notifier()

    for number in range(10_000):
        notifier.ready(str(number))

    assert told(listener) == ["READY=1", "STATUS=0"]
