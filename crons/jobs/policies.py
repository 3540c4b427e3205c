"""The policies of a job, as values that are checked when they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from crons.exceptions import InvalidJob
from crons.jobs.windows import Window

CATCH_UP = ("none", "latest", "all")
ROUTE = ("queue", "priority", "routing_key", "exchange")
OVERLAP = ("skip", "allow")
WATCHED = ("expected", "max_silence")
LENGTHS = ("deadline", "timeout", *WATCHED)
# So many of an entry's newest runs are read at most.
MOST_IDLE = 60
MOST_IN_A_ROW = 1_000
# So many of its newest runs are read to see whether it is unsteady.
NEWEST = 20


@dataclass(frozen=True, slots=True)
class Retry:
    """Try a failed run again, *times* times after the first try.

    The n-th retry waits *wait* × *backoff*^(n-1), at most *longest*.
    """

    times: int
    wait: timedelta = timedelta(minutes=1)
    backoff: float = 2.0
    longest: timedelta = timedelta(hours=1)

    def __post_init__(self) -> None:
        if not isinstance(self.times, int) or isinstance(self.times, bool) or not 0 <= self.times <= 100:
            raise InvalidJob(f"Retry(times={self.times!r}): expected a whole number from 0 to 100.")
        for name in ("wait", "longest"):
            _check_length(f"Retry: {name}", getattr(self, name), positive=False)
        if not isinstance(self.backoff, int | float) or not 1 <= self.backoff <= 100:
            raise InvalidJob(f"Retry(backoff={self.backoff!r}): expected a number from 1 to 100.")

    def delay(self, tries: int) -> timedelta:
        """Say how long to wait after the *tries*-th try (1 = the first) has failed."""
        # The exponent is capped: 100 ** 99 seconds does not fit a timedelta.
        factor = min(self.backoff ** min(max(tries - 1, 0), 60), 1e9)
        return min(timedelta(seconds=min(self.wait.total_seconds() * factor, 1e9)), self.longest)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules for each run; copied to the entry's row, so that every release of the code plans alike.

    *deadline*: a slot older than this is not begun any more (None: no limit).
    *cap*: with catch_up="all", at most this many overdue slots are let through at once, the newest.
    *timeout*: None lets the job run for ever.
    *window*: the hours in which it may begin; a slot outside waits until it opens.
    *route*: how messages travel to executors that send them: queue, priority, routing_key, exchange.
    What people are told of: an attempt that takes longer than *expected* (None: much longer than its entry's usually
    do); no success for *max_silence* (None: for ever); so many runs in a row that report that they examined nothing
    (*max_idle*; None: three, if earlier ones had something to examine; 0: any number); a failure from the
    *tell_after*-th in a row on; (N, M): N failures among the newest M runs (*unsteady*; N = 0: any number).
    """

    catch_up: str = "latest"
    overlap: str = "skip"
    deadline: timedelta | None = None
    cap: int = 100
    timeout: timedelta | None = timedelta(hours=1)
    retry: Retry = field(default_factory=lambda: Retry(0))
    idempotent: bool = False
    executor: str = "process"
    group: str = ""
    route: Mapping[str, Any] = field(default_factory=dict, hash=False)
    expected: timedelta | None = None
    max_silence: timedelta | None = None
    max_idle: int | None = None
    tell_after: int = 1
    unsteady: tuple[int, int] = (5, NEWEST)
    window: Window | None = None

    def __post_init__(self) -> None:
        _check_choice("catch_up", self.catch_up, CATCH_UP)
        _check_choice("overlap", self.overlap, OVERLAP)
        for name in LENGTHS:
            if getattr(self, name) is not None:
                _check_length(name, getattr(self, name))
        if not _is_whole(self.cap, 1, 10_000):
            raise InvalidJob(f"cap={self.cap!r}: expected a whole number from 1 to 10000.")
        if not isinstance(self.retry, Retry):
            raise InvalidJob(f"retry={self.retry!r}: expected Retry(times, wait=…), for example Retry(3).")
        if not isinstance(self.idempotent, bool):
            raise InvalidJob(f"idempotent={self.idempotent!r}: expected True or False.")
        for name in ("executor", "group"):
            if not isinstance(getattr(self, name), str):
                raise InvalidJob(f"{name}={getattr(self, name)!r}: expected a text.")
        if self.max_idle is not None and not _is_whole(self.max_idle, 0, MOST_IDLE):
            raise InvalidJob(f"max_idle={self.max_idle!r}: expected a whole number from 0 to {MOST_IDLE}, or None.")
        if not _is_whole(self.tell_after, 1, MOST_IN_A_ROW):
            expected = f"expected a whole number from 1 to {MOST_IN_A_ROW}"
            raise InvalidJob(f"tell_after={self.tell_after!r}: {expected}: the failure in a row that is told of first.")
        _check_share(self.unsteady)
        _check_window(self.window, self.catch_up)
        _check_route(self.route)

    def as_json(self) -> dict[str, Any]:
        """Write the policy as plain JSON; lengths become seconds."""
        return {
            "catch_up": self.catch_up,
            "overlap": self.overlap,
            "deadline": _seconds(self.deadline),
            "cap": self.cap,
            "timeout": _seconds(self.timeout),
            "retry": [
                self.retry.times,
                _seconds(self.retry.wait),
                self.retry.backoff,
                _seconds(self.retry.longest),
            ],
            "idempotent": self.idempotent,
            "executor": self.executor,
            "group": self.group,
            # Left out where it says nothing: rows that were written before these policies existed stay as they are.
            **({"route": dict(self.route)} if self.route else {}),
            **{name: _seconds(value) for name in WATCHED if (value := getattr(self, name)) is not None},
            **({"max_idle": self.max_idle} if self.max_idle is not None else {}),
            **({"tell_after": self.tell_after} if self.tell_after != 1 else {}),
            **({"unsteady": list(self.unsteady)} if self.unsteady != (5, NEWEST) else {}),
            **({"window": [self.window.opens, self.window.closes]} if self.window is not None else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Policy:
        """Read what as_json wrote; keys that a newer release added are ignored, missing ones are defaults.

        Raises: InvalidJob if a value is not what its key takes.
        """
        known = {key: data[key] for key in cls.__dataclass_fields__ if key in data}
        try:
            for key in LENGTHS:
                if known.get(key) is not None:
                    known[key] = timedelta(seconds=known[key])
            if "retry" in known:
                times, wait, backoff, longest = known["retry"]
                known["retry"] = Retry(times, timedelta(seconds=wait), backoff, timedelta(seconds=longest))
            if "unsteady" in known:
                known["unsteady"] = tuple(known["unsteady"])
            if known.get("window") is not None:
                opens, closes = known["window"]
                known["window"] = Window(opens, closes)
            return cls(**known)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidJob(f"the policy {str(dict(data))[:300]} cannot be read: {error}") from error


def _check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidJob(f"{name}={value!r}: expected one of {', '.join(map(repr, allowed))}.")


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _check_share(share: object) -> None:
    if not isinstance(share, tuple) or len(share) != 2 or not all(_is_whole(each, 0, NEWEST) for each in share):
        raise InvalidJob(f"unsteady={share!r}: expected (N, M), whole numbers up to {NEWEST}: N failures of M runs.")
    if share[0] > share[1] or not share[1]:
        raise InvalidJob(f"unsteady={share!r}: of {share[1]} runs {share[0]} cannot fail. Expected (N, M), N ≤ M.")


def _check_window(window: object, catch_up: str) -> None:
    if window is None:
        return
    if not isinstance(window, Window):
        raise InvalidJob(f"window={window!r}: expected Window(opens, closes), for example Window('22:00', '06:00').")
    if catch_up == "none":
        raise InvalidJob(
            f"window={window!r} with catch_up='none': a slot outside would wait for the opening, and be too late then. "
            "Give catch_up='latest', or a schedule whose slots all lie inside."
        )


def _check_route(route: object) -> None:
    if not isinstance(route, Mapping) or not set(route) <= set(ROUTE):
        raise InvalidJob(f"route={route!r}: expected a dict with some of {', '.join(ROUTE)}.")
    for key, value in route.items():
        if key == "priority":
            # Celery's are 0 to 255, those of Django's Tasks -100 to 100: crons.E013 knows which it is.
            if not isinstance(value, int) or isinstance(value, bool) or not -100 <= value <= 255:
                raise InvalidJob(f"route: priority={value!r}: expected a whole number from -100 to 255.")
        elif not isinstance(value, str) or not value:
            raise InvalidJob(f"route: {key}={value!r}: expected a text.")


def _check_length(name: str, value: object, *, positive: bool = True) -> None:
    if not isinstance(value, timedelta) or value < timedelta(0) or (positive and not value):
        raise InvalidJob(f"{name}={value!r}: expected a positive timedelta, for example timedelta(minutes=10).")


def _seconds(length: timedelta | None) -> float | None:
    return None if length is None else length.total_seconds()


OURS = Policy()
# A job that another scheduler ran without a limit may need hours: adopting it must not start to kill it.
OF_OTHERS = Policy(timeout=None)
