"""Pings, as Healthchecks takes them: a job's start, success and failure; and one that says that the whole is alive.

They are for somebody who watches from outside and calls silence an alarm. So they are tried a few times and then given
up, not kept as messages are: one that comes hours later would say of the present what was so in the past.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from crons.attempts import Begun
from crons.exceptions import InvalidSetting
from crons.models import Run
from crons.presentation import readable
from crons.side_output import get_log
from crons.signals import attempt_begun, run_ended
from crons.verdicts import Verdict
from crons.watch.alerts.base import NotSent
from crons.watch.alerts.calling import post
from crons.watch.alerts.channels import alerts

log = get_log("crons")
ENDINGS = {
    Verdict.SUCCEEDED: "",
    Verdict.FAILED: "/fail",
    Verdict.TIMED_OUT: "/fail",
    Verdict.LOST: "/fail",
    Verdict.CANCELLED: "/log",
}
# What inspection finds when nothing of the deployment gets anything done.
NOT_ALIVE = frozenset({"overdue", "database"})
PAUSES_SECONDS = (0.0, 2.0, 8.0)
LONGEST_BODY = 10_000
MOST_WAITING = 1_000


def alive(kinds: Collection[str]) -> None:
    """Ping for the whole deployment, unless what inspection found says that it does not work."""
    address = alerts().pings.deployment
    if address and not NOT_ALIVE & set(kinds):
        PINGER.put(address, b"")


def on_begun(begun: Begun, **_: Any) -> None:
    """Ping that a run of a job has begun."""
    address = alerts().pings.of(begun.entry)
    if address:
        PINGER.put(_addressed(address, "/start", begun.run), b"")


def on_ended(run: Run, **_: Any) -> None:
    """Ping how a run ended; what was skipped or missed did not run, and its silence is what tells."""
    pings = alerts().pings
    ending = ENDINGS.get(Verdict(run.verdict)) if run.verdict else None
    address = pings.of(run.entry.name) if pings.jobs and ending is not None else ""
    if address and ending is not None:
        said = readable(f"{run.entry.name} {run.verdict.replace('_', ' ')} (run {run.pk})\n{run.detail}")
        PINGER.put(_addressed(address, ending, run.pk), said.encode()[:LONGEST_BODY])


def connect() -> None:
    """Have this process ping for what it begins and ends."""
    attempt_begun.connect(on_begun, dispatch_uid="crons.pings")
    run_ended.connect(on_ended, dispatch_uid="crons.pings")


def finish(patience_seconds: float) -> None:
    """Wait for pings that are on their way."""
    PINGER.finish(patience_seconds)


def _addressed(address: str, ending: str, run_id: int) -> str:
    """Return the address of one ping; the id has the other side measure how long the run took."""
    parts = urlsplit(address)
    rid = urlencode({"rid": str(uuid.uuid5(uuid.NAMESPACE_OID, f"crons run {run_id}"))})
    query = f"{parts.query}&{rid}" if parts.query else rid
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + ending, query, ""))


@dataclass
class Pinger:
    """Calls addresses beside the scheduler, in a thread for each host: one that hangs, hangs alone."""

    waiting: dict[str, deque[tuple[str, bytes]]] = field(default_factory=dict)
    threads: dict[str, threading.Thread] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, address: str, body: bytes) -> None:
        """Have *address* called; return at once. Of too many that wait, the oldest are forgotten."""
        host = urlsplit(address).netloc
        with self.lock:
            self.waiting.setdefault(host, deque(maxlen=MOST_WAITING)).append((address, body))
            if host not in self.threads:
                self.threads[host] = threading.Thread(target=self._work, args=(host,), name="crons-pings", daemon=True)
                self.threads[host].start()

    def finish(self, patience_seconds: float) -> None:
        """Wait until all were called, for that long at most."""
        until = time.monotonic() + patience_seconds
        for thread in list(self.threads.values()):
            thread.join(max(until - time.monotonic(), 0))

    def _work(self, host: str) -> None:
        while True:
            with self.lock:
                if not self.waiting[host]:
                    del self.threads[host]
                    return
                address, body = self.waiting[host].popleft()
            _call(address, body)


def _call(address: str, body: bytes) -> None:
    complaint = ""
    for pause in PAUSES_SECONDS:
        time.sleep(pause)
        try:
            post(address, body, {"Content-Type": "text/plain; charset=utf-8"}, seconds=10)
        except (NotSent, InvalidSetting) as error:
            complaint = str(error)
        else:
            return
    log.warning(
        "a ping was given up after %d tries: %s", len(PAUSES_SECONDS), complaint, extra={"event": "ping.given_up"}
    )


PINGER = Pinger()
