"""Celery tasks as a project has them already."""

from celery import Celery, Task

app = Celery("existing", broker="memory://", set_as_current=False)
app.conf.task_routes = {"shop.*": {"queue": "slow", "priority": 1}}


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
