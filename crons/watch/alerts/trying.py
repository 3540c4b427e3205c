"""One message over one channel, at once and past the outbox: whether it works is known before the first night."""

from __future__ import annotations

import uuid
from datetime import datetime

from crons.watch.alerts.base import Notice, Sending
from crons.watch.alerts.channels import make_channel
from crons.watch.alerts.errors import in_words
from crons.watch.alerts.links import link_of

TEXT = "Sent by manage.py crons alert --test, for {by}. Nothing is wrong."


def try_channel(name: str, now: datetime, by: str) -> tuple[bool, str]:
    """Send a test over the channel *name*; return whether it worked, and what came back."""
    notice = Notice("test", "test", "info", f"test of the channel {name}", text=TEXT.format(by=by)).cleaned()
    key = f"msg_{uuid.uuid4().hex}"
    try:
        channel = make_channel(name)
        if not channel.is_on():
            return True, "reaches nobody: it is off, as ADMINS is empty"
        return True, channel.send(notice, Sending(key, key, True, now, link_of(notice)))
    except Exception as error:  # noqa: BLE001 (whatever is wrong with a channel is the answer)
        return False, in_words(error, name)
