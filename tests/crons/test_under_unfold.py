"""The admin's pages of crons under django-unfold: they render, act, and axe finds nothing in what is ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.crons.test_every_page_in_the_browser import findings
from tests.crons.test_in_the_browser import chromium  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.needs("chromium")]
ROWS = """
from datetime import timedelta
from django.utils import timezone
from crons import models
now = timezone.now()
entry = models.Entry.objects.create(name="nightly", job="nightly", schedule="0 2 * * *", zone="UTC", first_seen_at=now,
                                    accounted_until=now, wake_at=now + timedelta(hours=1))
run = models.Run.objects.create(entry=entry, state="done", verdict="failed", slot_at=now, ended_at=now, detail="no",
                                planned_at=now, recorded_at=now, trigger="serve", tries=1)
"""


@pytest.fixture
def site(own_database) -> Iterator[tuple[str, str]]:
    """A site under unfold: its address, and the key of a session."""
    own_database.migrate()
    environment = {**own_database.env, "DJANGO_SETTINGS_MODULE": "tests.crons.unfolded"}
    own_database.manage("shell", "-c", ROWS)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.crons.unfolded"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    with server:
        assert server.stdout is not None
        assert server.stdin is not None
        port, key = server.stdout.readline().split()
        yield f"http://127.0.0.1:{port}", key
        server.stdin.close()


def test_pages_of_the_admin_render_and_act_under_unfold(chromium: Any, site: Any) -> None:  # noqa: F811
    """Many sites have it: its frame and its forms, with our lists, pages and questions in them."""
    address, key = site
    context = chromium.new_context(viewport={"width": 1200, "height": 800})
    context.set_default_timeout(120_000)
    context.add_cookies([{"name": "sessionid", "value": key, "url": address}])
    tab = context.new_page()
    told = {}

    for place in ("entry/", "entry/1/change/", "run/", "run/1/change/", "pause/", "entry/pause/?ids=1"):
        answer = tab.goto(f"{address}/admin/crons/{place}")
        is_named = tab.get_by_text("nightly").count() > 0 or place == "pause/"
        told[place] = [answer.status, is_named, findings(tab, "#content, #main")]
    is_unfold = tab.locator("link[href*='unfold']").count() > 0
    tab.get_by_label("Reason").fill("the warehouse moves")
    tab.get_by_role("button", name="Pause").click()
    tab.get_by_text("nightly: paused.").wait_for(timeout=120_000)
    # The pages beside the admin bring a style of their own, and act as they do anywhere.
    tab.goto(f"{address}/crons/")
    tab.get_by_text("Resume nightly").first.click()
    tab.get_by_label("Reason").locator("visible=true").fill("it has moved")
    tab.get_by_role("button", name="Resume nightly").click()
    tab.get_by_text("nightly: resumed.").wait_for(timeout=120_000)
    context.close()

    assert is_unfold
    assert told == {place: [200, True, []] for place in told}
