"""Mail to settings.ADMINS, through Django's mail."""

from __future__ import annotations

import django
from django.conf import settings
from django.core.mail import get_connection, mail_admins

from crons.conf import conf
from crons.watch.alerts.base import Channel, Notice

TIMEOUT_SECONDS = 30


class AdminMail(Channel):
    """One mail to all of ADMINS; on where ADMINS is not empty and CRONS["MAIL_ADMINS"] is not off."""

    name = "admins"

    def is_on(self) -> bool:
        """Say whether there is an admin to mail."""
        return bool(settings.ADMINS) and conf.mail_admins

    def send(self, notice: Notice) -> None:
        """Send through the configured mail backend; errors are raised."""
        if django.VERSION >= (6, 1):
            # Mailers are settings there, their time-outs too.
            mail_admins(notice.subject, notice.as_text(), fail_silently=False)
            return
        # Django waits for a mail server for ever unless told otherwise.
        connection = get_connection(timeout=settings.EMAIL_TIMEOUT or TIMEOUT_SECONDS)
        mail_admins(notice.subject, notice.as_text(), fail_silently=False, connection=connection)
