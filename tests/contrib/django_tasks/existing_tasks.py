"""Tasks of Django's framework as a project has them already."""

from crons.contrib.django_tasks.executor import framework


@framework().task
def send_report(to: str, copies: int = 1) -> str:
    """Send the report.

    To whom it concerns.
    """
    return f"{copies} to {to}"


@framework().task(takes_context=True)
def counts_its_tries(context) -> int:
    """Ask the framework which try this is."""
    return context.attempt


@framework().task
async def waits() -> None:
    """A coroutine, which most backends take."""
