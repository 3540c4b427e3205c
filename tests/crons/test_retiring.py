"""Retiring: who may, how it is said, and what it leaves alone."""

from __future__ import annotations

import threading

import pytest
from django.core import mail
from django.core.management import call_command

from crons import api, command, cron, every, job, ledger, watch
from crons.declarations import sync
from crons.declarations.retiring import Retire
from crons.jobs import registry
from crons.models import AuditEvent, Delivery, Entry, Heartbeat, Incident
from crons.watch.alerts import Channel
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_else_declared(settings, monkeypatch):
    """Only what the test declares; mail goes to ann."""
    registry.clear()
    settings.CRONJOBS = ()
    settings.CRONS = {"RELEASE": "2.1"}
    settings.ADMINS = [("Ann", "ann@example.org")]
    monkeypatch.setattr(ledger, "database_now", lambda: NOON)


def declare(*names, when=None, **options):
    """Declare jobs of those names and nothing else."""
    registry.clear()
    for number, name in enumerate(names):
        job(when or cron(f"{number} 3 * * *"), name=name, **options)(lambda: None)


def live():
    return list(Entry.objects.filter(retired_at=None).order_by("name").values_list("name", flat=True))


def run_sync(now=NOON, retire=Retire.FEW):
    return sync.sync(now, retire=retire, by="ann@web1")


def test_what_serve_does_at_its_start_retires_nothing():
    """An old release that starts again, a second project, a missing app: none may take away what others declare."""
    declare("old", "both")
    api.sync(kind="serve")
    declare("both", "new")

    done = api.sync(kind="serve")

    assert (done.created, done.retired, done.undeclared) == (["new"], [], ["old"])
    assert live() == ["both", "new", "old"]
    assert (Incident.objects.count(), AuditEvent.objects.filter(verb="retire").count()) == (0, 0)


def test_each_retired_entry_has_an_audit_event_and_all_have_one_mail():
    """Whoever did not mean it must hear of it, and with all the names in one place."""
    declare("load", "clean", "report")
    run_sync()
    declare("report")

    done = api.sync(retire=Retire.FEW, by="ann@web1")

    assert (done.retired, done.problems) == (["clean", "load"], [])
    events = AuditEvent.objects.exclude(verb="change").order_by("subject")
    assert [(each.verb, each.subject, each.actor) for each in events] == [
        ("retire", "clean", "ann@web1"),
        ("retire", "load", "ann@web1"),
    ]
    assert events[0].before == {"job": "clean", "schedule": "1 3 * * *", "zone": "UTC"}
    watch.send_due(NOON)
    [message] = mail.outbox
    assert message.subject.endswith("2 entries retired")
    assert "A sync, started by ann@web1, retired" in message.body
    assert "  clean (1 3 * * *): last declared 2026-03-02 12:00:00 UTC by sync on " in message.body
    assert ", release 2.1\n  load (0 3 * * *): " in message.body
    assert Incident.objects.get().closed_at == NOON


def test_retiring_nothing_says_nothing():
    """Every deploy syncs."""
    declare("report")
    run_sync()

    api.sync(retire=Retire.FEW, by="ann")

    assert (mail.outbox, Incident.objects.count(), Delivery.objects.count()) == ([], 0, 0)


def test_many_at_once_are_left_until_somebody_says_so():
    """An app that is missing in INSTALLED_APPS looks just like jobs that were deleted."""
    names = [f"job{number}" for number in range(8)]
    declare(*names)
    run_sync()
    declare(*names[:2])

    left = run_sync()

    assert (left.retired, left.undeclared) == ([], names[2:])
    assert left.problems == [
        "6 of 8 entries are not declared by this code: job2, job3, job4, job5, job6, job7. So many are rather a "
        "mistake (an app missing in INSTALLED_APPS, another project's database) than meant: none of them was retired. "
        "If they are to go: manage.py crons sync --retire"
    ]
    assert live() == names
    assert run_sync(retire=Retire.ALL).retired == names[2:]
    assert live() == names[:2]


@pytest.mark.parametrize(("entries", "going"), [(7, 5), (24, 6)], ids=["five", "a quarter"])
def test_few_are_retired_at_once(entries, going):
    """Up to five, or up to a quarter of all, is what a release throws away."""
    names = [f"job{number:02}" for number in range(entries)]
    declare(*names)
    run_sync()
    declare(*names[going:])

    done = run_sync()

    assert (done.retired, done.problems) == (names[:going], [])


def heartbeat(instance, now, declares, **fields):
    about = {"kind": "serve", "host": "web2", "pid": 7, "boot_id": "b", "release": "1.0"}
    times = {"started_at": now, "beat_at": now, "expected_by": now + minutes(1)}
    return Heartbeat.objects.create(instance=instance, declares=declares, **{**about, **times, **fields})


def test_another_projects_entries_are_left_while_its_scheduler_lives():
    """Two projects on one database share no job but those that crons brings along."""
    declare("theirs", "crons.prune")
    run_sync()
    heartbeat("other", NOON, ["crons.prune", "theirs"])
    declare("mine", "crons.prune")

    left = run_sync()

    assert (left.created, left.retired, left.undeclared) == (["mine"], [], ["theirs"])
    assert left.problems == [
        "serve on web2 (pid 7, release 1.0) declares theirs, and shares no job with this code: another project on this "
        "database? Nothing of it was retired. If it is to go all the same: manage.py crons sync --retire"
    ]


def test_what_only_the_old_release_declares_is_retired():
    """In a deploy the old release's scheduler lives a little longer, and shares most jobs with the new code."""
    declare("kept", "dropped")
    run_sync()
    heartbeat("old", NOON, ["dropped", "kept"])
    declare("kept")

    assert run_sync().retired == ["dropped"]


def body():
    """Do it."""


RENAMED = (
    "old is declared no more, and new is new with the same {}: was it renamed? "
    "Then write aliases=('old',) at new, and sync again: its history moves along."
)


def test_a_rename_without_an_alias_is_recognised_by_its_function():
    """Also where its schedule was changed on that occasion."""
    job(every(minutes=5), name="old")(body)
    run_sync(NOON - minutes(5))
    registry.clear()
    job(every(minutes=7), name="new")(body)

    done = api.sync(retire=Retire.FEW)

    assert (done.retired, done.renames) == (["old"], [RENAMED.format("function")])
    watch.send_due(NOON)
    assert RENAMED.format("function") in mail.outbox[0].body


def test_a_rename_without_an_alias_is_recognised_by_its_times():
    """Where a command took its place, or `serve` of the new release was there first."""
    declare("old", when=every(minutes=5), args={})
    run_sync(NOON - minutes(5))
    registry.clear()
    command("clearsessions", name="new", schedule=every(minutes=5))
    api.sync(kind="serve")

    assert run_sync(NOON + minutes(5)).renames == [RENAMED.format("schedule and arguments")]


PERHAPS = (
    "{} is declared no more: was it renamed to {}, new with the same schedule and arguments? "
    "Then write aliases=({!r},) there, and sync again: its history moves along."
)


def declare_daily(*names):
    """Declare jobs of those names and nothing else, each with a function of its own, all at midnight."""
    registry.clear()
    for name in names:
        command("clearsessions", name=name, schedule=cron("@daily"))


@pytest.mark.parametrize(
    ("before", "after", "asked"),
    [
        ("a b", "a2 b2", [("a", "one of a2, b2"), ("b", "one of a2, b2")]),
        ("a", "a2 unrelated", [("a", "one of a2, unrelated")]),
        ("a b", "a2", []),
    ],
)
def test_where_several_may_be_the_new_name_all_are_asked_about(before, after, asked):
    """Half of all jobs run at midnight, so none is taken for the one; of two that went and one that came, none is."""
    declare_daily(*before.split())
    run_sync(NOON - minutes(5))
    declare_daily(*after.split())

    done = run_sync()

    assert done.renames == [PERHAPS.format(old, names, old) for old, names in asked]
    assert done.retired == before.split()


def test_what_is_the_new_name_of_one_is_not_that_of_another():
    """The function of a job says more than its times."""
    job(cron("@daily"), name="old")(body)
    command("clearsessions", name="older", schedule=cron("@daily"))
    run_sync(NOON - minutes(5))
    registry.clear()
    job(cron("@daily"), name="new")(body)
    command("clearsessions", name="newer", schedule=cron("@daily"))

    done = run_sync()

    assert done.renames == [RENAMED.format("function"), PERHAPS.format("older", "newer", "older")]


def test_what_stood_beside_it_is_no_new_name():
    """One sync declared all of them; before, the one that was left was taken for new after a single sync."""
    declare_daily("gone", "kept")
    run_sync(NOON - minutes(5))
    declare_daily("kept")

    done = run_sync()

    assert (done.retired, done.renames) == (["gone"], [])


class Hangs(Channel):
    """Sends until the test lets it go."""

    released = threading.Event()

    def send(self, notice, sending):
        assert self.released.wait(60)
        return "told"


@pytest.mark.django_db(transaction=True)
def test_a_mail_server_that_hangs_holds_no_deploy(settings, monkeypatch):
    """`crons sync` is a step of it; what is not out after some seconds goes out later."""
    settings.CRONS = {
        **settings.CRONS,
        "ALERTS": {"CHANNELS": {"slow": {"KIND": f"{__name__}.Hangs"}}, "ROUTES": [{"TO": ["slow"]}]},
    }
    monkeypatch.setattr("crons.management.verbs.sync.SENDING_SECONDS", 0.2)
    declare("load", "report")
    run_sync()
    declare("report")

    call_command("crons", "sync")

    assert Delivery.objects.get().state == "pending"
    Hangs.released.set()
    for thread in threading.enumerate():
        if thread.name.startswith("crons-alerts"):
            thread.join(60)
    assert Delivery.objects.get().state == "sent"
