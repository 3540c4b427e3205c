"""A channel that tells notices over one of Apprise's URLs; the URL is a secret, and is shown nowhere."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crons.conf import first_line
from crons.exceptions import InvalidSetting
from crons.watch.alerts import Channel, Notice, NotSent, Sending

MISSING = "needs the package apprise: pip install 'django-crons[apprise]'"
KINDS = {"info": "info", "warning": "warning", "critical": "failure"}
# Chats cut long messages off, or refuse them.
LONGEST_TEXT = 1_500


class Chat(Channel):
    """Each notice is one message to *URL*, a text or the first line of a file.

    One address for each channel: with two, where one of them refuses, the other would be told again at each try.
    """

    keys = ("URL",)

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(name, options)
        place, given = f"{self.place}['URL']", options.get("URL")
        self.url = first_line(given, place) if isinstance(given, Path) else given
        if not isinstance(self.url, str) or "://" not in self.url:
            raise InvalidSetting(f"{place} is no address of Apprise, such as slack://…, nor a file of one.")
        try:
            import apprise
        except ImportError as error:
            raise InvalidSetting(f"{self.place} {MISSING}") from error
        # Not what it logs of it: in an address that it cannot read it does not know which part is the secret.
        logger = logging.getLogger("apprise")  # noqa: TID251 (not to log with)
        was, logger.disabled = logger.disabled, True
        try:
            service = apprise.Apprise.instantiate(self.url, suppress_exceptions=True)
        finally:
            logger.disabled = was
        if service is None:
            schema = self.url.partition("://")[0]
            raise InvalidSetting(f"{place} cannot be used: Apprise knows no {schema[:20]}:// of that form.")
        self.service: Any = service

    def send(self, notice: Notice, sending: Sending) -> str:
        """Tell it; what does not arrive is raised."""
        name = str(self.service.service_name)
        kind = "success" if notice.change in ("closed", "test") else KINDS[notice.severity]
        body = notice.as_text().removeprefix(notice.subject).strip() or notice.subject
        if len(body) > LONGEST_TEXT:
            body = f"{body[:LONGEST_TEXT]}\n…"
        body = f"{body}\n\n{sending.link}".rstrip()
        try:
            told = self.service.notify(body=body, title=notice.subject, notify_type=kind, body_format="text")
        except Exception as error:  # noqa: BLE001 (a hundred plug-ins)
            # Its text may hold the address that was called.
            raise NotSent(f"{name} could not be reached: {type(error).__name__}") from None
        if not told:
            raise NotSent(f"{name} did not take it; the logger apprise says why, where it is set to DEBUG")
        return f"{name} took it"
