"""Handing a mail to the mail server, and knowing afterwards whether it has it: yes, no, or nobody knows."""

import smtplib
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import django
from django.core import mail
from django.core.mail import EmailMessage

# The mailbox does not exist, has moved, or its name is none: the next mail would be refused as well.
_NO_SUCH_ADDRESS = frozenset({550, 551, 553})


class Answer(StrEnum):
    """What the mail server has done."""

    TAKEN = "taken"  # it has the mail
    REFUSED = "refused"  # never: the address, or the mail
    LATER = "later"  # not now: it says so, or went away before it had any of it
    AWAY = "away"  # there is no server
    UNSURE = "unsure"  # it went away with the mail half handed over: it may have it


@dataclass(frozen=True)
class Posted:
    """The server's answer, what it said, and whether it said that there is no such address."""

    answer: Answer
    text: str = ""
    no_such_address: bool = False


class Post:
    """One connection to the mail server of the settings, opened for the first mail, and anew after a failure."""

    def __init__(self) -> None:
        self._backend: Any = mail.mailers.default if django.VERSION >= (6, 1) else mail.get_connection()

    def __enter__(self) -> "Post":
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def hand_over(self, message: EmailMessage) -> Posted:
        """Hand *message* to the server once, and say what came of it; never raises for what mail does."""
        try:
            self._backend.open()
        except (OSError, smtplib.SMTPException) as error:
            return Posted(Answer.AWAY, _said(error))
        started = self._watch_data()
        try:
            count = self._backend.send_messages([message])
        except smtplib.SMTPRecipientsRefused as error:
            code, text = next(iter(error.recipients.values()))
            return Posted(_by(code), _said_by_server(code, text), no_such_address=code in _NO_SUCH_ADDRESS)
        except smtplib.SMTPResponseException as error:  # of the sender, or of the mail as a whole
            return Posted(_by(error.smtp_code), _said_by_server(error.smtp_code, error.smtp_error))
        except (OSError, smtplib.SMTPException) as error:
            self._close()
            return Posted(Answer.UNSURE if started else Answer.LATER, _said(error))
        # A backend that fails silently says so by its number only.
        return Posted(Answer.TAKEN) if count else Posted(Answer.LATER, "the mail backend has sent nothing")

    def _close(self) -> None:
        # What the server says to a goodbye changes nothing.
        with suppress(OSError, smtplib.SMTPException):
            self._backend.close()

    def _watch_data(self) -> list[bool]:
        """Give a list that is filled once the mail itself is on its way: before that, a failure is surely none."""
        started: list[bool] = []
        smtp = getattr(self._backend, "connection", None)
        if not isinstance(smtp, smtplib.SMTP):
            return [True]  # files, consoles: nobody knows how far they were

        def data(message: Any) -> Any:
            started.append(True)
            return type(smtp).data(smtp, message)

        # Only smtplib knows where it is, and it has no other place to look.
        vars(smtp)["data"] = data
        return started


def _by(code: int) -> Answer:
    return Answer.REFUSED if code >= 500 else Answer.LATER


def _said_by_server(code: int, text: bytes | str) -> str:
    return f"{code} {text.decode(errors='replace') if isinstance(text, bytes) else text}"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
