"""What has ended since the last look: outages that are over, refusals, jobs that fail, jobs that work again."""

from __future__ import annotations

from datetime import datetime

from crons.watch import failing, outages, refused


def follow(now: datetime) -> None:
    """Open, worsen and close the incidents of what was recorded late and of what has ended."""
    refused.tell(now)
    while outages.take(now):
        pass
    while failing.inspect_some(now):
        pass
    failing.close_healed(now)
    outages.settle(now)


def tell_of_refusals(now: datetime) -> None:
    """Tell of writes that the database refused, now that it takes them; for a look at which nothing else has ended."""
    refused.tell(now)
