"""Celery's beat with its stock DatabaseScheduler, a real Redis, real workers: each slot once, without `serve`."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.acceptance import brokers
from tests.acceptance.conftest import PATIENCE_SECONDS, ROOT, Site, wait_for_line
from tests.contrib.celery.test_workers import APP, DONE, goes_by, worker

pytestmark = pytest.mark.needs("redis-server")
pytest.importorskip("django_celery_beat", reason="django-celery-beat has no release for this Django")
SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
FIRED = r"plain fired: .*(succeeded already|sent to|has it|being run|waits)"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[brokers.Redis]:
    """A Redis of the test's own."""
    with brokers.redis(tmp_path) as server:
        yield server


@pytest.fixture
def beaten(site: Site, redis: brokers.Redis, tmp_path: Path) -> Site:
    """A site whose entries are mirrored to django-celery-beat's rows, and that has nothing else to fire them."""
    site.env |= {"TEST_BEAT": "1", "TEST_STATE_DIR": str(tmp_path / "state")}
    done = site.python(str(site.manage_py), "migrate", "--verbosity=0")
    assert done.returncode == 0, done.stderr
    goes_by(site, redis.url)
    site.keep_off_the_hour()  # where beat would fire all of them
    site.crons("apply", "--to", "beat")
    return site


def beat(site: Site) -> subprocess.Popen[str]:
    """Start Celery's beat and return it once it has read the rows."""
    options = ("--scheduler", SCHEDULER, "--max-interval", "1", "-l", "INFO", "--pidfile=", "-s", "")
    process = site.start_python("-m", "celery", "-A", APP, "beat", *options, PYTHONPATH=str(ROOT))
    # Not "beat: Starting", which comes before it reads them: a SIGTERM in between ends it with 1.
    wait_for_line(process, r"Writing entries|Sending due task|DatabaseScheduler: Schedule changed")
    return process


def fire_each_second(site: Site, entry: str) -> None:
    """Have beat fire one entry each second, through a row of somebody's beside ours: a slot is then met many times."""
    [(kwargs,)] = site.sql("SELECT kwargs FROM django_celery_beat_periodictask WHERE name = %s", f"crons:{entry}")
    code = (
        "import django, sys; django.setup(); "
        "from django_celery_beat.models import IntervalSchedule, PeriodicTask; "
        "each, _ = IntervalSchedule.objects.get_or_create(every=1, period='seconds'); "
        "PeriodicTask.objects.create(name='often', task='crons.fire', kwargs=sys.argv[1], interval=each)"
    )
    done = site.python("-c", code, json.dumps(json.loads(kwargs)), PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr


def test_two_beats_give_one_attempt_per_slot_and_a_killed_one_fires_none_again(beaten: Site) -> None:
    """Each beat sends its own message for a slot; the ledger has the slot once, whoever fires it how often."""
    beaten.make_due("plain")
    fire_each_second(beaten, "plain")
    taker = worker(beaten, "ann")
    doomed, other = beat(beaten), beat(beaten)
    wait_for_line(taker, "plain fired: ")

    doomed.send_signal(signal.SIGKILL)
    doomed.wait()
    third = beat(beaten)
    beaten.wait_for_row(DONE.format("plain"), taker)
    for _ in range(4):  # both have fired since
        wait_for_line(taker, r"plain fired: run \d+ of plain has succeeded already")

    assert Counter(entry for entry, _, _ in beaten.traces()) == {"plain": 1}
    assert beaten.verdicts("plain") == [("succeeded", 1, "succeeded")]
    assert beaten.sql("SELECT trigger FROM crons_run") == [("beat",)]
    # Killed: Celery's beat may lose a SIGTERM that comes while it writes, and go on for ever.
    for process in (other, third):
        process.kill()
        process.wait()
    taker.send_signal(signal.SIGTERM)
    assert taker.wait(PATIENCE_SECONDS) == 0
    assert beaten.sql("SELECT COUNT(*) FROM crons_run") == [(1,)]


def test_beat_and_workers_are_enough_and_the_ledger_follows_the_admin(beaten: Site) -> None:
    """The tick's row does what no row fires, and takes over what people change: nobody runs `crons serve`."""
    beaten.sql("INSERT INTO django_celery_beat_intervalschedule (every, period) VALUES (1, 'seconds')")
    beaten.sql(
        "UPDATE django_celery_beat_periodictask SET crontab_id = NULL, "
        "interval_id = (SELECT MAX(id) FROM django_celery_beat_intervalschedule) WHERE name = 'crons.tick'"
    )
    beaten.env["TEST_ENTRIES"] = "1"
    beaten.crons("sync")
    beaten.make_due("harmless", "traced_0000")
    taker = worker(beaten, "ann")
    fires = beat(beaten)

    beaten.wait_for_row(DONE.format("harmless"), taker)
    beaten.wait_for_row(DONE.format("traced_0000"), taker)  # a job of the executor process, run where the tick is
    beaten.sql("UPDATE django_celery_beat_periodictask SET enabled = (1 = 0) WHERE name = 'crons:plain'")
    # The slot of no moment that is near, and not what is declared.
    later = f"{(datetime.now(UTC) + timedelta(minutes=20)).minute or 1}"
    beaten.sql("UPDATE django_celery_beat_crontabschedule SET minute = %s WHERE minute <> '*' AND hour = '*'", later)
    beaten.wait_for_row("SELECT 1 FROM crons_entry WHERE paused_by = 'django-celery-beat' AND name = 'plain'", fires)
    beaten.wait_for_row(f"SELECT 1 FROM crons_entry WHERE schedule = '{later} * * * *' AND name = 'harmless'", fires)

    assert Counter(entry for entry, _, _ in beaten.traces()) == {"harmless": 1, "traced_0000": 1}
    executors = dict(beaten.sql("SELECT executor, COUNT(*) FROM crons_attempt GROUP BY executor"))
    assert executors == {"celery": 1, "process": 1}
    told = beaten.crons("plan", "--to", "beat", check=False)
    assert f"note: people made it '{later} * * * *' UTC, declared is '0 * * * *': harmless" in told.stderr
    assert beaten.crons("health", check=False).returncode in (0, 1)
