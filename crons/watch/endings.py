"""What has ended since the last look: outages that are over, jobs that fail, jobs that work again."""

from __future__ import annotations

from datetime import datetime

from crons.watch import failing, outages


def follow(now: datetime) -> None:
    """Open, worsen and close the incidents of what was recorded late and of what has ended."""
    while outages.take(now):
        pass
    while failing.inspect_some(now):
        pass
    failing.close_healed(now)
    outages.settle(now)
