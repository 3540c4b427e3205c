"""Handing a mail to the mail server, and knowing afterwards whether it has it: yes, no, or nobody knows."""

import re
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
_OF_OTHER_THINGS = re.compile(r"5\.(?!1\.)[0-9]{1,3}\.[0-9]")
# What it says of the mail when it is told of its sender: too big.
_TOO_BIG = 552
# With this it closes the connection.
_CLOSING = 421


class Answer(StrEnum):
    """What the mail server has done."""

    TAKEN = "taken"  # it has the mail
    REFUSED = "refused"  # never: the address, or the mail
    LATER = "later"  # not now: it says so, or went away before it had any of it
    AWAY = "away"  # there is no server, or it takes nothing from this sender
    UNSURE = "unsure"  # it went away with the mail half handed over: it may have it


@dataclass(frozen=True)
class Posted:
    """The server's answer, what it said, whether that is that there is no such address, and whether it went away."""

    answer: Answer
    text: str = ""
    no_such_address: bool = False
    is_dropped: bool = False


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
            return self._answered(_by(code), code, text, no_such_address=code in _NO_SUCH_ADDRESS)
        except smtplib.SMTPHeloError as error:
            return self._answered(Answer.AWAY, error.smtp_code, error.smtp_error)
        except smtplib.SMTPSenderRefused as error:
            code = error.smtp_code
            # Whatever the next mail is, its sender is the same.
            answer = Answer.AWAY if code >= 500 and code != _TOO_BIG else _by(code)
            return self._answered(answer, code, error.smtp_error)
        except smtplib.SMTPResponseException as error:  # of the mail as a whole
            return self._answered(_by(error.smtp_code), error.smtp_code, error.smtp_error)
        except (OSError, smtplib.SMTPException) as error:
            self._close()
            return Posted(Answer.UNSURE if started else Answer.LATER, _said(error), is_dropped=True)
        # A backend that fails silently says so by its number only.
        return Posted(Answer.TAKEN) if count else Posted(Answer.LATER, "the mail backend has sent nothing")

    def _answered(self, answer: Answer, code: int, text: bytes | str, *, no_such_address: bool = False) -> Posted:
        said = text.decode(errors="replace") if isinstance(text, bytes) else text
        # Its own code says it of another thing than the address (RFC 3463), such as that we may not send there.
        no_such_address = no_such_address and not _OF_OTHER_THINGS.match(said)
        if is_closing := code == _CLOSING:
            self._close()  # else the next mail would be handed to a connection that is none
        return Posted(answer, f"{code} {said}", no_such_address, is_closing)

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


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
