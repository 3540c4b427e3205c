"""The contract of an alert channel, and what it is given to tell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, ClassVar

from crons.exceptions import CronsError, InvalidSetting, nearest_and_all
from crons.presentation import readable, readable_line, utc

LONGEST_LINE = 255
# The error stands at the start and the last output at the end: where both are long, the middle is left out.
LONGEST_TEXT = 20_000
LEFT_OUT = "\n[… {count} characters left out …]\n"
CHANGES = ("opened", "worsened", "reminder", "closed", "digest", "test")
SEVERITIES = ("info", "warning", "critical")


@dataclass(frozen=True)
class Notice:
    """What to tell of an incident, as data: each channel says it in its own form when it sends.

    Attributes:
        change: opened, worsened, reminder, closed, digest (of several), or test.
        rule: the incident's rule: failing, undeclared, …
        severity: info, warning or critical.
        subject: one line.
        facts: labels and what is said to them, in the order in which to read them.
        text: what follows them: an error, the last output, a list.
        next_step: what to do now.
        since: when it began.
    """

    change: str
    rule: str
    severity: str
    subject: str
    facts: tuple[tuple[str, str], ...] = ()
    text: str = ""
    next_step: str = ""
    entry: str = ""
    owner: str = ""
    tags: tuple[str, ...] = ()
    run_id: int | None = None
    attempt_id: int | None = None
    since: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it; moments in ISO 8601, UTC."""
        since = self.since.astimezone(UTC).isoformat() if self.since else None
        facts = [list(fact) for fact in self.facts]
        return {**asdict(self), "facts": facts, "tags": list(self.tags), "since": since}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Notice:
        """Build what as_json() wrote. What is missing or of another kind is left empty: a garbled row is told, too."""
        texts = {each.name: given.get(each.name) for each in fields(cls) if each.type == "str"}
        kept: dict[str, Any] = {name: text if isinstance(text, str) else "" for name, text in texts.items()}
        kept["change"] = kept["change"] if kept["change"] in CHANGES else "opened"
        kept["severity"] = kept["severity"] if kept["severity"] in SEVERITIES else "warning"
        kept["facts"] = tuple(_facts(given.get("facts")))
        kept["tags"] = tuple(str(tag) for tag in _list(given.get("tags")))
        kept["since"] = _moment(given.get("since"))
        for name in ("run_id", "attempt_id"):
            kept[name] = given.get(name) if isinstance(given.get(name), int) else None
        return cls(**kept)

    def cleaned(self) -> Notice:
        """Return it without what would steer a terminal, break a header or say other than it shows, and bounded."""
        facts = tuple((readable_line(label), readable_line(text)) for label, text in self.facts)
        lines = ("subject", "next_step", "entry", "owner")
        changed: dict[str, Any] = {name: readable_line(getattr(self, name)) for name in lines}
        changed["subject"] = changed["subject"][:LONGEST_LINE]
        tags = tuple(readable_line(tag) for tag in self.tags)
        return replace(self, facts=facts, tags=tags, text=_bounded(readable(self.text)), **changed)

    def as_text(self) -> str:
        """Return all of it as plain text, the subject first."""
        facts = [f"{label}: {text}" for label, text in self.all_facts()]
        parts = [self.subject, "\n".join(facts), self.text.strip("\n"), self.next_step]
        return "\n\n".join(part for part in parts if part)

    def all_facts(self) -> tuple[tuple[str, str], ...]:
        """Return the facts, and with them who owns the entry and since when it is so."""
        more = [("owner", self.owner), ("since", utc(self.since) if self.since else "")]
        return (*self.facts, *(each for each in more if each[1]))


@dataclass(frozen=True)
class Sending:
    """What belongs to one sending of a notice.

    Attributes:
        key: the same whenever the same notice is sent again, so that who gets it twice can tell.
        thread: the same for all notices of one incident.
        is_first: whether it opens that thread.
        at: the moment, by the database's clock.
        link: the page to look at; "" where no base address is known.
    """

    key: str
    thread: str
    is_first: bool
    at: datetime
    link: str = ""


class NotSent(CronsError):
    """A channel did not reach anybody; the message holds no secret, and no address that is one."""


class Channel(ABC):
    """A way to reach people: made anew for each look, from its *name* and *options* in CRONS["ALERTS"]["CHANNELS"].

    An implementer promises: `__init__` raises InvalidSetting for options that cannot work, saying no secret; `send`
    ends within about a minute, whatever the other side does, and raises NotSent (or whatever went wrong) where nobody
    was reached. It may assume: it is called outside of transactions, in a thread of its own; what raised is tried
    again, with the same Sending.key.
    """

    keys: ClassVar[tuple[str, ...]] = ()
    """The options that it knows, KIND besides."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.name = name
        self.place = f"CRONS['ALERTS']['CHANNELS'][{name!r}]"
        for key in options:
            if key not in self.keys:
                raise InvalidSetting(f"{self.place}[{key!r}] is unknown.{nearest_and_all(str(key), self.keys)}")

    def is_on(self) -> bool:
        """Say whether anybody would be reached; what nobody would get is not kept."""
        return True

    @abstractmethod
    def send(self, notice: Notice, sending: Sending) -> str:
        """Tell; return what came back, in a few words, for `crons alert --test`."""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _facts(value: Any) -> Iterator[tuple[str, str]]:
    for fact in _list(value):
        if isinstance(fact, list) and len(fact) == 2:
            yield str(fact[0]), str(fact[1])


def _moment(value: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _bounded(text: str) -> str:
    if len(text) <= LONGEST_TEXT:
        return text
    half = LONGEST_TEXT // 2
    return text[:half] + LEFT_OUT.format(count=len(text) - 2 * half) + text[-half:]
