"""Pools of database connections (OPTIONS pool) that are open before anything is forked: nobody shares one."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import PATIENCE_SECONDS, Site

pytestmark = pytest.mark.postgres
SLOTS = 8
ALL_DONE = f"SELECT COUNT(*) FROM crons_run WHERE verdict = 'succeeded' HAVING COUNT(*) >= {SLOTS}"


@pytest.fixture
def pooled(site: Site) -> Site:
    """The site with a pool, which an app opens while Django starts."""
    site.env["TEST_POOL"] = "1"
    site.crons("sync")
    return site


def test_jobs_of_a_tick_share_no_connection(pooled: Site) -> None:
    """They read each other's rows, and one tick hung for ten minutes."""
    pooled.make_all_due("asks_the_database%")

    pooled.crons("tick")

    assert pooled.sql("SELECT verdict, COUNT(*) FROM crons_run GROUP BY verdict") == [("succeeded", SLOTS)]
    assert len({entry for entry, _, _ in pooled.traces()}) == SLOTS


def test_jobs_of_a_scheduler_share_no_connection(pooled: Site) -> None:
    pooled.make_all_due("asks_the_database%")
    scheduler = pooled.start("serve")

    pooled.wait_for_row(ALL_DONE, scheduler)
    scheduler.terminate()

    assert scheduler.wait(PATIENCE_SECONDS) == 0
    assert len({entry for entry, _, _ in pooled.traces()}) == SLOTS
