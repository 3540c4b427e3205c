"""Processes that want different things of the same rows: each gets an answer that is true, and nothing half done."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from tests.acceptance.conftest import Site
from tests.acceptance.rivals import LIMIT, TRIES


def rivals(site: Site, rows: tuple[int, int, str], *acts: str) -> list[dict[str, Any]]:
    """Write the rows, let a process per act go at once, and return what each has told, by act."""
    site.crons("sync")  # the row of the deployment is what limits over all processes are counted under
    made = site.python("-m", "tests.acceptance.rival_rows", *map(str, rows))
    assert made.returncode == 0, made.stderr
    done = site.python("-m", "tests.acceptance.rivals", *acts)
    assert (done.returncode, done.stderr) == (0, "")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(each["act"] for each in told) == sorted(acts)
    return sorted(told, key=lambda each: each["act"])


def test_no_more_of_a_group_go_at_once_than_its_limit_over_all_processes(site: Site) -> None:
    """Six schedulers with room for four each, and a group of two: each looks before and after it begins."""
    told = rivals(site, (60, 2, "due"), *["begin_and_finish"] * 6)  # each locks other entries

    assert max(each["most"] for each in told) == LIMIT
    assert sum(each["begun"] for each in told) == 120
    # On SQLite one that has the write lock may have it again and again, until nothing is left.
    assert len([each for each in told if each["begun"]]) > (0 if site.database.vendor == "sqlite" else 1)
    assert site.sql("SELECT COUNT(*), MAX(tries), MIN(verdict), MAX(verdict) FROM crons_run") == [
        (120, 1, "succeeded", "succeeded")
    ]


def test_two_prunes_at_once_share_the_work(site: Site) -> None:
    """Neither counts what the other deleted, and nothing that hung on a run is left."""
    told = rivals(site, (2, 300, "old"), "prune", "prune", "prune")

    # The latest run of each entry stays.
    assert sum(each["runs"] for each in told) == 598
    for table in ("run", "attempt", "outputchunk"):
        assert site.sql(f"SELECT COUNT(*) FROM crons_{table}") == [(2,)]


def test_a_run_is_retried_or_pruned_but_not_both(site: Site) -> None:
    """Who was told that a run is open again must find it, with all that its former try wrote."""
    told = rivals(site, (2, 300, "old"), "prune", "prune", "retry_each")

    *prunes, retried = told
    open_again = [pk for (pk,) in site.sql("SELECT id FROM crons_run WHERE state = 'waiting' ORDER BY id")]
    assert open_again == sorted(retried["done"])
    assert open_again
    assert set(retried["refused"]) <= {"run N does not exist"}
    assert len(open_again) + sum(each["runs"] for each in prunes) == 600
    assert site.sql("SELECT COUNT(*) FROM crons_run") == [(len(open_again),)]
    whole = "SELECT a.run_id FROM crons_attempt a JOIN crons_outputchunk o ON o.attempt_id = a.id ORDER BY a.run_id"
    assert [pk for (pk,) in site.sql(whole)] == open_again
    assert site.sql("SELECT COUNT(*) FROM crons_attempt") == [(len(open_again),)]
    assert site.sql("SELECT COUNT(*) FROM crons_auditevent WHERE verb = 'retry'") == [(len(open_again),)]


@pytest.mark.slow
def test_retries_against_a_scheduler_that_begins_and_fails(site: Site) -> None:
    """A run is reopened once for each try that is over: never while one goes, never twice."""
    rows = (1, 1, "due")

    told = rivals(site, rows, "fail_again", "retry_on", "retry_on")

    failing, *retrying = told
    assert failing["numbers"] == list(range(1, TRIES + 1))
    assert sum(each["done"] for each in retrying) == TRIES - 1
    [(run, *ended)] = site.sql("SELECT id, state, verdict, tries FROM crons_run")
    assert ended == ["done", "succeeded", TRIES]
    assert {words for each in retrying for words in each["refused"]} <= {f"run {run} is not over", "has succeeded"}
    assert site.sql("SELECT number FROM crons_attempt ORDER BY id") == [(number,) for number in range(1, TRIES + 1)]
    assert site.sql("SELECT COUNT(*) FROM crons_auditevent WHERE verb = 'retry'") == [(TRIES - 1,)]


def test_cancel_against_finish_leaves_each_run_with_one_ending(site: Site) -> None:
    """Asked in time or told that it is over; what has succeeded stays so."""
    told = rivals(site, (2, 100, "going"), "cancel_each", "finish_each")

    cancelled, finished = told
    assert finished["accepted"] == 200
    assert site.sql("SELECT DISTINCT r.state, r.verdict, a.outcome FROM crons_run r JOIN crons_attempt a "
                    "ON a.run_id = r.id") == [("done", "succeeded", "succeeded")]  # fmt: skip
    asked = site.sql("SELECT run_id FROM crons_attempt WHERE cancel_requested_at IS NOT NULL ORDER BY id")
    assert [pk for (pk,) in asked] == cancelled["done"]
    audited = site.sql("SELECT subject FROM crons_auditevent WHERE verb = 'cancel' ORDER BY id")
    assert Counter(int(subject) for (subject,) in audited) == Counter(cancelled["done"])
    assert set(cancelled["refused"]) <= {"run N is over: succeeded"}


def test_what_is_wrong_is_one_incident_and_told_once_whoever_looks(site: Site) -> None:
    """Two watchers ask the rules and send the mails; another acknowledges while it opens, and while it ends."""
    mails = site.folder / "mails"
    mails.mkdir()
    site.env["TEST_MAILS"] = str(mails)

    told = rivals(site, (3, 0, "parked"), "watch", "watch", "acknowledge", "mend")

    assert sum(each["looks"] for each in told if each["act"] == "watch") > 1
    incidents = site.sql("SELECT rule, open_key, acknowledged_by FROM crons_incident")
    assert incidents == [("parked", None, "rival")] * 3
    sent = site.sql("SELECT incident_id, event, state FROM crons_delivery ORDER BY incident_id, event")
    assert Counter((event, state) for _, event, state in sent) == {("opened", "sent"): 3, ("closed", "sent"): 3}
    # What the outbox says, and what came.
    assert len("".join(each.read_text() for each in mails.iterdir()).split("\nSubject: ")) - 1 == 6
    refused = {words for each in told if each["act"] == "acknowledge" for words in each["refused"]}
    assert refused <= {"incident N is over"}
