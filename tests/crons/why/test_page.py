"""The page that says why: who may ask, what it says, and what leads to it."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crons.exceptions import LedgerUnavailable
from crons.models import Run
from crons.verdicts import Outcome
from crons.web import overview
from crons.why.statements import MOST_STATEMENTS
from tests.crons.conftest import NOON

pytestmark = pytest.mark.django_db
PAGE = "/crons/why"
SESSION_AND_RIGHTS = 4


def words(response) -> str:
    """The text of a page."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


def test_a_stranger_is_sent_to_the_login(client):
    """And comes back to the question."""
    response = client.get(PAGE, {"entry": "report"})

    assert (response.status_code, response["Location"]) == (302, "/admin/login/?next=/crons/why%3Fentry%3Dreport")


def test_who_may_not_look_reads_what_is_lacking(staff, report):
    """Names of jobs are not everybody's business."""
    response = staff("view_entry").get(PAGE, {"entry": "report"})

    assert response.status_code == 403
    assert "Your account lacks the permission crons.view_run." in words(response)
    assert "report" not in words(response)


def test_without_a_name_it_asks(staff):
    """The form alone; nothing is wrong yet."""
    response = staff("view_entry", "view_run").get(PAGE)

    assert (response.status_code, "Ask for a slot" in words(response)) == (200, True)


def test_it_answers_in_sentences(staff, world, report):
    """The same words as on the command line, with a link to the run."""
    run = world.run(5, 5.2, Outcome.FAILED, "ValueError: <b>no</b> rows\u202e")
    client = staff("view_entry", "view_run")

    with CaptureQueriesContext(connection) as captured:
        response = client.get(PAGE, {"entry": "report", "at": "12:05"})

    said = words(response)
    assert response.status_code == 200
    assert "report, slot 2026-03-02 12:05:00 +00:00: failed." in said
    assert "after 12 s: failed: ValueError: <b>no</b> rows�." in said
    assert "<b>no</b>" not in response.content.decode()
    assert f"when mended: manage.py crons retry {run.pk}" in said
    assert f'href="/admin/crons/run/{run.pk}/change/"' in response.content.decode()
    assert 'value="12:05"' in response.content.decode()
    assert len(captured) <= MOST_STATEMENTS + SESSION_AND_RIGHTS


def test_a_run_is_asked_for_by_its_number(staff, world, report):
    """What somebody asked for has no slot to name it by."""
    run = Run.objects.create(entry=report, kind="manual", planned_at=NOON, recorded_at=NOON, trigger="api")

    response = staff("view_entry", "view_run").get(PAGE, {"entry": "report", "run": str(run.pk)})

    assert f"report, run {run.pk} by hand at 2026-03-02 12:00:00 +00:00" in words(response)


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ({"entry": "reprot"}, 404, "'reprot' is not declared. Did you mean 'report'?"),
        ({"entry": "report", "at": "<script>"}, 400, "'<script>' is no moment. Expected a time such as 09:00"),
        ({"entry": "report", "run": "999"}, 400, "run 999 is none of 'report'."),
        ({"entry": "re\0port"}, 404, "is not declared."),
    ],
)
def test_what_it_cannot_answer_it_says_beside_the_form(staff, world, report, query, status, said):
    """A typing error is mended where it was made."""
    response = staff("view_entry", "view_run").get(PAGE, query)

    assert response.status_code == status
    assert said in words(response)
    assert 'name="entry"' in response.content.decode()
    assert "<script>" not in response.content.decode()


def test_a_number_of_a_run_that_is_none_is_left_out(staff, world, report):
    """Whoever cuts an address short gets the newest slot."""
    world.run(5, 5.2)

    response = staff("view_entry", "view_run").get(PAGE, {"entry": "report", "run": "9" * 5_000})

    assert "report, slot 2026-03-02 12:05:00 +00:00: succeeded" in words(response)


def test_a_database_that_is_away_is_said_to_be(staff, world, report, monkeypatch):
    """Not a page of Django's own that says nothing."""

    def away(*args, **kwargs):
        raise LedgerUnavailable("gone")

    monkeypatch.setattr("crons.web.views.api.why", away)

    response = staff("view_entry", "view_run").get(PAGE, {"entry": "report"})

    assert (response.status_code, "gone" in words(response)) == (503, True)


def test_pages_lead_to_it(staff, world, report, monkeypatch):
    """One click from the first page, from a run and from an entry."""
    look = overview.look  # reads the database's own clock
    monkeypatch.setattr(overview, "look", lambda window, **who: look(window, world.clock.now, **who))
    run = world.run(5, 5.2, Outcome.FAILED, "ValueError")
    world.record(60)
    client = staff("view_entry", "view_run", "view_attempt")

    of_the_run = f"/crons/why?entry=report&amp;run={run.pk}"
    pages = {
        "/crons/": [of_the_run, "/crons/why?entry=report&amp;at=2026-03-02T12%3A55%3A00Z"],
        f"/admin/crons/run/{run.pk}/change/": [of_the_run],
        f"/admin/crons/entry/{report.pk}/change/": ["/crons/why?entry=report"],
    }

    for address, links in pages.items():
        text = client.get(address).content.decode()
        assert [link for link in links if f'href="{link}"' not in text] == [], address
