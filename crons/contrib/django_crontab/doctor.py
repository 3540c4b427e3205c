"""Whether django-crontab's own lines run jobs past the ledger."""

from __future__ import annotations

from collections.abc import Iterable

from crons.contrib.django_crontab import past_ledger
from crons.doctor.findings import BAD, Finding


def examine() -> tuple[Iterable[Finding], bool]:
    """Return a finding where a job has such a line in this account's crontab; such lines fire nothing of ours."""
    twice = sorted(past_ledger.find().entries)
    if not twice:
        return (), False
    found = f"runs twice as soon as crons serve or tick runs, once past the ledger: {', '.join(twice)}"
    wanted = "lines that go through the ledger"
    return [Finding("django-crontab's lines", BAD, found, wanted, past_ledger.WAYS_OUT)], False
