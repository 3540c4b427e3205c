"""What there is for Standard Webhooks."""

from __future__ import annotations

from crons.extensions import Extension


class WebhooksExtension(Extension):
    """Incidents are posted as JSON, signed."""

    channels = {"webhook": "crons.contrib.webhooks.channel.Webhook"}


EXTENSION = WebhooksExtension()
