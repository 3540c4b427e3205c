"""The same job as a class of CRON_CLASSES, for runcrons."""

from __future__ import annotations

from django_cron import CronJobBase, Schedule

from benchmarks.ways_jobs.cron import beat


class Beat(CronJobBase):  # type: ignore[misc] # crons.contrib.django_cron lends the name at run time
    """Calls the job."""

    code = "beat_class"
    schedule = Schedule(run_every_mins=5)

    def do(self) -> None:
        """Beat once."""
        beat()
