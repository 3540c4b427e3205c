"""The pages as people meet them: in Chromium, without JavaScript, light and dark, wide and narrow."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from crons import models

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.django_db(transaction=True)]

# Every text that is seen, with the contrast that it has against what lies behind it.
CONTRASTS = """(within) => {
  const read = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((part) => {
      const share = part / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = read(getComputedStyle(each).backgroundColor);
      if (colour[3] > 0) return colour;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0, 1] : [255, 255, 255, 1];
  };
  const found = [];
  for (const element of document.querySelectorAll(within)) {
    const own = [...element.childNodes].filter((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own.length || !element.getClientRects().length) continue;
    const [front, back] = [light(read(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    found.push([own[0].textContent.trim(), Math.round(ratio * 100) / 100]);
  }
  return found;
}"""


# What sticks out at the side, without scrolling within itself.
TOO_WIDE = """() => [...document.querySelectorAll("main *, header *, nav *")]
  .filter((each) => each.getBoundingClientRect().right > innerWidth && !each.closest(".results, .scroll"))
  .map((each) => each.tagName + "." + each.className)"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's Chromium."""
    from playwright.sync_api import sync_playwright

    with pytest.MonkeyPatch.context() as environment, sync_playwright() as playwright:
        # Playwright runs an event loop in this thread, and Django refuses its database there unless told.
        environment.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, live_server, client):
    """Open a page for somebody who may do all; *width* and *scheme* as a visitor has them."""
    client.force_login(User.objects.create_superuser("dana"))
    contexts = []

    def opened(path: str, *, width: int = 1200, scheme: Any = "light") -> Any:
        viewport: Any = {"width": width, "height": 800}
        context = chromium.new_context(viewport=viewport, color_scheme=scheme, java_script_enabled=False)
        context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}])
        contexts.append(context)
        made = context.new_page()
        made.goto(live_server.url + path)
        return made

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def on_fire(make_entry):
    """A run that failed with output, one that goes on, a paused entry, an overdue one, a dead scheduler."""
    now = timezone.now()
    names = ["clean_inactive_customers_of_all_shops", "nightly", "held"]
    failing, going, held = [make_entry(name, since=now - timedelta(hours=2)) for name in names]
    models.Entry.objects.filter(pk=held.pk).update(paused_at=now, paused_by="dana", pause_reason="moving house")
    said = {"paused_at": now, "by": "dana"}
    models.Pause.objects.create(scope=f"entry:{held.pk}", entry=held, reason="moving house", **said)
    models.Pause.objects.create(scope="tag:billing", tag="billing", reason="the bank is down", **said)
    given = {"planned_at": now, "recorded_at": now, "trigger": "serve", "tries": 1}
    detail = "ApiError: https://shop.example.com/a/very/long/address/without/any/place/to/break/it answered 503"
    failed = models.Run.objects.create(
        entry=failing, state="done", verdict="failed", slot_at=now, ended_at=now, detail=detail, **given
    )
    running = models.Run.objects.create(entry=going, state="running", slot_at=now, **given)
    where = {"executor": "process", "instance": "i", "host": "web1", "pid": 7, "boot_id": "b", "begun_at": now}
    attempt = models.Attempt.objects.create(
        run=failed, number=1, token=uuid.uuid4(), outcome="failed", ended_at=now, error=f"Traceback\n{detail}", **where
    )
    models.Attempt.objects.create(run=running, number=1, token=uuid.uuid4(), lease_until=now, **where)
    models.OutputChunk.objects.create(attempt=attempt, seq=0, stream="stdout", text="x" * 3_000 + "\n")
    models.Incident.objects.create(
        rule="failing", entry=failing, run=failed, open_key="k", summary=detail, opened_at=now, changed_at=now
    )
    return failed


def test_pause_and_resume_by_hand(page, live_server, make_entry):
    """From the first page to the deed and back, with nothing but links and buttons."""
    now = timezone.now()
    make_entry("nightly", since=now)
    models.Entry.objects.update(wake_at=now + timedelta(hours=1))
    home = page("/crons/")

    home.get_by_role("rowheader").get_by_role("link", name="nightly", exact=True).click()
    home.get_by_role("link", name="Pause", exact=True).click()
    home.get_by_role("textbox", name="Reason").fill("warehouse is moving")
    asking = home.get_by_role("heading", name="Pause nightly").count()
    before = models.Entry.objects.get().paused_at
    home.get_by_role("button", name="Pause").click()
    paused = (home.get_by_text("nightly: paused.").count(), models.Entry.objects.get().pause_reason)
    home.goto(live_server.url + "/crons/")
    why = home.get_by_role("cell", name="warehouse is moving").count()
    home.get_by_text("Resume nightly").first.click()
    home.get_by_role("group", name="Paused by somebody").get_by_label("Reason").fill("it has moved")
    home.get_by_role("button", name="Resume nightly").click()

    assert (asking, before) == (1, None)
    assert paused == (1, "warehouse is moving")
    assert why == 1
    assert home.url == live_server.url + "/crons/"
    assert home.get_by_text("nightly: resumed.").count() == 1
    assert models.Entry.objects.get().paused_at is None
    said = [(event.actor, event.reason) for event in models.AuditEvent.objects.order_by("pk")]
    assert said == [("dana", "warehouse is moving"), ("dana", "it has moved")]


def test_jobs_and_a_job_can_be_read_and_asked(page, on_fire):
    """Contrast as AA asks for, nothing cut off at the side; several are chosen and asked about without a script."""
    job = f"/crons/jobs/{on_fire.entry.name}"
    for path, width, scheme in [
        ("/crons/jobs", 1200, "light"), ("/crons/jobs", 320, "dark"),
        (f"{job}?do=run", 1200, "dark"), (f"{job}?do=reschedule", 320, "light"),
    ]:  # fmt: skip
        seen = page(path, width=width, scheme=scheme)
        assert [(text, ratio) for text, ratio in seen.evaluate(CONTRASTS, "main *, header *") if ratio < 4.5] == []
        assert (path, seen.evaluate(TOO_WIDE)) == (path, [])
        assert seen.evaluate("document.documentElement.scrollWidth") <= width
        assert seen.evaluate("document.querySelectorAll('[style]').length") == 0
    listed = page("/crons/jobs?sort=-name")
    for name in ("nightly", "held"):
        listed.get_by_role("checkbox", name=f"Choose {name}").check()
    listed.get_by_label("With those chosen, because").fill("the bank is down")
    listed.get_by_role("button", name="Run now").click()
    asking = listed.get_by_role("heading", level=1).inner_text()
    listed.get_by_role("button", name="Run now").click()

    assert asking == "Run now: 2 jobs?"
    assert listed.get_by_role("heading", level=1).inner_text() == "Run now: 2 of 2 asked to run now"
    assert models.Run.objects.filter(kind="manual", requested_by="dana").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 320])
def test_first_page_can_be_read(page, on_fire, width, scheme):
    """Contrast as AA asks for, nothing cut off at the side, headings and tables that a screen reader can follow."""
    seen = page("/crons/", width=width, scheme=scheme)

    contrasts = seen.evaluate(CONTRASTS, "main *, header *")
    assert len(contrasts) > 30
    assert [(text, ratio) for text, ratio in contrasts if ratio < 4.5] == []
    assert seen.evaluate("document.documentElement.scrollWidth") <= width
    headings = seen.locator("h1, h2").all_inner_texts()
    assert headings == [
        "What is wrong now",
        "Paused by somebody",
        "What did not run, and why",
        "What runs now",
        "What ran last",
        "What runs next",
    ]
    assert [seen.get_by_role(role).count() for role in ("banner", "main", "navigation")] == [1, 1, 1]
    assert seen.locator("section:not([aria-labelledby])").count() == 0
    assert seen.locator("th:not([scope])").count() == 0
    assert seen.locator("html[lang]").count() == 1


def test_every_link_says_where_it_leads(page, on_fire):
    """Read out of their lines, ten links called Retry are one riddle."""
    seen = page("/crons/")

    buttons = seen.locator(".button").evaluate_all("all => all.map(each => each.textContent.trim().replace('…', ''))")

    assert len(buttons) > 4
    name = on_fire.entry.name
    assert f"Retry run {on_fire.pk} of {name}" in buttons
    assert [text for text in buttons if not re.search(r"nightly|held|clean_inactive|billing|shop.example", text)] == []


def test_focus_is_seen_and_comes_first_to_the_way_past_the_menu(page, on_fire):
    """Who uses the keyboard must know where they are."""
    seen = page("/crons/")

    stops = []
    for _ in range(8):
        seen.keyboard.press("Tab")
        stops.append(seen.evaluate("[document.activeElement.textContent.trim(), "
                                   "getComputedStyle(document.activeElement).outlineStyle]"))  # fmt: skip

    assert stops[0][0] == "Skip to the content"
    assert {style for _, style in stops} == {"solid"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_has_nothing_inline(page, on_fire, scheme):
    """A strict Content-Security-Policy is the best answer to what jobs may write."""
    seen = page("/crons/", scheme=scheme)

    assert seen.locator("script:not([src]), style, [style], iframe, img, [onclick]").count() == 0


@pytest.mark.parametrize(
    "place", ["run/{run}/change/", "entry/{entry}/change/", "attempt/{attempt}/change/", "entry/pause/?ids={entry}"]
)
def test_pages_of_the_admin_fit_a_telephone(page, on_fire, place):
    """Who is called at night has one."""
    attempt = on_fire.attempts.get()
    address = place.format(run=on_fire.pk, entry=on_fire.entry_id, attempt=attempt.pk)

    seen = page(f"/admin/crons/{address}", width=320)

    assert seen.evaluate(TOO_WIDE) == []
    assert seen.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_a_job_wrote_can_be_read(page, on_fire, scheme):
    """In both themes of the admin."""
    seen = page(f"/admin/crons/run/{on_fire.pk}/change/", scheme=scheme)

    contrasts = dict(seen.evaluate(CONTRASTS, "main *"))

    assert contrasts["x" * 3_000] >= 4.5
    assert [text for text, ratio in contrasts.items() if ratio < 4.5] == []


@pytest.mark.parametrize(("width", "scheme"), [(1200, "dark"), (320, "light")])
def test_why_is_asked_by_keyboard_and_can_be_read(page, on_fire, width, scheme):
    """Without a script, on a telephone too: from the name to the answer by Tab and Enter."""
    seen = page("/crons/why", width=width, scheme=scheme)

    seen.get_by_label("Entry").focus()
    seen.keyboard.type("clean_inactive_customers_of_all_shops")
    seen.keyboard.press("Tab")
    seen.keyboard.type(on_fire.slot_at.isoformat())
    seen.keyboard.press("Enter")
    seen.get_by_role("heading", name="clean_inactive_customers_of_all_shops").wait_for()

    assert ": failed." in seen.get_by_role("heading", level=2).first.inner_text()
    assert seen.get_by_text(f"manage.py crons retry {on_fire.pk}").count() == 1
    assert [text for text, ratio in seen.evaluate(CONTRASTS, "main *") if ratio < 4.5] == []
    assert seen.evaluate("document.documentElement.scrollWidth") <= width
