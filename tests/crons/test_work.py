"""What a job says of its work: counted with the work or not at all, written now and then, shown where people look."""

from __future__ import annotations

import io
import json
import logging
import threading
from typing import Any

import django
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import IntegrityError, OperationalError, connections, transaction
from django.db.models import Q
from django.urls import reverse

from crons import cron, job, ledger
from crons.attempts import MOST_COUNTED, Counts, Finished, Progress
from crons.exceptions import LedgerUnavailable, Refused
from crons.executors import recorded_work
from crons.executors.recorded_work import RecordedWork
from crons.executors.runner import Context
from crons.ledger.ending.work import MOST_REASONS, OTHER
from crons.ledger.maintenance.pruning import _delete_runs
from crons.models import Attempt, Delivery, Run, WorkReport
from crons.testing import run, run_recorded
from crons.verdicts import Ending, Outcome
from crons.watch import inspection, notice_of

from .conftest import NOON, minutes


def context(**given: Any) -> Context:
    return Context("e", "j", "k", 1, 1, "slot", "test", NOON, NOON, **given)


def test_reports_add_up_and_what_was_not_said_stays_unknown() -> None:
    mine = context()

    mine.report(examined=500, changed=3, skipped={"no address": 2})
    mine.report(examined=40, skipped={"no address": 1, "opted out": 7})
    mine.report(changed=0)

    assert mine.work.counts == Counts(examined=540, changed=3, skipped={"no address": 3, "opted out": 7})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "expected at least one of examined="),
        ({"examined": "12"}, "context.report(examined='12'): expected a whole number"),
        ({"changed": True}, "context.report(changed=True): expected a whole number"),
        ({"failed": 1.5}, "context.report(failed=1.5): expected a whole number"),
        ({"examined": -1}, "context.report(examined=-1): expected a whole number from 0"),
        ({"examined": MOST_COUNTED + 1}, "expected a whole number from 0 to 9,223,372,036,854,775,807"),
        ({"skipped": ["no address"]}, "expected counts by reason, such as {'no address': 3}"),
        ({"skipped": {"": 3}}, "expected a reason in words"),
        ({"skipped": {7: 3}}, "context.report(skipped={7: …}): expected a reason in words"),
        ({"skipped": {"no address": None}}, "context.report(skipped={'no address': None}): expected a whole number"),
    ],
)
def test_what_is_no_count_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        context().report(**given)

    assert told in str(caught.value)


def test_progress_takes_whole_numbers() -> None:
    with pytest.raises(TypeError, match=r"context\.progress\('half'\): expected a whole number"):
        context().progress("half")  # type: ignore[arg-type] # what people try
    with pytest.raises(ValueError, match=r"context\.progress\(total=-1\)"):
        context().progress(1, -1)


@pytest.fixture
def attempt(make_entry, led, instance) -> Attempt:
    """An attempt that goes on."""
    make_entry()
    led.record(NOON + minutes(5))
    (begun,) = ledger.begin(NOON + minutes(5), {"process": 1}, ["heartbeat"], instance)
    return Attempt.objects.get(pk=begun.attempt)


def row() -> WorkReport:
    return WorkReport.objects.get()


def test_counts_are_committed_with_the_work_or_not_at_all(attempt: Attempt) -> None:
    said = RecordedWork(attempt.pk)
    said.report(Counts(examined=500, changed=3, skipped={"no address": 2}))

    with transaction.atomic():
        said.report(Counts(examined=500, changed=500))
        transaction.set_rollback(True)  # as of a batch in which the job was killed

    said.report(Counts(examined=40, skipped={"no address": 1, "opted out": 7}, failed=0))
    assert (row().examined, row().changed, row().failed) == (540, 3, 0)
    assert row().skipped == {"no address": 3, "opted out": 7}


def test_sums_and_reasons_stay_within_bounds(attempt: Attempt) -> None:
    said = RecordedWork(attempt.pk)

    said.report(Counts(examined=MOST_COUNTED, skipped={f"customer {number} has orders": 1 for number in range(200)}))
    said.report(Counts(examined=MOST_COUNTED, skipped={"customer 7 has orders": 1, "brand new": 2}))

    assert row().examined == MOST_COUNTED
    assert len(row().skipped) == MOST_REASONS + 1
    assert row().skipped["customer 7 has orders"] == 2
    assert row().skipped[OTHER] == 200 - MOST_REASONS + 2


def test_nothing_secret_and_nothing_unstorable_is_kept(attempt: Attempt, settings) -> None:
    settings.SECRET_KEY = secret = "hunter2-hunter2-hunter2"
    said = RecordedWork(attempt.pk)

    said.report(Counts(skipped={f"refused {secret}": 1, "nul\0 and \ud800": 4}))
    said.show(Progress(1, 2, f"with {secret} " + "x" * 500))

    kept = json.dumps(row().skipped) + row().text
    assert secret not in kept
    assert sorted(row().skipped.values()) == [1, 4]
    assert len(row().text) == 255


def test_of_progress_one_a_second_is_written_and_the_last(attempt: Attempt, monkeypatch) -> None:
    now = [100.0]
    written: list[Progress] = []
    monkeypatch.setattr(recorded_work.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(recorded_work, "write_progress", lambda _, progress: written.append(progress))
    said = RecordedWork(attempt.pk)

    for done in range(1, 11):
        said.show(Progress(done, 10))
        said.show(Progress(done, 10))
        now[0] += 0.3

    assert [each.done for each in written] == [1, 5, 9, 10]


def test_progress_that_cannot_be_written_ends_no_work_and_is_said_once_for_each_silence(
    attempt, monkeypatch, caplog
) -> None:
    def away(*_: Any) -> None:
        raise LedgerUnavailable("the database did not answer")

    monkeypatch.setattr(recorded_work, "PROGRESS_SECONDS", 0)
    said = RecordedWork(attempt.pk)
    with caplog.at_level(logging.WARNING, "crons.executors"):
        with monkeypatch.context() as silent:
            silent.setattr(recorded_work, "write_progress", away)
            said.show(Progress(1, 10))
            said.show(Progress(2, 10))
        said.show(Progress(3, 10))
        monkeypatch.setattr(recorded_work, "write_progress", away)
        said.show(Progress(4, 10))

    assert row().done == 3
    assert [record.getMessage() for record in caplog.records] == [
        f"Attempt {attempt.pk}: its progress could not be written: the database did not answer"
    ] * 2


@pytest.mark.parametrize(
    "error", [IntegrityError("its run was deleted"), Refused("autocommit is off on the ledger's database")]
)
def test_whatever_keeps_progress_from_being_written_the_job_goes_on(attempt, monkeypatch, caplog, error) -> None:
    def refuse(*_: Any) -> None:
        raise error

    monkeypatch.setattr(recorded_work, "write_progress", refuse)

    with caplog.at_level(logging.WARNING, "crons.executors"):
        RecordedWork(attempt.pk).show(Progress(1, 10))

    assert str(error) in caplog.text


def test_a_report_that_cannot_be_written_is_an_error_of_the_job(attempt: Attempt, monkeypatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr("crons.ledger.ending.work._locked", away)

    with pytest.raises(LedgerUnavailable):
        RecordedWork(attempt.pk).report(Counts(examined=1))


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_long_transaction_that_reports_does_not_keep_the_lease_from_being_renewed(attempt: Attempt) -> None:
    """The counts are a row of their own: on the attempt's they would lock what the renewal writes."""
    has_reported, is_renewed = threading.Event(), threading.Event()

    def job_of_long_transactions() -> None:
        try:
            with transaction.atomic():
                RecordedWork(attempt.pk).report(Counts(examined=7))
                has_reported.set()
                is_renewed.wait(60)
        finally:
            connections.close_all()

    thread = threading.Thread(target=job_of_long_transactions)
    thread.start()
    assert has_reported.wait(60)
    renewed = ledger.renew([attempt.pk], NOON + minutes(6))
    assert not WorkReport.objects.exists()
    is_renewed.set()
    thread.join()

    assert renewed.owned == {attempt.pk}
    assert row().examined == 7


@pytest.mark.django_db(transaction=True)
def test_threads_of_a_job_lose_no_count_of_each_other(attempt: Attempt) -> None:
    def count() -> None:
        try:
            for _ in range(5):
                RecordedWork(attempt.pk).report(Counts(examined=1, skipped={"no address": 1}))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert (row().examined, row().skipped) == (20, {"no address": 20})


def reporting(context: Context) -> None:
    context.progress(1, 4, "customers")
    context.report(examined=1_200, changed=37, skipped={"opted out": 1, "no address": 3})
    context.progress(4, 4, "customers")


def test_a_unit_test_sees_what_the_job_said(empty_registry) -> None:
    job(cron("0 3 * * *"), name="remind")(reporting)

    result = run("remind").reraise()

    assert result.counts == Counts(1_200, 37, skipped={"opted out": 1, "no address": 3})
    assert result.progress == Progress(4, 4, "customers")


@pytest.fixture
def remind(empty_registry, db) -> Run:
    """A run whose job reported."""
    job(cron("0 3 * * *"), name="remind")(reporting)
    result = run_recorded("remind").reraise()
    assert result.counts == Counts(1_200, 37, skipped={"opted out": 1, "no address": 3})
    assert result.progress == Progress(4, 4, "customers")
    assert result.run is not None
    return result.run


REPORTED = "1,200 examined, 37 changed, 4 skipped (3 no address, 1 opted out)"
DATA = {
    "examined": 1_200, "changed": 37, "failed": None, "skipped": {"opted out": 1, "no address": 3},
    "done": 4, "total": 4, "text": "customers",
}  # fmt: skip


def asked(*arguments: str) -> str:
    out = io.StringIO()
    call_command("crons", *arguments, stdout=out)
    return out.getvalue()


def test_show_and_history_say_it(remind: Run) -> None:
    shown = asked("show", str(remind.pk))

    assert f"reported      {REPORTED}" in " ".join(shown.split()) or REPORTED in shown
    assert "4 of 4 (100 %): customers" in shown
    assert asked("history").rstrip().endswith("1,200 examined, 37 changed, 4 skipped")
    (attempt,) = json.loads(asked("show", str(remind.pk), "--json"))["attempts"]
    assert DATA.items() <= attempt["work"].items()
    assert DATA.items() <= json.loads(asked("history", "--json"))["work"].items()


def test_history_of_jobs_that_say_nothing_has_no_column_for_it(attempt: Attempt) -> None:
    assert "work" not in asked("history").splitlines()[0]


def test_one_that_goes_on_shows_how_far_it_is(attempt: Attempt, client) -> None:
    RecordedWork(attempt.pk).show(Progress(49, 100, "<b>orders\u202e</b>"))
    client.force_login(User.objects.create_superuser("boss"))

    pages = [
        client.get(page).content.decode()
        for page in ("/crons/", reverse("admin:crons_run_change", args=[attempt.run_id]))
    ]

    assert "49 of 100 (49 %): <b>orders" in asked("history")
    for page in pages:
        assert '<progress aria-hidden="true" max="100" value="49">' in page
        assert "49 of 100 (49 %): &lt;b&gt;orders" in page
        assert "\u202e" not in page


def test_the_mail_about_a_failure_says_how_far_it_came(attempt: Attempt, settings) -> None:
    address = "ops@example.com"
    settings.ADMINS = [address] if django.VERSION >= (6, 0) else [("Ops", address)]
    said = RecordedWork(attempt.pk)
    said.show(Progress(49, 100))
    said.report(Counts(examined=49, failed=1))
    ending = Ending(Outcome.FAILED, "boom")
    ledger.finish([Finished(attempt.pk, ending)], NOON + minutes(6))

    inspection.inspect(NOON + minutes(6))

    (mail,) = Delivery.objects.all()
    assert "reported: 49 examined, 1 failed\nprogress: 49 of 100 (49 %)\n" in notice_of(mail).as_text()


def test_it_goes_with_its_attempt(remind: Run) -> None:
    assert _delete_runs([remind.pk], Q()) == 1
    assert not WorkReport.objects.exists()
