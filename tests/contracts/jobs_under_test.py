"""What jobs do to the process they run in. Each is the body of a job of the same name."""

# ruff: noqa: T201, SIM115 (jobs print, and leave files open)

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gzip
import logging
import multiprocessing
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
import zipfile
from collections.abc import Callable
from concurrent import futures
from multiprocessing import shared_memory
from typing import Any

from crons import GiveUp
from crons.executors.runner import Context
from crons.jobs.callables import ShellBody

# No test of these may fail because their process was not scheduled between SIGTERM and SIGKILL.
END_AT_SIGTERM = frozenset({"waits", "returns_on_sigterm"})
_of_the_host = frozenset[int]()
BODIES: dict[str, Callable[..., Any]] = {}


def body(function: Callable[..., Any]) -> Callable[..., Any]:
    """Know *function* as a job under test."""
    BODIES[function.__name__] = function
    return function


def trace(path: str, *words: object) -> int:
    """Write *words* to the named pipe, which stays open until this process and its children are gone."""
    end = os.open(path, os.O_WRONLY)
    os.set_inheritable(end, True)
    os.write(end, (" ".join(map(str, words)) + "\n").encode())
    return end


def spare_what_is_open() -> None:
    """Have jobs that scribble over everything spare what this process had before: the pipes of the tests."""
    global _of_the_host
    _of_the_host = frozenset(map(int, os.listdir("/proc/self/fd")))


def wait_for_ever() -> None:
    """Wait for a signal that ends the process, as often as one comes that does not."""
    while True:
        signal.pause()


BODIES["starts_a_program"] = ShellBody(("/bin/true",))
BODIES["starts_a_program_that_is_not_there"] = ShellBody(("/nosuch",))


@body
def noop() -> None:
    pass


@body
def says(text: str) -> None:
    print(text)


@body
def writes_everywhere() -> None:
    print("first line")
    print("a warning", file=sys.stderr)
    logging.getLogger("shop.orders").info("order %d sent", 7)
    logging.getLogger("shop.orders").debug("not kept")
    print("second line")
    try:
        raise ValueError("no such customer")
    except ValueError:
        logging.getLogger("shop").exception("could not send")


@body
def names_its_supervisor() -> None:
    print(os.getppid())


@body
def describes_itself(context: Context, colour: str) -> None:
    print(context.entry, context.key, context.token, context.number, context.slot_at, colour)
    print(os.environ["CRONS_ATTEMPT"], os.environ["CRONS_RUN"], os.environ["CRONS_KEY"])


@body
def adds_its_number(context: Context, path: str) -> None:
    _add(path, str(context.number))


@body
def fails_at_first(context: Context) -> None:
    print(context.key)
    if context.number == 1:
        raise LookupError("no customer 42")


@body
def writes_fenced(context: Context, gate: str, path: str) -> None:
    """Write a row, and another once the gate was open; each only while the run is this attempt's."""
    from crons.models import AuditEvent

    trace(path, os.getpid())
    for verb in ("first", "second"):
        with context.atomic():
            AuditEvent.objects.create(at=context.until, actor=context.entry, verb=verb, subject_type="test")
        if verb == "first":
            waits_at_gate(gate)


@body
def raises() -> None:
    raise LookupError("no customer 42")


@body
def raises_before_a_handler() -> None:
    """Fail where an error tracker listens to the log."""

    class Tracker(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert record.exc_info is not None
            print(record.levelname, record.name, record.getMessage(), record.exc_info[1])

    logging.getLogger().addHandler(Tracker())
    raise LookupError("no customer 42")


@body
def gives_up() -> None:
    raise GiveUp("the account is closed") from LookupError("no customer 42")


@body
def exits(code: object) -> None:
    sys.exit(code)  # type: ignore[arg-type] # whatever a test wants


@body
def interrupted() -> None:
    raise KeyboardInterrupt


@body
async def is_async() -> None:
    print("awaited")


@body
def raises_secret(secret: str) -> None:
    raise RuntimeError(f"login with {secret} refused")


@body
def writes_in_pieces(pieces: list[str], gate: str) -> None:
    """Write each piece, hexadecimal, and wait at the gate after each."""
    for piece in pieces:
        os.write(1, bytes.fromhex(piece))
        with open(gate) as waiting:
            waiting.read()


@body
def prints_pieces(pieces: list[str]) -> None:
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()


@body
def floods(blocks: int, block_bytes: int) -> None:
    print("the first line")
    for _ in range(blocks):
        sys.stdout.write("x" * (block_bytes - 1) + "\n")
    print("the last line")


@body
def waits(path: str) -> None:
    trace(path, os.getpid(), os.getppid())
    wait_for_ever()


@body
def waits_at_gate(gate: str) -> None:
    print("waiting")
    with open(gate) as waiting:
        waiting.read()


@body
def ignores_sigterm(path: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    trace(path, os.getpid())
    wait_for_ever()


@body
def returns_on_sigterm(path: str) -> None:
    """Clean up when told to stop, and return as if nothing had been."""

    def stop(*_: object) -> None:
        raise InterruptedError

    signal.signal(signal.SIGTERM, stop)
    trace(path, os.getpid())
    try:
        wait_for_ever()
    except InterruptedError:
        print("cleaned up")


@body
def runs_programs() -> None:
    print("before", flush=True)
    subprocess.run(["sh", "-c", "echo from the child; echo its error >&2"], check=True)
    print("after")


@body
def leaves_child(path: str, end: str) -> None:
    """Leave a forked child behind that holds everything, and return or wait."""
    descriptor = trace(path, os.getpid())
    if os.fork() == 0:
        os.write(descriptor, f"{os.getpid()}\n".encode())
        wait_for_ever()
    if end == "wait":
        wait_for_ever()


@body
def leaves_daemon(path: str, end: str) -> None:
    """Leave a grandchild behind in a session of its own, deaf to SIGTERM, as daemons are."""
    descriptor = trace(path, os.getpid())
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            os.write(descriptor, f"{os.getpid()}\n".encode())
            wait_for_ever()
        os._exit(0)
    os.wait()
    if end == "wait":
        wait_for_ever()


@body
def leaves_program() -> None:
    """Leave a program behind that holds stdout."""
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    print("started")


@body
def leaves_thread(gate: str, path: str) -> None:
    """Return while a thread waits at the gate, and then writes."""

    def write() -> None:
        with open(gate) as waiting:
            waiting.read()
        _add(path, "thread")

    threading.Thread(target=write).start()
    print("returned", flush=True)


@body
def leaves_daemon_thread() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


@body
def leaves_thread_for_ever(path: str) -> None:
    trace(path, os.getpid())
    threading.Thread(target=threading.Event().wait).start()


def _add(path: str, word: str) -> None:
    with open(path, "a") as file:
        file.write(f"{word}\n")


_pools: list[Any] = []
_files: list[Any] = []


@body
def leaves_work_to_pools(path: str) -> None:
    """Hand work to threads and to processes, and wait for none of it."""
    _pools.append(futures.ThreadPoolExecutor(2))
    _pools.append(futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")))
    for pool, word in zip(_pools, ("pool", "process"), strict=True):
        pool.submit(_add, path, word)
    process = multiprocessing.get_context("fork").Process(target=_add, args=(path, "child"))
    process.start()


@body
def leaves_work_to_atexit(path: str) -> None:
    """Each of these runs at the interpreter's end."""
    atexit.register(_add, path, "first")
    atexit.register(_add, path, "second")
    weakref.finalize(sys.modules[__name__], _add, path, "finalizer")


@body
def leaves_files_open(folder: str) -> None:
    """Leave them to globals, half written."""
    _files.append(open(f"{folder}/text", "w"))
    _files.append(open(f"{folder}/bytes", "wb"))
    _files.append(gzip.open(f"{folder}/packed", "wt"))
    _files.append(zipfile.ZipFile(f"{folder}/archive", "w"))
    for file, what in zip(_files, ("text", b"bytes", "packed"), strict=False):
        file.write(what)
    _files[3].writestr("member", "archived")


@body
def leaves_temporary_files(folder: str) -> None:
    """Leave one to a global, and another to what only refers to itself."""
    _files.append(tempfile.NamedTemporaryFile(dir=folder, prefix="of-a-global-"))
    circle: list[Any] = [tempfile.NamedTemporaryFile(dir=folder, prefix="of-a-circle-"), Unfinished()]
    circle.append(circle)
    print(*sorted(each.partition("-")[0] for each in os.listdir(folder)), flush=True)


@body
def leaves_shared_memory() -> None:
    """As a job that is interrupted before it unlinks it."""
    _pools.append(shared_memory.SharedMemory(create=True, size=1))
    print(_pools[-1].name, os.path.exists(f"/dev/shm/{_pools[-1].name}"))


@body
def prints_in_c() -> None:
    ctypes.CDLL(None).printf(b"from a library in C")


class Unfinished:
    """Says that it is destroyed."""

    def __del__(self) -> None:
        print("destroyed")


@body
def leaves_an_object() -> None:
    _files.append(Unfinished())


@body
def fails_in_thread(daemon: bool = False) -> None:
    thread = threading.Thread(target=int, args=("seven",), name="reader", daemon=daemon)
    thread.start()
    thread.join()


def leave_before_the_fork(folder: str) -> None:
    """Do what a project's modules do when they are imported: by the host, before a job's process is forked."""
    atexit.register(lambda: _add(f"{folder}/ends", f"project {os.getpid()}"))
    _files.append(open(f"{folder}/kept", "w"))
    _files[-1].write("from the host\n")
    _files.append(tempfile.TemporaryDirectory(dir=folder, prefix="of-the-host-"))


@body
def writes_to_what_it_inherits() -> None:
    _files[0].write("from the job\n")
    print(os.getpid())


@body
def speaks_over(descriptor: int) -> None:
    """Use a connection that was there before the fork."""
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        heard = connection.recv(1)
        try:
            connection.sendall(b"from the job")
        except OSError as error:
            print(heard, type(error).__name__)


@body
def logs_to_the_shop() -> None:
    logging.getLogger("shop").error("from the job")


@body
def fails_in_atexit(code: int | None = None) -> None:
    atexit.register(int, "seven") if code is None else atexit.register(sys.exit, code)


@body
def fails_in_pool() -> None:
    """Submit what raises, and ask nobody how it went."""
    _pools.append(futures.ThreadPoolExecutor(1))
    _pools[-1].submit(int, "seven")


@body
def fills_the_disk() -> None:
    _files.append(open("/dev/full", "w"))
    _files[-1].write("not on any disk")


@body
def raises_and_fails_in_atexit() -> None:
    atexit.register(int, "seven")
    raise LookupError("no customer 42")


@body
def exits_in_atexit(code: int) -> None:
    atexit.register(os._exit, code)


@body
def forks_and_returns_twice() -> None:
    """Fork, and let the copy return (or fail) as well."""
    if os.fork() == 0:
        raise RuntimeError("the copy")
    os.wait()


@body
def exits_at_once(code: int) -> None:
    print("about to go")
    os._exit(code)


@body
def kills_itself(number: int) -> None:
    os.kill(os.getpid(), number)


@body
def counts_a_kill_and_dies(counts: str) -> None:
    """Do what the kernel does when memory runs out."""
    with open(counts, "w") as file:
        file.write("max 9\noom_kill 3\n")
    os.kill(os.getpid(), signal.SIGKILL)


@body
def runs_out_of_memory() -> None:
    with open("/proc/self/statm") as sizes:
        used = int(sizes.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, used + 2**26))
    bytearray(2**30)


@body
def closes_its_output() -> None:
    os.close(1)
    os.close(2)


@body
def closes_everything() -> None:
    os.closerange(0, 256)


@body
def opens_files_of_its_own(folder: str, fails: bool) -> None:
    """Close what it did not open, so that its own files get those numbers, and go on."""
    os.closerange(3, 1024)
    for number in range(16):
        _files.append(open(f"{folder}/{number}", "wb", buffering=0))
    root = logging.getLogger()
    root.handlers = [each for each in root.handlers if type(each).__name__ == "LogPipe"]  # none of the tests' own
    logging.getLogger("shop.orders").error("this has nowhere to go")
    for file in _files:
        file.write(b"mine")
    if fails:
        raise LookupError("no customer 42")


@body
def writes_to_all_descriptors(data: str) -> None:
    """Scribble over what it did not open, and leave at once."""
    for number in range(3, 256):
        with contextlib.suppress(OSError):
            if number not in _of_the_host:
                os.write(number, data.encode())
    os._exit(0)


@body
def fails_at_length() -> None:
    raise RuntimeError("x" * 10_000_000)


@body
def uses_database() -> None:
    from django.db import connection

    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        print(cursor.fetchone()[0])


@body
def draws() -> None:
    print(random.random())


@body
def stops_its_supervisor(path: str) -> None:
    trace(path, os.getpid())
    os.kill(os.getppid(), signal.SIGSTOP)
    wait_for_ever()


@body
def prints_its_signals() -> None:
    print(signal.getsignal(signal.SIGTERM).name, signal.getsignal(signal.SIGHUP).name)
    print(os.getpgid(0) == os.getpid(), os.getsid(0) == os.getppid(), sys.stdin.read() == "")
