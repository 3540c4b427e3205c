"""Mail through Django's mail settings: to ADMINS, to addresses, or to who owns the entry; text and HTML."""

from __future__ import annotations

import smtplib
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import parseaddr
from typing import Any

import django
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.smtp import EmailBackend
from django.core.validators import validate_email

from crons.exceptions import InvalidSetting
from crons.watch.alerts.base import Channel, Notice, Sending
from crons.watch.alerts.html import as_html

TIMEOUT_SECONDS = 30
# A server that sends a byte each twenty seconds never reaches that time-out: then the connection is closed.
LONGEST_SECONDS = 60
OWNER, ADMINS = "owner", "admins"


class Mail(Channel):
    """One mail to all of *TO*; the word `owner` stands for the entry's owner, `admins` for ADMINS.

    An owner that is no mail address is nobody to mail: then ADMINS get it, so that somebody does.
    """

    keys = ("TO", "FROM")

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(name, options)
        given = options.get("TO", [ADMINS])
        self.to = [given] if isinstance(given, str) else given
        self.sender = options.get("FROM") or settings.SERVER_EMAIL
        if not isinstance(self.to, (list, tuple)) or not self.to:
            raise InvalidSetting(f"{self.place}['TO'] is {given!r}, expected addresses, 'owner' or 'admins'.")
        for each in self.to:
            if each not in (OWNER, ADMINS) and not _is_address(each):
                raise InvalidSetting(
                    f"{self.place}['TO'] has {each!r}, expected a mail address, or the words 'owner' or 'admins'."
                )

    def is_on(self) -> bool:
        """Say whether there is anybody to mail."""
        return any(each != ADMINS for each in self.to) or bool(settings.ADMINS)

    def recipients(self, notice: Notice) -> list[str]:
        """Return who gets it, each once, in the order of TO."""
        found: list[str] = []
        for each in self.to:
            if each == OWNER:
                found += [notice.owner] if _is_address(notice.owner) else _admins()
            else:
                found += _admins() if each == ADMINS else [each]
        return list(dict.fromkeys(found))

    def send(self, notice: Notice, sending: Sending) -> str:
        """Send through the configured mail backend; errors are raised."""
        to = self.recipients(notice)
        mail = EmailMultiAlternatives(
            settings.EMAIL_SUBJECT_PREFIX + notice.subject,
            f"{notice.as_text()}\n\n{sending.link}".rstrip() + "\n",
            self.sender,
            to,
            headers=_headers(sending, self.sender),
        )
        mail.attach_alternative(as_html(notice, sending.link), "text/html")
        if mail.recipients():
            connection = _connection()
            with _closed_in_the_end(connection):
                connection.send_messages([mail])
        return f"mailed to {', '.join(to)}" if to else "nobody to mail"


def _headers(sending: Sending, sender: str) -> dict[str, str]:
    """Return what puts the mails of one incident in one thread, and keeps absence notes from answering."""
    # Not of this host: the next mail of the incident may be sent by another one.
    domain = parseaddr(sender)[1].rpartition("@")[2] or "localhost"
    headers = {
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "Message-ID": f"<{sending.thread if sending.is_first else sending.key}@{domain}>",
    }
    if not sending.is_first:
        headers["In-Reply-To"] = headers["References"] = f"<{sending.thread}@{domain}>"
    return headers


def _connection() -> Any:
    """Return a connection to the project's mail server; Django waits for one for ever unless told otherwise."""
    if django.VERSION < (6, 1):
        return get_connection(timeout=settings.EMAIL_TIMEOUT or TIMEOUT_SECONDS)
    connection = django.core.mail.mailers.default  # type: ignore[attr-defined] # new in 6.1
    if getattr(connection, "timeout", 0) is None:
        connection.timeout = TIMEOUT_SECONDS
    return connection


def _sockets_of(connection: Any) -> list[socket.socket]:
    """Return a list to which *connection* adds its socket as soon as it is connected, before anything is read.

    Its SMTP object is known only after the greeting, and TLS puts another socket in the place of the first: so a
    duplicate of the first is kept, which closes neither.
    """
    found: list[socket.socket] = []
    if not isinstance(connection, EmailBackend):
        return found

    class Noted(smtplib.SMTP):
        def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
            made = super()._get_socket(host, port, timeout)  # type: ignore[misc] # as SMTP_SSL has it
            found.append(made.dup())
            return made  # type: ignore[no-any-return]

    class NotedOverTLS(smtplib.SMTP_SSL, Noted):
        pass

    known = {smtplib.SMTP: Noted, smtplib.SMTP_SSL: NotedOverTLS}
    made_of = known.get(connection.connection_class, connection.connection_class)
    kind = type(connection)
    connection.__class__ = type(kind.__name__, (kind,), {"connection_class": made_of})
    return found


@contextmanager
def _closed_in_the_end(connection: Any) -> Iterator[None]:
    """Close the sockets of a connection to a mail server that takes longer than LONGEST_SECONDS."""
    sockets = _sockets_of(connection)

    def close() -> None:
        for sock in sockets:
            with suppress(OSError):
                # close() alone would not wake the thread that reads from it.
                sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(LONGEST_SECONDS, close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        for sock in sockets:
            sock.close()


def _admins() -> list[str]:
    # Django before 6.0 has pairs of a name and an address there.
    return [each if isinstance(each, str) else each[1] for each in settings.ADMINS]


def _is_address(text: Any) -> bool:
    if not isinstance(text, str) or any(not letter.isprintable() for letter in text):
        return False
    address = parseaddr(text)[1]
    try:
        validate_email(address)
    except ValidationError:
        return False
    # Older Pythons take the first address out of a text of several, and the whole text would be mailed to.
    return text.strip() == address or text.strip().endswith(f"<{address}>")
