"""What a run is given: a form made of what the job takes, checked as the command line checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from crons.declarations import Parameter, check_arguments, check_complete, parameters_of
from crons.exceptions import CronsError, Refused
from crons.jobs import value_of
from crons.models import Entry
from crons.presentation import describe_arguments
from crons.redaction import MASK, Secrecy, for_people, secrecy_of
from crons.web.act_forms import OptionalReasonForm

ARG = "arg-"
OTHERS = "others"
HOW = "JSON, or else a text; a text of digits in quotes."
# Of a command with a hundred options, those that are given can be typed below.
MOST_FIELDS = 60


def run_form(entry: Entry) -> type[OptionalReasonForm]:
    """Return a form with a field for each argument that the job of *entry* takes."""
    try:
        found, takes_others = parameters_of(entry)
    except CronsError:
        return OptionalReasonForm  # this process does not know the job: it can be asked for as it was declared
    fields: dict[str, Any] = {f"{ARG}{each.name}": _field(each) for each in found[:MOST_FIELDS]}
    if takes_others or len(found) > MOST_FIELDS:
        fields[OTHERS] = forms.CharField(
            label="Other arguments",
            required=False,
            widget=forms.Textarea({"rows": 3}),
            help_text="One a line: KEY=VALUE",
        )
    return type("RunForm", (RunForm,), {**fields, "entry": entry})


class RunForm(OptionalReasonForm):
    """Asks for a run: what is left empty is not given."""

    entry: Entry

    def clean(self) -> dict[str, Any]:
        """Read the arguments as --arg does, and refuse what the job cannot be called with."""
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        try:
            cleaned["args"] = self._arguments(cleaned)
            if cleaned["args"]:
                check_arguments(self.entry, cleaned["args"])
            else:
                check_complete(self.entry, {})
        except CronsError as error:
            raise ValidationError(str(error)) from error
        return cleaned

    def _arguments(self, cleaned: Mapping[str, Any]) -> dict[str, Any]:
        found = {
            name.removeprefix(ARG): value_of(text) for name, text in cleaned.items() if name.startswith(ARG) and text
        }
        for line in cleaned.get(OTHERS, "").splitlines():
            if not line.strip():
                continue
            key, sign, value = line.strip().partition("=")
            # Not the line itself: what stands in it may be a secret.
            if not sign or not key.isidentifier():
                raise Refused("a line of the other arguments is none, expected KEY=VALUE such as city=Paris or days=7")
            if key in found:
                raise Refused(f"{key!r} is given twice.")
            found[key] = value_of(value)
        return found


def _field(each: Parameter) -> forms.CharField:
    is_secret = secrecy_of(each.name) > Secrecy.NONE
    shown = {each.name: each.declared if each.is_declared else each.default}
    otherwise = describe_arguments(shown).partition("=")[2] if _is_plain(shown[each.name]) else repr(shown[each.name])
    otherwise = MASK if is_secret and shown[each.name] else str(for_people(otherwise))[:200]
    if each.is_declared:
        told = f"Empty: {otherwise}, as declared."
    else:
        told = f"Empty: {otherwise}, its default." if each.has_default and each.kind else "Empty: its default."
        told = "It has no default." if each.is_needed else told
    attrs = {"autocomplete": "off", "spellcheck": "false"}
    # What was typed is not sent back: neither an error's page nor the browser's memory keeps it.
    widget = forms.PasswordInput({**attrs, "autocomplete": "new-password"}) if is_secret else forms.TextInput(attrs)
    label = f"{each.name} ({each.kind})" if each.kind else each.name
    return forms.CharField(
        label=label, required=each.is_needed, strip=False, widget=widget, help_text=f"{told} {HOW}", max_length=10_000
    )


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | list | dict)
