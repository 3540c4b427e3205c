"""CRONS["RIGHTS"]: a person of a team sees the team's entries and acts on them, on each page; and on no others."""

from __future__ import annotations

import logging
import re
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core.checks import run_checks
from django.db import connection
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from crons import models
from crons.conf import conf
from crons.models import Entry, Pause, Run
from crons.web import overview, rights

pytestmark = pytest.mark.django_db
MODELS = {
    "entry": models.Entry, "run": models.Run, "range": models.Range, "attempt": models.Attempt,
    "incident": models.Incident, "delivery": models.Delivery, "pause": models.Pause, "auditevent": models.AuditEvent,
}  # fmt: skip
ACTS = [
    ("entry", "run"), ("entry", "pause"), ("entry", "resume"), ("run", "cancel"), ("run", "retry"), ("pause", "resume")
]  # fmt: skip
GIVEN = {"key": str(uuid.uuid4()), "reason": "the bank is down"}
SEEN = Q(owner="apples") | Q(tags__has_tag="apples")


def of_a_team(user, permission):
    """Members see what their team owns, or what bears its tag."""
    teams = [each.name for each in user.groups.all()]
    return Q(owner__in=teams) if teams else False


def of_a_tag(user, permission):
    """The same by tags."""
    return Q(tags__has_tag="apples")


def sees_more_than_it_may_do(user, permission):
    """All may look, and each team acts."""
    return True if permission.startswith("crons.view_") else Q(owner="apples")


def runs_of_its_own(user, permission):
    """All may see every entry, and each team its runs."""
    return Q(owner="apples") if permission == "crons.view_run" else True


def none(user, permission):
    return False


def all_of_them(user, permission):
    return True


def raises(user, permission):
    raise RuntimeError("no team of this person")


def nonsense(user, permission):
    return "apples"


def empty(user, permission):
    return Q()


def unknown_column(user, permission):
    return Q(team="apples")


def nothing_fits(user, permission):
    return Q(pk__in=[])


def hook(settings, name):
    settings.CRONS = {**settings.CRONS, "RIGHTS": f"{__name__}.{name}"}


@pytest.fixture
def member(client):
    """A person of staff with every permission of crons, in the group apples."""

    def log_in(*permissions):
        user = User.objects.create_user("dana", is_staff=True)
        given = Permission.objects.filter(content_type__app_label="crons")
        user.user_permissions.set(given.filter(codename__in=permissions) if permissions else given)
        user.groups.create(name="apples")
        client.force_login(user)
        return client

    return log_in


def rows_of(make_entry, team):
    """A row of each kind that belongs to *team*; texts of all of them hold its name."""
    now = timezone.now()
    entry = make_entry(f"{team}_nightly", since=now)
    Entry.objects.filter(pk=entry.pk).update(
        owner=team, tags=[team], parked_reason=f"{team} is parked", description=team
    )
    late = make_entry(f"{team}_late", since=now - timedelta(hours=1))
    gone = make_entry(f"{team}_gone", since=now)
    Entry.objects.filter(pk__in=[late.pk, gone.pk]).update(owner=team, tags=[team, "fruit"])
    Entry.objects.filter(pk=gone.pk).update(retired_at=now)
    done = {"slot_at": now, "planned_at": now, "recorded_at": now, "trigger": "serve", "tries": 1}
    run = Run.objects.create(
        entry=entry, state="done", verdict="failed", detail=f"{team} failed", ended_at=now, **done
    )  # fmt: skip
    going = Run.objects.create(entry=late, state="running", **done)
    attempts = [
        models.Attempt.objects.create(
            run=each, number=1, token=uuid.uuid4(), executor="process", instance="i", host="web1", pid=7, boot_id="b",
            begun_at=now, error=f"{team} raised", **fields,
        )
        for each, fields in [(run, {"ended_at": now, "outcome": "failed"}),
                             (going, {"lease_until": now + timedelta(minutes=1)})]
    ]  # fmt: skip
    Run.objects.filter(pk=going.pk).update(current_attempt=attempts[1].pk, active_key=late.pk)
    incident = models.Incident.objects.create(
        rule="failing", entry=entry, summary=f"{team} fails", run=run, opened_at=now, changed_at=now,
        open_key=f"failing:{entry.pk}",
    )  # fmt: skip
    pause = Pause.objects.create(scope=f"entry:{late.pk}", entry=late, paused_at=now, reason=f"{team} waits", by="ann")
    Entry.objects.filter(pk=late.pk).update(paused_at=now)
    return {
        "entry": entry, "run": run, "going": going, "attempt": attempts[0], "incident": incident, "pause": pause,
        "late": late,
        "range": models.Range.objects.create(
            entry=entry, first_at=now, last_at=now, count=7, verdict="missed", reason="deadline", recorded_at=now
        ),
        "delivery": models.Delivery.objects.create(
            incident=incident, event="failing:x", channel="admins", subject=f"{team} failed",
            notice={"text": f"{team} said"},
        ),
        "auditevent": models.AuditEvent.objects.create(
            at=now, actor="ann", verb="run", subject_type="entry", subject=entry.name
        ),
        "of_run": models.AuditEvent.objects.create(
            at=now, actor="ann", verb="retry", subject_type="run", subject=str(run.pk), reason=f"{team} again"
        ),
    }  # fmt: skip


@pytest.fixture
def teams(make_entry):
    """Rows of two teams; one event that is about no entry, and whose subject is no number."""
    models.AuditEvent.objects.create(
        at=timezone.now(), actor="ann", verb="adopt", subject_type="deployment", subject="pears-db"
    )
    return rows_of(make_entry, "apples"), rows_of(make_entry, "pears")


def changelist(name):
    return reverse(f"admin:crons_{name}_changelist") + ("?within=ever" if name in ("run", "range") else "")


def is_asked(name, verb):
    return reverse(f"admin:crons_{name}_{verb}")


def test_without_a_hook_permissions_hold_for_all_entries(member, teams):
    member()
    user = User.objects.get()

    assert set(rights.visible(user, Run.objects.all(), "crons.view_run")) == set(Run.objects.all())
    assert rights.may_all(user, "crons.pause_entry")
    assert rights.may(user, "crons.run_entry", teams[1]["entry"])


@pytest.mark.parametrize("name", ["of_a_team", "of_a_tag"])
def test_each_list_and_page_shows_the_teams_rows_only(settings, member, teams, name):
    """Every page: what another team's rows say is in none of them, and their own pages lead nowhere."""
    hook(settings, name)
    client = member()
    mine, theirs = teams

    narrowed = {"entry": ["state=retired"], "run": ["ended=unwell", "ended=open"], "attempt": ["ended=going"]}
    for name in MODELS:
        # A number finds the row of that number.
        for asked in ["", "q=nightly", "q=pears", f"q={theirs[name].pk}", *narrowed.get(name, [])]:
            page = client.get(changelist(name) + ("&" if "?" in changelist(name) else "?") + asked)
            assert page.status_code == 200
            # What was searched for stands in the page alone.
            assert re.findall(r".*pears[ _].*", page.text) == [], (name, asked)
        assert "apples" in client.get(changelist(name)).text, name
        assert client.get(reverse(f"admin:crons_{name}_change", args=[theirs[name].pk])).status_code in (302, 404), name
        if name != "pause":
            assert client.get(reverse(f"admin:crons_{name}_change", args=[mine[name].pk])).status_code == 200, name
    assert "apples again" in client.get(changelist("auditevent")).text


def test_the_first_page_and_each_number_on_it_are_of_the_teams_entries(settings, member, teams):
    hook(settings, "of_a_team")
    client = member()

    page = client.get(reverse("crons:home")).text

    assert "pears" not in page
    assert "apples_nightly" in page
    user = User.objects.get()
    seen = overview.look(user=user)
    everybody = overview.look()
    for name in ("problems", "did_not_run", "running", "upcoming", "retired", "paused"):
        told = [getattr(each, "entry", None) or getattr(each, "run", None) or each for each in getattr(seen, name).rows]
        assert told, name
        assert "pears" not in str(told), name
        assert len(getattr(everybody, name).rows) > len(told), name
    assert seen.entries * 2 == everybody.entries == 4
    Entry.objects.filter(owner="apples").update(owner="plums")
    assert overview.look(user=User.objects.get()).entries == 0


def test_a_hook_that_narrows_runs_alone_narrows_those_of_the_first_page(settings, member, teams):
    """What ran, runs and did not run is of the team; the entries, and what is wrong with them, are of all."""
    hook(settings, "runs_of_its_own")
    member()

    seen = overview.look(user=User.objects.get())

    assert [each.run.entry.name for each in seen.running.rows] == ["apples_late"]
    assert {each.entry.name for each in seen.did_not_run.rows} == {"apples_nightly"}
    assert {each.run.entry.name for each in seen.ended_last} == {"apples_nightly"}
    assert {each.entry for each in seen.problems.rows} >= {"apples_nightly", "pears_nightly"}
    # Nobody may learn from a number how many of others there are.
    assert seen.evidence.succeeded is None
    assert len(overview.look().running.rows) == 2


def test_what_a_few_entries_ran_last_is_read_entry_by_entry(settings, member, teams, make_entry):
    """To find the newest runs of one that never ran, ten million of others were read: four seconds."""
    hook(settings, "of_a_team")
    member()
    now = timezone.now()
    for name, days in (("plums_always", 0), ("apples_seldom", 900)):
        entry = make_entry(name, since=now)
        Entry.objects.filter(pk=entry.pk).update(owner=name.split("_")[0])
        for minute in range(70):
            at = now - timedelta(days=days, minutes=minute)
            given = {"state": "done", "verdict": "succeeded", "trigger": "serve", "recorded_at": at, "ended_at": at}
            Run.objects.create(entry=entry, slot_at=at, planned_at=at, **given)

    with CaptureQueriesContext(connection) as captured:
        seen = overview.look(user=User.objects.get())

    ended = {each.run.entry.name: each.before for each in seen.ended_last}
    assert set(ended) == {"apples_nightly", "apples_seldom"}
    assert ended["apples_seldom"] == overview.NEWEST - 3
    assert sum("crons_run.id IN (SELECT r.id FROM" in each["sql"] for each in captured) == 1


def test_why_tells_of_the_teams_entries_only(settings, member, teams):
    """Neither does its guess at what was meant name another team's."""
    hook(settings, "of_a_team")
    client = member()

    answers = {
        name: client.get(reverse("crons:why"), {"entry": name})
        for name in ("apples_nightly", "pears_nightly", "pears_nightl")
    }

    assert {name: each.status_code for name, each in answers.items()} == {
        "apples_nightly": 200, "pears_nightly": 404, "pears_nightl": 404
    }  # fmt: skip
    assert "&#x27;pears_nightl&#x27; is no entry that you may see." in answers["pears_nightl"].text
    assert "pears_nightly" not in answers["pears_nightl"].text
    crossed = client.get(reverse("crons:why"), {"entry": "apples_nightly", "run": teams[1]["run"].pk})
    assert crossed.status_code in (400, 404)
    assert "pears" not in crossed.text


@pytest.mark.parametrize(("name", "verb"), ACTS)
@pytest.mark.parametrize("rows", ["hidden", "seen"])
def test_each_act_is_refused_for_another_teams_rows(settings, member, teams, rows, name, verb):
    """Forged ids, and rows that the person sees but may not act on."""
    hook(settings, "of_a_team" if rows == "hidden" else "sees_more_than_it_may_do")
    client = member()
    mine, theirs = teams
    key = {"cancel": "going", "resume": "late"}.get(verb, name) if name != "pause" else name
    before = [list(model.objects.order_by("pk").values()) for model in (Entry, Run, models.Attempt, Pause)]

    told = client.post(is_asked(name, verb), {"ids": [theirs[key].pk], **GIVEN}, follow=True)

    expected = "nothing was done, because no row was chosen" if rows == "hidden" else "you lack the permission crons."
    assert expected in told.text
    assert [list(model.objects.order_by("pk").values()) for model in (Entry, Run, models.Attempt, Pause)] == before
    page = client.get(reverse(f"admin:crons_{name}_changelist")).text
    assert "apples" in page

    done = client.post(is_asked(name, verb), {"ids": [mine[key].pk, theirs[key].pk], **GIVEN}, follow=True)

    assert [text for text in re.findall(r'<li class="(?:success|error)">([^<]*)', done.text) if "pears" in text] == (
        [] if rows == "hidden" else re.findall(r"[^<>]*pears[^<>]*lack the permission[^<>]*", done.text)
    )
    assert '<li class="success">' in done.text
    changed = [list(model.objects.order_by("pk").values()) for model in (Entry, Run, models.Attempt, Pause)]
    assert changed != before
    theirs_now = [each for each in Run.objects.order_by("pk").values() if each["entry_id"] == theirs["entry"].pk]
    assert theirs_now == [each for each in before[1] if each["entry_id"] == theirs["entry"].pk]


def test_a_runs_page_is_shown_to_its_team_and_acts_are_refused_to_others(settings, member, teams):
    """Forged numbers: what may not be seen is not there; what is seen and may not be done is a 403 that says so."""
    client = member()
    theirs = teams[1]
    hook(settings, "of_a_team")

    def asked(name, row):
        given = {"reason": "the bank is down"}
        address = reverse(f"crons:{name}", args=[row.pk])
        return client.post(address, given) if name in ("cancel", "retry") else client.get(address)

    pages = {name: [asked(name, each["run"]).status_code for each in teams] for name in
             ("run", "output", "tail", "download", "cancel", "retry")}  # fmt: skip
    hook(settings, "sees_more_than_it_may_do")
    refused = [asked(name, theirs["going"]) for name in ("cancel", "retry")]

    assert pages == {"run": [200, 404], "output": [200, 404], "tail": [200, 404], "download": [200, 404],
                     "cancel": [302, 404], "retry": [302, 404]}  # fmt: skip
    assert [each.status_code for each in refused] == [403, 403]
    assert "Your account lacks the permission crons.cancel_run for pears_late." in refused[0].text
    assert models.Attempt.objects.filter(cancel_requested_at__isnull=False).count() == 0
    assert Run.objects.get(pk=theirs["run"].pk).state == "done"


def test_buttons_stand_where_the_person_may_act(settings, member, teams):
    hook(settings, "sees_more_than_it_may_do")
    client = member()
    mine, theirs = teams

    pages = {each["entry"].name: client.get(reverse("admin:crons_entry_change", args=[each["entry"].pk])).text
             for each in teams}  # fmt: skip
    home = client.get(reverse("crons:home")).text

    assert "Run now" in pages["apples_nightly"]
    assert "Run now" not in pages["pears_nightly"]
    for act, ids in [("retry", "run"), ("cancel", "going")]:
        assert f'action="{reverse(f"crons:{act}", args=[mine[ids].pk])}"' in home
        assert f'action="{reverse(f"crons:{act}", args=[theirs[ids].pk])}"' not in home


def test_what_holds_all_entries_is_ended_by_who_may_act_on_all(settings, member, teams):
    """A pause of everything is seen by everybody whom it holds; a tag's by who has an entry of that tag."""
    hook(settings, "of_a_team")
    client = member()
    now = timezone.now()
    made = {tag: Pause.objects.create(scope=f"tag:{tag}" if tag else "all", tag=tag, paused_at=now, reason=f"why {tag}")
            for tag in ("", "fruit", "pears")}  # fmt: skip

    page = client.get(changelist("pause")).text
    told = client.post(is_asked("pause", "resume"), {"ids": [each.pk for each in made.values()], **GIVEN}, follow=True)

    assert [f"why {tag}" in page for tag in made] == [True, True, False]
    assert "Everything: not resumed, because you lack the permission crons.pause_entry for it." in told.text
    assert "why fruit" in client.get(reverse("crons:home")).text
    assert not [each for each in made.values() if reverse("crons:resume", args=[each.pk]) in client.get("/crons/").text]
    refused = client.post(reverse("crons:resume", args=[made["fruit"].pk]))
    hidden = client.post(reverse("crons:resume", args=[made["pears"].pk]), follow=True)
    lacking = "lacks the permission crons.pause_entry for all entries, and this pause holds more than one."
    assert (refused.status_code, lacking in refused.text) == (403, True)
    assert "Nothing was done: this pause is over" in hidden.text
    assert Pause.objects.filter(pk__in=[each.pk for each in made.values()]).count() == 3


@pytest.mark.parametrize(
    ("name", "logged", "check"),
    [
        ("raises", "RuntimeError: no team of this person", "W064"),
        ("nonsense", "it answered 'apples', expected True, False or a Q over Entry", "E006"),
        ("empty", "it answered an empty Q, which every entry fits", "E006"),
        ("unknown_column", "Cannot resolve keyword 'team' into field", "E006"),
        ("no_such", "Did you mean 'nonsense'?", "E001"),
    ],
)
def test_a_hook_that_does_not_answer_refuses_and_says_so(settings, member, teams, caplog, name, logged, check):
    """Whom it should refuse is not known: so everybody, but for superusers, who mend it."""
    name = "nonsens" if name == "no_such" else name
    client = member()
    hook(settings, name)

    with caplog.at_level(logging.ERROR, "crons"):
        page = client.get(reverse("crons:home"))

    assert page.status_code == 403
    assert "Whether you have the permission crons.view_entry is not known: CRONS[&#x27;RIGHTS&#x27;]" in page.text
    assert logged in caplog.text
    assert client.get(changelist("entry")).status_code == 403
    assert [each.id for each in run_checks(tags=["crons"]) if "RIGHTS" in each.msg] == [f"crons.{check}"]
    User.objects.update(is_superuser=True)
    assert client.get(reverse("crons:home")).status_code == 200


@pytest.mark.parametrize(("name", "status"), [("none", 403), ("nothing_fits", 403), ("all_of_them", 200)])
def test_yes_and_no_are_answers_too(settings, member, teams, name, status):
    client = member()
    hook(settings, name)

    assert client.get(reverse("crons:home")).status_code == status
    assert [each.id for each in run_checks(tags=["crons"]) if "RIGHTS" in each.msg] == []


def test_the_hook_gives_nothing_that_django_does_not(settings, member, teams):
    """A mistake in it opens no more than a permission that somebody was given."""
    hook(settings, "all_of_them")
    client = member("view_entry", "view_run")

    assert client.get(changelist("entry")).status_code == 200
    assert client.get(changelist("pause")).status_code == 403
    assert client.get(is_asked("entry", "run"), {"ids": teams[0]["entry"].pk}).status_code == 403
    assert not rights.may(AnonymousUser(), "crons.view_entry")
    User.objects.update(is_active=False, is_superuser=True)
    assert not rights.may(User.objects.get(), "crons.view_entry")


def test_health_tells_of_all_entries_and_so_a_team_does_not_read_it(settings, member, teams):
    client = member()
    assert client.get(reverse("crons:health")).status_code == 503
    hook(settings, "of_a_team")

    assert client.get(reverse("crons:health")).status_code == 403


def test_one_statement_says_of_all_entries_what_may_be_done(settings, member, teams):
    hook(settings, "of_a_tag")
    member()
    user = User.objects.get()
    rights.may(user, "crons.run_entry")
    ids = list(Entry.objects.values_list("pk", flat=True))

    with CaptureQueriesContext(
        connection,
    ) as asked:
        found = [rights.permitted(user, f"crons.{verb}", ids)
                 for verb in ("run_entry", "pause_entry", "cancel_run", "retry_run")]  # fmt: skip

    assert [len(each) for each in found] == [3] * 4
    assert len([each for each in asked if "crons_entry" in each["sql"]]) == 1


@pytest.mark.parametrize(
    ("tags", "expected"),
    [('["apples"]', True), ('["Apples"]', False), ('["pineapples"]', False), ('["a", "apples"]', True), ("[]", False),
     ('{"apples": 1}', False),
     ('{"x": "apples"}', False), ('"apples"', False), ("null", False), ('[["apples"]]', False),
     ("[1, null]", False)],
)  # fmt: skip
def test_a_tag_is_found_whole(make_entry, tags, expected):
    make_entry()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE crons_entry SET tags = %s", [tags])

    assert Entry.objects.filter(tags__has_tag="apples").exists() is expected


@pytest.mark.sqlite
def test_tags_that_are_no_json_hold_no_tag(make_entry):
    make_entry("one")
    make_entry("other")
    Entry.objects.update(tags=["apples"])
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = 1")
        cursor.execute("UPDATE crons_entry SET tags = '[\"apples\"' WHERE name = 'one'")
        cursor.execute("PRAGMA ignore_check_constraints = 0")

    assert [each.name for each in Entry.objects.filter(tags__has_tag="apples")] == ["other"]


def test_the_path_of_the_hook_is_checked(settings):
    settings.CRONS = {"RIGHTS": "shop.rights.of_a_team"}
    [missing] = conf.problems()
    settings.CRONS = {"RIGHTS": f"{__name__}.SEEN"}
    [no_function] = conf.problems()

    about = "expected the dotted path of a function (user, permission): "
    assert missing == f"CRONS['RIGHTS'] is 'shop.rights.of_a_team', {about}No module named 'shop'."
    assert no_function == f"CRONS['RIGHTS'] is '{__name__}.SEEN', {about}it is a Q."
