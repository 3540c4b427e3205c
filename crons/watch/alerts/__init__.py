"""Telling people of incidents: one contract (base), one file per channel."""

from crons.watch.alerts.base import Channel, Notice
from crons.watch.alerts.email import AdminMail

CHANNELS: tuple[Channel, ...] = (AdminMail(),)

__all__ = ["CHANNELS", "Channel", "Notice"]
