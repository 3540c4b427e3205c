"""Telling people of incidents: a contract (base), a file per channel, an outbox (outbox, taking) between them."""

from crons.watch.alerts.acts import acknowledge, snooze
from crons.watch.alerts.base import Channel, Notice, NotSent, Sending
from crons.watch.alerts.channels import build as build_channel
from crons.watch.alerts.outbox import enqueue, notice_of, send_due
from crons.watch.alerts.pings import alive
from crons.watch.alerts.pings import connect as connect_pings
from crons.watch.alerts.pings import finish as finish_pings
from crons.watch.alerts.trying import try_channel

__all__ = [
    "Channel",
    "NotSent",
    "Notice",
    "Sending",
    "acknowledge",
    "alive",
    "build_channel",
    "connect_pings",
    "enqueue",
    "finish_pings",
    "notice_of",
    "send_due",
    "snooze",
    "try_channel",
]
