"""What the pages do where scripts run: parts are refreshed, and nothing is taken from under people's hands."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.utils import timezone

from crons import models
from tests.crons.test_in_the_browser import CONTRASTS, TOO_WIDE, chromium  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.django_db(transaction=True)]
SOON = 30_000


@pytest.fixture
def page(chromium, live_server, client) -> Iterator[Any]:  # noqa: F811 (the fixture)
    """Open a page as somebody who may do all, with scripts; whatever the browser complains of fails the test."""
    contexts, complaints = [], []

    def opened(path: str, width: int = 1200, scheme: str = "light") -> Any:
        client.force_login(User.objects.create_superuser("dana"))
        context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}])
        contexts.append(context)
        made = context.new_page()
        made.on(
            "console", lambda message: complaints.append(message.text) if "Security Policy" in message.text else None
        )
        made.on("pageerror", lambda error: complaints.append(str(error)))
        made.goto(live_server.url + path)
        return made

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def refresh(page: Any, part: str) -> None:
    """Have *part* of a page ask for itself now, instead of waiting for its turn."""
    page.evaluate(f"htmx.ajax('GET', document.getElementById('{part}').getAttribute('hx-get'), {{"
                  f"source: '#{part}', target: '#{part}', select: '#{part}', swap: 'outerHTML'}})")  # fmt: skip


@pytest.fixture
def going(make_entry):
    """A run that goes on, and has written a line; an incident; entries that nobody looks at."""
    now = timezone.now()
    entries = [make_entry(f"nightly{number}", since=now - timedelta(hours=2)) for number in range(7)]
    given = {"planned_at": now, "recorded_at": now, "trigger": "serve", "tries": 1}
    run = models.Run.objects.create(entry=entries[0], state="running", slot_at=now, **given)
    where = {"executor": "process", "instance": "i", "host": "web1", "pid": 7, "boot_id": "b", "begun_at": now}
    attempt = models.Attempt.objects.create(
        run=run, number=1, token=uuid.uuid4(), lease_until=now + timedelta(hours=1), **where
    )
    models.OutputChunk.objects.create(
        attempt=attempt, seq=0, stream="stdout", text="\x1b[31mred\x1b[32mgreen\x1b[33myellow\x1b[34mblue"
        "\x1b[35mmagenta\x1b[36mcyan\x1b[30mblack\x1b[37mwhite\x1b[1mbold\n" + "x" * 3_000 + "\n",
    )  # fmt: skip
    models.Incident.objects.create(
        rule="failing", entry=entries[1], open_key="k", summary="failed: no rows", opened_at=now, changed_at=now
    )
    return run


def test_run_is_followed_to_its_end(page, going):
    """Output is added as it is written; then the page stops asking."""
    seen = page(f"/crons/runs/{going.pk}")
    attempt = going.attempts.get()

    models.OutputChunk.objects.create(attempt=attempt, seq=1, stream="log", text="half of it\n")
    seen.get_by_text("half of it").wait_for(timeout=SOON)
    now = timezone.now()
    models.Attempt.objects.filter(pk=attempt.pk).update(outcome="succeeded", ended_at=now, lease_until=None)
    models.Run.objects.filter(pk=going.pk).update(state="done", verdict="succeeded", ended_at=now)
    seen.get_by_text("Attempt 1 has ended.").wait_for(timeout=SOON)
    seen.locator("#verdict", has_text="succeeded").wait_for(timeout=SOON)

    assert seen.locator("pre", has_text="redgreenyellow").count() == 1
    assert seen.locator("[hx-trigger]").count() == 0
    assert seen.locator("#stale").is_hidden()


def test_what_is_open_stays_open_and_a_login_never_takes_its_place(page, going):
    """Who reads the folded names, or whose session ends overnight, keeps what they see, and is told that it is old."""
    seen = page("/crons/")
    seen.locator("details[id^=fold-overdue] summary").click()
    seen.evaluate("document.querySelector('h1').dataset.first = 'yes'")
    refresh(seen, "live")
    seen.wait_for_function("!document.querySelector('h1').dataset.first", timeout=SOON)
    is_open = seen.locator("details[id^=fold-overdue]").get_attribute("open")
    Session.objects.all().delete()
    refresh(seen, "live")
    seen.locator("#stale").wait_for(state="visible", timeout=SOON)

    assert is_open is not None
    assert seen.get_by_role("heading", level=1).inner_text() == "What is wrong now"


def test_nothing_is_swapped_while_somebody_writes(page, going):
    """A reason that vanishes while it is typed is typed once."""
    seen = page("/crons/incidents")
    seen.get_by_text("Acknowledge").first.click()
    reason = seen.get_by_label("Reason").first
    reason.fill("I am at it")
    refresh(seen, "live")
    seen.get_by_role("button", name="Acknowledge").click()
    seen.get_by_text("in hand: dana").wait_for(timeout=SOON)

    assert models.Incident.objects.get().acknowledged_reason == "I am at it"


@pytest.mark.parametrize(("width", "scheme"), [(1200, "dark"), (320, "light")])
def test_pages_can_be_read(page, going, width, scheme):
    """Contrast as AA asks for, in each colour that a job writes, and nothing cut off at the side."""
    seen = page(f"/crons/runs/{going.pk}", width=width, scheme=scheme)
    for path in (
        f"runs/{going.pk}",
        f"runs/{going.pk}/output",
        f"runs/{going.pk}/output?find=x",
        "incidents",
        "runs/x",
    ):
        seen.goto(seen.url.split("/crons/")[0] + f"/crons/{path}")

        assert [(text, ratio) for text, ratio in seen.evaluate(CONTRASTS, "main *, header *") if ratio < 4.5] == []
        assert seen.evaluate(TOO_WIDE) == []
        assert seen.evaluate("document.documentElement.scrollWidth") <= width
        assert seen.locator("script:not([src]), style, [style], [onclick]").count() == 0
        assert seen.locator("th:not([scope])").count() == 0
