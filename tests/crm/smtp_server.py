"""A mail server for tests, on loopback, that misbehaves as the name before the @ asks for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import django
from aiosmtpd.smtp import SMTP


class MailServer:
    """What it has taken, in order; `raw` as the bytes that came."""

    def __init__(self) -> None:
        self.port = 0
        self.raw: list[bytes] = []
        self.recipients: list[str] = []
        # What a test has it say to an address, by the name before the @; and to whoever greets it.
        self.answers: dict[str, str] = {}
        self.greeting = ""
        self._for_ever = asyncio.Event()

    @property
    def taken(self) -> list[EmailMessage]:
        return [message_from_bytes(each, policy=policy.default) for each in self.raw]  # type: ignore[misc]

    def use(self, settings: Any, *, timeout: float = 60, port: int | None = None) -> None:
        """Have the settings of a test name this server."""
        backend, port = "django.core.mail.backends.smtp.EmailBackend", port or self.port
        if django.VERSION >= (6, 1):
            options = {"host": "127.0.0.1", "port": port, "timeout": timeout}
            settings.MAILERS = {"default": {"BACKEND": backend, "OPTIONS": options}}
        else:
            settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = backend, "127.0.0.1", port
            settings.EMAIL_USE_TLS, settings.EMAIL_HOST_USER, settings.EMAIL_TIMEOUT = False, "", timeout

    async def handle_EHLO(self, server: SMTP, session: Any, envelope: Any, hostname: str, responses: Any) -> list[str]:
        session.host_name = hostname
        return [self.greeting] if self.greeting else responses

    async def handle_HELO(self, server: SMTP, session: Any, envelope: Any, hostname: str) -> str:
        session.host_name = hostname
        return self.greeting or "250 mail.test"

    async def handle_MAIL(self, server: SMTP, session: Any, envelope: Any, address: str, options: Any) -> str:
        answers = {"refused": "553 not your address", "toobig": "552 too big", "later": "452 not now"}
        if answer := answers.get(address.partition("@")[0]):
            return answer
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, server: SMTP, session: Any, envelope: Any, address: str, options: Any) -> str:
        name = address.partition("@")[0]
        if name == "hang":
            await self._for_ever.wait()
        if name == "drop":
            server.transport.close()
        answers = {"nobody": "550 no such user", "full": "552 mailbox full", "busy": "451 try again"}
        if answer := (answers | {"closing": "421 closing"} | self.answers).get(name):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        [address] = envelope.rcpt_tos
        name = address.partition("@")[0]
        if name == "hangdata":
            await self._for_ever.wait()
        if name == "spam":
            return "554 this is spam"
        self.raw.append(envelope.content)
        self.recipients.append(address)
        if name == "dropdata":  # it has the mail, and its answer never comes
            server.transport.close()
        return "250 OK"


@contextmanager
def running() -> Iterator[MailServer]:
    loop = asyncio.new_event_loop()
    server = MailServer()

    def protocol() -> SMTP:
        return SMTP(server, hostname="mail.test", loop=loop)

    listening = loop.run_until_complete(loop.create_server(protocol, "127.0.0.1", 0))
    server.port = listening.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, name="mail server")
    thread.start()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        listening.close()
        loop.run_until_complete(_end_others())
        loop.close()


async def _end_others() -> None:
    """End the conversations that hang."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
