"""The CRM's class in CRON_CLASSES: by runcrons and by schedulers, all at once, once per slot."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.conftest import HOURLY, PATIENCE_SECONDS, ROOT, Site
from tests.databases import OwnDatabase

NAME = "expire_sessions_and_tokens"
MANAGE = str(ROOT / "manage.py")


@pytest.fixture
def shop(own_database: OwnDatabase, tmp_path: Path) -> Site:
    """The CRM with three expired sessions and a good one, its class due by the hour, all else far off."""
    env = {
        "DJANGO_SETTINGS_MODULE": "crm.settings",
        "CRM_SECRET_KEY": "acceptance-" * 5,
        "CRM_ENV_FILE": os.devnull,
        "CRM_LOG_DIR": str(own_database.log_dir),
    }
    site = Site(own_database.migrate(), tmp_path, env=env)
    site.crons("sync")
    for number, year in enumerate((2020, 2021, 2022, 2999)):
        site.sql(
            "INSERT INTO django_session (session_key, session_data, expire_date) VALUES (%s, '', %s)",
            f"s{number}",
            f"{year}-01-01 00:00:00+00:00",
        )
    site.sql("UPDATE crons_entry SET schedule = '0 12 29 2 *', wake_at = NULL")
    site.sql("UPDATE crons_entry SET schedule = %s WHERE name = %s", HOURLY, NAME)
    site.make_due(NAME)
    return site


def test_all_triggers_at_once_run_it_once_per_slot(shop: Site) -> None:
    """Two old crontab lines and two schedulers that come in the same moment."""
    triggers = [[MANAGE, "runcrons"], [MANAGE, "crons", "tick"]] * 2
    with closing(shop.stack):
        started = [shop.start_python(*trigger) for trigger in triggers]
        codes = [process.wait(timeout=PATIENCE_SECONDS) for process in started]

    assert codes == [0, 0, 0, 0]
    slots = shop.sql(
        "SELECT r.slot_at, count(*) FROM crons_run r JOIN crons_entry e ON e.id = r.entry_id WHERE e.name = %s "
        "GROUP BY r.slot_at",
        NAME,
    )
    assert [count for _, count in slots] == [1]
    assert shop.sql("SELECT outcome FROM crons_attempt") == [("succeeded",)]
    assert shop.sql("SELECT session_key FROM django_session") == [("s3",)]
    wrote = "".join(text for (text,) in shop.sql("SELECT text FROM crons_outputchunk ORDER BY attempt_id, seq"))
    assert wrote.startswith("3 sessions and 0 service tokens deleted\n")


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_runcrons_from_a_bare_environment(shop: Site) -> None:
    """As cron calls it, from /; what it prints is what django-cron prints."""
    bare = {name: shop.env[name] for name in ("DATABASE_URL", "CRM_SECRET_KEY", "CRM_ENV_FILE", "CRM_LOG_DIR")}
    done = subprocess.run(
        [sys.executable, MANAGE, "runcrons"],
        env=bare, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["3 sessions and 0 service tokens deleted", f"[✔] {NAME}"]
