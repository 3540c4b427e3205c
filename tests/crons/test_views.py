"""The first page: who may see it, what it says, what it costs."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from crons import job
from crons.exceptions import LedgerUnavailable
from crons.ledger import slots_of
from crons.models import Entry, Run
from crons.web import overview
from tests.crons.filling import fill, full_scans

pytestmark = pytest.mark.django_db
PAGE = "/crons/"


@pytest.fixture
def staff(client):
    """Log somebody of the staff in who has just the permissions named."""

    def log_in(*permissions, **fields):
        user = User.objects.create_user("sam", **{"is_staff": True, **fields})
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def nightly(make_entry):
    """An entry that was planned a moment ago."""
    now = timezone.now()
    entry = make_entry("nightly", schedule="0 2 * * *", zone="America/New_York")
    Entry.objects.update(accounted_until=now, wake_at=now + timedelta(hours=3))
    return entry


def failed(entry, detail="ValueError: <b>no</b>", **fields):
    """A run of *entry* that failed a moment ago."""
    at = timezone.now() - timedelta(minutes=5)
    given = {"state": "done", "verdict": "failed", "slot_at": at, "planned_at": at, "recorded_at": at, **fields}
    return Run.objects.create(entry=entry, trigger="serve", detail=detail, **given)


def test_stranger_is_sent_to_the_login(client):
    """And comes back to the page that was asked for."""
    response = client.get(PAGE + "?days=7")

    assert (response.status_code, response["Location"]) == (302, "/admin/login/?next=/crons/%3Fdays%3D7")


@pytest.mark.parametrize(
    ("permissions", "fields", "said"),
    [
        ([], {"is_staff": False}, "This page is for staff: your account is none."),
        ([], {}, "Your account lacks the permission crons.view_entry and crons.view_run."),
        (["view_entry"], {}, "Your account lacks the permission crons.view_run."),
    ],
)
def test_who_may_not_look_is_told_what_is_lacking(staff, permissions, fields, said, nightly):
    """A bare 403 sends people to the wrong colleague."""
    response = staff(*permissions, **fields).get(PAGE)

    assert response.status_code == 403
    assert said in response.content.decode()
    assert "nightly" not in response.content.decode()


def test_well_page_says_so_and_what_comes_next(staff, nightly):
    """In the entry's zone, with the offset."""
    response = staff("view_entry", "view_run").get(PAGE)

    page = response.content.decode()
    assert "<title>Nothing is wrong · Crons</title>" in page
    assert 'class="well">Nothing is wrong.' in page
    assert "Every slot ran and succeeded" in page
    [first, *_] = slots_of(nightly, timezone.now(), 1)
    offset = first.at.astimezone(ZoneInfo("America/New_York")).strftime("02:00:00 %z")
    assert f"{offset[:-2]}:00</time>" in page
    assert response["Cache-Control"] == "max-age=0, no-cache, no-store, must-revalidate, private"


@pytest.mark.parametrize("path", ["", "jobs", "timeline"])
def test_where_nothing_is_declared_the_page_says_how_to_begin(staff, path):
    """A newcomer's first page: not five empty lists, but the next command."""
    page = staff("view_entry", "view_run").get(PAGE + path).text

    assert "There are no jobs yet" in page
    assert "manage.py crons sync" in page
    assert "What did not run" not in page


def test_looking_shows_no_button(staff, nightly):
    """Who may only look is not offered what would be refused."""
    failed(nightly)

    page = staff("view_entry", "view_run").get(PAGE).content.decode()

    assert 'class="button"' not in page


def test_each_line_leads_to_its_row_and_its_action(staff, nightly):
    """From the answer to the deed without another page between."""
    run = failed(nightly)

    page = staff("view_entry", "view_run", "retry_run", "run_entry").get(PAGE).content.decode()

    assert f'href="/crons/runs/{run.pk}"' in page
    assert f'action="/crons/runs/{run.pk}/retry"' in page
    assert 'href="/crons/jobs/nightly"' in page
    assert 'action="/crons/jobs/nightly"' in page
    assert '<input type="hidden" name="do" value="run">' in page


def test_what_a_job_says_is_text_only(staff, nightly):
    """An error's text is written by whoever feeds the job."""
    failed(nightly, detail="<script>alert(1)</script>\x1b[31mred\x1b[0m \u202egnp.exe")

    page = staff("view_entry", "view_run").get(PAGE).content.decode()

    assert "&lt;script&gt;alert(1)&lt;/script&gt;red \ufffdgnp.exe" in page
    assert "<script>" not in page


def test_a_name_that_turns_the_line_is_shown_as_it_is(staff, make_entry):
    """Names come from settings and crontabs of others; in Hebrew and Persian the page's own marks stay."""
    make_entry("invoice\u202efdp.exe\U000e0041")

    client = staff("view_entry", "view_run")
    pages = [client.get(PAGE), client.get("/admin/crons/entry/")]

    for page in pages:
        assert "invoice\ufffdfdp.exe\ufffd" in page.content.decode().replace("<wbr>", "")
        assert not {"\u202e", "\U000e0041"} & set(page.content.decode())


def test_silence_is_loud(staff, make_entry):
    """At 3 a.m. the first line must be the reason."""
    make_entry()

    page = staff("view_entry", "view_run").get(PAGE).content.decode()

    assert "<title>Something is wrong · Crons</title>" in page
    assert 'class="loud">Nothing has looked at the clock since' in page
    assert "Nothing is wrong." not in page


def test_switched_off_is_not_well(staff, nightly, settings):
    """A page that says all is well while nothing may run would be a lie."""
    settings.CRONS = {**settings.CRONS, "ENABLED": False}

    page = staff("view_entry", "view_run").get(PAGE).content.decode()

    assert "switched off: " in page
    assert "Nothing is wrong." not in page


def test_database_that_does_not_answer_is_a_page_of_its_own(staff, monkeypatch):
    """What is not known must not look well."""

    def fail(window, **kwargs):
        raise LedgerUnavailable("the database did not answer: gone")

    monkeypatch.setattr(overview, "look", fail)

    response = staff("view_entry", "view_run").get(PAGE)

    assert response.status_code == 503
    assert "the database did not answer: gone" in response.content.decode()


@pytest.mark.parametrize("asked", ["", "?days=1", "?days=x", "?days=99999999999"])
def test_window_is_one_of_two(staff, nightly, asked):
    """Nobody's address bar makes the database count for a century."""
    page = staff("view_entry", "view_run").get(PAGE + asked).content.decode()

    assert "<strong>The last 24 hours</strong>" in page


def test_nothing_is_posted_to_it(staff):
    """It is for looking."""
    assert staff("view_entry", "view_run").post(PAGE).status_code == 405


def test_what_was_retired_lately_is_shown_with_who_declared_it(staff, make_entry):
    """Nothing is wrong where it was meant; who did not mean it finds it here."""
    now = timezone.now()
    make_entry("gone")
    Entry.objects.update(retired_at=now, declared_at=now, declared_by="serve on web1, release 2.1")

    page = staff("view_entry", "view_run").get(PAGE).content.decode()

    assert "Retired in the last seven days" in page
    assert "gone</a>" in page
    assert "serve on web1, release 2.1" in page


def test_page_costs_fourteen_statements_whatever_the_rows(empty_registry, staff, make_entry):
    """Ten for the board, four for who asks; no full scan."""
    job(None, name="job1")(lambda: None)
    client = staff("view_entry", "view_run")
    fill([make_entry(f"job{n}") for n in range(5)], 20_000, timezone.now(), range_hours=12)

    with CaptureQueriesContext(connection) as captured:
        response = client.get(PAGE + "?days=7")

    assert response.status_code == 200
    assert len(captured) == 14
    assert full_scans(captured) == []


def test_page_stands_without_the_admin(staff, nightly, settings):
    """A project may have none: then there are no links, and the login is the project's own."""
    settings.ROOT_URLCONF = "tests.crons.urls_without_admin"
    settings.LOGIN_URL = "/come-in/"
    failed(nightly)
    client = staff("view_entry", "view_run", "retry_run")

    page = client.get(PAGE).content.decode()
    client.logout()

    assert "nightly" in page
    assert "/admin/" not in page
    assert client.get(PAGE)["Location"] == "/come-in/?next=/crons/"
    with pytest.raises(NoReverseMatch):
        reverse("admin:index")
