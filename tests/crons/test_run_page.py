"""The page of one run: what it says, what it costs, what it wrote and goes on writing, and what people do to it."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from html import unescape
from itertools import islice
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from crons import api
from crons.executors.output import CHUNK_CHARACTERS
from crons.models import Attempt, AuditEvent, OutputChunk, Run, WorkReport
from crons.verdicts import State
from crons.web import output, run_views, runs
from tests.crons.filling import fill, full_scans

pytestmark = pytest.mark.django_db
# As long as what the executors write at once.
CHUNK = CHUNK_CHARACTERS
LOOKS = ("view_entry", "view_run", "view_attempt")


@pytest.fixture
def nightly(make_entry):
    return make_entry("nightly", zone="Europe/Paris")


def recorded(entry, state="done", verdict="failed", lag=1, took=9, **fields):
    """A run with one attempt that began *lag* seconds after its slot."""
    at = timezone.now().replace(microsecond=0) - timedelta(minutes=5)
    given = {"state": state, "verdict": verdict, "slot_at": at, "planned_at": at, "recorded_at": at, "tries": 1}
    run = Run.objects.create(entry=entry, trigger="serve", **{**given, **fields})
    ended = {"outcome": verdict, "ended_at": run.planned_at + timedelta(seconds=lag + took)} if verdict else {}
    attempt = Attempt.objects.create(
        run=run, number=1, token=uuid.uuid4(), executor="process", instance="i", host="web1", pid=7, boot_id="b",
        begun_at=run.planned_at + timedelta(seconds=lag), cpu_seconds=1.5, peak_memory_bytes=64_000_000,
        error="Traceback (most recent call last):\n  …\nValueError: <b>no</b>" if verdict == "failed" else "",
        lease_until=None if verdict else timezone.now() + timedelta(minutes=5), **ended,
    )  # fmt: skip
    Run.objects.filter(pk=run.pk).update(current_attempt=attempt.pk)
    run.refresh_from_db()
    return run


def wrote(run, *texts, stream="stdout", first=0):
    attempt = run.attempts.order_by("-number").first()
    for seq, text in enumerate(texts, first):
        OutputChunk.objects.create(attempt=attempt, seq=seq, stream=stream, text=text)


def words(response):
    """The page's text, in one line."""
    page = re.sub(r"(?s)<(style|script|svg).*?</\1>", "", response.content.decode())
    return " ".join(unescape(re.sub(r"<wbr>|<[^>]*>", lambda tag: "" if tag[0] == "<wbr>" else " ", page)).split())


def test_page_says_what_became_of_it(staff, nightly):
    """Verdict, slot, lateness, error, attempt and output: at three in the morning on one page."""
    run = recorded(nightly, detail="ValueError: <b>no</b>", lag=130)
    wrote(run, "\x1b[31masking\x1b[0m <i>the</i> shop\n")

    response = staff(*LOOKS).get(f"/crons/runs/{run.pk}")

    told = words(response)
    assert response.status_code == 200
    assert "failed: ValueError: <b>no</b>" in told
    assert "It was begun 2 min 10 s after its moment." in told
    assert "That is late: more than the grace allows." in told
    assert "The job raised, or its program exited with a code other than 0, on its last try." in told
    assert '<span class="ansi-red">asking</span> &lt;i&gt;the&lt;/i&gt; shop' in response.content.decode()
    assert "processor: 1.50 s" in told
    assert "memory at most: 64.0 MB" in told
    assert "hx-get" not in response.content.decode()  # it is over
    assert 'method="post"' not in response.content.decode()


def test_run_that_goes_on_is_followed(staff, nightly):
    """How far it is, what it has reported, and since when."""
    run = recorded(nightly, state="running", verdict="")
    WorkReport.objects.create(
        attempt=run.attempts.get(), examined=5, done=49, total=100, text="prices",
        progress_at=timezone.now() - timedelta(seconds=15),
    )  # fmt: skip
    wrote(run, "one\n", "two\n")

    response = staff(*LOOKS).get(f"/crons/runs/{run.pk}")

    assert re.search(r"49 of 100 \(49 %\): prices 1\d s ago", words(response))
    assert "It reported: 5 examined" in words(response)
    page = unescape(response.content.decode())
    assert f'hx-get="/crons/runs/{run.pk}/tail?attempt=1&after=1&sgr=&shown=8"' in page


def test_tail_gives_what_is_new_and_ends_with_the_attempt(staff, nightly):
    """No line twice, none left out, nothing swapped where nothing is new."""
    run = recorded(nightly, state="running", verdict="")
    client, address = staff(*LOOKS), f"/crons/runs/{run.pk}/tail?attempt=1"
    before = client.get(address)
    wrote(run, "\x1b[32mone\n", "two\n")
    both = client.get(address)
    [follow] = re.findall(r'hx-get="([^"]+)"', unescape(both.content.decode()))
    nothing = client.get(follow)
    wrote(run, "three\n", first=2)
    new = client.get(follow)
    Attempt.objects.update(outcome="succeeded", ended_at=timezone.now())
    ended = client.get(follow)

    assert (before.status_code, nothing.status_code) == (204, 204)
    assert words(both).startswith("stdout one two Attempt 1 is still going")
    assert "after=1&sgr=2&shown=" in follow
    assert '<span class="ansi-green">three\n</span>' in new.content.decode()
    assert "one" not in words(new)
    assert "hx-get" not in ended.content.decode()
    assert "Attempt 1 has ended." in words(ended)


def test_page_that_follows_for_long_begins_anew(staff, nightly):
    """A browser would hold all of a hundred megabytes."""
    run = recorded(nightly, state="running", verdict="")
    wrote(run, "x" * 70_000, "the end")

    answer = staff(*LOOKS).get(f"/crons/runs/{run.pk}/tail?attempt=1&after=0&shown={run_views.FOLLOWED_CHARACTERS + 1}")

    assert (answer["HX-Retarget"], answer["HX-Reswap"]) == ("#output", "outerHTML")
    assert len(answer.content) < output.TAIL_CHARACTERS + 2_000
    assert "the end" in words(answer)


def fill_output(attempt: Any, count: int) -> None:
    """Let *attempt* have written *count* chunks of CHUNK characters, made by the database, which is faster at it."""
    OutputChunk.objects.filter(attempt=attempt).delete()
    text = {
        "sqlite": "printf('%%05d ', i) || printf('%%.*c', %s, 'x') || char(10)",
        "postgresql": "to_char(i, 'FM00000 ') || repeat('x', %s) || chr(10)",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %s - 1) "
            f"INSERT INTO crons_outputchunk (attempt_id, seq, stream, text) SELECT %s, i, 'stdout', {text} FROM n",
            [count, attempt.pk, CHUNK - 7],
        )


def limits_of(captured: CaptureQueriesContext) -> list[str]:
    """How many lengths of texts each statement asked for, at most."""
    asked = [each["sql"] for each in captured if "LENGTH(" in each["sql"].upper()]
    return [re.findall(r"LIMIT (\d+)", sql)[-1] for sql in asked]


def test_output_of_a_hundred_megabytes_is_paged(staff, nightly):
    """Here of twenty, with bounds that hold for each length: of a page, of what is read for it, of a download."""
    run = recorded(nightly)
    fill_output(run.attempts.get(), 320)
    client = staff(*LOOKS)

    asked = []
    for place in ("/output?from=40", "", "/output?find=000"):
        with CaptureQueriesContext(connection) as captured:
            answer = client.get(f"/crons/runs/{run.pk}{place}")
        # Now: the next request forgets what was captured.
        asked.append((answer, len(captured), limits_of(captured), full_scans(captured)))
    [page, whole, found], counts, limits, scans = zip(*asked, strict=True)
    sent = client.get(f"/crons/runs/{run.pk}/download")
    parts = list(islice(sent.streaming_content, 3))

    assert len(page.content) < output.PAGE_CHARACTERS + 10_000
    assert len(whole.content) < output.TAIL_CHARACTERS + 30_000
    # Of the texts, and of their lengths, for which a database reads them, no more than these.
    assert limits == (["8"], ["8"], ["8", "72"])
    assert max(counts) <= 16
    assert scans == ([], [], [])
    assert "?attempt=1&amp;from=41" in page.content.decode()
    assert "Search on" in words(found)
    assert sent["Content-Disposition"] == f'attachment; filename="run-{run.pk}-attempt-1.txt"'
    assert (sent["Content-Type"], sent["X-Content-Type-Options"]) == ("text/plain; charset=utf-8", "nosniff")
    assert [len(each) for each in parts] == [output.CHUNKS_AT_ONCE * CHUNK] * 3
    assert b"".join(parts).count(b"\n") == 3 * output.CHUNKS_AT_ONCE


def test_search_finds_lines_across_chunks_and_says_where_it_stopped(nightly):
    """Whatever a job writes is cut at any character."""
    run = recorded(nightly)
    wrote(run, "first li", "ne\nsecond Li", "NE\nthird\n", "line" + "\nline" * output.MOST_FOUND)
    attempt = run.attempts.get()

    found = output.search(attempt, "line")
    rest = output.search(attempt, "line", found.next_start)

    assert [(hit.seq, hit.before, hit.found) for hit in found.hits[:3]] == [
        (0, "first ", "line"),
        (1, "second ", "LiNE"),
        (3, "", "line"),
    ]
    assert len(found.hits) == output.MOST_FOUND
    assert found.next_start == 3
    assert rest.next_start is None or rest.next_start > 3
    assert output.search(attempt, "fourth") == output.Found([], None)


def test_what_deceives_is_shown_in_every_place(staff, nightly):
    """Names, reasons, arguments and output are given by people and by what jobs read."""
    run = recorded(nightly, detail="\u202egnp.exe", requested_by="ann\u202e", args={"x": "\x07<b>"})
    wrote(run, "\u202eevil\x07 <script>alert(1)</script>\x1b]0;title\x07")
    AuditEvent.objects.create(
        at=timezone.now(), actor="ev\u202eil", verb="retry", subject_type="run", subject=str(run.pk), reason="a\x00b"
    ) if connection.vendor == "sqlite" else None
    client = staff(*LOOKS)

    pages = [client.get(f"/crons/runs/{run.pk}{end}") for end in ("", "/output", "/output?find=evil", "/download")]

    for page in pages:
        text = b"".join(page).decode() if page.streaming else page.content.decode()
        assert not {"\u202e", "\x07", "\x1b", "\x00"} & set(text)
        assert page.streaming or "<script>" not in text


@pytest.mark.parametrize("forged", ["0", "999999999999", "9" * 400, "x", "-1", "1;drop", "1\u0662", "%00"])
@pytest.mark.parametrize("end", ["", "/output", "/tail", "/download"])
def test_forged_number_is_a_page_that_says_so(staff, nightly, forged, end):
    """No 500, and no blank 404."""
    response = staff(*LOOKS).get(f"/crons/runs/{forged}{end}")

    assert response.status_code == 404
    assert re.search("is no number of a run|There is no run", words(response))


def test_forged_attempt_is_none(staff, nightly):
    """An attempt of another run is not shown as one of this."""
    run = recorded(nightly)
    client = staff(*LOOKS)

    answers = [client.get(f"/crons/runs/{run.pk}/output?attempt={each}") for each in ("2", "x", "9" * 50)]

    assert [each.status_code for each in answers] == [404] * 3
    assert f"Run {run.pk} has no attempt 2." in words(answers[0])


def test_output_needs_its_own_permission(staff, nightly):
    """What a job wrote may hold more than its verdict: customers, say."""
    run = recorded(nightly)
    wrote(run, "ada@example.com owes 12")
    client = staff("view_entry", "view_run")

    page = client.get(f"/crons/runs/{run.pk}")
    others = [client.get(f"/crons/runs/{run.pk}/{each}") for each in ("output", "tail", "download")]

    assert "ada@example.com" not in page.content.decode()
    assert "Traceback" not in page.content.decode()
    assert "crons.view_attempt" in words(page)
    assert [each.status_code for each in others] == [403] * 3
    assert all("Your account lacks the permission crons.view_attempt." in words(each) for each in others)


def test_cancel_and_retry_ask_why_and_come_back(staff, nightly):
    """From the page to the deed and back, each with its permission and an audit event."""
    run = recorded(nightly, state="due", verdict="", wake_at=timezone.now())
    run.attempts.all().delete()
    client = staff(*LOOKS, "cancel_run", "retry_run")
    page = f"/crons/runs/{run.pk}"

    shown = client.get(page).content.decode()
    unsaid = client.post(f"{page}/cancel", {"reason": " "}, follow=True)
    cancelled = client.post(f"{page}/cancel", {"reason": "too late"}, follow=True)
    again = client.post(f"{page}/cancel", {"reason": "too late"}, follow=True)
    stamp = re.search(r'name="seen" value="([^"]+)"', cancelled.content.decode())[1]
    retried = client.post(f"{page}/retry", {"seen": stamp}, follow=True)

    assert f'action="{page}/cancel"' in shown
    assert "csrfmiddlewaretoken" in shown
    assert f'action="{page}/retry"' not in shown
    assert "Nothing was done: a reason is expected" in words(unsaid)
    assert f"Run {run.pk} of nightly: asked to stop." in words(cancelled)
    assert f"Nothing was done: run {run.pk} is over: cancelled. Now it is: cancelled" in words(again)
    assert "The last that was asked of it: cancel, by sam at" in words(again)
    assert "opened for another try." in words(retried)
    assert [event.verb for event in AuditEvent.objects.order_by("pk")] == ["cancel", "retry"]
    assert Run.objects.get().state == State.WAITING


def test_stale_button_says_what_happened_meanwhile(staff, nightly):
    """Two people at three in the morning must not have a payment made twice."""
    run = recorded(nightly)
    client = staff(*LOOKS, "retry_run")
    page = client.get(f"/crons/runs/{run.pk}").content.decode()
    stamp = re.search(r'name="seen" value="([^"]+)"', page)[1]
    api.retry(run.pk, by="ann", reason="the shop is back")

    response = client.post(f"/crons/runs/{run.pk}/retry", {"seen": stamp, "reason": "again"}, follow=True)

    told = words(response)
    assert f"Nothing was done: more has become of run {run.pk} since this page was shown." in told
    assert "retry, by ann at" in told
    assert "(the shop is back)" in told
    assert [event.actor for event in AuditEvent.objects.all()] == ["ann"]


@pytest.mark.parametrize(("verb", "lacking"), [("cancel", "cancel_run"), ("retry", "retry_run")])
def test_who_may_not_act_is_told_what_is_lacking(staff, nightly, verb, lacking):
    """And nothing is done."""
    run = recorded(nightly)
    client = staff(*LOOKS)

    response = client.post(f"/crons/runs/{run.pk}/{verb}", {"reason": "x"})

    assert response.status_code == 403
    assert f"Your account lacks the permission crons.{lacking}." in words(response)
    assert client.get(f"/crons/runs/{run.pk}/{verb}").status_code == 405
    assert not AuditEvent.objects.exists()


def test_attempt_is_held_against_its_entrys_history(staff, nightly):
    """Twice the memory of all others is what one looks for, and does not see in a number."""
    now = timezone.now() - timedelta(hours=1)
    for number in range(12):
        at = now - timedelta(minutes=number)
        recorded(nightly, verdict="succeeded", took=10 + number % 2, slot_at=at, planned_at=at)
    run = recorded(nightly, verdict="succeeded", took=100)
    Attempt.objects.filter(run=run).update(cpu_seconds=9)

    response = staff(*LOOKS).get(f"/crons/runs/{run.pk}")

    assert "1 min 40 s 10.0 times the usual usually 10 s, 95 of 100 up to 11 s" in words(response)
    assert "processor: 9.00 s 6.0 times the usual usually 1.50 s" in words(response)
    assert "memory at most: 64.0 MB usually 64.0 MB" in words(response)
    assert response.content.decode().count("<rect") == 13


def test_what_no_alert_calls_slow_no_page_calls_unusual(staff, nightly):
    """Thirty seconds instead of ten are nothing to wonder at; one answer wherever it is asked."""
    now = timezone.now() - timedelta(hours=1)
    for number in range(5):
        at = now - timedelta(minutes=number)
        recorded(nightly, verdict="succeeded", took=10, slot_at=at, planned_at=at)
    run = recorded(nightly, verdict="succeeded", took=30)

    response = staff(*LOOKS).get(f"/crons/runs/{run.pk}")

    assert "30 s usually 10 s, 95 of 100 up to 10 s" in words(response)


def test_run_without_history_or_attempt_has_a_page(staff, nightly):
    """The first one of all, and one that was never begun."""
    run = recorded(nightly, verdict="skipped", reason="overlap", tries=0)
    run.attempts.all().delete()

    response = staff(*LOOKS).get(f"/crons/runs/{run.pk}")

    assert "skipped (overlap)" in words(response)
    assert "It was never begun." in words(response)
    assert "<svg" not in response.content.decode()


def test_page_costs_the_same_whatever_the_rows(staff, make_entry):
    """Six for the run, two for its output, and those for who asks; their plans are held in test_growth.py."""
    fill([make_entry(f"job{n}") for n in range(5)], 400, timezone.now())
    run = Run.objects.order_by("-planned_at").first()
    client = staff(*LOOKS)

    with CaptureQueriesContext(connection) as captured:
        response = client.get(f"/crons/runs/{run.pk}")

    assert response.status_code == 200
    # PostgreSQL is asked for the time.
    assert len(captured) == 11 + (connection.vendor == "postgresql")
    assert len(runs.look(run).tries) == 1
