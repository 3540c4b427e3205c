"""A channel that posts notices as JSON, signed by the library of Standard Webhooks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from crons.conf import one_secret, webhook_secrets
from crons.exceptions import InvalidSetting
from crons.presentation import iso
from crons.watch.alerts import Channel, Notice, Sending
from crons.watch.alerts.calling import post

MISSING = "needs the package standardwebhooks: pip install 'django-crons[webhooks]'"


class Webhook(Channel):
    """Each notice is one POST to *URL*, signed with *SECRET*; with several secrets it has a signature of each."""

    keys = ("URL", "SECRET")

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(name, options)
        for key in self.keys:
            if not options.get(key):
                raise InvalidSetting(f"{self.place} has no {key}: a webhook needs an address and a secret.")
        self.url = one_secret(options["URL"], f"{self.place}['URL']")
        self.secrets = webhook_secrets(options["SECRET"], f"{self.place}['SECRET']")
        try:
            import standardwebhooks  # noqa: F401
        except ImportError as error:
            raise InvalidSetting(f"{self.place} {MISSING}") from error

    def send(self, notice: Notice, sending: Sending) -> str:
        """Post it; any answer but 2xx is raised."""
        from standardwebhooks import Webhook as Signer

        body = json.dumps(payload(notice, sending), ensure_ascii=True)
        signatures = [Signer(secret).sign(sending.key, sending.at, body) for secret in self.secrets]
        headers = {
            "Content-Type": "application/json",
            "webhook-id": sending.key,
            "webhook-timestamp": str(int(sending.at.timestamp())),
            "webhook-signature": " ".join(signatures),
        }
        return f"answered {post(self.url, body.encode(), headers)}"


def payload(notice: Notice, sending: Sending) -> dict[str, Any]:
    """Return what is posted: the type, the moment, and the notice as data."""
    about = {**notice.as_json(), "incident": sending.thread, "link": sending.link}
    kind = notice.change if notice.change in ("digest", "test") else f"incident.{notice.change}"
    return {"type": f"crons.{kind}", "timestamp": iso(sending.at), "data": about}
