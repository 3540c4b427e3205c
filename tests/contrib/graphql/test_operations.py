"""The operations of crons in a schema of somebody's own: what is read, done and refused, and what each field costs."""

from __future__ import annotations

import uuid
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import strawberry
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.db import connection
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from crons import api
from crons.contrib.graphql.schema import OPERATOR, CronsMutation, CronsQuery
from crons.models import Attempt, AuditEvent, Entry, Incident, OutputChunk, Run
from crons.verdicts import State, Verdict
from tests.crons.filling import fill, full_scans

pytestmark = pytest.mark.django_db


@strawberry.type
class Query(CronsQuery):
    """Of a project that has fields of its own."""

    @strawberry.field
    def mine(self) -> str:
        return "mine"


SCHEMA = strawberry.Schema(Query, CronsMutation)
LOOKS = ("view_entry", "view_run", "view_attempt", "view_incident")
ACTS = ("run_entry", "pause_entry", "cancel_run", "retry_run", "acknowledge_incident")
JOBS = "query($n: Int!, $a: String) { cronsJobs(first: $n, after: $a) { edges { node { name state } }"
JOBS += " pageInfo { hasNextPage endCursor } } }"
RUNS = "query($n: Int!, $a: String) { cronsRuns(first: $n, after: $a) {"
RUNS += " edges { node { id verdict headline job { name scheduleInWords } attempts { edges { node { number outcome"
RUNS += " error work } } } } } pageInfo { hasNextPage endCursor } } }"
# Each verb, its permission, and what it is asked with.
VERBS = {
    "run_entry": 'mutation { cronsRunNow(job: "nightly", reason: "now") { run { state } errors { code message } } }',
    "pause_entry": 'mutation { cronsPause(job: "nightly", reason: "storm") { job { state } errors { code message } } }',
    "cancel_run": 'mutation { cronsCancel(run: "RUN", reason: "no") { run { verdict } errors { code message } } }',
    "retry_run": 'mutation { cronsRetry(run: "RUN", reason: "again") { run { state } errors { code message } } }',
    "acknowledge_incident": 'mutation { cronsAcknowledge(incident: "INCIDENT", reason: "mine")'
    " { incident { acknowledgedBy } errors { code message } } }",
}


def of_ours(user: Any, permission: str) -> Q:
    """One team sees one entry."""
    return Q(name="ours")


def of_parts(user: Any, permission: str) -> bool | Q:
    """Entries are seen of one team, runs and incidents of another."""
    return {"crons.view_entry": Q(name="seen"), "crons.run_entry": True}.get(permission, Q(name="ran"))


def person(*permissions: str, is_staff: bool = True, name: str = "ada") -> User:
    made = User.objects.create_user(name, is_staff=is_staff)
    made.user_permissions.set(Permission.objects.filter(content_type__app_label="crons", codename__in=permissions))
    return User.objects.get(pk=made.pk)


def ask(user: Any, document: str, **variables: Any) -> Any:
    return SCHEMA.execute_sync(document, variables, context_value=SimpleNamespace(request=SimpleNamespace(user=user)))


def data(result: Any) -> Any:
    assert result.errors is None, result.errors
    return result.data


def refused(result: Any) -> tuple[str, str]:
    [error] = result.errors
    return error.extensions["code"], error.message


@pytest.fixture
def ada():
    """A person who may do all that there is."""
    return person(*LOOKS, *ACTS)


@pytest.fixture
def nightly(make_entry):
    return make_entry("nightly")


def make_run(entry: Entry, minutes: int = 5, verdict: str = "failed", tries: int = 1, **fields: Any) -> Run:
    at = timezone.now().replace(microsecond=0) - timedelta(minutes=minutes)
    given = {"state": "done" if verdict else "due", "verdict": verdict, "slot_at": at, "planned_at": at, **fields}
    run = Run.objects.create(entry=entry, trigger="serve", recorded_at=at, tries=tries, **given)
    for number in range(1, tries + 1):
        Attempt.objects.create(
            run=run, number=number, token=uuid.uuid4(), executor="process", instance="i", host="web1", pid=7,
            boot_id="b", begun_at=at, ended_at=at, outcome=verdict, error="ValueError: \x1b[31mno\x1b[0m",
        )  # fmt: skip
    return run


def make_incident(entry: Entry | None, key: str = "failing:1") -> Incident:
    now = timezone.now()
    return Incident.objects.create(
        rule="failing", entry=entry, key=key, open_key=key, summary="It fails.", opened_at=now, changed_at=now
    )


def test_jobs_are_read_page_by_page(ada, make_entry):
    names = [make_entry(f"job{number}").name for number in range(5)]

    found, after = [], None
    for _ in range(3):
        page = data(ask(ada, JOBS, n=2, a=after))["cronsJobs"]
        found += [edge["node"]["name"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]

    assert found == names
    assert page["pageInfo"]["hasNextPage"] is False


def test_runs_are_read_the_newest_first_with_their_attempts(ada, nightly):
    runs = [make_run(nightly, minutes, tries=2) for minutes in (1, 2, 3)]

    first = data(ask(ada, RUNS, n=2))["cronsRuns"]
    rest = data(ask(ada, RUNS, n=2, a=first["pageInfo"]["endCursor"]))["cronsRuns"]

    assert [edge["node"]["id"] for edge in [*first["edges"], *rest["edges"]]] == [str(run.pk) for run in runs]
    node = first["edges"][0]["node"]
    assert (node["verdict"], node["headline"]) == ("FAILED", "failed")
    assert node["job"] == {"name": "nightly", "scheduleInWords": "Every 5 minutes (*/5 * * * *)"}
    attempts = [edge["node"] for edge in node["attempts"]["edges"]]
    assert [(each["number"], each["outcome"]) for each in attempts] == [(2, "FAILED"), (1, "FAILED")]
    assert attempts[0]["error"] == "ValueError: no"


@pytest.mark.parametrize("verdict", list(Verdict))
def test_runs_of_one_verdict(ada, nightly, verdict):
    """Asked for in the document itself or by a variable."""
    for minutes, each in enumerate(Verdict, 1):
        make_run(nightly, minutes, each.value, tries=0)
    by_variable = "query($v: CronsVerdict) { cronsRuns(verdict: $v) { edges { node { verdict } } } }"
    by_name = f"{{ cronsRuns(verdict: {verdict.name}) {{ edges {{ node {{ verdict }} }} }} }}"

    answers = [data(ask(ada, by_variable, v=verdict.name)), data(ask(ada, by_name))]

    assert answers == [{"cronsRuns": {"edges": [{"node": {"verdict": verdict.name}}]}}] * 2


@pytest.mark.parametrize("cursor", ["nonsense", "\x00", "é", "W10=", "WyJjcm9ucyBydW5zIiwgIngiLCAxXQ=="])
def test_cursor_that_is_none_is_refused(ada, nightly, cursor):
    assert refused(ask(ada, RUNS, n=1, a=cursor))[0] == "BAD_USER_INPUT"
    jobs = data(ask(ada, JOBS, n=1))["cronsJobs"]["pageInfo"]["endCursor"]
    assert refused(ask(ada, RUNS, n=1, a=jobs))[0] == "BAD_USER_INPUT"


@pytest.mark.parametrize("first", [-1, 101])
def test_page_size_is_bounded(ada, first):
    assert refused(ask(ada, RUNS, n=first)) == ("BAD_USER_INPUT", f"first is {first}; expected 0 to 100.")


def test_statements_do_not_grow_with_the_rows(ada, nightly):
    """One for the runs, one for their entries, one for their attempts; one asks for the person's permissions."""
    counts = []
    for minutes in range(1, 40):
        make_run(nightly, minutes, tries=2)
        if minutes in (2, 39):
            with CaptureQueriesContext(connection) as captured:
                data(ask(User.objects.get(pk=ada.pk), RUNS, n=50))
            counts.append(len(captured))

    assert counts[0] == counts[1]
    assert counts[0] <= 6


def test_a_run_with_a_thousand_tries_shows_the_last(ada, nightly):
    run = make_run(nightly, tries=0)
    at = run.planned_at
    Attempt.objects.bulk_create(
        Attempt(run=run, number=n, token=uuid.uuid4(), executor="e", instance="i", host="h", pid=1, boot_id="b",
                begun_at=at, outcome="failed") for n in range(1, 101)
    )  # fmt: skip
    Run.objects.filter(pk=run.pk).update(tries=100)

    [edge] = data(ask(ada, RUNS, n=1))["cronsRuns"]["edges"]

    assert [each["node"]["number"] for each in edge["node"]["attempts"]["edges"]] == list(range(100, 80, -1))


def test_no_field_reads_a_table_from_end_to_end(ada, make_entry):
    """At three in the morning, with the history of a year."""
    entries = [make_entry(f"e{number}") for number in range(3)]
    fill(entries, 3_000, timezone.now())
    newest = Run.objects.order_by("-planned_at").first()
    after = data(ask(ada, RUNS, n=5))["cronsRuns"]["pageInfo"]["endCursor"]

    with CaptureQueriesContext(connection) as captured:
        data(ask(ada, RUNS, n=10, a=after))
        for given in ("verdict: FAILED", 'job: "e1"', 'job: "e1", verdict: FAILED', "verdict: SUCCEEDED"):
            data(ask(ada, f"{{ cronsRuns(first: 10, {given}) {{ edges {{ node {{ id }} }} }} }}"))
        data(ask(ada, f'{{ cronsOutput(run: "{newest.pk}") {{ pieces {{ text }} }} }}'))

    assert full_scans(captured) == []


def test_output_is_read_a_page_at_a_time(ada, nightly):
    run = make_run(nightly)
    attempt = run.attempts.get()
    for seq in range(10):
        OutputChunk.objects.create(attempt=attempt, seq=seq, stream="stdout", text="x" * 20_000)
    document = "query($r: ID!, $f: Int!) { cronsOutput(run: $r, from: $f) { attempt pieces { stream text } next } }"

    sizes, start = [], 0
    while start is not None:
        page = data(ask(ada, document, r=str(run.pk), f=start))["cronsOutput"]
        sizes.append(sum(len(each["text"]) for each in page["pieces"]))
        start = page["next"]

    assert sum(sizes) == 200_000
    assert max(sizes) <= 65_536


def test_output_and_errors_ask_for_their_own_permission(nightly):
    """What a job wrote may hold more than its verdict: customers, say."""
    run = make_run(nightly)
    bob = person("view_entry", "view_run")

    told = ask(bob, f'{{ cronsOutput(run: "{run.pk}") {{ next }} }}')
    runs = ask(bob, RUNS, n=1)

    assert refused(told) == ("FORBIDDEN", "Your account lacks the permission crons.view_attempt.")
    assert refused(runs)[0] == "FORBIDDEN"
    assert "ValueError" not in str(runs.data)


@pytest.mark.parametrize(
    ("user", "code"),
    [
        (AnonymousUser, "UNAUTHENTICATED"),
        (lambda: person(*LOOKS, *ACTS, is_staff=False), "FORBIDDEN"),
        (person, "FORBIDDEN"),
    ],
)
def test_nothing_is_for_strangers(user, code, nightly):
    """A refusal is an error, never an empty list."""
    run, incident = make_run(nightly, verdict=""), make_incident(nightly)
    asker = user()
    fields = ["cronsJobs { pageInfo { endCursor } }", 'cronsJob(name: "nightly") { name }', "cronsHealth { more }"]
    fields += [
        "cronsRuns { pageInfo { endCursor } }",
        f'cronsRun(id: "{run.pk}") {{ id }}',
        'cronsWhy(job: "nightly") { at }',
    ]
    fields += [f'cronsOutput(run: "{run.pk}") {{ next }}', "cronsIncidents { pageInfo { endCursor } }"]
    documents = [f"{{ {each} }}" for each in fields]
    documents += [each.replace("RUN", str(run.pk)).replace("INCIDENT", str(incident.pk)) for each in VERBS.values()]

    assert {refused(ask(asker, each))[0] for each in documents} == {code}
    assert AuditEvent.objects.count() == 0


@pytest.mark.parametrize("permission", VERBS)
def test_each_verb_has_its_own_permission_and_leaves_its_trace(permission, nightly):
    """Who may do all the rest is refused; who may do just this is named in the audit trail, with way and reason."""
    run = make_run(nightly, verdict="" if permission == "cancel_run" else "failed")
    incident = make_incident(nightly)
    document = VERBS[permission].replace("RUN", str(run.pk)).replace("INCIDENT", str(incident.pk))
    lacks = person(*LOOKS, *(each for each in ACTS if each != permission), name="bob")
    may = person("view_entry", "view_run", "view_incident", permission)

    assert refused(ask(lacks, document)) == ("FORBIDDEN", f"Your account lacks the permission crons.{permission}.")
    assert AuditEvent.objects.count() == 0

    [answer] = data(ask(may, document)).values()
    assert answer["errors"] == []
    event = AuditEvent.objects.get()
    assert event.actor == "ada (graphql)"
    assert event.reason in ("now", "storm", "no", "again", "mine")


def test_verbs_do_what_they_say(ada, nightly):
    failed, due = make_run(nightly, 9), make_run(nightly, 3, verdict="")

    ran = data(ask(ada, 'mutation { cronsRunNow(job: "nightly", key: "k") { run { id kind state requestedBy } } }'))
    again = data(ask(ada, 'mutation { cronsRunNow(job: "nightly", key: "k") { run { id } } }'))
    paused = data(ask(ada, 'mutation { cronsPause(job: "nightly", reason: "storm") { job { isPaused state } } }'))
    resumed = data(ask(ada, 'mutation { cronsResume(job: "nightly") { job { isPaused } } }'))
    data(ask(ada, f'mutation {{ cronsCancel(run: "{due.pk}", reason: "no") {{ run {{ id }} }} }}'))
    data(ask(ada, f'mutation {{ cronsRetry(run: "{failed.pk}") {{ run {{ id }} }} }}'))

    assert ran["cronsRunNow"]["run"]["kind"] == "MANUAL"
    assert ran["cronsRunNow"]["run"]["requestedBy"] == "ada (graphql)"
    assert again["cronsRunNow"]["run"]["id"] == ran["cronsRunNow"]["run"]["id"]
    assert paused["cronsPause"]["job"] == {"isPaused": True, "state": "paused by ada (graphql): storm"}
    assert resumed["cronsResume"]["job"] == {"isPaused": False}
    due.refresh_from_db()
    failed.refresh_from_db()
    assert (due.verdict, failed.state) == (Verdict.CANCELLED, State.WAITING)


@pytest.mark.parametrize(
    ("field", "code", "path"),
    [
        ('cronsRunNow(job: "nightlee")', "NOT_FOUND", ["job"]),
        ('cronsRunNow(job: "a\\u0000b")', "NOT_FOUND", ["job"]),
        ('cronsRunNow(job: "nightly", arguments: [1])', "INVALID", ["arguments"]),
        ('cronsRunNow(job: "nightly", key: "%s")' % ("k" * 101), "INVALID", ["key"]),
        ('cronsPause(job: "nightly", reason: " ")', "REQUIRED", ["reason"]),
        ('cronsPause(job: "nightly", reason: "%s")' % ("r" * 201), "INVALID", ["reason"]),
        ('cronsPause(job: "nightly", reason: "r", until: "2026-05-01T00:00:00")', "INVALID", ["until"]),
        ('cronsPause(job: "nightly", reason: "r", until: "2001-05-01T00:00:00Z")', "NOT_ALLOWED", []),
        ('cronsPause(job: "nightly", reason: "r", until: "0001-01-01T00:00:00+09:00")', "INVALID", ["until"]),
        ('cronsResume(job: "nightly")', "NOT_ALLOWED", ["job"]),
        ('cronsCancel(run: "RUN", reason: "r")', "NOT_ALLOWED", []),
        ('cronsCancel(run: "99999999999999999999", reason: "r")', "NOT_FOUND", ["run"]),
        ('cronsRetry(run: "²")', "NOT_FOUND", ["run"]),
        ('cronsRetry(run: "-1")', "NOT_FOUND", ["run"]),
        ('cronsAcknowledge(incident: "9223372036854775808")', "NOT_FOUND", ["incident"]),
    ],
)  # fmt: skip
def test_mistakes_are_data_and_change_nothing(ada, nightly, field, code, path):
    """As the CRM's own mutations have it: a program acts on the code, a person reads the message."""
    run = make_run(nightly)

    [answer] = data(
        ask(ada, f"mutation {{ {field.replace('RUN', str(run.pk))} {{ errors {{ code path message }} }} }}")
    ).values()

    [error] = answer["errors"]
    assert (error["code"], error["path"]) == (code, path)
    assert error["message"]
    assert AuditEvent.objects.count() == 0


def test_why_and_health_say_what_the_commands_say(ada, nightly):
    before_it_was_seen = "2026-03-02T11:00+00:00"
    expected = api.why("nightly", before_it_was_seen)

    why = data(ask(ada, f'{{ cronsWhy(job: "nightly", at: "{before_it_was_seen}") {{ job status headline }} }}'))[
        "cronsWhy"
    ]
    health = data(ask(ada, "{ cronsHealth { problems { kind job text nextStep } more } }"))["cronsHealth"]

    assert why == {"job": "nightly", "status": expected.status, "headline": expected.headline}
    assert {each["kind"] for each in health["problems"]} == {each.kind for each in api.health()} != set()
    assert refused(ask(ada, '{ cronsWhy(job: "nightly", at: "noon") { at } }'))[0] == "BAD_USER_INPUT"
    assert refused(ask(ada, '{ cronsWhy(job: "nightlee") { at } }')) == (
        "NOT_FOUND", "'nightlee' is no job that you may see.",
    )  # fmt: skip


def test_rights_of_the_project_narrow_what_is_seen_and_done(settings, make_entry):
    """CRONS["RIGHTS"] holds here as on the pages: what is another team's is as if it were not there."""
    settings.CRONS = {**settings.CRONS, "RIGHTS": f"{__name__}.of_ours"}
    ours, theirs = make_entry("ours"), make_entry("theirs")
    mine, other = make_run(ours), make_run(theirs)
    make_incident(ours, "a")
    make_incident(theirs, "b")
    ada = person(*LOOKS, *ACTS)

    assert [each["node"]["name"] for each in data(ask(ada, JOBS, n=9))["cronsJobs"]["edges"]] == ["ours"]
    assert [each["node"]["id"] for each in data(ask(ada, RUNS, n=9))["cronsRuns"]["edges"]] == [str(mine.pk)]
    seen = data(ask(ada, f'{{ cronsRun(id: "{other.pk}") {{ id }} cronsOutput(run: "{other.pk}") {{ next }} }}'))
    assert seen == {"cronsRun": None, "cronsOutput": None}
    incidents = data(ask(ada, "{ cronsIncidents { edges { node { job { name } } } } }"))["cronsIncidents"]["edges"]
    assert [each["node"]["job"]["name"] for each in incidents] == ["ours"]
    assert refused(ask(ada, '{ cronsWhy(job: "theirs") { at } }'))[0] == "NOT_FOUND"
    told = data(ask(ada, 'mutation { cronsPause(job: "theirs", reason: "r") { errors { code } } }'))
    assert told["cronsPause"]["errors"] == [{"code": "NOT_FOUND"}]


def test_runs_and_incidents_are_shown_only_with_their_job(settings, make_entry):
    """Each shows its job's name, schedule and state: by its number, in a list, as an answer, or of what was done."""
    settings.CRONS = {**settings.CRONS, "RIGHTS": f"{__name__}.of_parts"}
    make_entry("seen")
    ran = make_entry("ran")
    run, incident = make_run(ran), make_incident(ran)
    ada = person(*LOOKS, *ACTS)

    seen = data(ask(ada, f'{{ cronsRun(id: "{run.pk}") {{ id }} cronsOutput(run: "{run.pk}") {{ next }} }}'))
    runs = data(ask(ada, RUNS, n=9))["cronsRuns"]["edges"]
    incidents = data(ask(ada, "{ cronsIncidents { edges { node { id } } } }"))["cronsIncidents"]["edges"]
    told = data(ask(ada, f'mutation {{ cronsAcknowledge(incident: "{incident.pk}") {{ errors {{ code }} }} }}'))
    asked = data(ask(ada, 'mutation { cronsRunNow(job: "seen") { run { id } errors { code } } }'))["cronsRunNow"]

    assert (seen, runs, incidents) == ({"cronsRun": None, "cronsOutput": None}, [], [])
    assert told["cronsAcknowledge"]["errors"] == [{"code": "NOT_FOUND"}]
    assert (asked, Run.objects.filter(entry__name="seen").count()) == ({"run": None, "errors": []}, 1)
    assert refused(ask(ada, '{ cronsWhy(job: "seen") { at } }')) == (
        "FORBIDDEN", "Your account lacks the permission crons.view_run for seen.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other"), [(("n" * 40 + "1", "k"), ("n" * 40 + "2", "k")), (("a", "b:c"), ("a:b", "c"))]
)
def test_nobody_is_given_the_run_of_anothers_key(nightly, one, other):
    """Programs have long names that begin alike."""
    document = 'mutation($k: String!) { cronsRunNow(job: "nightly", key: $k) { run { id } } }'

    runs = [data(ask(person(*LOOKS, *ACTS, name=name), document, k=key)) for name, key in (one, other)]

    assert len({each["cronsRunNow"]["run"]["id"] for each in runs}) == 2


def test_a_program_operates_with_what_it_is_given(nightly):
    """A project whose programs show tokens says who operates; the cookie of a person adds nothing to it."""
    program = SimpleNamespace(
        is_authenticated=True, is_active=True, is_staff=True, is_superuser=False, get_username=lambda: "robot",
        has_perm=lambda permission: permission in ("crons.view_entry", "crons.view_run", "crons.run_entry"),
    )  # fmt: skip
    root = User.objects.create_superuser("root")
    context = {"request": SimpleNamespace(user=root, **{OPERATOR: program})}

    done = SCHEMA.execute_sync(VERBS["run_entry"], context_value=context)
    refusal = SCHEMA.execute_sync(VERBS["pause_entry"], context_value=context)

    assert data(done)["cronsRunNow"]["errors"] == []
    assert AuditEvent.objects.get().actor == "robot (graphql)"
    assert refused(refusal) == ("FORBIDDEN", "Your account lacks the permission crons.pause_entry.")


def test_fields_mix_with_those_of_the_project(ada):
    assert data(ask(ada, "{ mine cronsJobs(first: 0) { edges { cursor } } }")) == {
        "mine": "mine",
        "cronsJobs": {"edges": []},
    }


def test_what_many_jobs_share_is_told_of_ones_own(settings, make_entry):
    """It was hidden from all whose rights are narrowed; and who may act on some jobs answers none of many."""
    settings.CRONS = {**settings.CRONS, "RIGHTS": f"{__name__}.of_ours"}
    make_entry("ours"), make_entry("theirs")
    names = ["ours", "theirs"]
    for rule, jobs in [("waiting", names), ("late", ["theirs"])]:
        incident = make_incident(None, f"{rule}:*")
        Incident.objects.filter(pk=incident.pk).update(rule=rule, data={"jobs": jobs}, summary=f"2 jobs: {names}")
    ada = person(*LOOKS, *ACTS)

    seen = data(ask(ada, "{ cronsIncidents { edges { node { id summary job { name } } } } }"))["cronsIncidents"]
    [shared] = [each["node"] for each in seen["edges"]]
    told = ask(ada, f'mutation {{ cronsAcknowledge(incident: "{shared["id"]}") {{ errors {{ code }} }} }}')
    health = data(ask(ada, "{ cronsHealth { problems { text } } }"))["cronsHealth"]["problems"]

    assert (shared["summary"], shared["job"]) == ("2 jobs wait to be begun, of yours: ours", None)
    assert refused(told) == (
        "FORBIDDEN", "It is about no single job, and you may acknowledge those of some jobs only.",
    )  # fmt: skip
    assert "theirs" not in str(health)
