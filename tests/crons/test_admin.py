"""The ledger's rows in the admin: lists that stay fast, pages that can be read, nothing that can be written."""

from __future__ import annotations

import html
import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from crons import api, models
from crons.conf import conf
from crons.presentation import local
from crons.web import output
from crons.web.admin import base
from tests.crons.conftest import minutes
from tests.crons.filling import fill, full_scans

SHOWN = [
    models.Entry,
    models.Run,
    models.Range,
    models.Attempt,
    models.Incident,
    models.Delivery,
    models.Heartbeat,
    models.AuditEvent,
    models.Pause,
]


@pytest.fixture
def run(make_entry):
    """A run of a job in New York that failed."""
    entry = make_entry("nightly", zone="America/New_York", args={"city": "Oslo"})
    at = datetime(2026, 11, 1, 6, 30, tzinfo=UTC)
    return models.Run.objects.create(
        entry=entry, slot_at=at, planned_at=at, recorded_at=at, state="done", verdict="failed", tries=1,
        detail="ValueError: no", trigger="serve", ended_at=at + minutes(2), requested_by="dana",
    )  # fmt: skip


@pytest.fixture
def attempt(run):
    """The try at it."""
    begun_at = run.planned_at + timedelta(seconds=3)
    return models.Attempt.objects.create(
        run=run, number=1, token=uuid.uuid4(), executor="process", instance="i", host="web1", pid=7, boot_id="b",
        begun_at=begun_at, ended_at=begun_at + minutes(1), outcome="failed", error="Traceback\nValueError: <b>no</b>",
    )  # fmt: skip


def wrote(attempt, *texts, stream="stdout"):
    """*attempt* wrote these, a chunk each."""
    seq = models.OutputChunk.objects.filter(attempt=attempt).count()
    for number, text in enumerate(texts, start=seq):
        models.OutputChunk.objects.create(attempt=attempt, seq=number, stream=stream, text=text)


def page_of(client, row, query=""):
    """The text of a row's page."""
    address = reverse(f"admin:crons_{row._meta.model_name}_change", args=[row.pk])
    response = client.get(address + query)
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.parametrize("model", SHOWN)
def test_rows_are_to_be_looked_at_only(admin_client, rf, admin_user, model):
    """Also by a superuser: a row changed by hand would make the ledger's promises untrue."""
    shown = admin.site.get_model_admin(model)
    request = rf.get("/")
    request.user = admin_user

    response = admin_client.get(reverse(f"admin:crons_{model._meta.model_name}_changelist"))

    assert response.status_code == 200
    assert shown.get_model_perms(request) == {"add": False, "change": False, "delete": False, "view": True}
    assert "delete_selected" not in shown.get_actions(request)


LISTS = {
    "entry/": 5,
    "entry/?q=job1&state=paused": 5,
    "run/": 5,
    "run/?within=ever": 5,
    "run/?within=nonsense": 5,
    "run/?ended=open": 6,
    "run/?ended=unwell&within=ever": 5,
    "run/?ended=lost&within=ever": 4,
    "run/?ended=failed&within=ever&p=3": 5,
    "run/?ended=succeeded": 5,
    "run/?q=job1&within=ever": 6,
    "run/?q=job&within=month": 7,
    "run/?q={run}": 5,
    "run/?q=99999999999999999999": 2,
    "run/?o=3.1": 5,
    "attempt/": 6,
    "attempt/?ended=going": 7,
    "attempt/?ended=unwell": 6,
    "attempt/?ended=lost": 4,
    "attempt/?ended=succeeded": 6,
    "attempt/?q=job1": 8,
    "range/": 5,
    "range/?within=ever&reason__exact=catch_up": 5,
    "range/?q=job1&within=ever": 6,
    "incident/": 5,
    "delivery/": 6,
    "heartbeat/": 4,
    "auditevent/": 5,
    "pause/": 4,
}


@pytest.fixture
def full(make_entry):
    """Twenty thousand runs, attempts and chunks."""
    entries = [make_entry(f"job{n}") for n in range(5)]
    now = timezone.now()
    fill(entries, 20_000, now)
    going = {"state": "running", "planned_at": now, "recorded_at": now, "trigger": "tick", "slot_at": now}
    where = {"executor": "process", "instance": "i", "host": "web1", "pid": 7, "boot_id": "b", "begun_at": now}
    for entry in entries:
        run = models.Run.objects.create(entry=entry, **going)
        models.Attempt.objects.create(run=run, number=1, token=uuid.uuid4(), lease_until=now + minutes(1), **where)
    return entries


def test_lists_cost_a_few_statements_and_no_full_scan(admin_client, full):
    """A million rows are there when somebody looks at night; each list reads an index, and only so far."""
    costs, scans = {}, {}
    run = models.Run.objects.order_by("pk")[776].pk
    for address in LISTS:
        with CaptureQueriesContext(connection) as captured:
            response = admin_client.get(f"/admin/crons/{address.format(run=run)}")
        assert response.status_code == 200, address
        costs[address] = len(captured)
        scans[address] = full_scans(captured)

    assert costs == LISTS
    assert {address: found for address, found in scans.items() if found} == {}


def test_pages_of_rows_cost_few_statements_and_no_full_scan(admin_client, full):
    """Whatever else is in the tables."""
    costs, scans = {}, {}
    for model in (models.Run, models.Attempt, models.Entry):
        row = model.objects.order_by("pk")[3]
        with CaptureQueriesContext(connection) as captured:
            page_of(admin_client, row)
        costs[model.__name__], scans[model.__name__] = len(captured), full_scans(captured)

    assert max(costs.values()) <= 8, costs
    assert scans == {"Run": [], "Attempt": [], "Entry": []}


def test_lists_count_no_further_than_they_page(admin_client, make_entry, monkeypatch):
    """What a count leaves out is said, or somebody takes it for all there is."""
    entry, now = make_entry("job"), timezone.now()
    models.Run.objects.bulk_create(
        models.Run(entry=entry, slot_at=at, planned_at=at, recorded_at=at, trigger="tick")
        for at in (now - minutes(n) for n in range(150))
    )
    monkeypatch.setattr(base, "PAGED", 120)

    page = admin_client.get("/admin/crons/run/?within=ever&p=3").content.decode()

    assert page.count('class="field-number"') == 20
    assert "There may be more than these 120: choose a filter" in page


def test_search_by_name_prefers_the_exact_one(admin_client, make_entry, run):
    """A job called report must be found where a hundred are called report_…"""
    other = make_entry("nightly_report")
    at = timezone.now()
    for entry in (run.entry, other):
        models.Run.objects.create(entry=entry, planned_at=at, recorded_at=at, trigger="tick", slot_at=at)

    exact = admin_client.get("/admin/crons/run/?q=nightly").content.decode()
    part = admin_client.get("/admin/crons/run/?q=night").content.decode()
    nothing = admin_client.get("/admin/crons/run/?q=%3Cb%3E").content.decode()

    assert (exact.count('class="field-number"'), part.count('class="field-number"')) == (1, 2)
    assert 'class="field-number"' not in nothing


def test_run_is_found_by_its_number_however_old(admin_client, run):
    """Mails and terminals name it."""
    page = admin_client.get(f"/admin/crons/run/?q={run.pk}").content.decode()

    assert f'href="/admin/crons/run/{run.pk}/change/' in page


@pytest.mark.parametrize(
    "asked", ["run/?ended=%00", "attempt/?ended=%00", "range/?verdict=a%00b", "delivery/?state=%00", "entry/?q=%00"]
)
def test_a_nul_in_an_address_is_a_bad_request(admin_client, asked):
    """PostgreSQL compares nothing with it: the list ended in an error of the server."""
    assert admin_client.get(f"/admin/crons/{asked}").status_code == 400


@pytest.mark.parametrize("model", ["run", "range", "attempt", "incident"])
def test_a_number_without_end_finds_nothing(admin_client, run, model):
    """Python refuses to read more than 4,300 digits."""
    response = admin_client.get(f"/admin/crons/{model}/", {"q": "9" * 5_000})

    assert response.status_code == 200
    assert "0 " in response.text


def test_list_leaves_out_what_is_older_than_a_week_unless_asked(admin_client, run):
    """The filter shows what it does."""
    week = admin_client.get("/admin/crons/run/").content.decode()
    ever = admin_client.get("/admin/crons/run/?within=ever").content.decode()

    assert 'class="field-number"' not in week
    assert 'class="field-number"' in ever
    assert "Any time" in week


def test_run_page_says_all_of_it(admin_client, run, attempt):
    """What happened, when, where, why, and who asked."""
    wrote(attempt, "12 rows\n")

    page = page_of(admin_client, run)

    for said in [
        f"Run {run.pk} of nightly",
        "2026-11-01 01:30:00 -05:00",  # the second 01:30 of that night
        "The job raised, or its program exited with a code other than 0, on its last try.",
        "serve (dana)",
        "<dt>begun after</dt><dd>3.0 s</dd>",
        "<dt>took</dt><dd>1 min</dd>",
        "{&#x27;city&#x27;: &#x27;Oslo&#x27;}",
        "ValueError: &lt;b&gt;no&lt;/b&gt;",
        "12 rows",
    ]:
        assert said in page, said


def test_breadcrumbs_are_built_as_those_of_django(admin_client, admin_user, run):
    """Its style sheet lays them out, and Django 6.1 made a list of them."""

    def built(app, row):
        page = admin_client.get(reverse(f"admin:{app}_{row._meta.model_name}_change", args=[row.pk])).content.decode()
        [(tag, inside)] = re.findall(r'<(\w+) class="breadcrumbs">(.*?)</\1>', page, re.DOTALL)
        return tag, re.findall(r"<(/?\w+)", inside)

    assert built("crons", run) == built("auth", admin_user)


def test_both_hours_of_a_fold_are_told_apart(admin_client, run):
    """01:30 happens twice in that night."""
    models.Run.objects.filter(pk=run.pk).update(slot_at=run.slot_at - minutes(60))

    assert "2026-11-01 01:30:00 -04:00" in page_of(admin_client, run)


HOSTILE = "</pre><script>alert(1)</script>\x1b[31mred\x1b[0m\x1b]0;title\x07\x01\x08 \u202egnp.exe\rnew\x9b2J\n"


def test_hostile_output_is_text_only(admin_client, run, attempt):
    """A job prints what others sent it; nothing of that may steer a browser or cheat an eye."""
    wrote(attempt, HOSTILE, "\x1b[3", "1mred again")

    page = page_of(admin_client, run)

    assert "&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;red" in page
    assert "\ufffd\ufffd \ufffdgnp.exe\nnew" in page
    assert "red again" in page
    assert "<script>alert" not in page
    assert not {"\x1b", "\x01", "\x08", "\u202e", "\x9b"} & set(page)
    assert "31mred" not in page


@pytest.mark.parametrize(
    "name",
    [
        '"><script>alert(1)</script>',
        "a/b?c=d&e#f%2F",
        "{{ 7|add:1 }}{% x %}%s",
        "日本 – größer",
        "' OR 1=1 --",
    ],
)
def test_what_people_and_sources_call_things_is_text_only(admin_client, make_entry, name):
    """A reason comes from whoever was awake; a name is checked where it is declared, a row may be older."""
    now = timezone.now()
    entry = make_entry(name, since=now, args={"city": name})
    run = models.Run.objects.create(
        entry=entry, slot_at=now, planned_at=now, recorded_at=now, state="done", verdict="failed", detail=name,
        trigger="serve", requested_by=name, tries=1,
    )  # fmt: skip
    where = {"executor": "process", "instance": "i", "host": name, "pid": 7, "boot_id": "b", "begun_at": now}
    attempt = models.Attempt.objects.create(
        run=run, number=1, token=uuid.uuid4(), outcome="failed", ended_at=now, error=name, cancel_reason=name, **where
    )
    models.Incident.objects.create(
        rule="failing", entry=entry, run=run, open_key="k", summary=name, opened_at=now, changed_at=now
    )
    api.pause(name, by=name, reason=name)
    api.pause_all(by=name, reason=name)
    lists = [f"/admin/crons/{kind}/" for kind in ("entry", "run", "attempt", "pause", "incident", "auditevent")]
    rows = [f"/admin/crons/{row._meta.model_name}/{row.pk}/change/" for row in (entry, run, attempt)]
    asking = [f"/admin/crons/entry/run/?ids={entry.pk}", f"/admin/crons/run/retry/?ids={run.pk}"]

    answers = {address: admin_client.get(address) for address in [*lists, *rows, *asking, "/crons/"]}
    found = admin_client.get("/admin/crons/run/", {"q": name, "within": "ever"}).content.decode()
    resumed = admin_client.post(
        "/admin/crons/entry/resume/", {"ids": entry.pk, "key": uuid.uuid4(), "reason": "x"}, follow=True
    )

    assert {answer.status_code for answer in [*answers.values(), resumed]} == {200}
    pages = {address: answer.content.decode() for address, answer in [*answers.items(), ("resumed", resumed)]}
    escaped = html.escape(name)
    assert [address for address, page in pages.items() if escaped != name and name in page] == []
    assert [address for address, page in pages.items() if "<script>alert" in page] == []
    assert f'href="/admin/crons/run/{run.pk}/change/' in found


def test_a_megabyte_is_read_in_pages(admin_client, run, attempt):
    """A page stays small, and reading on shows every chunk once."""
    wrote(attempt, *[f"[{n:04}]" + "x" * 4_090 for n in range(256)])
    wrote(attempt, "the end", stream="stderr")

    short = page_of(admin_client, run)
    pages, query = [], ""
    while True:
        pages.append(page_of(admin_client, attempt, query))
        following = pages[-1].partition('href="?from=')[2].partition('"')[0]
        if not following:
            break
        query = f"?from={following}"

    assert len(short) < 60_000
    assert "the end" in short
    assert "[0000]" not in short
    assert "The end of what it wrote" in short
    assert max(map(len, pages)) < 100_000
    assert [sum(f"[{n:04}]" in page for page in pages) for n in range(256)] == [1] * 256
    assert [number for number, page in enumerate(pages) if "the end" in page] == [len(pages) - 1]


@pytest.mark.parametrize("query", ["?from=x", "?from=-1", "?from=99999999999999999999", "?from=²"])
def test_paging_takes_no_nonsense(admin_client, attempt, query):
    """Addresses are typed by people."""
    wrote(attempt, "first\n")

    assert "first" in page_of(admin_client, attempt, query)


def test_piece_larger_than_a_page_is_shown_once(attempt):
    """A foreign executor may write chunks of any size; the reader must still get on."""
    wrote(attempt, "a" * (output.PAGE_CHARACTERS + 1), "b")

    first = output.page(attempt, 0)

    assert (len(first.pieces[0][1]), first.next_start) == (output.PAGE_CHARACTERS + 1, 1)
    assert output.page(attempt, 1).pieces == [("stdout", "b")]
    assert len(output.tail(attempt).pieces[0][1]) == output.TAIL_CHARACTERS


def test_entry_page_says_rules_in_words_and_what_comes(admin_client, make_entry):
    """An operator must not have to read the code."""
    entry = make_entry(schedule="0 2 * * *", catch_up="none", timeout=minutes(30), overlap="allow")

    page = page_of(admin_client, entry)

    for said in [
        "At 02:00 every day (0 2 * * *)",
        "Overdue slots are not run any more; each is recorded as missed.",
        "A slot is run also while an earlier run is still going.",
        "An attempt is killed after 30 min.",
        "A failure is not tried again.",
        "02:00:00 +00:00",
    ]:
        assert said in page, said


def test_entry_whose_texts_cannot_be_read_still_has_a_page(admin_client, make_entry):
    """It is looked at because something is wrong with it."""
    entry = make_entry()
    models.Entry.objects.update(schedule="every blue moon", zone="Mars/Base", policy={"catch_up": "?"})
    models.Entry.objects.update(parked_reason="the zone 'Mars/Base' is not known")

    page = page_of(admin_client, entry)

    assert "parked: the zone &#x27;Mars/Base&#x27; is not known" in page
    assert "cannot be read" in page


@pytest.mark.parametrize("number", ["0", "999999999999999999999999", "x", "1/../2"])
def test_row_that_does_not_exist_is_said(admin_client, number):
    """Not an error page."""
    response = admin_client.get(f"/admin/crons/run/{number}/change/", follow=True)

    assert response.status_code in (200, 404)


def test_nothing_can_be_posted_to_a_page(admin_client, run):
    """There is no form to send."""
    response = admin_client.post(f"/admin/crons/run/{run.pk}/change/", {"verdict": "succeeded"})

    assert response.status_code == 403
    assert models.Run.objects.get().verdict == "failed"


def test_first_page_is_linked_from_the_admin(admin_client):
    """From its index, from that of the app, and from each list."""
    for address in ["/admin/", "/admin/crons/", "/admin/crons/run/"]:
        assert 'href="/crons/"' in admin_client.get(address).content.decode(), address


def test_other_lists_say_moments_as_the_terminal_does(admin_client, run):
    """With their offset, and what lives is no red cross."""
    at, now = run.planned_at, timezone.now()
    models.Incident.objects.create(rule="failing", entry=run.entry, summary="s", opened_at=at, changed_at=at)
    models.AuditEvent.objects.create(at=at, actor="dana", verb="pause", subject_type="entry", subject="nightly")
    about = {"kind": "serve", "pid": 12345, "boot_id": "elsewhere", "started_at": at, "beat_at": at}
    soon, past = now + minutes(5), now - minutes(5)
    for host, expected_by, draining in [("alive", soon, False), ("stops", soon, True), ("silent", past, False)]:
        models.Heartbeat.objects.create(instance=host, host=host, expected_by=expected_by, draining=draining, **about)

    incidents, audit, beats = (
        admin_client.get(f"/admin/crons/{name}/").content.decode() for name in ("incident", "auditevent", "heartbeat")
    )

    assert "2026-11-01 01:30:00 -05:00" in incidents
    assert "still open" in incidents
    zone = conf.time_zone
    assert local(at, zone) in audit
    assert beats.count(f">{local(at, zone)}</time>") == 6
    assert re.findall(r'class="field-stands">(?:<span[^>]*>)?(\w+)<', beats) == ["running", "silent", "stopping"]
    assert '<td class="field-pid_shown">12345</td>' in beats


def test_moments_of_lists_are_local_with_offset(admin_client, run):
    """As everywhere else."""
    models.Run.objects.update(planned_at=timezone.now())

    assert "2026-11-01 01:30:00 -05:00" in admin_client.get("/admin/crons/run/").content.decode()


def test_who_may_not_see_attempts_reads_no_output_in_a_run(client, run, attempt):
    """A verdict is for many; what a job wrote may hold customers."""
    wrote(attempt, "ada@example.com")
    user = User.objects.create_user("looker", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_run", "view_entry"]))
    client.force_login(user)
    address = reverse("admin:crons_run_change", args=[run.pk])

    without = client.get(address)
    user.user_permissions.add(Permission.objects.get(codename="view_attempt"))
    having = client.get(address)

    for secret in ("ada@example.com", "Traceback"):
        assert secret not in without.text
        assert secret in having.text
    assert "crons.view_attempt" in without.text
    assert client.get(reverse("admin:crons_attempt_change", args=[attempt.pk])).status_code == 200
    user.user_permissions.remove(Permission.objects.get(codename="view_attempt"))
    assert client.get(reverse("admin:crons_attempt_change", args=[attempt.pk])).status_code == 403
