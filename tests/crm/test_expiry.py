"""Expired sessions and service tokens go, in batches."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from crm import cron_classes, expiry
from crm.expiry import IMPORTS_KEPT, TOKENS_KEPT, Expired, delete_expired
from crm.models import CustomerImport, ImportProblem, ServiceToken

from .conftest import NOW
from .killing import at_every_statement

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
pytestmark = pytest.mark.django_db


def make_session(key, expires_at):
    Session.objects.create(session_key=key, session_data="x", expire_date=expires_at)


def make_token(prefix, expires_at, revoked_at=None):
    ServiceToken.objects.create(
        name="jobs",
        prefix=prefix,
        secret_hash="0" * 64,
        created_at=expires_at - timedelta(days=90),
        expires_at=expires_at,
        revoked_at=revoked_at,
    )


def test_sessions_go_when_they_have_expired():
    """One that ends at this very moment is still good."""
    make_session("gone", NOW - SECOND)
    make_session("now", NOW)
    make_session("later", NOW + SECOND)

    assert delete_expired(now=NOW) == Expired(1, 0)
    assert set(Session.objects.values_list("pk", flat=True)) == {"now", "later"}


def test_tokens_stay_for_a_month_after_their_end():
    """Who shows one is told that it has expired, not that nobody knows it."""
    make_token("expired1", NOW - TOKENS_KEPT - SECOND)
    make_token("expired2", NOW - TOKENS_KEPT)
    make_token("revoked1", NOW + TOKENS_KEPT, revoked_at=NOW - TOKENS_KEPT - SECOND)
    make_token("revoked2", NOW + TOKENS_KEPT, revoked_at=NOW - SECOND)
    make_token("in force", NOW + TOKENS_KEPT)

    assert delete_expired(now=NOW) == Expired(0, 2)
    assert set(ServiceToken.objects.values_list("prefix", flat=True)) == {"expired2", "revoked2", "in force"}


def test_batches_are_bounded(django_assert_num_queries):
    """A million sessions must not be one transaction."""
    for number in range(7):
        make_session(f"s{number}", NOW - SECOND)

    with django_assert_num_queries(
        3 * 2 + 5
    ):  # three batches and a look that finds nothing; at tokens, budgets, imports
        assert delete_expired(now=NOW, batch_size=3) == Expired(7, 0)


def test_no_batch_looks_again_at_what_the_last_one_has_seen():
    """Among many sessions in force, each batch would read them all."""
    for number in range(7):
        make_session(f"s{number}", NOW - SECOND)

    with CaptureQueriesContext(connection) as captured:
        delete_expired(now=NOW, batch_size=3)

    looks = [each["sql"] for each in captured if each["sql"].startswith("SELECT") and "django_session" in each["sql"]]
    assert ["s2" in looks[1], "s5" in looks[2], "s6" in looks[3]] == [True, True, True]


def make_import(ended_at, problems):
    row = CustomerImport.objects.create(
        name="new.csv", started_by="ann", size_bytes=9, rows_total=9, state="done" if ended_at else "running",
        created_at=NOW - 200 * DAY, ended_at=ended_at,
    )  # fmt: skip
    ImportProblem.objects.bulk_create(
        ImportProblem(of=row, row=number, given="x", problem="y") for number in range(problems)
    )
    return row


def test_imports_go_long_after_their_end_with_the_rows_that_they_refused():
    """A row that was refused has a name and an address; one that has not ended may be gone on with."""
    make_import(NOW - IMPORTS_KEPT - SECOND, 7)
    kept = [make_import(NOW - IMPORTS_KEPT, 2), make_import(None, 2)]

    assert delete_expired(now=NOW, batch_size=3) == Expired(0, 0, imports=1)
    assert list(CustomerImport.objects.order_by("pk")) == kept
    assert ImportProblem.objects.count() == 4


def test_killed_at_any_statement_the_expiry_ends_the_same():
    for number in range(3):
        make_session(f"s{number}", NOW - SECOND)
    make_token("expired1", NOW - TOKENS_KEPT - SECOND)
    make_import(NOW - IMPORTS_KEPT - SECOND, 3)

    for _ in at_every_statement(lambda: delete_expired(now=NOW, batch_size=2)):
        assert delete_expired(now=NOW, batch_size=2).finished
        assert [each.objects.count() for each in (Session, ServiceToken, CustomerImport, ImportProblem)] == [0] * 4


def test_time_budget_ends_it_between_two_batches():
    """What is left goes at the next slot."""
    for number in range(7):
        make_session(f"s{number}", NOW - SECOND)
    make_token("expired1", NOW - TOKENS_KEPT - SECOND)
    moments = iter(range(100))

    done = delete_expired(now=NOW, batch_size=3, budget=timedelta(seconds=3), clock=lambda: next(moments))

    assert done == Expired(6, 0, finished=False)
    assert (Session.objects.count(), ServiceToken.objects.count()) == (1, 1)


def test_session_that_was_used_meanwhile_stays(monkeypatch):
    """Its end has moved between the look and the deletion."""
    make_session("used", NOW - SECOND)

    class Moved:
        def __init__(self):
            self.looked = False

        def __call__(self):
            if self.looked:
                Session.objects.update(expire_date=NOW + SECOND)
            self.looked = True
            return 0.0

    assert delete_expired(now=NOW, clock=Moved()) == Expired(0, 0)
    assert Session.objects.count() == 1


@pytest.mark.parametrize(
    ("finished", "imports", "said"),
    [
        (True, 0, "3 sessions and 1 service tokens deleted"),
        (True, 2, "3 sessions and 1 service tokens, and 2 imports that ended long ago, deleted"),
        (
            False,
            0,
            "3 sessions and 1 service tokens deleted; the time for it is over, the rest goes at the next slot",
        ),
    ],
)
def test_job_says_how_many_went(monkeypatch, finished, imports, said):
    """ "Ran, but did nothing" must show."""
    monkeypatch.setattr(expiry, "delete_expired", lambda *, now: Expired(3, 1, finished, imports))

    assert cron_classes.ExpireSessionsAndTokens().do() == said


def test_job_fails_where_a_token_in_use_will_end():
    """So that somebody is told, and the first page shows it, before the jobs fail one night; it has deleted first."""
    now = timezone.now()
    make_session("gone", now - SECOND)
    for name, prefix in (("jobs", "aaaa1111"), ("reports", "bbbb2222")):
        make_token(prefix, now + timedelta(days=13))
        ServiceToken.objects.filter(prefix=prefix).update(name=name, last_used_at=now)
    ends = f"{timezone.localtime(now + timedelta(days=13)):%Y-%m-%d %H:%M %z}"

    with pytest.raises(cron_classes.TokensEnd) as failure:
        cron_classes.ExpireSessionsAndTokens().do()

    assert str(failure.value) == (
        "1 sessions and 0 service tokens deleted. "
        f"The service token jobs (aaaa1111) is in use and ends on {ends}. "
        "Renew it before, on each host that uses it: manage.py service_token jobs "
        f"The service token reports (bbbb2222) is in use and ends on {ends}. "
        "Renew it before, on each host that uses it: manage.py service_token rotate bbbb2222"
    )
    assert not Session.objects.exists()


def test_job_is_declared_by_cron_classes(settings):
    """Under its code, with the class's own words."""
    from crons.jobs import registry

    job = registry.get("expire_sessions_and_tokens")
    assert settings.CRON_CLASSES == ["crm.cron_classes.ExpireSessionsAndTokens"]
    assert (job.source, job.owner, job.policy.idempotent) == ("cron_classes", "operations", True)
    assert job.description == "Delete expired sessions and service tokens; fail while a token in use is about to end."
    assert registry.entries[job.name].schedule.text == "40 3 * * *"
