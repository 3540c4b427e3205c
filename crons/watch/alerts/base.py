"""The contract of an alert channel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """What to tell: one line, and the text."""

    subject: str
    text: str


class Channel(ABC):
    """A way to reach people. The outbox calls it outside of transactions and repeats what raised."""

    name: str

    @abstractmethod
    def is_on(self) -> bool:
        """Say whether anybody would be reached."""

    @abstractmethod
    def send(self, message: Message) -> None:
        """Tell; raise whatever went wrong."""
