"""GET /crons/health: what monitoring learns without a login, who may ask, and what it answers on the worst day."""

from __future__ import annotations

import os
import runpy

import pytest
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.urls import path
from django.utils import timezone

from crons import urls
from crons.conf import conf
from crons.exceptions import InvalidSetting, LedgerUnavailable, NotAdopted
from crons.extensions import Extension
from crons.models import Entry

pytestmark = pytest.mark.django_db
TOKEN = "correct-horse-battery-staple-0123456789"
OTHER = "another-token-of-the-right-length-987654"
WITH_TOKEN = {"Authorization": f"Bearer {TOKEN}"}
PAGES = ("/crons/health", "/crons/health/ready")


@pytest.fixture
def token(settings, empty_registry):
    """Monitoring has a token."""
    settings.CRONS = {**settings.CRONS, "MONITORING": {"TOKEN": [TOKEN, OTHER]}}


def failing(make_entry):
    """An entry whose schedule cannot be planned."""
    entry = make_entry("nightly")
    now = timezone.now()
    Entry.objects.filter(pk=entry.pk).update(parked_reason="no such zone", accounted_until=now, wake_at=now)


def test_live_asks_nobody_and_nothing(client, settings):
    settings.CRONS = {"MAX_RUNNING": "many", "MONITORING": 7}

    with CaptureQueriesContext(connection) as captured:
        answer = client.get("/crons/health/live")

    assert (answer.status_code, answer.json()) == (200, {"status": "live"})
    assert not captured.captured_queries
    assert "no-store" in answer["Cache-Control"]


def test_well_is_200(client, token):
    answer = client.get("/crons/health", headers=WITH_TOKEN)

    assert answer.status_code == 200
    told = answer.json()
    assert (told["status"], told["problems"], told["pauses"], told["schedulers"]) == ("well", [], [], [])


def test_what_is_wrong_is_503_with_what_health_says(client, token, make_entry):
    failing(make_entry)

    answer = client.get("/crons/health", headers=WITH_TOKEN)

    assert answer.status_code == 503
    assert answer.json()["status"] == "unwell"
    (problem,) = [each for each in answer.json()["problems"] if each["kind"] == "parked"]
    assert (problem["entry"], problem["text"]) == ("nightly", "cannot be planned: no such zone")
    assert client.get("/crons/health/ready", headers=WITH_TOKEN).status_code == 200, "jobs can be recorded all the same"


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    "error",
    [
        LedgerUnavailable("the database did not answer: gone"),
        OperationalError("no such table: crons_entry"),
        NotAdopted("a copy"),
    ],
)
def test_what_cannot_be_told_is_503_and_says_why(client, token, monkeypatch, page, error):
    def fail():
        raise error

    monkeypatch.setattr("crons.web.health.ledger.refuse_a_copy", fail)

    answer = client.get(page, headers=WITH_TOKEN)

    assert answer.status_code == 503
    assert answer.json()["status"] in ("unknown", "not ready")
    assert str(error) in answer.json()["error"]


def test_wrong_settings_make_nothing_ready(client, token, settings):
    settings.CRONS = {**settings.CRONS, "MAX_RUNNING": 0}

    answer = client.get("/crons/health/ready", headers=WITH_TOKEN)

    assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
    assert "CRONS['MAX_RUNNING'] is 0" in answer.json()["error"]


@pytest.mark.parametrize("page", PAGES)
def test_without_the_setting_only_staff_may_ask(client, page):
    answer = client.get(page, headers=WITH_TOKEN)

    assert answer.status_code == 403
    assert "CRONS['MONITORING']" in answer.json()["error"]


@pytest.mark.parametrize(
    "given",
    ["", f"Bearer {TOKEN}x", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, "Bearer \xff\xfe", f"Bearer {TOKEN[:-1]}"],
)
@pytest.mark.parametrize("page", PAGES)
def test_a_wrong_token_is_401_and_told_nothing(client, token, page, given):
    answer = client.get(page, headers={"Authorization": given} if given else {})

    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
    assert TOKEN not in answer.content.decode()
    assert set(answer.json()) == {"error"}


def test_while_a_token_is_changed_both_are_taken(client, token):
    assert client.get("/crons/health", headers={"Authorization": f"bearer {OTHER}"}).status_code == 200


@pytest.mark.parametrize(
    ("networks", "address", "status"),
    [
        (["10.0.0.0/8"], "10.1.2.3", 200),
        (["10.0.0.0/8"], "11.1.2.3", 401),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", 200),
        (["::1"], "::1", 200),
        (["fd00::/8", "10.0.0.1"], "10.0.0.1", 200),
        (["10.0.0.0/8"], "", 401),
        (["10.0.0.0/8"], "unix:", 401),
    ],
)
def test_a_network_may_ask_by_its_own_address(client, settings, empty_registry, networks, address, status):
    settings.CRONS = {**settings.CRONS, "MONITORING": {"NETWORKS": networks}}

    assert client.get("/crons/health", REMOTE_ADDR=address).status_code == status


def test_a_header_that_anybody_can_write_opens_nothing(client, settings):
    settings.CRONS = {**settings.CRONS, "MONITORING": {"NETWORKS": ["10.0.0.0/8"]}}
    forged = {"X-Forwarded-For": "10.1.2.3", "X-Real-IP": "10.1.2.3"}

    assert client.get("/crons/health", REMOTE_ADDR="203.0.113.9", headers=forged).status_code == 401


def test_staff_who_may_see_entries_and_runs_need_no_token(client, empty_registry):
    user = User.objects.create_user("sam", is_staff=True)
    client.force_login(user)
    assert client.get("/crons/health").status_code == 403

    user.user_permissions.set(Permission.objects.filter(codename__in=["view_entry", "view_run"]))
    assert client.get("/crons/health").status_code == 200


def test_only_reading_is_offered(client, token):
    assert client.post("/crons/health", headers=WITH_TOKEN).status_code == 405
    assert client.head("/crons/health", headers=WITH_TOKEN).status_code == 200


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (7, "CRONS['MONITORING'] is no dict"),
        ({"TOKENS": TOKEN}, "CRONS['MONITORING']['TOKENS'] is unknown. Did you mean 'TOKEN'?"),
        ({"TOKEN": 7}, "CRONS['MONITORING']['TOKEN'] is neither a text"),
        ({"TOKEN": "short"}, "CRONS['MONITORING']['TOKEN'] has a secret of 5 characters"),
        ({"TOKEN": f"{TOKEN} {TOKEN}"}, "with a blank or a line break"),
        ({"NETWORKS": "10.0.0.0/8"}, "is '10.0.0.0/8', expected a list of networks"),
        ({"NETWORKS": ["10.0.0.1/8"]}, "has '10.0.0.1/8', expected a network such as '10.0.0.0/8'"),
        ({"NETWORKS": [10]}, "has 10, expected a network"),
    ],
)
def test_a_wrong_setting_is_said_by_the_check_and_opens_nothing(client, settings, given, told):
    settings.CRONS = {"MONITORING": given}

    with pytest.raises(InvalidSetting) as caught:
        assert conf.monitoring

    assert told in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert any(told in problem for problem in conf.problems())
    answer = client.get("/crons/health", headers=WITH_TOKEN)
    assert answer.status_code == 503
    assert "manage.py check" in answer.json()["error"]


def test_a_token_may_stand_in_a_file(client, settings, empty_registry, tmp_path):
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    settings.CRONS = {**settings.CRONS, "MONITORING": {"TOKEN": path}}
    os.chmod(path, 0o644)
    assert client.get("/crons/health", headers=WITH_TOKEN).status_code == 503

    os.chmod(path, 0o600)
    assert client.get("/crons/health", headers=WITH_TOKEN).status_code == 200


def test_extensions_bring_pages_of_their_own(monkeypatch):
    """The core names none of them: where a folder is deleted, its page is gone and the rest answers."""
    page = path("figures", lambda request: None, name="figures")
    brings = type("Brings", (Extension,), {"urls": lambda self: (page,)})()
    monkeypatch.setattr("crons.extensions.extensions", lambda: (Extension(), brings))

    names = [each.name for each in runpy.run_path(urls.__file__)["urlpatterns"]]

    assert (names[0], names[-1]) == ("home", "figures")
