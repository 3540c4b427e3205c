"""The senders of the declared jobs, for a process that must fork nothing."""

from __future__ import annotations

from crons.conf import conf
from crons.executors import Sender
from crons.jobs import registry


def make_senders() -> dict[str, Sender]:
    """Build them, by alias."""
    sending = (alias for alias in registry.executors() if issubclass(conf.executor_class(alias), Sender))
    return {alias: conf.make_executor(alias) for alias in sending}
