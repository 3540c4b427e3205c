"""A task as a project has it already, before it hears of crons."""

from crons.contrib.django_tasks.executor import framework


@framework().task(queue_name="slow", priority=5)
def count_up(by: int) -> int:
    """Leave a trace for each."""
    from tests.acceptance.project.cron import leave_trace

    for _ in range(by):
        leave_trace(None)
    return by
