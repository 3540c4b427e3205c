"""What is asked before an entry is put on another schedule, or slots are run after all."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.core.exceptions import ValidationError

from crons.exceptions import InvalidSchedule
from crons.schedules import parse
from crons.web.act_forms import ReasonForm


class RescheduleForm(ReasonForm):
    """When it is due from now on, whatever the code says."""

    schedule = forms.CharField(max_length=255, help_text="As in a crontab: 30 2 * * *, @daily; or every 15 minutes.")
    zone = forms.CharField(max_length=64, required=False, help_text="Such as Europe/Berlin. Empty: as declared.")
    field_order = ("schedule", "zone", "reason")

    def clean(self) -> dict[str, Any]:
        """Refuse what is no schedule, in the words of the command line."""
        cleaned = super().clean() or {}
        if "schedule" in cleaned and "zone" in cleaned:
            try:
                parse(cleaned["schedule"], zone=cleaned["zone"] or None)
            except InvalidSchedule as error:
                raise ValidationError(str(error)) from error
        return cleaned


class BackfillForm(ReasonForm):
    """Which slots are run after all; moments without an offset are on the entry's clock."""

    since = forms.CharField(max_length=40, help_text="From this moment on, such as 2026-10-25T02:00, on its clock.")
    until = forms.CharField(max_length=40, required=False, help_text="Slots before it. Empty: now.")
    field_order = ("since", "until", "reason")

    def clean_since(self) -> datetime | None:
        """Read the first moment."""
        return _moment(self.cleaned_data["since"])

    def clean_until(self) -> datetime | None:
        """Read the last moment; None for now."""
        return _moment(self.cleaned_data["until"]) if self.cleaned_data["until"] else None


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ValidationError("This is no moment: expected one such as 2026-10-25T02:30 or 2026-10-25.") from error
    return found


def in_zone(moment: datetime, zone: str) -> datetime:
    """Return *moment* with an offset: its own, or that of *zone*."""
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))
