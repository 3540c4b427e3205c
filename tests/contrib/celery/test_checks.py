"""System checks of jobs that Celery runs."""

import functools
import sys
from types import ModuleType

import pytest
from django.db import transaction as db_transaction
from django.db.transaction import atomic as transaction_atomic

from crons import current_context
from crons.contrib.celery.fences import uses_atomic
from crons.jobs import command, job
from crons.schedules import NEVER, every
from tests.crons import cronjobs
from tests.crons.checking import declared, found, installed, only, told, well

__all__ = ["declared", "installed", "well"]
pytestmark = pytest.mark.usefixtures("empty_registry", "well")
HERE = "tests.crons.cronjobs"


def test_message_that_would_get_nowhere_is_an_error():
    """It would be sent again and again, and nobody would get it. The other cases are in test_schedule.py."""
    job(every(minutes=5), name="heartbeat", executor="celery", route={"priority": -1}, idempotent=True)(cronjobs.beat)

    told(
        f"heartbeat ({HERE}.beat) is sent by the executor 'celery': its priority is -1, "
        "and this executor takes 0 to 255.",
        "Mend route= of the job or the executor's OPTIONS in CRONS['EXECUTORS'], or give the job "
        "executor='process', which needs no messages.",
    )
    assert only().id == "crons.E013"


def test_job_of_celery_that_is_neither_idempotent_nor_fenced_is_a_warning():
    """On another machine a worker may vanish in the middle; then nobody knows what it has done."""
    job(NEVER, name="moves_money", executor="celery")(cronjobs.beat)

    message = only()

    assert (message.id, message.msg) == (
        "crons.W050",
        "moves_money (tests.crons.cronjobs.beat) is run by Celery's workers and is neither idempotent nor uses "
        "context.atomic: when a worker is lost, nobody knows what it has done, and it is not run again.",
    )
    assert message.hint == ("Say idempotent=True if it may run twice, or wrap its writes in `with context.atomic():`.")


def test_job_of_celery_that_is_idempotent_or_fenced_is_well():
    """So is one that another executor runs, under the same alias."""

    @job(executor="celery")
    def fenced(context):
        with context.atomic():
            pass

    job(NEVER, name="harmless", executor="celery", idempotent=True)(cronjobs.beat)
    job(NEVER, name="here", executor="process")(cronjobs.beat)

    assert found() == []


def fences(context, then):
    """Stand for what a job calls of its own module."""
    with context.atomic():
        then()


def calls_what_fences(context):
    return fences(context, beats_in_a_transaction)


@functools.cache
def beats_in_a_transaction():
    """Neither context.atomic() nor 'with fence.atomic():' is used here, only mentioned."""
    with db_transaction.atomic(), transaction_atomic():  # not context.atomic()
        calls_itself()


def calls_itself():
    calls_itself()
    beats_in_a_transaction()


def of_a_value(context):
    fence = context.atomic
    with fence():
        pass


def of_an_import():
    from django.db import transaction

    with transaction.atomic():
        pass


def of_a_call():
    with current_context().atomic():
        pass


@pytest.mark.parametrize(
    ("body", "is_fenced"),
    [
        (fences, True),
        (calls_what_fences, True),
        (of_a_value, True),
        (of_a_call, True),
        (lambda context: context.atomic(), True),
        (beats_in_a_transaction, False),
        (calls_itself, False),
        (of_an_import, False),
        (cronjobs.beat, False),
        (len, False),
        (command("clearsessions").body, False),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),  # not its address: each process collects the same
)
def test_a_fence_is_looked_for_in_what_the_source_does(body, is_fenced):
    """Django's transactions are no fence, nor is a comment; a function of the same module may have it."""
    assert uses_atomic(body) is is_fenced


@pytest.fixture
def shop(settings):
    """A Celery application, and a job that is sent through it."""
    celery = pytest.importorskip("celery", reason="Celery's packages are not there")
    app = celery.Celery("shop", set_as_current=False)
    module = ModuleType("shop_of_the_checks")
    module.app = app
    sys.modules[module.__name__] = module
    settings.CRONS = {
        "EXECUTORS": {
            "far": {
                "BACKEND": "crons.contrib.celery.executor.CelerySender",
                "OPTIONS": {"app": "shop_of_the_checks.app"},
            }
        }
    }
    job(NEVER, name="heartbeat", executor="far", idempotent=True)(cronjobs.beat)
    yield app
    del sys.modules[module.__name__]


@pytest.mark.parametrize("accepted", [["json", "pickle"], {"application/x-python-serialize"}])
def test_celery_application_that_takes_pickle_is_a_warning(shop, accepted):
    """Whoever reaches the broker may then have any code run, and crons needs none of it."""
    assert found() == []
    shop.conf.accept_content = accepted

    told(
        "The Celery application of the executor 'far' takes pickle: whoever can write to its broker can have the "
        "workers run any code.",
        "Set accept_content = ['json'] (CELERY_ACCEPT_CONTENT in Django's settings); messages of crons are JSON.",
    )
    assert only().id == "crons.W052"


def test_celery_application_that_cannot_be_imported_is_an_error(shop, settings):
    """No message would ever be sent, and that would show at the first slot."""
    settings.CRONS["EXECUTORS"]["far"]["OPTIONS"]["app"] = "shop_of_the_checks.ap"

    assert (only().id, only().msg) == (
        "crons.E013",
        "heartbeat (tests.crons.cronjobs.beat) is sent by the executor 'far': its OPTIONS name the Celery application "
        "'shop_of_the_checks.ap', which cannot be imported: ImportError: Module \"shop_of_the_checks\" does not define "
        'a "ap" attribute/class.',
    )


def test_celery_task_with_autoretry_for_is_an_error():
    """Two that try again would each know half of it."""

    def mails():
        """Nothing."""

    mails.autoretry_for = (OSError,)
    job(NEVER, name="mails")(mails)

    message = only()

    assert (message.id, message.hint) == (
        "crons.E051",
        "Take autoretry_for away, and declare the job with retry=Retry(…).",
    )
    assert f"mails ({__name__}." in message.msg
    assert "Celery would try it again behind the ledger's back." in message.msg
