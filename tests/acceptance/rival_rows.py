"""Write the rows that rivals work on: python -m tests.acceptance.rival_rows ENTRIES RUNS STATE.

STATE is due; or going, with an attempt; or old, which failed a year ago with an attempt that has written something;
or parked: entries that cannot be planned.
"""

from __future__ import annotations

import sys
import uuid
from datetime import timedelta


def main(entries: int, runs: int, state: str) -> None:
    """Write *runs* runs of each of *entries* entries."""
    from django.utils import timezone

    from crons.jobs.policies import Policy
    from crons.models import Attempt, Entry, OutputChunk, Run

    now = timezone.now()
    began = now - timedelta(days=400)
    policy = Policy(overlap="allow", group="heavy").as_json()
    for number in range(entries):
        entry = Entry.objects.create(
            name=f"heavy{number}", job="heavy", schedule="* * * * *", zone="UTC", policy=policy,
            first_seen_at=began, accounted_until=now, wake_at=now + timedelta(days=1),
            parked_reason="no such zone" if state == "parked" else "",
        )  # fmt: skip
        for place in range(runs):
            at = began + timedelta(minutes=place)
            over = {"state": "done", "verdict": "failed", "ended_at": at, "tries": 1}
            states = {"due": {"state": "due", "wake_at": at}, "going": {"state": "running", "tries": 1}, "old": over}
            run = Run.objects.create(
                entry=entry, slot_at=at, planned_at=at, recorded_at=at, trigger="test", **states[state]
            )
            if state == "due":
                continue
            where = {"executor": "process", "instance": "i", "host": "elsewhere", "pid": 1, "boot_id": "b"}
            ended = (
                {"outcome": "failed", "ended_at": at} if state == "old" else {"lease_until": now + timedelta(days=1)}
            )
            attempt = Attempt.objects.create(run=run, number=1, token=uuid.uuid4(), begun_at=at, **where, **ended)
            Run.objects.filter(pk=run.pk).update(current_attempt=attempt.pk)
            OutputChunk.objects.create(attempt=attempt, seq=0, stream="stdout", text="hello")


if __name__ == "__main__":
    import django

    django.setup()
    from django.db import transaction

    with transaction.atomic():
        main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
