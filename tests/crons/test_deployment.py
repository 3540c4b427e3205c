"""A copy of production must not fire."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from crons import api
from crons.exceptions import Disabled, NotAdopted
from crons.hosts.instances import host
from crons.ledger import deployment
from crons.ledger.deployment import Place
from crons.models import AuditEvent, Deployment, Range, Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def elsewhere(monkeypatch):
    """This database was adopted here; from now on the process is somewhere else."""
    deployment.require()
    monkeypatch.setattr(deployment, "here", lambda: Place("another", "the file /copy on laptop"))


def test_the_first_to_ask_adopts_a_new_database():
    """A newcomer has nothing to configure."""
    deployment.require()
    deployment.require()

    row = Deployment.objects.get()
    assert (row.identity, row.adopted_by) == (deployment.here().identity, "")


def test_a_copy_is_refused_with_both_places_and_the_remedy(elsewhere):
    """The message says where it belongs, where this is, and what to do."""
    original = Deployment.objects.get().described

    with pytest.raises(NotAdopted) as error:
        deployment.require()

    assert str(error.value) == (
        f"this database was adopted by another deployment ({original}) and this one is the file /copy on laptop: "
        "nothing is recorded or begun, so that a copy fires nothing. "
        "If it is meant to run here from now on: manage.py crons adopt"
    )


@pytest.mark.parametrize(
    "ask",
    [
        api.sync,
        lambda: api.run_now("heartbeat", by="dana"),
        lambda: api.pause("heartbeat", by="dana", reason="audit"),
        lambda: api.resume("heartbeat", by="dana"),
    ],
)
def test_a_copy_records_nothing(elsewhere, make_entry, ask):
    """Whatever closes an account or makes a run is refused too."""
    make_entry()

    with pytest.raises(NotAdopted):
        ask()

    assert (Run.objects.count(), Range.objects.count()) == (0, 0)


@pytest.mark.parametrize("name", ["file:/srv/a%20b.sqlite3?cache=private", "file:///srv/a%20b.sqlite3?mode=rw"])
def test_an_sqlite_file_given_as_uri_is_the_same_place_from_every_directory(monkeypatch, tmp_path, name):
    """Cron starts in another directory than a service: each would take the other for a copy."""
    connection = SimpleNamespace(vendor="sqlite", settings_dict={"NAME": name})
    monkeypatch.setattr(deployment, "connections", {"default": connection})
    monkeypatch.chdir(tmp_path)

    assert deployment.here().described == f"the file /srv/a b.sqlite3 on {host()}"


def test_adopting_is_written_down(elsewhere):
    """Who made this the place to fire from, and what it was before."""
    deployment.adopt("dana@laptop")

    deployment.require()
    event = AuditEvent.objects.get()
    assert (event.actor, event.verb, event.after["identity"]) == ("dana@laptop", "adopt", "another")
    assert event.before["identity"] != "another"


def test_a_name_wins_over_the_place(settings):
    """Copies made below the database, as disk snapshots, look like the original: there a name must differ."""
    settings.CRONS = {"IDENTITY": "production"}
    deployment.require()
    settings.CRONS = {"IDENTITY": "staging"}

    with pytest.raises(NotAdopted, match="staging"):
        deployment.require()


@pytest.mark.parametrize("how", ["settings", "environment"])
def test_the_kill_switch_stops_everything(how, settings, monkeypatch):
    """One setting, or one variable where no deploy is possible."""
    if how == "settings":
        settings.CRONS = {"ENABLED": False}
    else:
        monkeypatch.setenv("CRONS_ENABLED", "0")

    with pytest.raises(Disabled, match="nothing is recorded or begun"):
        deployment.permit()


def test_the_identity_is_the_same_for_every_process_of_this_place():
    """It is read off the database's place, not off the process."""
    assert deployment.here() == deployment.here()
    assert len(deployment.here().identity) == 32
