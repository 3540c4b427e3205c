"""What people's cron classes inherit from: django-cron's two names, with what its documents say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.utils import timezone

from crons import current_context
from crons.conf import conf
from crons.schedules import FAR_FUTURE
from crons.verdicts import Verdict

# The models are imported where they are asked: this module is imported before the apps are ready.


class Schedule:
    """When a class is due; docs/howto/django-cron.md says which slots follow from it."""

    def __init__(
        self,
        run_every_mins: float | None = None,
        run_at_times: Sequence[str] | None = None,
        retry_after_failure_mins: float | None = None,
        run_on_days: Sequence[int] | None = None,
        run_monthly_on_days: Sequence[int] | None = None,
        run_tolerance_seconds: float = 0,
        run_weekly_on_days: Sequence[int] | None = None,
        **unknown: Any,
    ) -> None:
        # The fourth is run_on_days in django-cron 0.6.0, its last release, and run_weekly_on_days in what came after.
        self.run_every_mins = run_every_mins
        self.run_at_times = [] if run_at_times is None else run_at_times
        self.retry_after_failure_mins = retry_after_failure_mins
        self.run_on_days = run_on_days
        self.run_weekly_on_days = run_weekly_on_days
        self.run_monthly_on_days = run_monthly_on_days
        # Slots are fixed moments, so nothing creeps that would have to be tolerated.
        self.run_tolerance_seconds = run_tolerance_seconds
        # Kept, so that the line of CRON_CLASSES says it, and the module's other classes are declared.
        vars(self).update(unknown)


@dataclass(frozen=True)
class PrevSuccess:
    """The last run of a class that succeeded, under the names that CronJobLog had."""

    code: str
    start_time: datetime
    end_time: datetime
    is_success: bool = True


class CronJobBase:
    """A job as a class. Subclasses give `code`, the entry's name, `schedule`, and `do()`; what it returns is printed.

    JOB_OPTIONS takes what @job takes besides a schedule: policies, owner, tags.
    None of these has a value here, as in the real package: it would hide that of a mixin which stands behind.
    """

    code: ClassVar[str]
    schedule: ClassVar[Schedule]
    ALLOW_PARALLEL_RUNS: ClassVar[bool]
    JOB_OPTIONS: ClassVar[dict[str, Any]]

    @classmethod
    def get_code(cls) -> str:
        """Return the name of the class's entry."""
        return cls.code

    def get_prev_success_cron(self) -> PrevSuccess | None:
        """Return the last run that succeeded before this one; None before the first."""
        from crons import api

        runs = api.history(self.code).filter(verdict=Verdict.SUCCEEDED)
        if context := current_context():
            runs = runs.filter(planned_at__lt=context.until)
        newest = runs.first()
        if newest is None or newest.ended_at is None:
            return None
        begun = newest.attempts.using(conf.database).order_by("-number").values_list("begun_at", flat=True).first()
        return PrevSuccess(self.code, begun or newest.planned_at, newest.ended_at)

    @classmethod
    def get_time_until_run(cls) -> timedelta:
        """Return how long it is until the next slot; nothing where one is due, or the entry is not there yet."""
        from crons.models import Entry

        entry = Entry.objects.using(conf.database).filter(name=cls.code).first()
        if entry is None or entry.wake_at is None or entry.wake_at >= FAR_FUTURE:
            return timedelta()
        return max(entry.wake_at - timezone.now(), timedelta())
