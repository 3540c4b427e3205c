"""What people do from the first page: each button acts where it stands, says why not, and leaves who, what and why."""

from __future__ import annotations

import html
import re
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from crons import api
from crons.models import Attempt, AuditEvent, Entry, Incident, Pause, Run

pytestmark = pytest.mark.django_db
PAGE = "/crons/"
LOOK = ("view_entry", "view_run", "view_pause")
ACT = ("run_entry", "pause_entry", "cancel_run", "retry_run")
FORM = re.compile(r'<form method="post" action="([^"]+)">(.*?)</form>', re.DOTALL)
HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')
TITLE = re.compile(r'<button class="button" type="submit">([^<]+)<span class="unseen"> ([^<]+)</span>')


@pytest.fixture
def log_in(client):
    """Log somebody of the staff in who has just the permissions named."""

    def logged(*permissions):
        user, _ = User.objects.get_or_create(username="sam", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return logged


@pytest.fixture
def rows(make_entry):
    """A job that failed, one that goes on, one to come, one that is paused, and a tag that is."""
    now = timezone.now()
    failing, going, *_ = [make_entry(name, since=now) for name in ("failing", "going", "coming", "held")]
    Entry.objects.update(wake_at=now + timedelta(hours=1))
    Entry.objects.filter(pk=failing.pk).update(tags=["billing"])
    given = {"slot_at": now, "planned_at": now, "recorded_at": now, "trigger": "serve", "tries": 1}
    failed = Run.objects.create(entry=failing, state="done", verdict="failed", ended_at=now, detail="no", **given)
    running = Run.objects.create(entry=going, state="running", active_key=going.pk, **given)
    attempt = Attempt.objects.create(
        run=running, number=1, token=uuid.uuid4(), executor="process", instance="i", host="web1", pid=7, boot_id="b",
        begun_at=now, lease_until=now + timedelta(minutes=5),
    )  # fmt: skip
    Run.objects.filter(pk=running.pk).update(current_attempt=attempt.pk)
    Incident.objects.create(
        rule="failing", entry=failing, run=failed, summary="failed: no", open_key="f", opened_at=now, changed_at=now
    )
    api.pause("held", by="ann", reason="moving house")
    Pause.objects.create(scope="tag:billing", tag="billing", paused_at=now, by="ann", reason="the bank is down")
    AuditEvent.objects.all().delete()
    return failed, running


def buttons(page):
    """Return of each button what it says, where it posts, and what it sends with it."""
    found = {}
    for address, inside in FORM.findall(page):
        title, named = TITLE.search(inside).groups()
        sent = {html.unescape(name): html.unescape(value) for name, value in HIDDEN.findall(inside)}
        found.setdefault(f"{title} {html.unescape(named)}", (address, sent))
    return found


def press(client, button, **given):
    """Press it as a browser does, and follow to where it leads."""
    address, sent = button
    return client.post(address, {**sent, **given}, follow=True)


def events():
    return list(AuditEvent.objects.order_by("pk").values_list("verb", "subject", "actor", "reason"))


def test_each_button_acts_and_comes_back(log_in, rows):
    """No page between, no script needed; the run that was asked for is shown, where its output comes."""
    failed, running = rows
    client = log_in(*LOOK, *ACT)
    found = buttons(client.get(PAGE).text)

    retried = press(client, found[f"Retry run {failed.pk} of failing"], reason="the API is back")
    cancelled = press(client, found[f"Cancel run {running.pk} of going"], reason="wrong data")
    paused = press(client, found["Pause failing"], reason="until Monday", until="2126-12-07T08:00")
    resumed = press(client, found["Resume held"], reason="moved")
    of_tag = press(client, found["Resume all tagged 'billing'"], reason="it is up")
    ran = press(client, found["Run now coming"], reason="a customer asks")
    again = press(client, found["Run now coming"], reason="a customer asks")

    assert [each.redirect_chain for each in (retried, cancelled, paused, resumed, of_tag)] == [[(PAGE, 302)]] * 5
    manual = Run.objects.get(kind="manual")
    assert [each.redirect_chain for each in (ran, again)] == [[(f"/crons/runs/{manual.pk}", 302)]] * 2
    assert f"Run {failed.pk} of failing: opened for another try." in retried.text
    assert f"Run {running.pk} of going: asked to stop." in cancelled.text
    assert "failing: paused." in paused.text
    assert Entry.objects.get(name="failing").paused_until.year == 2126
    assert "held: resumed." in resumed.text
    assert "All tagged &#x27;billing&#x27;: resumed." in of_tag.text.replace("all tagged", "All tagged")
    assert "coming: asked to run now." in ran.text
    assert events() == [
        ("retry", str(failed.pk), "sam", "the API is back"),
        ("cancel", str(running.pk), "sam", "wrong data"),
        ("pause", "failing", "sam", "until Monday"),
        ("resume", "held", "sam", "moved"),
        ("resume", "billing", "sam", "it is up"),
        ("run", str(manual.pk), "sam", "a customer asks"),
    ]


def test_a_stale_button_changes_nothing_and_says_what_has_changed(log_in, rows):
    """Two people at three in the morning, or one with a tab of yesterday."""
    failed, running = rows
    client = log_in(*LOOK, *ACT)
    found = buttons(client.get(PAGE).text)
    held = Pause.objects.get(entry__name="held")
    api.pause("coming", by="ann", reason="mine")
    api.resume("held", by="ann")
    api.resume_all(by="ann", tag="billing")
    api.pause("failing", by="ann", reason="mine")
    Run.objects.filter(pk=running.pk).update(state="done", verdict="succeeded", active_key=None)
    Run.objects.filter(pk=failed.pk).update(tries=2)
    AuditEvent.objects.all().delete()

    told = {
        name: press(client, found[name], reason="yours")
        for name in (f"Retry run {failed.pk} of failing", f"Cancel run {running.pk} of going", "Pause failing",
                     "Resume held", "Resume all tagged 'billing'", "Run now coming")
    }  # fmt: skip
    api.pause("held", by="ann", reason="again")
    Pause.objects.filter(entry__name="held").update(id=held.pk)
    anew = press(client, found["Resume held"], reason="yours")

    said = [html.unescape(" ".join(each.text.split())) for each in told.values()]
    assert "Nothing was done: more has become of run" in said[0]
    assert "Nothing was done: " in said[1]
    assert re.search("Nothing was done: it was 'active' when the page was made, and is .*by ann: mine", said[2])
    assert "Nothing was done: this pause is over: it ended by itself, or somebody resumed it." in said[3]
    assert "Nothing was done: this pause is over" in said[4]
    assert re.search("Nothing was done: it was 'active' when the page was made, and is .*by ann: mine", said[5])
    assert [each.status_code for each in told.values()] == [200, 200, 409, 200, 200, 409]
    assert "Nothing was done: somebody has paused it anew since the page was made." in anew.text
    assert [each for each in events() if each[2] == "sam"] == []
    assert not Run.objects.filter(kind="manual").exists()


def test_who_may_not_sees_no_button_and_a_forged_one_is_refused_by_name(log_in, rows):
    """Whatever was found in a page of somebody else."""
    found = buttons(log_in(*LOOK, *ACT).get(PAGE).text)
    client = log_in(*LOOK)

    page = client.get(PAGE).text
    refused = {name: press(client, button, reason="x") for name, button in found.items()}

    assert buttons(page) == {}
    assert len(refused) > 6
    assert {each.status_code for each in refused.values()} == {403}
    needed = {re.search(r"lacks the permission crons\.(\w+)", each.text)[1] for each in refused.values()}
    assert needed == set(ACT)
    assert events() == []


def test_a_form_of_another_site_does_nothing(log_in, rows):
    """Whatever middleware a project has."""
    found = buttons(log_in(*LOOK, *ACT).get(PAGE).text)
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.get())

    sent = [client.post(address, {**given, "reason": "x"}).status_code for address, given in found.values()]

    assert set(sent) == {403}
    assert events() == []


def test_forged_numbers_of_pauses_are_none(log_in, rows):
    client = log_in(*LOOK, *ACT)

    told = [client.post(f"/crons/pauses/{each}/resume", follow=True) for each in ("0", "x", "9" * 30, "-1", "٣")]

    assert all("Nothing was done: this pause is over" in each.text for each in told)
    assert Pause.objects.count() == 2
