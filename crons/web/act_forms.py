"""What an act asks before it is done: whether, why, and until when."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone


class ConfirmForm(forms.Form):
    """Only the question; *key* makes a button that is pressed twice one request."""

    key = forms.UUIDField(widget=forms.HiddenInput)


class ReasonForm(ConfirmForm):
    """Why it is done, for whoever wonders later."""

    reason = forms.CharField(max_length=200, help_text="Whoever wonders will read it.")


class OptionalReasonForm(ConfirmForm):
    """Why it is done, if there is anything to say."""

    reason = forms.CharField(max_length=200, required=False, help_text="Whoever wonders will read it. May be empty.")


class PauseForm(ReasonForm):
    """Why, and until when."""

    until = forms.DateTimeField(
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"],
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        zone = timezone.get_current_timezone_name()
        self.fields["until"].help_text = f"In the time of {zone}. Empty: until somebody resumes it."

    def clean_until(self) -> datetime | None:
        """Refuse a moment that has passed."""
        until: datetime | None = self.cleaned_data["until"]
        if until is not None and until <= timezone.now():
            raise ValidationError("This moment is past: expected one to come.")
        return until
