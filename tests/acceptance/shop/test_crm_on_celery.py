"""The CRM with a broker: its weekly report fired by beat and made by a worker, its confirmations sent at once."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance import brokers
from tests.acceptance.conftest import PATIENCE_SECONDS, ROOT, wait_for_line
from tests.acceptance.shop.conftest import FAR_SCHEDULE, NEAR_SCHEDULE, Shop

pytestmark = pytest.mark.needs("redis-server")
pytest.importorskip("django_celery_beat", reason="django-celery-beat has no release for this Django")
REPORT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d - Report: 40 customers, \d+ orders, \d+\.\d\d revenue"
MAKE_AN_ORDER = """
import django; django.setup()
from django.utils import timezone
from crm import orders
from crm.models import Customer, Product
product = Product.objects.filter(stock__gt=0)[0]
print(orders.create(orders.Wish(Customer.objects.all()[0].pk, [orders.Line(product.pk)]), now=timezone.now()).pk)
"""


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[brokers.Redis]:
    """A Redis of the test's own."""
    with brokers.redis(tmp_path) as server:
        yield server


@pytest.fixture
def on_celery(shop: Shop, redis: brokers.Redis, tmp_path: Path) -> Iterator[Shop]:
    """The shop with a broker, and django-celery-beat's rows for its jobs; the tick's fires each second."""
    with shop.site.stack:
        shop.env |= {
            "CRM_BROKER_URL": redis.url,
            "DJANGO_SETTINGS_MODULE": "tests.acceptance.crm_settings",
            "TEST_STATE_DIR": str(tmp_path / "state"),
            "PYTHONPATH": str(ROOT),
        }
        shop.site.sql("UPDATE crons_entry SET overrides = '{}'")  # beat is to have what is declared
        done = shop.manage("crons", "apply", "--to", "beat")
        assert done.returncode == 0, done.stderr
        shop.reschedule_all_far()  # the command has synced
        shop.site.sql("INSERT INTO django_celery_beat_intervalschedule (every, period) VALUES (1, 'seconds')")
        shop.site.sql(
            "UPDATE django_celery_beat_periodictask SET crontab_id = NULL, "
            "interval_id = (SELECT MAX(id) FROM django_celery_beat_intervalschedule) WHERE name = 'crons.tick'"
        )
        yield shop


def celery(shop: Shop, *words: str) -> subprocess.Popen[str]:
    """Start `celery -A crm …`."""
    return shop.site.start_python("-m", "celery", "-A", "crm", *words, "-l", "INFO", **shop.env)


def test_the_report_is_fired_by_beat_and_made_by_a_worker(on_celery: Shop) -> None:
    """Its row is there for the admin; the line is the same as ever, and there is one of it."""
    [(task, minute, hour, weekday)] = on_celery.site.sql(
        "SELECT task, minute, hour, day_of_week FROM django_celery_beat_periodictask t "
        "JOIN django_celery_beat_crontabschedule c ON c.id = t.crontab_id WHERE name = 'crons:generate_crm_report'"
    )
    assert (task, minute, hour, weekday) == ("crons.fire", "0", "6", "1")
    worker = celery(on_celery, "worker", "-c", "2", "--without-mingle", "--without-gossip")
    wait_for_line(worker, r"ready\.")
    beat = celery(on_celery, "beat", "--max-interval", "1", "--pidfile=")

    on_celery.reschedule("generate_crm_report", NEAR_SCHEDULE)
    on_celery.site.wait_for_row(
        "SELECT 1 FROM crons_run r JOIN crons_entry e ON e.id = r.entry_id "
        "WHERE e.name = 'generate_crm_report' AND verdict = 'succeeded'",
        worker,
    )
    on_celery.reschedule("generate_crm_report", FAR_SCHEDULE)
    # The minute may have turned meanwhile: then there is a second slot, to be waited for too.
    on_celery.site.wait_for_row("SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM crons_run WHERE verdict = '')", worker)
    # Killed: Celery's beat may lose a SIGTERM that comes while it writes, and go on for ever.
    beat.kill()
    beat.wait(PATIENCE_SECONDS)

    lines = on_celery.log("crm_report_log.txt")
    runs = on_celery.runs()
    # On a busy machine the next minute finds the first report still being made, and is skipped.
    assert len(lines) == runs.count(("slot", "succeeded", "beat", ""))
    assert all(re.fullmatch(REPORT, line) for line in lines), lines
    assert set(runs) <= {("slot", "succeeded", "beat", ""), ("slot", "skipped", "beat", "")}
    assert on_celery.site.sql("SELECT DISTINCT executor FROM crons_attempt") == [("celery",)]


def test_a_new_order_is_confirmed_by_a_worker(on_celery: Shop) -> None:
    """By `.delay()` once it is committed; the mail is printed, for the shop has no mail server."""
    worker = celery(on_celery, "worker", "-c", "1", "--without-mingle", "--without-gossip")
    wait_for_line(worker, r"ready\.")

    made = on_celery.start(sys.executable, "-c", MAKE_AN_ORDER)

    assert made.returncode == 0, made.stderr
    wait_for_line(worker, rf"Subject: Your order {made.stdout.strip()}")
    wait_for_line(worker, r"confirm_order\[.*succeeded")
    assert on_celery.site.sql("SELECT confirmation FROM crm_order WHERE confirmation <> ''") == [("sent",)]


@pytest.mark.parametrize("trouble", ["down", "silent"])
def test_an_order_is_made_without_the_broker(on_celery: Shop, redis: brokers.Redis, trouble: str) -> None:
    """It says so and waits for the job, which needs no broker; a silent one takes the connection and says nothing."""
    if trouble == "down":
        redis.stop()
    else:
        redis.freeze(signal.SIGSTOP)

    made = on_celery.start(sys.executable, "-c", MAKE_AN_ORDER)

    assert made.returncode == 0, made.stderr
    assert "the broker takes no messages, confirmations follow within five minutes" in made.stderr
    assert on_celery.site.sql("SELECT confirmation FROM crm_order WHERE confirmation <> ''") == [("waiting",)]
    done = on_celery.manage("crons", "run", "send_order_confirmations", "--manual")
    assert done.returncode == 0, done.stderr
    assert "Sent 1 confirmations." in done.stdout
    assert on_celery.site.sql("SELECT confirmation FROM crm_order WHERE confirmation <> ''") == [("sent",)]
