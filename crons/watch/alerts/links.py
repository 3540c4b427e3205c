"""Where in the pages a notice leads, as far as CRONS["ALERTS"]["BASE_URL"] says where the pages are."""

from __future__ import annotations

from crons.watch.alerts.base import Notice
from crons.watch.alerts.channels import alerts

# Relative to where crons.urls is included. Not by Django's reverse(): a scheduler would import all URLs and views of
# the project for it. tests/crons/test_alert_links.py holds them to crons.urls.
RUN, INCIDENTS = "runs/{}", "incidents"


def link_of(notice: Notice) -> str:
    """Return the page of the run that *notice* is about, or of all incidents; "" where no base address is known."""
    base = alerts().base_url
    if not base:
        return ""
    return base + (RUN.format(notice.run_id) if notice.run_id else INCIDENTS)
