"""Telling people of incidents: one contract (base), one file per channel."""

from crons.alerts.base import Channel, Message
from crons.alerts.email import AdminMail

CHANNELS: tuple[Channel, ...] = (AdminMail(),)

__all__ = ["CHANNELS", "Channel", "Message"]
