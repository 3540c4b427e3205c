"""Every page in Chromium: what axe finds, the security policy, widths, the keyboard, paper, without scripts."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from crons import models
from tests.crons.test_in_the_browser import TOO_WIDE, chromium, on_fire  # noqa: F401 (fixtures)

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.django_db(transaction=True)]
# What people and jobs may write: markup, text that runs backwards, a terminal's colours and bell, no place to break.
MARKUP = "<script>document.title='owned'</script>\"'><img src=x onerror=alert(1)>"
HOSTILE = MARKUP + "\u202egnp.exe\x1b[31mred\x07" + "W" * 300
PAGES = ["home", "jobs", "job", "timeline", "week", "incidents", "incident", "run", "failed", "output", "why", "answer"]
ADMIN = ["entry", "run", "range", "attempt", "incident", "delivery", "pause", "heartbeat", "auditevent"]
INLINE = "script:not([src]), style, [style], [onclick], [onload], [onerror], iframe, img, a[href^='javascript']"


def address(name: str, run: models.Run) -> str | None:
    """Where a page is; None where this version has none of that name."""
    entry, asked = run.entry.name, {"week": "timeline", "answer": "why", "failed": "run"}.get(name, name)
    arguments = {
        "incident": [models.Incident.objects.values_list("pk", flat=True)[0]],
        "job": [entry],
        "run": [run.pk],
        "output": [run.pk],
    }.get(asked, [])
    try:
        found = reverse(f"crons:{asked}", args=arguments)
    except NoReverseMatch:
        return None
    return found + {"week": "?span=7d", "answer": f"?entry={entry}&run={run.pk}"}.get(name, "")


@pytest.fixture
def visit(chromium, live_server, client) -> Any:  # noqa: F811
    """Open pages in one tab for a person; what the console says of each is kept in `.said`."""
    contexts = []

    def opened(user: User, *, width: int = 1200, scheme: Any = "light", scripts: bool = True) -> Any:
        client.force_login(user)
        viewport: Any = {"width": width, "height": 800}
        context = chromium.new_context(viewport=viewport, color_scheme=scheme, java_script_enabled=scripts)
        context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}])
        context.set_default_timeout(120_000)  # on a busy machine a page may take long
        contexts.append(context)
        # No part is asked for again in a tab that nobody sees, nor swapped under a test on a busy machine.
        context.add_init_script("Object.defineProperty(document, 'hidden', {get: () => true})")
        tab = context.new_page()
        tab.said = []
        # Browsers ask each site for that by themselves.
        tab.on("console", lambda each: "favicon" in str(each.location) or tab.said.append(each.text))
        tab.on("pageerror", lambda error: tab.said.append(str(error)))
        return tab

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def hostile(on_fire):  # noqa: F811
    """The same rows, in which each text that somebody gave is a trap; and output of many chunks."""
    now = timezone.now()
    models.Run.objects.filter(pk=on_fire.pk).update(detail=HOSTILE[:255])
    models.Attempt.objects.filter(run=on_fire).update(error=f"Traceback\n{HOSTILE}")
    models.Incident.objects.update(summary=HOSTILE[:255])
    models.Pause.objects.update(reason=HOSTILE[:255], by=HOSTILE[:150])
    models.Entry.objects.update(description=HOSTILE[:255], owner=HOSTILE[:100], tags=[HOSTILE[:100]])
    models.AuditEvent.objects.create(
        at=now, actor=HOSTILE[:150], verb="run", subject_type="entry", subject=on_fire.entry.name, reason=HOSTILE[:255]
    )
    attempt = on_fire.attempts.get()
    models.OutputChunk.objects.bulk_create(
        models.OutputChunk(attempt=attempt, seq=number, stream="stderr", text=(HOSTILE + "\n") * 20)
        for number in range(1, 40)
    )
    models.Heartbeat.objects.create(
        instance=uuid.uuid4().hex, kind="serve", host=HOSTILE[:200], pid=7, boot_id="b", started_at=now, beat_at=now,
        expected_by=now + timedelta(minutes=1),
    )  # fmt: skip
    return on_fire


def findings(tab: Any, within: str | None = None) -> list[str]:
    """What axe-core finds on the page that is shown."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(tab, context=within).response["violations"]
    # Django's own form of a list's search has a label of a picture.
    nodes = [(each["id"], node["html"][:150]) for each in found for node in each["nodes"]]
    return [f"{rule}: {html}" for rule, html in nodes if 'id="searchbar"' not in html]


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_no_page_has_findings_of_axe_or_anything_inline(visit, live_server, hostile, width, scheme):
    """Hostile texts on all of them; what the policy forbids, the console would say."""
    tab = visit(User.objects.create_superuser("dana"), width=width, scheme=scheme)
    tab.emulate_media(reduced_motion="reduce")
    told = {}

    for name in PAGES:
        place = address(name, hostile)
        if place is None:
            continue
        tab.said.clear()
        answer = tab.goto(live_server.url + place)
        told[name] = [
            answer.status, findings(tab), tab.said[:], tab.evaluate(TOO_WIDE),
            tab.evaluate("document.documentElement.scrollWidth") <= width, tab.locator(INLINE).count(),
            "owned" in tab.title(), "\u202e" in tab.content(), tab.evaluate("document.getAnimations().length"),
        ]  # fmt: skip

    assert {"home", "timeline", "run", "why", "incidents"} <= told.keys()
    assert told == {key: [200, [], [], [], True, 0, False, False, 0] for key in told}


def test_pages_of_the_admin_have_no_findings_of_axe(visit, live_server, hostile):
    """Each list, each row's page, the question: within Django's own frame it is ours. By turns wide and narrow."""
    tab = visit(User.objects.create_superuser("dana"))
    models.Delivery.objects.create(
        incident=models.Incident.objects.get(), event="opened", channel="admins", subject=HOSTILE[:255]
    )
    told = {}

    for name in ADMIN:
        row = getattr(models, {"auditevent": "AuditEvent"}.get(name, name.capitalize())).objects.first()
        places = [reverse(f"admin:crons_{name}_changelist")]
        if row is not None and name != "pause":
            places.append(reverse(f"admin:crons_{name}_change", args=[row.pk]))
        places += [f"/admin/crons/entry/pause/?ids={hostile.entry_id}"] if name == "entry" else []
        for place in places:
            is_list = place == places[0]
            tab.set_viewport_size({"width": 1200 if is_list else 390, "height": 800})
            tab.emulate_media(color_scheme="light" if is_list else "dark")
            tab.said.clear()
            answer = tab.goto(live_server.url + place)
            told[place] = [answer.status, findings(tab, "#content"), tab.said[:], "\u202e" in tab.content()]

    assert told == {key: [200, [], [], False] for key in told}
    assert len(told) > 15


@pytest.mark.parametrize("name", ["home", "jobs", "job", "timeline", "run", "output", "why", "incidents"])
def test_the_keyboard_reaches_all_and_is_held_nowhere(visit, live_server, on_fire, name):  # noqa: F811
    """From the way past the menu to the last link, each stop seen; and Enter on the first leads past the menu."""
    place = address(name, on_fire)
    assert place
    tab = visit(User.objects.create_superuser("dana"), scripts=False)
    tab.goto(live_server.url + place)
    reachable = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']"
    # Within what is folded nothing is reached until it is opened; the content alone is a stop where it is led to.
    expected = tab.locator(reachable).evaluate_all(
        "all => all.filter(each => each.checkVisibility({contentVisibilityAuto: true})).length"
    )

    stops = []
    for _ in range(expected + 1):
        tab.keyboard.press("Tab")
        stops.append(
            tab.evaluate("""() => {
          const each = document.activeElement;
          const style = getComputedStyle(each);
          const drawn = style.outlineStyle !== "none" || each.querySelector("rect") !== null;
          each.dataset.stop ??= String(window.stops = (window.stops ?? 0) + 1);
          return [each.dataset.stop, each.tagName === "BODY" || drawn];
        }""")
        )
    tab.goto(live_server.url + place)
    tab.keyboard.press("Tab")
    first = tab.evaluate("document.activeElement.textContent.trim()")
    tab.keyboard.press("Enter")

    assert len({stop for stop, _ in stops[:expected]}) == expected > 5
    assert [stop for stop, is_seen in stops if not is_seen] == []
    assert first.startswith("Skip to ")
    assert tab.evaluate("document.activeElement.id") == "main"


def test_on_paper_and_without_scripts_each_page_says_the_same(visit, live_server, on_fire):  # noqa: F811
    """A printed page has no menu and nothing to press, and is not wider than the paper."""
    user = User.objects.create_superuser("dana")
    with_scripts, without = visit(user), visit(user, scripts=False, width=390)
    told = {}

    for name in PAGES:
        place = address(name, on_fire)
        if place is None:
            continue
        texts = []
        for tab in (with_scripts, without):
            tab.goto(live_server.url + place)
            texts.append(tab.locator("main h1").inner_text())
        headings = without.locator("main :is(h1, h2)").all_text_contents()
        assert headings == with_scripts.locator("main :is(h1, h2)").all_text_contents(), name
        without.emulate_media(media="print")
        told[name] = [
            texts[0] == texts[1], without.locator("nav:visible, .button:visible, .act:visible").count(),
            without.evaluate("document.documentElement.scrollWidth") <= 390,
            without.locator("main").inner_text().strip() != "",
        ]  # fmt: skip
        without.emulate_media(media="screen")

    assert told == {key: [True, 0, True, True] for key in told}


def test_a_person_sees_and_does_what_the_permissions_say(visit, live_server, on_fire):  # noqa: F811
    """Looking only, then with one act more; done with nothing but a browser that runs no script."""
    user = User.objects.create_user("eve", is_staff=True)
    give = Permission.objects.filter(content_type__app_label="crons")
    user.user_permissions.set(give.filter(codename__in=["view_entry", "view_run"]))
    tab = visit(user, scripts=False)
    going = models.Run.objects.get(state="running")
    models.Run.objects.filter(pk=going.pk).update(current_attempt=going.attempts.get().pk, active_key=going.entry_id)
    place = live_server.url + reverse("crons:run", args=[going.pk])

    tab.goto(place)
    before = (tab.locator("main form").count(), tab.get_by_text("crons.view_attempt").count())
    user.user_permissions.add(give.get(codename="cancel_run"))
    tab.goto(place)
    tab.get_by_text("Cancel this run").first.click()
    tab.get_by_label("Reason").fill("the warehouse moves")
    tab.get_by_role("button", name="Cancel this run").click()
    tab.get_by_text(f"Run {going.pk} of nightly: asked to stop.").wait_for()
    user.user_permissions.clear()
    refused = tab.goto(place)

    assert before == (0, 1)
    attempt = going.attempts.get()
    assert (attempt.cancel_requested_at is not None, attempt.cancel_reason) == (True, "the warehouse moves (by eve)")
    assert [event.actor for event in models.AuditEvent.objects.filter(verb="cancel")] == ["eve"]
    assert refused.status == 403
    assert tab.get_by_text("Your account lacks the permission crons.view_entry and crons.view_run.").count() == 1
