"""What people do from the admin: asked first, permitted one by one, audited, and told honestly."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from crons import api, models
from crons.web.admin.acts import MOST

pytestmark = pytest.mark.django_db
LOOKING = ["view_entry", "view_run", "view_attempt", "view_pause"]


@pytest.fixture
def staff(client):
    """Log dana in, who may look, and besides only what is named."""

    def log_in(*permissions):
        user = User.objects.create_user("dana", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=[*LOOKING, *permissions]))
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def entries(make_entry):
    """Three entries that are accounted for."""
    now = timezone.now()
    return [make_entry(name, since=now) for name in ("a", "b", "c")]


def run_of(entry, **fields):
    """A run that waits to be begun, unless *fields* say otherwise."""
    now = timezone.now()
    given = {"state": "due", "wake_at": now, "planned_at": now, "recorded_at": now, "slot_at": now, **fields}
    return models.Run.objects.create(entry=entry, trigger="serve", **given)


def pause_of(tag="", **fields):
    """A pause of everything, or of a tag, that dana's colleague began."""
    given = {"paused_at": timezone.now(), "by": "ann", "reason": "the bank is down", **fields}
    return models.Pause.objects.create(scope=f"tag:{tag}" if tag else "all", tag=tag, **given)


def ids(*rows):
    """The rows as a form sends them."""
    return [str(row.pk) for row in rows]


def told(response):
    """The messages of the page that follows."""
    return [str(message) for message in response.context["messages"]]


def asked(client, verb, *rows):
    """The page that asks, and the form's hidden key."""
    response = client.get(f"/admin/crons/{verb}/", {"ids": ids(*rows)})
    return response, re.findall(r'name="key" value="([0-9a-f-]{36})"', response.content.decode())


def do(client, verb, *rows, **given):
    """Answer the question with yes."""
    _, [key] = asked(client, verb, *rows)
    return client.post(f"/admin/crons/{verb}/", {"ids": ids(*rows), "key": key, **given}, follow=True)


def trace():
    """What the audit trail says."""
    return list(models.AuditEvent.objects.order_by("pk").values_list("actor", "verb", "subject", "reason"))


def test_asking_does_nothing(staff, entries):
    """A link that a crawler or a colleague follows must not pause anything."""
    response, keys = asked(staff("pause_entry"), "entry/pause", *entries[:2])

    page = response.content.decode()
    assert response.status_code == 200
    assert "Slots from now on are skipped, and each is recorded as such." in page
    assert "<li>a</li><li>b</li>" in page
    assert len(keys) == 1
    assert not models.Entry.objects.filter(paused_at__isnull=False).exists()
    assert trace() == []


def test_pause_and_resume_are_recorded_with_who_and_why(staff, entries):
    """Whoever wonders next week finds the name."""
    client = staff("pause_entry")
    until = timezone.localtime(timezone.now() + timedelta(days=2)).replace(second=0, microsecond=0)

    paused = do(client, "entry/pause", *entries[:2], reason="moving", until=f"{until:%Y-%m-%dT%H:%M}")
    rows = models.Entry.objects.filter(paused_at__isnull=False).order_by("name")
    kept = [(row.name, row.paused_by, row.pause_reason, row.paused_until) for row in rows]
    resumed = do(client, "entry/resume", entries[0], entries[2])

    assert told(paused) == ["a, b: paused (2 of 2)."]
    assert kept == [("a", "dana", "moving", until), ("b", "dana", "moving", until)]
    assert told(resumed) == ["c: not resumed, because it is not paused.", "a: resumed (1 of 2)."]
    assert [row.name for row in models.Entry.objects.filter(paused_at__isnull=False)] == ["b"]
    assert trace() == [("dana", "pause", "a", "moving"), ("dana", "pause", "b", "moving"), ("dana", "resume", "a", "")]


@pytest.fixture
def all_held(entries):
    """Everything is paused, a besides by its name, b by its tag."""
    models.Entry.objects.filter(name="b").update(tags=["billing"])
    api.pause("a", by="ann", reason="wrong numbers")
    api.pause_all(by="ann", reason="the bank is down", tag="billing")
    api.pause_all(by="ann", reason="moving")
    models.AuditEvent.objects.all().delete()


def held():
    """What holds each entry."""
    rows = models.Entry.objects.filter(paused_at__isnull=False).order_by("name")
    return [(row.name, row.pause_scope, row.pause_reason) for row in rows]


def test_pauses_are_listed_and_each_is_ended_alone(staff, all_held):
    """Going on after the move must not start what somebody had stopped for another reason."""
    client = staff("pause_entry")
    pause_of("over", until=timezone.now() - timedelta(seconds=1))

    listed = re.findall(r'class="field-what">([^<]+)<', client.get("/admin/crons/pause/").content.decode())
    response = do(client, "pause/resume", models.Pause.objects.get(scope="all"))
    left = held()
    do(client, "pause/resume", *models.Pause.objects.filter(scope__in=["tag:billing", "tag:over"]))
    last = do(client, "pause/resume", models.Pause.objects.get(tag="", entry__isnull=False))

    assert listed == ["everything", "all tagged &#x27;billing&#x27;", "a"]
    assert told(response) == ["everything: resumed."]
    assert left == [("a", "", "wrong numbers"), ("b", "tag:billing", "the bank is down")]
    assert told(last) == ["a: resumed."]
    assert (held(), [each.scope for each in models.Pause.objects.all()]) == ([], ["tag:over"])
    assert trace() == [
        ("dana", "resume", "all", ""),
        ("dana", "resume", "billing", ""),
        ("dana", "resume", "a", ""),
    ]


def test_resuming_what_more_than_its_own_pause_holds_names_the_pause(staff, all_held):
    """Not "resumed", and then nothing runs."""
    response = do(staff("pause_entry"), "entry/resume", models.Entry.objects.get(name="c"))

    [refused] = told(response)
    assert refused.startswith("c: not resumed, because 'c' has no pause of its own: everything is paused since ")
    assert refused.endswith(
        " by ann: moving. To end it: manage.py crons resume --all Or end it here, in the list of pauses."
    )
    assert held() == [("a", "all", "moving"), ("b", "all", "moving"), ("c", "all", "moving")]
    assert trace() == []


def test_entry_that_everything_holds_leads_to_the_list_of_pauses(staff, all_held):
    """Its own page has no Resume that could not work, and the first page has one for all."""
    client = staff("pause_entry")
    entry = models.Entry.objects.get(name="c")

    page = client.get(f"/admin/crons/entry/{entry.pk}/change/").content.decode()
    home = client.get("/crons/").content.decode()

    assert "paused (everything is) by ann: moving" in page
    assert 'it ends in the <a href="/admin/crons/pause/">list of pauses</a>' in page
    assert re.findall(r'<a class="button" href="[^"]+">([^<]+)</a>', page) == ["Pause"]
    resume = re.findall(r'<summary class="button">Resume<span class="unseen"> ([^<]+)</span>', home)
    assert resume == ["everything", "all tagged &#x27;billing&#x27;", "a"]
    pauses = [models.Pause.objects.get(scope=scope) for scope in ("all", "tag:billing")]
    pauses.append(models.Pause.objects.get(entry__name="a"))
    assert re.findall(r'action="(/crons/pauses/[^"]+)"', home) == [f"/crons/pauses/{each.pk}/resume" for each in pauses]


def test_run_now_is_one_run_however_often_the_button_is_pressed(staff, entries):
    """The page's key makes both clicks one request."""
    client = staff("run_entry")
    _, [key] = asked(client, "entry/run", entries[0])
    given = {"ids": ids(entries[0]), "key": key}

    first = client.post("/admin/crons/entry/run/", given, follow=True)
    client.post("/admin/crons/entry/run/", given)

    run = models.Run.objects.get()
    assert told(first) == ["a: asked to run now."]
    assert (run.kind, run.requested_by, run.args) == ("manual", "dana", None)


def test_cancel_says_of_each_run_what_became_of_it(staff, entries):
    """Half done must not read as done."""
    waiting, over = run_of(entries[0]), run_of(entries[1], state="done", verdict="succeeded")

    response = do(staff("cancel_run"), "run/cancel", waiting, over, reason="wrong list")

    assert told(response) == [
        f"run {over.pk} of b: not asked to stop, because run {over.pk} is over: succeeded.",
        f"run {waiting.pk} of a: asked to stop (1 of 2).",
    ]
    waiting.refresh_from_db()
    assert (waiting.verdict, waiting.detail) == ("cancelled", "wrong list (by dana)")
    assert trace() == [("dana", "cancel", str(waiting.pk), "wrong list")]


def test_retry_says_of_each_run_what_became_of_it(staff, entries):
    """The one that failed is open again, the others are as they were, and each says why."""
    ended = {"state": "done", "tries": 1, "wake_at": None}
    failed = run_of(entries[0], verdict="failed", detail="OSError: no space", ended_at=timezone.now(), **ended)
    fine = run_of(entries[1], verdict="succeeded", **ended)
    gone = run_of(entries[2], verdict="failed", **ended)
    models.Entry.objects.filter(pk=entries[2].pk).update(retired_at=timezone.now())
    untouched = list(models.Run.objects.filter(pk__in=[fine.pk, gone.pk]).order_by("pk").values())

    response = do(staff("retry_run"), "run/retry", failed, fine, gone, reason="disk is free again")

    refused_fine, refused_gone, done = told(response)
    assert refused_gone.startswith(f"run {gone.pk} of c: not opened for another try, because 'c' is retired")
    assert refused_fine == (
        f"run {fine.pk} of b: not opened for another try, because run {fine.pk} has succeeded, so there is nothing "
        "to try again. Once more besides: manage.py crons run b --manual"
    )
    assert done == f"run {failed.pk} of a: opened for another try (1 of 3)."
    failed.refresh_from_db()
    assert (failed.state, failed.verdict, failed.tries, failed.ended_at) == ("waiting", "", 1, None)
    assert failed.detail == "asked for again by dana: disk is free again"
    assert failed.wake_at == failed.asked_at
    assert list(models.Run.objects.filter(pk__in=[fine.pk, gone.pk]).order_by("pk").values()) == untouched
    assert trace() == [("dana", "retry", str(failed.pk), "disk is free again")]
    before = models.AuditEvent.objects.get().before
    assert (before["verdict"], before["detail"], before["tries"]) == ("failed", "OSError: no space", 1)


def test_longest_name_and_reason_fit(staff, entries, client):
    """What is entered must not be lost because a column is short."""
    user = User.objects.create_superuser("d" * 150)
    client.force_login(user)
    run = run_of(entries[0])

    do(client, "run/cancel", run, reason="x" * 200)
    do(client, "entry/pause", entries[0], reason="y" * 200)

    run.refresh_from_db()
    assert run.verdict == "cancelled"
    assert run.detail.startswith("x" * 200 + " (by ddd")
    assert models.Entry.objects.get(name="a").pause_reason == "y" * 200
    assert [event.reason[0] * 200 == event.reason for event in models.AuditEvent.objects.all()] == [True, True]


def rows_now():
    """Everything that an action could have changed."""
    return [list(model.objects.order_by("pk").values()) for model in (models.Entry, models.Run, models.Pause)]


VERBS = {
    "entry/run": "run_entry",
    "entry/pause": "pause_entry",
    "entry/resume": "pause_entry",
    "run/cancel": "cancel_run",
    "run/retry": "retry_run",
    "pause/resume": "pause_entry",
}


@pytest.mark.parametrize("verb", VERBS)
def test_who_lacks_the_permission_gets_403_and_leaves_no_trace(staff, entries, verb):
    """Each verb has its own: all the others do not help."""
    client = staff(*set(VERBS.values()) - {VERBS[verb]})
    row = {"entry": lambda: entries[0], "run": lambda: run_of(entries[0]), "pause": pause_of}[verb.partition("/")[0]]()
    before = rows_now()
    given = {"ids": ids(row), "key": "0" * 32, "reason": "forged"}

    got, posted = client.get(f"/admin/crons/{verb}/", given), client.post(f"/admin/crons/{verb}/", given)
    model, _, action = verb.partition("/")
    listed = client.post(f"/admin/crons/{model}/", {"action": action, "_selected_action": ids(row)})

    assert [got.status_code, posted.status_code, listed.status_code] == [403, 403, 403]
    assert rows_now() == before
    assert trace() == []


@pytest.mark.parametrize("verb", VERBS)
def test_permission_to_act_is_none_to_look(client, entries, verb):
    """Who may not see the rows does nothing to them either."""
    user = User.objects.create_user("dana", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename=VERBS[verb]))
    client.force_login(user)

    response = client.post(f"/admin/crons/{verb}/", {"ids": "1", "key": "0" * 32, "reason": "x"})

    assert response.status_code == 403


def test_a_post_without_the_token_of_the_page_is_refused(entries, django_user_model):
    """Another site's form must not pause anything."""
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(django_user_model.objects.create_superuser("root"))

    response = client.post("/admin/crons/entry/pause/", {"ids": ids(*entries), "key": "0" * 32, "reason": "x"})

    assert response.status_code == 403
    assert trace() == []


def test_who_only_looks_sees_no_button(staff, entries):
    """Neither on lists nor on pages."""
    run = run_of(entries[0])
    client = staff()

    pages = [
        client.get(f"/admin/crons/{place}").content.decode()
        for place in ["entry/", f"entry/{entries[0].pk}/change/", "run/", f"run/{run.pk}/change/"]
    ]

    assert [page for page in pages if 'name="action"' in page or "crons-acts" in page] == []


def test_buttons_are_those_that_fit_the_row(staff, entries):
    """Nobody is offered to resume what goes on."""
    client = staff(*VERBS.values())
    models.Entry.objects.filter(name="b").update(paused_at=timezone.now())
    rows = [*entries[:2], run_of(entries[0]), run_of(entries[1], state="done", verdict="lost")]

    offered = []
    for row in rows:
        page = client.get(f"/admin/crons/{row._meta.model_name}/{row.pk}/change/").content.decode()
        offered.append(re.findall(r'<a class="button" href="[^"]+">([^<]+)</a>', page))

    assert offered == [["Run now", "Pause"], ["Run now", "Resume"], ["Cancel"], ["Retry"]]


def test_list_asks_about_the_rows_chosen_and_comes_back(staff, entries):
    """To the same filter as before."""
    client = staff("pause_entry")
    chosen = {"action": "pause", "_selected_action": ids(*entries[1:])}

    response = client.post("/admin/crons/entry/?source__exact=code", chosen, follow=True)
    back = re.search(r'name="next" value="([^"]*)"', response.content.decode())

    assert "<li>b</li><li>c</li>" in response.content.decode()
    assert back
    assert back[1] == "/admin/crons/entry/?source__exact=code"


@pytest.mark.parametrize("asked_for", ["https://evil.example/", "//evil.example", "javascript:alert(1)", ""])
def test_nobody_is_sent_to_another_site_afterwards(staff, entries, asked_for):
    """An address with a verb in it is easily sent around."""
    client = staff("pause_entry")
    _, [key] = asked(client, "entry/pause", entries[0])
    given = {"ids": ids(entries[0]), "key": key, "reason": "x", "next": asked_for}

    response = client.post("/admin/crons/entry/pause/", given)

    assert response["Location"] == "/admin/crons/entry/"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"reason": ""}, "This field is required."),
        ({"reason": "x" * 201}, "Ensure this value has at most 200 characters (it has 201)."),
        ({"reason": "x", "until": "2001-01-01T00:00"}, "This moment is past: expected one to come."),
        ({"reason": "x", "until": "soon"}, "Enter a valid date/time."),
        ({"reason": "x", "key": "nonsense"}, "Enter a valid UUID."),
    ],
)
def test_what_cannot_be_read_is_asked_again(staff, entries, given, said):
    """With what was entered, and nothing done."""
    response = do(staff("pause_entry"), "entry/pause", entries[0], **given)

    assert said in response.content.decode()
    assert trace() == []


@pytest.mark.parametrize("until", ["2036-03-30T02:30", "2036-10-26T02:30"])
def test_an_end_in_the_hour_of_a_clock_change_is_asked_again(staff, entries, until):
    """One does not exist and the other happens twice: nobody knows which was meant."""
    client = staff("pause_entry")

    with timezone.override("Europe/Paris"):
        response = do(client, "entry/pause", entries[0], reason="x", until=until)

    said = response.content.decode()
    assert "it may be ambiguous or it may not exist" in said
    assert "In the time of Europe/Paris." in said
    assert trace() == []


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ([], "Pause: nothing was done, because no row was chosen, or it is gone."),
        (["x", "-1", "²", "9" * 30], "Pause: nothing was done, because no row was chosen, or it is gone."),
        ([str(n) for n in range(MOST + 1)], f"Pause: nothing was done, because more than {MOST} rows were chosen."),
    ],
)
def test_nothing_chosen_or_too_much_is_said(staff, entries, chosen, said):
    """Thousands of rows at one click are a mistake."""
    response = staff("pause_entry").get("/admin/crons/entry/pause/", {"ids": chosen}, follow=True)

    assert told(response) == [said]


def test_copy_of_a_database_refuses_and_says_why(staff, entries):
    """What is clicked in a copy of production must not be believed done."""
    models.Deployment.objects.update_or_create(
        pk=1, defaults={"identity": "other", "described": "production", "adopted_at": timezone.now()}
    )

    response = do(staff("pause_entry"), "entry/pause", entries[0], reason="x")

    [refused] = told(response)
    assert refused.startswith("a: not paused, because this database was adopted by another deployment (production)")
    assert trace() == []


def test_nothing_names_code_a_schedule_or_arguments(staff, entries):
    """Operators change when, never what: whatever else is sent along is not looked at."""
    client = staff(*VERBS.values())
    what = ("job", "schedule", "args", "policy", "overrides", "source_ref")
    before = list(models.Entry.objects.order_by("pk").values(*what))
    more = {"job": "os.system", "schedule": "* * * * *", "args": '{"a": 1}', "name": "z"}

    do(client, "entry/run", entries[0], **more)
    do(client, "entry/pause", entries[0], reason="x", **more)

    assert list(models.Entry.objects.order_by("pk").values(*what)) == before
    assert models.Run.objects.get().args is None
