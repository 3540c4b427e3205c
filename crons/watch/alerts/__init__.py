"""Telling people of incidents: a contract (base), a file per channel, an outbox (outbox, taking) between them."""

from crons.watch.alerts.acts import acknowledge, snooze
from crons.watch.alerts.base import Channel, Notice, NotSent, Sending
from crons.watch.alerts.channels import build as build_channel
from crons.watch.alerts.channels import make_channel
from crons.watch.alerts.outbox import enqueue, in_words, notice_of, send_due

__all__ = [
    "Channel",
    "NotSent",
    "Notice",
    "Sending",
    "acknowledge",
    "build_channel",
    "enqueue",
    "in_words",
    "make_channel",
    "notice_of",
    "send_due",
    "snooze",
]
