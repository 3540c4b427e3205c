"""Twenty jobs that do nothing."""

from crons import cron, entry, job


@job()
def noop(**args: object) -> None:
    """Do nothing."""


for number in range(20):
    entry(f"noop_{number}", "noop", cron("0 * * * *"), args={"number": number})
