"""manage.py update_low_stock: the entry point of the restock for people, scripts and cron."""

from typing import Any

from crm import progress, restocking, stock
from crm.api_client import ApiClient
from crm.management.entry_point import EntryPoint


class Command(EntryPoint):
    """The restock."""

    entry = "update_low_stock"
    help = "Raise the stock of every product that runs low, recorded as a run of that job."

    def preview(self, options: dict[str, Any]) -> list[str]:
        with progress.shown("Asking for products") as on_progress:
            low = restocking.low(ApiClient.of_jobs(), below=stock.LOW, on_progress=on_progress)
        after = (restocking.Level(each.name, each.stock + stock.RAISED_BY) for each in low)
        return [f"Would raise {len(low)} products.", *(str(each) for each in after)]
