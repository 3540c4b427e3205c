"""A project as docs/howto/celery.md sets it up, whose tasks crons is to call: nothing of Celery has run before."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[3]
HOWTO = (ROOT / "docs/howto/celery.md").read_text()
SETTINGS = """
SECRET_KEY = "only-for-tests"
USE_TZ = True
INSTALLED_APPS = ["crons", "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
CELERY_TASK_ROUTES = {"shop.tasks.report": {"queue": "reports"}}
"""
TASKS = """
from celery import shared_task


@shared_task
def report(to="ann"):
    return f"report for {to}"


@shared_task(bind=True)
def bound(self):
    pass
"""
CRON = """
from crons import cron, schedule
from shop.tasks import bound, report

schedule(report, cron("0 6 * * MON"), args={"to": "bob"})
"""
LIST = """
import django
django.setup()
from crons.jobs import registry
print(registry.broken)
job = registry.get("report")
print(job.policy.executor, job.policy.route, job.body(to="bob"), job.body.__module__)
"""


def block_after(line: str) -> str:
    """Return the block of code that the how-to gives for a file."""
    found = re.search(re.escape(line) + r".*?```python\n(.*?)```", HOWTO, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def shop(tmp_path):
    """Write that project; give what runs Python in it."""
    for name, text in {
        "mysite/__init__.py": block_after("`mysite/__init__.py`"),
        "mysite/celery.py": block_after("`mysite/celery.py`:"),
        "mysite/settings.py": SETTINGS + block_after("`mysite/settings.py`:"),
        "shop/tasks.py": TASKS,
        "shop/cron.py": CRON,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    def run(program: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}", "DJANGO_SETTINGS_MODULE": "mysite.settings"},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    return run


def test_shared_task_that_celery_has_not_made_yet_is_scheduled(shop):
    """Until somebody asks for it, @shared_task is a promise, and Celery has not loaded what a task is."""
    done = shop(LIST)

    assert (done.stderr, done.stdout) == ("", "{}\ncelery {'queue': 'reports'} report for bob shop.tasks\n")


def test_shared_task_that_cannot_be_called_is_refused_with_its_name(shop, tmp_path):
    """The same words as for a task that is there already."""
    with (tmp_path / "shop" / "cron.py").open("a") as file:
        file.write("schedule(bound, cron('@daily'))\n")

    done = shop("import django; django.setup(); from crons.jobs import registry; print(registry.broken['shop.cron'])")

    assert done.stdout.startswith("InvalidJob: shop.tasks.bound: bind=True, or a class of its own, asks for the task")


def test_shared_task_under_job_is_its_function(shop, tmp_path):
    """Whoever writes @job above it gets a job that calls it here."""
    (tmp_path / "shop" / "cron.py").write_text(
        "from crons import cron, job\nfrom shop.tasks import report\njob(cron('@daily'), name='report')(report)\n"
    )

    done = shop(LIST)

    assert (done.stderr, done.stdout) == ("", "{}\nprocess {} report for bob shop.tasks\n")
