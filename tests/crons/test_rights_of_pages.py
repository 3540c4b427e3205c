"""Each page and each verb names the permission that is lacking; and what many entries share tells of one's own."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from crons import models, urls
from crons.watch import Problem
from crons.watch.incidents import Found, open_or_worsen
from crons.web import overview
from crons.web.job.acts import ACTS

pytestmark = pytest.mark.django_db
NEEDED = ("view_entry", "view_run")
# What each address needs besides; POST where it acts.
PAGES = {
    "home": (), "timeline": (), "jobs": (), "job": (), "job_row": (), "why": (), "run": (),
    "output": ("view_attempt",), "tail": ("view_attempt",), "download": ("view_attempt",),
    "incidents": ("view_incident",), "incident": ("view_incident",),
}  # fmt: skip
VERBS = {
    "cancel": ("cancel_run",), "retry": ("retry_run",), "resume": ("pause_entry",),
    "acknowledge": ("view_incident", "acknowledge_incident"), "snooze": ("view_incident", "acknowledge_incident"),
}  # fmt: skip
# They ask for no permission of a person: a token, a network, a signature; or may_all, as `health` does.
OF_MACHINES = {"tick", "health", "live", "ready", "metrics"}
JOB_ACTS = {verb: act.permission for verb, act in ACTS.items()}


def of_apples(user, permission):
    return Q(owner="apples")


def entries_of_apples(user, permission):
    """A project that thought of entries only."""
    return Q(owner="apples") if permission == "crons.view_entry" else True


def runs_of_apples(user, permission):
    return Q(owner="apples") if permission == "crons.view_run" else True


@pytest.fixture
def staff(client, settings):
    def log_in(*permissions, hook=""):
        settings.CRONS = {**settings.CRONS, "RIGHTS": f"{__name__}.{hook}" if hook else ""}
        user, _ = User.objects.get_or_create(username="dana", is_staff=True)
        given = Permission.objects.filter(content_type__app_label="crons")
        user.user_permissions.set(given.filter(codename__in=permissions) if permissions else given)
        client.force_login(user)
        return client

    return log_in


def rows_of(make_entry, owner):
    """An entry, a failed run of it with an attempt, an incident, a pause."""
    now = timezone.now()
    entry = make_entry(f"{owner}_nightly", since=now)
    models.Entry.objects.filter(pk=entry.pk).update(owner=owner)
    run = models.Run.objects.create(
        entry=entry, slot_at=now, planned_at=now, recorded_at=now, state="done", verdict="failed", tries=1,
        detail=f"{owner} failed", trigger="serve", ended_at=now,
    )  # fmt: skip
    models.Attempt.objects.create(
        run=run, number=1, token=uuid.uuid4(), executor="process", instance="i", host="web1", pid=7, boot_id="b",
        begun_at=now, ended_at=now, outcome="failed", error=f"{owner} raised",
    )  # fmt: skip
    incident = models.Incident.objects.create(
        rule="failing", entry=entry, summary=f"{owner} fails", run=run, opened_at=now, changed_at=now,
        key=f"failing:{entry.pk}", open_key=f"failing:{entry.pk}",
    )  # fmt: skip
    pause = models.Pause.objects.create(scope=f"entry:{entry.pk}", entry=entry, paused_at=now, reason="why", by="ann")
    return {"entry": entry, "run": run, "incident": incident, "pause": pause}


@pytest.fixture
def teams(make_entry):
    return rows_of(make_entry, "apples"), rows_of(make_entry, "pears")


def share(rule, *rows):
    """Have inspection open the incident that *rows* share."""
    now = timezone.now()
    problems = [Problem.of(rule, f"{each['entry'].name} waits", each["entry"], run_id=each["run"].pk,
                           since=now - timedelta(hours=1)) for each in rows]  # fmt: skip
    open_or_worsen(Found(f"{rule}:*", problems), now, "default")
    return models.Incident.objects.get(open_key=f"{rule}:*")


def address(name, rows):
    if name == "why":
        return reverse("crons:why") + f"?entry={rows['entry'].name}"
    given = {"job": rows["entry"].name, "job_row": rows["entry"].pk, "resume": rows["pause"].pk}
    of_incident = ("incident", "acknowledge", "snooze")
    key = given.get(name) or (rows["incident"].pk if name in of_incident else rows["run"].pk)
    takes = name not in ("home", "timeline", "jobs", "incidents")
    return reverse(f"crons:{name}", args=[key] if takes else [])


def test_each_page_and_verb_names_the_permission_that_is_missing(staff, teams):
    """And with what the table says alone it is shown: nothing else is asked for."""
    rows = teams[0]
    wrong = []

    for name, more in {**PAGES, **VERBS}.items():
        needed = [*NEEDED, *more]
        for missing in [None, *needed]:
            client = staff(*(each for each in needed if each != missing))
            answer = (client.post if name in VERBS else client.get)(address(name, rows))
            if missing is None:
                if answer.status_code not in (200, 204, 302):
                    wrong.append((name, "with all", answer.status_code))
                continue
            # Without view_incident an incident is not there, for whoever may acknowledge it, too.
            is_hidden = name in VERBS and missing == "view_incident"
            if answer.status_code != (404 if is_hidden else 403):
                wrong.append((name, missing, answer.status_code))
            elif not is_hidden and f"the permission crons.{missing}." not in re.sub(r"<[^>]*>", "", answer.text):
                wrong.append((name, missing, "not named"))

    assert wrong == []


def test_the_table_has_each_address(staff, teams):
    assert {each.name for each in urls.urlpatterns} - OF_MACHINES == PAGES.keys() | VERBS.keys()


@pytest.mark.parametrize("verb", JOB_ACTS)
def test_each_act_of_a_jobs_page_names_the_permission_that_is_missing(staff, teams, verb):
    where = address("job", teams[0])
    every = {each.codename for each in Permission.objects.filter(content_type__app_label="crons")}
    before = list(models.Run.objects.values())

    answers = {missing: staff(*every - {missing}).post(where, {"do": verb}) for missing in (*NEEDED, JOB_ACTS[verb])}

    assert {missing: answer.status_code for missing, answer in answers.items()} == dict.fromkeys(answers, 403)
    for missing, answer in answers.items():
        assert f"lacks the permission crons.{missing}." in answer.text
    assert list(models.Run.objects.values()) == before


@pytest.mark.parametrize("name", [*PAGES, *VERBS])
def test_what_belongs_to_a_hidden_entry_is_hidden_by_whatever_number(staff, teams, name):
    """A run's page showed another team's entry where the hook narrowed view_entry only."""
    client = staff(hook="entries_of_apples")
    mine, theirs = teams

    answers = [(client.post if name in VERBS else client.get)(address(name, rows)) for rows in (mine, theirs)]

    lists = ("home", "timeline", "jobs", "incidents")
    # Of a pause that is over, or hidden, the first page says that nothing was done.
    assert answers[1].status_code == (200 if name in lists else 302 if name == "resume" else 404)
    assert answers[0].status_code in (200, 302)
    assert "pears raised" not in answers[1].text
    if name in lists:
        assert "pears" not in answers[1].text
    assert models.Pause.objects.filter(pk=theirs["pause"].pk).exists()


def test_the_admins_lists_hide_them_too(staff, teams):
    client = staff(hook="entries_of_apples")

    lists = {"run": "?within=ever", "attempt": "", "incident": "", "pause": ""}
    pages = {name: client.get(reverse(f"admin:crons_{name}_changelist") + asked).text for name, asked in lists.items()}

    assert {name: ("apples" in page, "pears" in page) for name, page in pages.items()} == dict.fromkeys(
        pages, (True, False)
    )


def test_a_job_whose_runs_are_anothers_says_which_permission_is_missing(staff, teams):
    """It is seen, so it is no secret: 404 would send people looking for it."""
    client = staff(hook="runs_of_apples")

    answers = [client.get(address(name, teams[1])) for name in ("job", "job_row", "why")]
    answers.append(client.post(address("job", teams[1]), {"do": "run"}))

    assert [each.status_code for each in answers] == [403] * 4
    for each in answers:
        assert "Your account lacks the permission crons.view_run for pears_nightly." in each.text


def test_what_many_entries_share_is_told_of_ones_own(staff, teams, make_entry):
    """It was hidden from all whose rights were narrowed: a team did not learn that its own jobs waited."""
    mine, theirs = teams
    both, hidden = share("waiting", mine, theirs), share("late", theirs)
    models.Incident.objects.filter(pk=hidden.pk).update(entry=None)
    host = models.Incident.objects.create(
        rule="clock", key="clock:web1", open_key="clock:web1", summary="web1 is ahead", opened_at=timezone.now(),
        changed_at=timezone.now(), count=1,
    )  # fmt: skip
    whole = staff().get(reverse("crons:incidents")).text
    client = staff(hook="of_apples")

    listed = client.get(reverse("crons:incidents")).text
    one = client.get(reverse("crons:incident", args=[both.pk])).text
    user = User.objects.get()
    seen = overview.look(user=user)
    admins = client.get(reverse("admin:crons_incident_changelist")).text
    messages = client.get(reverse("admin:crons_delivery_changelist")).text

    assert "apples_nightly, pears_nightly" in whole
    for page in (listed, one):
        assert "pears" not in page
        assert "2 jobs wait to be begun, of yours: apples_nightly" in page
        assert f'href="{reverse("crons:run", args=[theirs["run"].pk])}"' not in page
    assert "web1 is ahead" in listed
    assert client.get(reverse("crons:incident", args=[hidden.pk])).status_code == 404
    assert client.get(reverse("crons:incident", args=[host.pk])).status_code == 200
    assert [each.text for each in seen.problems.rows if "pears" in each.text] == []
    # What the admin shows is whole rows.
    assert "pears" not in admins + messages


def test_an_outage_is_told_to_all_and_names_ones_own(staff, teams):
    now = timezone.now()
    outage = models.Incident.objects.create(
        rule="outage", key="outage:all", open_key="outage:all", opened_at=now, changed_at=now, count=17,
        summary="17 slots missed: apples_nightly, pears_nightly", data={"jobs": ["apples_nightly", "pears_nightly"]},
    )  # fmt: skip
    client = staff(hook="of_apples")

    page = client.get(reverse("crons:incident", args=[outage.pk])).text
    board = overview.look(user=User.objects.get())

    told = "nothing looked at the clock, and slots were missed or made up for: apples_nightly"
    assert told in page
    assert "pears" not in page
    assert [each.text for each in board.problems.rows if each.kind == "outage"] == [told]


def test_what_many_entries_share_is_acknowledged_by_who_may_act_on_all(staff, teams):
    both = share("waiting", *teams)
    client = staff(hook="of_apples")

    answers = [
        client.post(reverse(f"crons:{verb}", args=[both.pk]), {"for": "1h"}) for verb in ("acknowledge", "snooze")
    ]
    buttons = client.get(reverse("crons:incident", args=[both.pk])).text

    lacking = (
        "lacks the permission crons.acknowledge_incident for all entries, and this incident is about no single one"
    )
    assert [(each.status_code, lacking in each.text) for each in answers] == [(403, True)] * 2
    assert "Acknowledge" not in buttons
    both.refresh_from_db()
    assert (both.acknowledged_at, both.snoozed_until) == (None, None)
    staff().post(reverse("crons:acknowledge", args=[both.pk]))
    both.refresh_from_db()
    assert both.acknowledged_by == "dana"


def test_who_was_concerned_may_still_see_it_when_others_are_left(teams):
    """It is about them, and when it is over they hear so."""
    shared = share("waiting", *teams)

    share("waiting", teams[1])

    shared.refresh_from_db()
    assert shared.data["jobs"] == ["apples_nightly", "pears_nightly"]
    assert shared.entry is None


def test_incidents_are_led_to_where_they_may_be_seen(staff, teams):
    """From the first page and from the job's; whoever may not see them reads the same without a way to a 403."""
    where = f'href="{reverse("crons:incident", args=[teams[0]["incident"].pk])}"'
    addresses = [address(name, teams[0]) for name in ("home", "job")]

    led = {given: [where in staff(*NEEDED, *given).get(each).text for each in addresses]
           for given in [(), ("view_incident",)]}  # fmt: skip

    assert led == {(): [False, False], ("view_incident",): [True, True]}
    assert all("apples fails" in staff(*NEEDED).get(each).text for each in addresses)
