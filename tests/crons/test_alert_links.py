"""Where messages lead: the addresses are put together without the project's URLs, and these tests hold them to them."""

from __future__ import annotations

import pytest
from django.urls import reverse

from crons.watch.alerts import Notice
from crons.watch.alerts.links import link_of

BASE = "https://crm.example.com/crons/"


@pytest.fixture
def base(settings):
    """The address that CRONS says; without the one at the end that people forget."""
    settings.CRONS = {"ALERTS": {"BASE_URL": BASE.rstrip("/")}}


def path_in_crons(name, *arguments):
    """Where crons.urls has the page *name*, wherever the project includes it."""
    return reverse(f"crons:{name}", args=arguments).removeprefix(reverse("crons:home"))


@pytest.mark.parametrize(("run_id", "name", "arguments"), [(17, "run", [17]), (None, "incidents", [])])
def test_a_message_leads_to_a_page_that_is_there(base, run_id, name, arguments):
    """A page that moves would leave a dead link in every mail, and nobody notices before the first night."""
    notice = Notice("opened", "failing", "critical", "nightly failed", run_id=run_id)

    assert link_of(notice) == BASE + path_in_crons(name, *arguments)


def test_where_the_pages_are_not_known_there_is_no_link(settings):
    """Half an address is worse than none."""
    settings.CRONS = {}

    assert link_of(Notice("opened", "failing", "critical", "nightly failed", run_id=17)) == ""
