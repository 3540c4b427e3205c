"""What there is for Apprise."""

from __future__ import annotations

from crons.extensions import Extension


class AppriseExtension(Extension):
    """Incidents are told wherever one of its URLs leads."""

    channels = {"apprise": "crons.contrib.apprise.channel.Chat"}


EXTENSION = AppriseExtension()
