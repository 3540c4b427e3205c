"""Tasks as a project has them already: of Django's framework, and of Celery."""

from celery import Celery, Task

from crons.contrib.django_tasks.executor import framework

app = Celery("existing", broker="memory://", set_as_current=False)
app.conf.task_routes = {"shop.*": {"queue": "slow", "priority": 1}}


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


@app.task(name="shop.tidy", priority=3)
def tidy(days: int = 7) -> int:
    """Tidy up."""
    return days


@app.task(bind=True)
def knows_itself(self) -> str:
    """Ask for the message."""
    return self.request.id


@app.task(autoretry_for=(OSError,), max_retries=5)
def tries_again() -> str:
    """Celery would try it again."""
    raise OSError("no luck")


class Loud(Task):
    """Does something when its task fails."""

    def on_failure(self, *args: object) -> None:
        """Shout."""


@app.task(base=Loud)
def shouts() -> None:
    """Fail loudly."""


@app.task(time_limit=30)
def has_a_limit() -> None:
    """End in time."""
