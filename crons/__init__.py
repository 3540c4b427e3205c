"""Scheduled work for Django: declare a job once; every slot ends in one recorded verdict.

This module imports no models, so it can be imported anywhere, at any time.
"""

from crons.exceptions import GiveUp, ToBeContinued
from crons.executors.runner import Context, current_context
from crons.jobs import Job, Retry, Window, command, entry, job, schedule, shell
from crons.schedules import cron, every

__all__ = [
    "Context",
    "GiveUp",
    "Job",
    "Retry",
    "ToBeContinued",
    "Window",
    "command",
    "cron",
    "current_context",
    "entry",
    "every",
    "job",
    "schedule",
    "shell",
]
