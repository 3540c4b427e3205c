"""Pools of database connections (OPTIONS pool) in the process of a worker that is forked from."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Site
from tests.acceptance.test_pools import ALL_DONE, SLOTS
from tests.contrib.django_tasks.test_workers import stop, worker

pytestmark = pytest.mark.postgres


def test_jobs_of_a_worker_share_no_connection(site: Site) -> None:
    """The worker of django-tasks-db has its queue in the same pool; it hung, and 0 of 8 slots ran."""
    site.env |= {"TEST_POOL": "1", "TEST_TASKS": "default,slow", "TEST_EXECUTOR": "tasks", "TEST_LEASE": "15"}
    migrated = site.python(str(site.manage_py), "migrate", "--no-input", "--verbosity=0")
    assert migrated.returncode == 0, migrated.stderr
    site.crons("sync")
    site.sql("DELETE FROM crons_run")
    site.make_all_due("asks_the_database%")
    busy = worker(site)
    scheduler = site.start("serve")

    site.wait_for_row(ALL_DONE, busy)
    stop(scheduler, busy)

    assert len({entry for entry, _, _ in site.traces()}) == SLOTS
    assert site.sql("SELECT DISTINCT executor FROM crons_attempt") == [("tasks",)]
