"""What Celery's workers do for the CRM besides the jobs: the names that people and code call. No rule lives here."""

from typing import Any

from crm import confirmations, cron
from crm.celery import app
from crons import api


@app.task(bind=True)
def generate_crm_report(self: Any) -> str | None:
    """Have the report made, as one run of the job besides its Mondays; the message's id is its key.

    Called as a function, not by a worker, it makes the report itself.
    """
    if self.request.called_directly:
        cron.generate_crm_report()
        return None
    run = api.run_now("generate_crm_report", by="celery", key=f"celery-{self.request.id}")
    return f"run {run.pk}"


@app.task(name=confirmations.SEND_ONE)
def confirm_order(order_id: int) -> bool:
    """Send the order's confirmation, unless it is sent already; a job tries again what fails here."""
    return confirmations.send(order_id)
