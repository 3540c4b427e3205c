"""Sending messages in a thread: a broker that is down or silent must never delay a turn of the dispatcher."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from crons import ledger
from crons.executors.base import RunMessage, Sender
from crons.side_output import get_log

log = get_log("crons.executors")
# Messages that wait for a publisher's thread; more stay in the ledger, where they are safe.
LONGEST_QUEUE = 1_000
# A message that takes longer to be handed over says that the broker is silent.
PATIENCE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 30.0
CLOSING_SECONDS = 1.0
# How long a process that ends waits for what is being sent.
LAST_CALL_SECONDS = 10.0


class Publishers:
    """What one process sends elsewhere: due runs out of the ledger, and what was not taken back into it.

    *sent* counts the messages.
    """

    def __init__(self, senders: Mapping[str, Sender]) -> None:
        self.by_alias = {alias: Publisher(sender) for alias, sender in senders.items()}
        self.sent = 0
        self._returned: list[Returned] = []

    def send(self, now: datetime, only_run: int | None = None) -> None:
        """Have sent what is due by *now*, as far as there is room."""
        room = {alias: publisher.room() for alias, publisher in self.by_alias.items()}
        if any(room.values()):
            messages = ledger.send(now, room, only_run=only_run)
            self.sent += len(messages)
            for alias, publisher in self.by_alias.items():
                publisher.post([each for each in messages if each.executor == alias])

    def requeue_unsent(self, now: datetime | None) -> None:
        """Write down what was not taken: it is due again after a pause."""
        self._returned += [each for publisher in self.by_alias.values() for each in publisher.returned()]
        if self._returned:
            at = now or ledger.database_now()
            # Of a heap one message failed and the rest was not tried: one write for each reason, not for each run.
            for error in dict.fromkeys(each.error for each in self._returned):
                alike = [each for each in self._returned if each.error == error]
                again_at = at + timedelta(seconds=max(each.pause_seconds for each in alike))
                detail = f"could not be sent: {error}"
                ledger.requeue([each.run for each in alike], again_at, detail, unsent=True)
            self._returned = []

    def finish(self) -> None:
        """Wait for what is being sent, a short while; what was not taken is due again."""
        until = time.monotonic() + LAST_CALL_SECONDS
        try:
            for publisher in self.by_alias.values():
                publisher.join(max(until - time.monotonic(), 0.0))
            self.requeue_unsent(None)
        finally:
            self.close()

    def close(self) -> None:
        """Let the threads end as soon as they are idle; what is sent later starts others."""
        for publisher in self.by_alias.values():
            publisher.close()


@dataclass(frozen=True)
class Returned:
    """A run whose message was not taken, and why; it may be tried again after *pause_seconds*."""

    run: int
    error: str
    pause_seconds: float


class Publisher:
    """Sends in a thread of its own. After a failure it waits, longer each time, and then tries one message first."""

    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        self._changed = threading.Condition()
        self._waiting: deque[RunMessage] = deque()
        self._returned: list[Returned] = []
        self._thread: threading.Thread | None = None
        self._handing_over_since: float | None = None
        self._failures = 0
        self._last_error = ""
        self._closed_until = 0.0
        self._is_silence_logged = False
        self._is_over = False

    def room(self) -> int:
        """Say how many messages are taken now; none while the broker is down or silent."""
        with self._changed:
            now = time.monotonic()
            if self._is_silent(now):
                self._log_silence()
                return 0
            if self._closed_until > now:
                return 0
            room = max(LONGEST_QUEUE - len(self._waiting), 0)
            return min(room, 1) if self._failures else room

    def post(self, messages: Iterable[RunMessage]) -> None:
        """Have *messages* sent; return at once."""
        with self._changed:
            self._waiting.extend(messages)
            if self._waiting and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._work, name=f"crons-{self.sender.alias}", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def returned(self) -> list[Returned]:
        """Give, once, what was not taken."""
        with self._changed:
            returned, self._returned = self._returned, []
            return returned

    def join(self, seconds: float) -> bool:
        """Wait until all is sent or returned, at most so long; say whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and self._handing_over_since is None, seconds)

    def close(self) -> None:
        """End the thread once it is idle; what it has not sent by then is sent again by others."""
        with self._changed:
            self._is_over = True
            thread = self._thread if not self._waiting and self._handing_over_since is None else None
            self._changed.notify_all()
        if thread is not None:
            thread.join(CLOSING_SECONDS)  # else what is posted next may come while it goes, and be left

    def _is_silent(self, now: float) -> bool:
        return self._handing_over_since is not None and now - self._handing_over_since > PATIENCE_SECONDS

    def _log_silence(self) -> None:
        if not self._is_silence_logged:
            log.warning(
                "executor %s: the broker does not answer; nothing is sent until it does",
                self.sender.alias,
                extra={"event": "broker.silent", "executor": self.sender.alias},
            )
        self._is_silence_logged = True

    def _work(self) -> None:
        while not self._is_done():
            try:
                while (message := self._next()) is not None:
                    error = self._send(message)
                    with self._changed:
                        self._handing_over_since = None
                        self._note(message, error)
                        self._changed.notify_all()
            finally:
                self.sender.close()

    def _is_done(self) -> bool:
        """Say whether the thread may end; then whoever posts next starts another."""
        with self._changed:
            is_done = self._is_over and not self._waiting
            if is_done:
                self._thread = None
            return is_done

    def _next(self) -> RunMessage | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_over)
            if not self._waiting:
                return None
            self._handing_over_since = time.monotonic()
            return self._waiting.popleft()

    def _send(self, message: RunMessage) -> str:
        if self._closed_until > time.monotonic():
            return f"the broker has just failed, {self._last_error}"
        try:
            self.sender.send(message)
        except BaseException as error:  # noqa: BLE001 (it may raise what it likes, and this thread must not end of it)
            return f"{type(error).__name__}: {error}"
        return ""

    def _note(self, message: RunMessage, error: str) -> None:
        now = time.monotonic()
        if not error:
            if self._failures or self._is_silence_logged:
                log.warning(
                    "executor %s: messages are taken again",
                    self.sender.alias,
                    extra={"event": "broker.answers", "executor": self.sender.alias},
                )
            self._failures, self._is_silence_logged = 0, False
            return
        if self._closed_until <= now:
            self._last_error = error
            # Of a number that grows with each failure a power is too large for a float after a night.
            pause: float = min(2.0 ** min(self._failures, 10), LONGEST_PAUSE_SECONDS)
            self._failures += 1
            self._closed_until = now + pause
            log.warning(
                "executor %s: a message was not taken, the next in %.0f s: %s",
                self.sender.alias,
                pause,
                error,
                extra={"event": "message.refused", "executor": self.sender.alias},
            )
        self._returned.append(Returned(message.run, error, max(self._closed_until - now, 0.0)))
