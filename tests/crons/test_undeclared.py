"""What no running code declares: when it is a problem, since when, and who is told."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crons import api, cron, job, ledger
from crons.declarations import sync
from crons.declarations.retiring import Retire
from crons.jobs import registry
from crons.models import Delivery, Entry, Heartbeat, Incident
from crons.triggers import heartbeat
from crons.triggers.serve import Scheduler
from crons.watch import Look, declared, declarers, find_problems, inspect_rules, notice_of
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_else_declared(settings):
    """Only what the test declares; mail goes to ann."""
    registry.clear()
    settings.CRONJOBS = ()
    settings.CRONS = {}
    settings.ADMINS = [("Ann", "ann@example.org")]


def declare(*names):
    """Declare jobs of those names and nothing else."""
    registry.clear()
    for name in names:
        job(cron("0 3 * * *"), name=name)(lambda: None)


def serve(name, at, *declared):
    """Start a scheduler whose code declares these, as it looks from the rows."""
    declare(*declared)
    sync.sync(at, kind="serve")
    about = {"kind": "serve", "host": name, "pid": 7, "boot_id": "b", "started_at": at}
    Heartbeat.objects.create(
        instance=name, declares=sorted(declared), beat_at=at, expected_by=at + minutes(600), **about
    )


def undeclared(at):
    return [each for each in find_problems(Look(at)) if each.kind == "undeclared"]


def mails():
    return list(Delivery.objects.order_by("pk").values_list("subject", flat=True))


def test_what_only_a_scheduler_that_is_gone_declared_is_a_problem():
    """An app was taken out by mistake: nothing would begin its jobs, and nothing else said so."""
    serve("web1", NOON, "load", "report")
    Heartbeat.objects.all().delete()
    serve("web2", NOON + minutes(30), "report")

    [problem] = undeclared(NOON + minutes(40))

    assert (problem.entry, problem.since) == ("load", NOON + minutes(30))
    assert problem.text.startswith(
        "no running code declares it, so nothing begins it; last declared 2026-03-02 12:00:00 UTC by serve on "
    )
    assert problem.next_step == (
        "Start the code that declares it (is its app in INSTALLED_APPS?), "
        "or, if it is to go: manage.py crons sync there"
    )


def test_others_that_are_undeclared_take_no_place_from_what_may_be_seen(monkeypatch):
    """Who may see one team's entries sees that of the team, though many of others come before it by name."""
    serve("web1", NOON, "a", "b", "mine")
    Heartbeat.objects.all().delete()
    serve("web2", NOON, "report")
    Entry.objects.filter(name="mine").update(owner="apples")
    monkeypatch.setattr(declared, "READ", 2)

    def of_apples(rows):
        return rows.filter(owner="apples") if rows.model is Entry else rows

    found = list(declared.undeclared(Look(NOON + minutes(40), of_apples)))

    assert [each.entry for each in found] == ["mine"]
    assert [each.entry for each in undeclared(NOON + minutes(40))] == ["a", "b"]


def test_two_releases_and_two_projects_declare_together():
    """In a rolling deploy either release has jobs that the other has not; so have two projects on one database."""
    serve("old", NOON, "both", "dropped")
    serve("new", NOON + minutes(1), "both", "fresh")
    serve("another project", NOON + minutes(2), "theirs")

    assert undeclared(NOON + minutes(60)) == []
    Heartbeat.objects.filter(instance="old").delete()
    assert [(each.entry, each.since) for each in undeclared(NOON + minutes(60))] == [("dropped", NOON + minutes(1))]


def test_a_scheduler_that_does_not_say_what_it_declares_excuses_all():
    """One of a release from before that was written down may have the job."""
    serve("web1", NOON, "load")
    declare()
    Heartbeat.objects.update(declares=None)

    assert undeclared(NOON + minutes(60)) == []


def test_a_real_heartbeat_says_what_is_declared(instance):
    """The set is that of the process, whatever the rows say."""
    declare("load", "report")

    heartbeat.beat(instance, NOON)

    assert Heartbeat.objects.get().declares == ["load", "report"]


def test_where_only_ticks_come_by_theirs_counts_for_an_hour():
    """A tick never writes declarations, and yet knows what its code has; two projects may tick on one database."""
    declare("load", "report")
    sync.sync(NOON)
    declarers.vouch("tick", NOON + minutes(10))
    declare("report")
    declarers.vouch("tick", NOON + minutes(50))

    assert undeclared(NOON + minutes(69)) == []
    [problem] = undeclared(NOON + minutes(71))
    assert (problem.entry, problem.since) == ("load", NOON + minutes(70))
    assert "last declared 2026-03-02 12:10:00 UTC by tick on " in problem.text


def test_a_tick_seldom_writes_what_it_declares(django_assert_num_queries):
    """Each minute it asks; it writes when half of the time is over."""
    declare("load")
    sync.sync(NOON)
    declarers.vouch("tick", NOON)

    with django_assert_num_queries(1):
        declarers.vouch("tick", NOON + minutes(29))
    with django_assert_num_queries(2):
        declarers.vouch("tick", NOON + minutes(31))

    assert Entry.objects.get().vouched_until == NOON + minutes(91)


def test_a_tick_of_another_project_is_not_overruled_by_a_scheduler():
    """It has no heartbeat, and its jobs are begun all the same."""
    declare("theirs")
    sync.sync(NOON)
    declarers.vouch("tick", NOON + minutes(1))
    serve("web1", NOON + minutes(2), "mine")

    assert undeclared(NOON + minutes(30)) == []


def test_nothing_is_undeclared_where_a_module_could_not_be_read(monkeypatch):
    """Its jobs are not gone: that it fails is the problem, and said as such."""
    declare("load")
    sync.sync(NOON)
    declare()
    monkeypatch.setattr(registry, "broken", {"stock.cron": "NameError: name 'x' is not defined"})

    assert [each.kind for each in find_problems(Look(NOON + minutes(1)))] == ["broken"]


def test_what_people_made_needs_no_declaration():
    """A sync knows its own sources only, and so does this."""
    serve("web1", NOON, "load")
    moments = {"first_seen_at": NOON, "accounted_until": NOON}
    Entry.objects.create(name="by_hand", job="load", source="admin", zone="UTC", **moments)

    assert undeclared(NOON + minutes(1)) == []


def test_one_mail_tells_of_all_and_one_of_their_return():
    """A whole app may be missing; a restart of a minute is nobody's business."""
    serve("web1", NOON, "clean", "load", "report")
    Heartbeat.objects.all().delete()
    serve("web2", NOON + minutes(30), "report")

    inspect_rules(NOON + minutes(30.5))
    assert Incident.objects.count() == 0
    for at in (31, 32, 40):
        inspect_rules(NOON + minutes(at))

    assert mails() == ["2 jobs declared by no running code"]
    text = notice_of(Delivery.objects.get()).as_text()
    why = "no running code declares it, so nothing begins it; last declared"
    assert f"\n  clean: {why} 2026-03-02 12:00:00 UTC by serve on " in text
    assert f"\n  load: {why} " in text
    # Said once, by the rule that looks itself, not again by the incident.
    assert [each.kind for each in find_problems(Look(NOON + minutes(41)))] == ["undeclared", "undeclared"]

    sync.sync(NOON + minutes(50), retire=Retire.FEW)
    inspect_rules(NOON + minutes(51))

    assert mails()[-1] == "all jobs are declared again"
    assert Incident.objects.get(rule="undeclared").closed_at == NOON + minutes(51)
    assert undeclared(NOON + minutes(52)) == []


def test_others_that_are_missing_are_told_too():
    """Not again what was told: the mail names all of them."""
    serve("web1", NOON, "clean", "load", "report")
    Heartbeat.objects.all().delete()
    serve("web2", NOON, "load", "report")
    inspect_rules(NOON + minutes(5))
    Heartbeat.objects.all().delete()
    serve("web3", NOON + minutes(10), "report")

    inspect_rules(NOON + minutes(15))
    inspect_rules(NOON + minutes(16))

    assert mails() == ["clean declared by no running code", "2 jobs declared by no running code"]
    assert Incident.objects.get().count == 2


def test_health_says_it_at_once(monkeypatch):
    """Who asks need not wait until something has looked."""
    serve("web1", NOON, "load")
    monkeypatch.setattr("crons.ledger.database_now", lambda: NOON + minutes(1))
    Heartbeat.objects.update(declares=["other"])

    assert [each.kind for each in api.health()] == ["undeclared"]


def test_a_scheduler_looks_at_each_heartbeat(instance):
    """Nobody else may ever look."""
    declare("load")
    sync.sync(ledger.database_now() - minutes(60))
    declare("report")
    dispatcher = SimpleNamespace(lacking=set(), inspect_rules=inspect_rules)
    scheduler = Scheduler(SimpleNamespace(instance=instance, executors={}, dispatcher=dispatcher), print)

    scheduler._beat()
    told_at_its_start = mails()
    Heartbeat.objects.update(started_at=ledger.database_now() - minutes(2))
    scheduler.beat_at = scheduler.rules_at = 0.0
    scheduler._beat()

    assert Heartbeat.objects.get().declares == ["report"]
    assert told_at_its_start == []
    assert mails() == ["load declared by no running code"]


def test_declared_names_are_compared_by_the_database_and_are_no_parameters(monkeypatch):
    """With a hundred thousand entries the first page took a second, most of it to write as many parameters.

    To read as many names took a third of what was left.
    """
    serve("web1", NOON, "a", "b", "c", "report")
    Heartbeat.objects.all().delete()
    serve("web2", NOON, "report", "b")
    monkeypatch.setattr(declared, "READ", 1)

    with CaptureQueriesContext(connection) as captured:
        found = undeclared(NOON)

    assert [problem.entry for problem in found] == ["a"]
    assert "'report'" not in str(captured.captured_queries)
    Entry.objects.exclude(name__in=["report", "b"]).delete()
    assert undeclared(NOON) == []
