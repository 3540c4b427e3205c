"""Pools of database connections (OPTIONS pool) that are open before anything is forked: nobody shares one."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import PATIENCE_SECONDS, Site
from tests.acceptance.test_tasks import stop, worker

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


def test_jobs_of_a_worker_share_no_connection(pooled: Site) -> None:
    """The worker of django-tasks-db has its queue in the same pool; it hung, and 0 of 8 slots ran."""
    pooled.env |= {"TEST_TASKS": "default,slow", "TEST_EXECUTOR": "tasks", "TEST_LEASE": "15"}
    migrated = pooled.python(str(pooled.manage_py), "migrate", "--no-input", "--verbosity=0")
    assert migrated.returncode == 0, migrated.stderr
    pooled.crons("sync")
    pooled.sql("DELETE FROM crons_run")
    pooled.make_all_due("asks_the_database%")
    busy = worker(pooled)
    scheduler = pooled.start("serve")

    pooled.wait_for_row(ALL_DONE, busy)
    stop(scheduler, busy)

    assert len({entry for entry, _, _ in pooled.traces()}) == SLOTS
    assert pooled.sql("SELECT DISTINCT executor FROM crons_attempt") == [("tasks",)]
