"""The page of incidents: what is open, who was told, and what people say to one."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from crons.models import AuditEvent, Delivery, Incident

pytestmark = pytest.mark.django_db
PAGE = "/crons/incidents"
LOOKS = ("view_entry", "view_run", "view_incident", "view_delivery")


@pytest.fixture
def nightly(make_entry):
    return make_entry("nightly", since=timezone.now())


def opened(entry, ago=60, **fields):
    """An incident that was opened so many minutes *ago*."""
    at = timezone.now() - timedelta(minutes=ago)
    given = {"rule": "failing", "summary": "failed: no rows", "open_key": f"k{ago}", "opened_at": at, "changed_at": at}
    return Incident.objects.create(entry=entry, **{**given, **fields})


def words(response):
    """The page's text, in one line."""
    page = re.sub(r"<wbr>|<[^>]*>", lambda tag: "" if tag[0] == "<wbr>" else " ", response.content.decode())
    return " ".join(unescape(page).split()).replace(" ,", ",").replace(" :", ":")


def test_open_ones_come_first_the_worst_before_all(staff, nightly):
    """What is over is read when all else is done."""
    now = timezone.now()
    opened(nightly, 90, summary="is warned of", severity="warning")
    opened(None, 80, summary="is critical", severity="critical", count=17)
    opened(nightly, 200, summary="was over", open_key=None, closed_at=now - timedelta(minutes=20))

    told = words(staff(*LOOKS).get(PAGE))

    assert told.startswith("2 open incidents · Crons")
    assert told.index("is critical (17 times)") < told.index("is warned of") < told.index("was over")
    assert re.search(r"over 2\d min( \d+ s)? ago, after 3 h", told)


def test_each_says_who_was_told_by_which_channel_and_what_failed(staff, nightly):
    """A pager that answers 500 for three days must be seen by somebody."""
    now = timezone.now()
    incident = opened(nightly)
    given = {"incident": incident, "subject": "nightly failed"}
    Delivery.objects.create(
        event="a", channel="mail", state="sent", sent_at=now - timedelta(minutes=3), tries=1, **given
    )
    Delivery.objects.create(
        event="a", channel="pager", tries=7, next_try_at=now + timedelta(minutes=5), error="500 <b>\u202eoops", **given
    )
    Delivery.objects.create(event="b", channel="chat", state="failed", tries=20, error="gone", **given)

    response = staff(*LOOKS).get(PAGE)

    told = words(response)
    assert re.search(r"mail: \d min( \d+ s)? ago", told)
    assert re.search(r"pager: not yet: tried 7 times, again in [45] min( \d+ s)? 500 <b>�oops", told)
    assert "chat: failed gone" in told
    assert "<b>" not in response.content.decode()


def test_messages_need_their_own_permission(staff, nightly):
    """They hold what jobs wrote."""
    Delivery.objects.create(incident=opened(nightly), event="a", channel="pager", error="secret", subject="x")

    assert "secret" not in words(staff(*LOOKS[:3]).get(PAGE))


def test_page_needs_its_permission(staff, nightly):
    """And names it."""
    response = staff("view_entry", "view_run").get(PAGE)

    assert response.status_code == 403
    assert "Your account lacks the permission crons.view_incident." in words(response)


def test_incident_is_acknowledged_and_snoozed(staff, nightly):
    """From the page to the deed and back; what was said stands there for the others."""
    incident = opened(nightly)
    client = staff(*LOOKS, "acknowledge_incident")

    had = client.post(f"{PAGE}/{incident.pk}/acknowledge", {"reason": "I am at it"}, follow=True)
    slept = client.post(f"{PAGE}/{incident.pk}/snooze", {"for": "4h"}, follow=True)
    forged = client.post(f"{PAGE}/{incident.pk}/snooze", {"for": "99y"}, follow=True)

    incident.refresh_from_db()
    assert f"Incident {incident.pk} of nightly: acknowledged." in words(had)
    assert re.search(r"in hand: sam, (now|\d+ s ago): I am at it", words(had))
    assert "/acknowledge" not in had.content.decode()
    assert "no alert is sent of it until" in words(slept)
    assert "quiet until" in words(slept)
    assert timedelta(hours=3) < incident.snoozed_until - timezone.now() <= timedelta(hours=4)
    assert "Nothing was done: for=99y is no length" in words(forged).replace("'", "")
    assert [event.verb for event in AuditEvent.objects.order_by("pk")] == ["acknowledge", "snooze"]


def test_stale_button_says_that_it_is_over(staff, nightly):
    """It healed while somebody looked at the page."""
    incident = opened(nightly)
    Incident.objects.update(closed_at=timezone.now(), open_key=None)

    told = words(staff(*LOOKS, "acknowledge_incident").post(f"{PAGE}/{incident.pk}/acknowledge", follow=True))

    assert f"Nothing was done: incident {incident.pk} is over since" in told


@pytest.mark.parametrize("verb", ["acknowledge", "snooze"])
def test_acts_are_refused_to_who_may_not_and_of_what_is_not(staff, nightly, verb):
    """A 403 names the permission, a forged number is a page that says so, and looking does nothing."""
    incident = opened(nightly)
    client = staff(*LOOKS)
    refused = client.post(f"{PAGE}/{incident.pk}/{verb}", {"for": "1h"})
    client.logout()
    User.objects.get().delete()
    client = staff(*LOOKS, "acknowledge_incident")
    forged = [client.post(f"{PAGE}/{each}/{verb}", {"for": "1h"}) for each in ("0", "x", "9" * 300)]

    assert refused.status_code == 403
    assert "Your account lacks the permission crons.acknowledge_incident." in words(refused)
    assert [each.status_code for each in forged] == [404] * 3
    assert client.get(f"{PAGE}/{incident.pk}/{verb}").status_code == 405
    assert not AuditEvent.objects.exists()


def test_page_costs_the_same_whatever_is_open(staff, nightly):
    """Four statements and those for who asks; it stops after a hundred."""
    for number in range(120):
        incident = opened(nightly, number)
        Delivery.objects.create(incident=incident, event="a", channel="mail", subject="x")

    with CaptureQueriesContext(connection) as captured:
        response = staff(*LOOKS, "acknowledge_incident").get(PAGE)

    told = [each for each in captured.captured_queries if each["sql"].startswith("SELECT") and "crons_" in each["sql"]]
    assert len(told) <= 4
    assert response.content.decode().count('<tr id="incident-') == 100
    assert "and more; those that changed last are shown." in words(response)


def test_first_page_offers_the_same(staff, nightly):
    """At three in the morning one page is enough."""
    incident = opened(nightly)
    client = staff("view_entry", "view_run", "acknowledge_incident")

    page = client.get("/crons/").content.decode()
    looks = staff_without(client).get("/crons/").content.decode()

    assert f'action="/crons/incidents/{incident.pk}/acknowledge"' in page
    assert f'action="/crons/incidents/{incident.pk}/snooze"' in page
    assert "/acknowledge" not in looks


def staff_without(client):
    """The same client, whose person may only look."""
    User.objects.get().user_permissions.remove(Permission.objects.get(codename="acknowledge_incident"))
    return client


def test_one_has_a_page_with_who_was_told_and_what_people_did(staff, nightly):
    """What is sent to a colleague is one address; forged numbers, and rights that are lacking, are told."""
    incident = opened(nightly, count=3)
    sent = {"incident": incident, "state": "sent", "sent_at": timezone.now(), "tries": 1}
    Delivery.objects.create(event="a", channel="mail", subject="nightly failed <b>", **sent)
    client = staff(*LOOKS, "acknowledge_incident")
    address = f"{PAGE}/{incident.pk}"
    client.post(f"{address}/acknowledge", {"reason": "mine", "next": address})

    with CaptureQueriesContext(connection) as captured:
        page = client.get(address)
    asked = len(captured)
    missing = [client.get(f"{PAGE}/{each}").status_code for each in ("0", "x", "9" * 30, "٣")]
    listed = client.get(PAGE).text
    Incident.objects.update(closed_at=timezone.now(), open_key=None)
    over = client.get(address)
    User.objects.get().user_permissions.remove(Permission.objects.get(codename="view_delivery"))
    hidden = client.get(address)
    User.objects.get().user_permissions.remove(Permission.objects.get(codename="view_incident"))
    refused = client.get(address)

    told = words(page)
    assert "failed: no rows (3 times)" in told
    assert "in hand: sam" in told
    assert "sam: acknowledge," in told
    assert "nightly failed <b>" in told
    assert f'href="{address}"' in listed
    assert f'action="{address}/snooze"' in page.text
    assert asked <= 10
    assert missing == [404] * 4
    assert ("over, after" in words(over), "<form" in over.text.partition("<main")[2]) == (True, False)
    assert "nightly failed" not in hidden.text
    assert (refused.status_code, "crons.view_incident" in refused.text) == (403, True)
