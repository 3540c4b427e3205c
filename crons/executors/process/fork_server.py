"""The fork server: a warm copy of Django, without threads or connections, that new supervisors are forked from."""

from __future__ import annotations

import faulthandler
import gc
import os
import select
import signal
import socket
import time
import traceback
from typing import NoReturn

from crons.executors import capture
from crons.executors.forking import end_copies
from crons.executors.process import kernel, supervisor, wire
from crons.executors.process.exiting import Exit, Inherited
from crons.executors.process.resting import explain

# Sent to whole groups by terminals and service managers; only the host decides when this ends.
_IGNORED_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
_SWEEP_MS = 100
_SHUTDOWN_SECONDS = supervisor.SWEEP_PATIENCE_SECONDS + 5


def run(channel: socket.socket, log_level: int, kill_wait_seconds: float, inherited: Inherited) -> NoReturn:
    """Be the fork server in this freshly forked process until the host hangs up."""
    code = 1
    try:
        _reset_signals()
        end_copies()
        capture.reopen_streams()
        log = capture.take_over_logging(log_level)
        # A job that crashes the interpreter leaves its Python stack in its own stderr.
        faulthandler.enable(2)
        kernel.adopt_orphans()
        leaving = Exit(inherited)
        # What lives now lives on in every fork: a collection there would copy all of its pages.
        gc.collect()
        gc.freeze()
        ForkServer(channel, log, kill_wait_seconds, leaving).serve()
        code = 0
    except BaseException:  # noqa: BLE001 (the host's stack must not unwind in this process)
        traceback.print_exc()
    finally:
        os._exit(code)


class ForkServer:
    """Forks supervisors on demand, reaps them, and kills what a supervisor that died early left behind."""

    def __init__(self, channel: socket.socket, log: capture.LogPipe, kill_wait_seconds: float, leaving: Exit) -> None:
        self._inbox = wire.Inbox(channel)
        self._log = log
        self._leaving = leaving
        self._kill_wait_seconds = kill_wait_seconds
        self._children = kernel.ChildWatcher()
        self._supervisors: set[int] = set()
        self._has_orphans = False

    def serve(self) -> None:
        """Fork what is asked for until the host closes the channel.

        Returns when every process below has ended, or cannot be killed.
        """
        poll = select.poll()
        poll.register(self._inbox.end, select.POLLIN)
        poll.register(self._children, select.POLLIN)
        while True:
            poll.poll(_SWEEP_MS if self._has_orphans else None)
            commands = self._inbox.read()
            if commands is None:
                break
            for command in commands:
                self._fork(command["fork"])
            self._tend()
        self._shut_down()

    def _fork(self, what: str) -> None:
        if not self._inbox.descriptors:
            return  # the kernel leaves out those that a process may not have: the host sees the channel's end
        channel = socket.socket(fileno=self._inbox.descriptors.popleft())
        channel.setblocking(False)
        try:
            pid = os.fork()
        except OSError as error:
            wire.send(channel, {"refused": explain(error)})
        else:
            if pid == 0:
                self._become_supervisor(channel) if what == "supervisor" else self._become_spare(channel)
            self._supervisors.add(pid)
        channel.close()

    def _become_supervisor(self, channel: socket.socket) -> NoReturn:
        self._inbox.end.close()
        self._children.close()
        supervisor.run(channel, self._log, self._kill_wait_seconds, self._leaving)

    def _become_spare(self, channel: socket.socket) -> NoReturn:
        """Be another fork server, as this one was when it began: it takes over when this one is gone."""
        code = 1
        try:
            self._inbox.end.close()
            self._children.close()
            wire.send(channel, {"pid": os.getpid()})
            ForkServer(channel, self._log, self._kill_wait_seconds, self._leaving).serve()
            code = 0
        except BaseException:  # noqa: BLE001 (the stack of the other must not unwind in this process)
            traceback.print_exc()
        finally:
            os._exit(code)

    def _tend(self) -> None:
        self._children.drain()
        exited = [each.pid for each in kernel.reap() if each is not None]
        if exited or self._has_orphans:
            self._supervisors.difference_update(exited)
            # What is left of a job whose supervisor was killed is adopted by the next subreaper, which is this process.
            self._has_orphans = bool(kernel.kill_below(os.getpid(), spare=self._supervisors))

    def _shut_down(self) -> None:
        # The supervisors see the host's end on their own channels, and kill what they watch.
        ends_at = time.monotonic() + _SHUTDOWN_SECONDS
        exits = select.poll()
        exits.register(self._children, select.POLLIN)
        while self._supervisors and time.monotonic() < ends_at:
            exits.poll(_SWEEP_MS)
            self._tend()
        supervisor.end_all()


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals():
        # The host's handlers would act for the host; what it ignores (SIGPIPE) stays ignored.
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    for name in _IGNORED_SIGNALS:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
