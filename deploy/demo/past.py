"""The shop's last week, lived through by the real scheduler, ledger and jobs with a clock that is played.

It is made once, where the ledger has no runs yet; a killed filling goes on where it was. What happens in it:

- jobs come with releases: those of each day first, those of every few minutes yesterday, of each minute last
- an outage of three and a half hours, which was caught up
- a first try that fails, because the site does not answer, and a second one that succeeds
- a run by hand; a colleague's pause, which still holds
- runs that wait for a free place, and one that goes on when its next slot comes
- since this morning one job fails: the process that sent an order's confirmation was cut off
"""

import fcntl
import gc
import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.models import Max
from django.test import Client, override_settings
from django.utils import timezone

from crm import cron
from crm.api_client import ApiClient, ApiFailed
from crm.graph.trusted import Trusted
from crm.models import Mail, Order, Recipient
from crons import Context, api, ledger, redaction, watch
from crons.attempts import Begun
from crons.executors import inline
from crons.jobs import registry
from crons.ledger.transactions import note
from crons.models import Attempt, AuditEvent, Entry, Run
from crons.testing import clock, sandbox
from deploy.demo.player import Player

WEEK = timedelta(days=7)
# When, before the end of the past, jobs were declared that come more often than hourly; the others: from its start on.
# Each run takes its milliseconds to be played, and nobody may wait long for a demo.
RELEASES = (
    (timedelta(hours=28), ("send_digests",)),
    (timedelta(hours=12), ("log_crm_heartbeat",)),
    (timedelta(hours=7), ("send_order_confirmations",)),
    (timedelta(hours=2), ("deliver_webhooks",)),
)
OUTAGE = (timedelta(hours=20), timedelta(hours=16, minutes=30))
BROKEN_RESTOCK = timedelta(days=5)
BY_HAND = timedelta(hours=30)
PAUSED = timedelta(hours=26)
FULL = (timedelta(hours=6), timedelta(hours=5, minutes=54))
CUT_OFF = timedelta(hours=4)
SLOW = timedelta(hours=1)
COLLEAGUE = "dana"
PAUSED_JOB, FAILING_JOB, SLOW_JOB = "mail_order_reminders", "send_order_confirmations", "deliver_webhooks"
PAUSE_REASON = "the shop's texts are being rewritten"
# Usual seconds; the others take less than a second.
SECONDS = {
    "clean_inactive_customers": 41, "send_order_reminders": 6, "update_low_stock": 4, "generate_crm_report": 3,
    "make_reports": 9, "send_digests": 2, "mail_order_reminders": 5, "archive_old_records": 14,
}  # fmt: skip
MADE, BEGUN = "demo.made", "demo.begun"
BY = "make run"


def make(now: datetime | None = None, announce: Callable[[str], None] = lambda text: None) -> str:
    """Play the week before *now*, once; say in a line what was done, and to *announce* that it takes a moment."""
    with _alone():
        begun = AuditEvent.objects.filter(verb=BEGUN).first()
        if AuditEvent.objects.filter(verb=MADE).exists():
            return "The past is there: nothing was played."
        if begun is None and Run.objects.exists():
            return "The ledger has runs of its own: no past was played."
        end = (begun.at if begun else now or timezone.now()).replace(second=0, microsecond=0)
        announce("Playing the shop's last week, once: some ten seconds …")
        with _quick(), _quiet(), _offline(end):
            if begun is None:
                _note(BEGUN, end)
            _Past(end).play()
            _note(MADE, end)
        runs, attempts = Run.objects.count(), Attempt.objects.count()
        return f"Played a week: {runs} runs, {attempts} attempts, as the shop's scheduler would have made them."


class _Past:
    """A week that ends at *end*."""

    def __init__(self, end: datetime) -> None:
        self._end = end
        self._random = Random(7)

    def play(self) -> None:
        """Live through it, or through what is left of it."""
        since = Entry.objects.aggregate(at=Max("accounted_until"))["at"] or self._end - WEEK
        # In order; after a killed filling those that lie before that are done, or are done again to no effect.
        acts: list[tuple[timedelta, Callable[[Player], None]]] = [
            *((ago, self._release) for ago, _ in RELEASES),
            (BY_HAND, self._ask_by_hand),
            (PAUSED, self._pause),
            (FULL[0], lambda player: setattr(player, "is_full", True)),
            (FULL[1], lambda player: setattr(player, "is_full", False)),
            (CUT_OFF, self._cut_off),
        ]
        # A mail that a kill cut off went nowhere but onto an output that is lost: nobody has to say whether it came.
        Mail.objects.filter(state=Mail.State.SENDING).update(state=Mail.State.WAITING)
        if since <= self._end - CUT_OFF:
            sending = Order.objects.filter(confirmation=Order.Confirmation.SENDING)
            sending.update(confirmation=Order.Confirmation.WAITING)
        with clock.at(since) as now, sandbox(empty=False):
            self._now = now
            self._declare()
            with closing(Player(now, self._took, self._before)) as player:
                for ago, act in sorted(acts, key=lambda each: -each[0]):
                    self._live(player, self._end - ago)
                    act(player)
                self._live(player, self._end)
                player.drain()
            watch.inspect_rules(now.now)

    def _live(self, player: Player, until: datetime) -> None:
        """Go on to *until*, but for the outage, in which nothing looks at the clock."""
        dark, light = (self._end - ago for ago in OUTAGE)
        if self._now.now < dark <= until:
            player.live(dark)
            player.drain()
        if dark <= self._now.now < light <= until:
            self._now.move_to(light)
        player.live(until)

    def _declare(self) -> None:
        """Write what was declared by now to the database."""
        later = {name for ago, names in RELEASES if self._now.now < self._end - ago for name in names}
        kept = dict(registry.entries)
        for name in later:
            registry.entries.pop(name)
        api.sync(by=COLLEAGUE, kind="release")
        registry.entries.clear()
        registry.entries.update(kept)

    def _release(self, player: Player) -> None:
        self._declare()

    def _ask_by_hand(self, player: Player) -> None:
        api.run_now("update_low_stock", by=COLLEAGUE, key="demo", reason="before the trade fair")

    def _pause(self, player: Player) -> None:
        until = self._end + timedelta(hours=22)
        if not Entry.objects.filter(name=PAUSED_JOB, paused_at__isnull=False).exists():
            api.pause(PAUSED_JOB, by=COLLEAGUE, reason=PAUSE_REASON, until=until)

    def _cut_off(self, player: Player) -> None:
        """Leave an order as a process leaves it that is killed between its claim and the mail."""
        order = Order.objects.filter(ordered_at__lt=self._now.now).exclude(confirmation=Order.Confirmation.SENDING)
        if not Order.objects.filter(confirmation=Order.Confirmation.SENDING).exists():
            newest = order.order_by("-ordered_at").values_list("pk", flat=True)[:1]
            at = self._now.now - timedelta(minutes=11)
            Order.objects.filter(pk=newest.get()).update(
                confirmation=Order.Confirmation.SENDING, confirmation_tried_at=at
            )

    def _before(self, begun: Begun) -> None:
        if begun.entry == FAILING_JOB:
            new = Order.objects.filter(ordered_at__gt=begun.since, ordered_at__lte=begun.until, confirmation="")
            new.update(confirmation=Order.Confirmation.WAITING)
        _InProcess.is_away = (
            begun.entry == "update_low_stock"
            and begun.number == 1
            and timedelta(0) <= begun.until - (self._end - BROKEN_RESTOCK) < timedelta(hours=12)
        )

    def _took(self, begun: Begun) -> timedelta:
        if begun.entry == SLOW_JOB and timedelta(0) <= begun.until - (self._end - SLOW) < timedelta(minutes=1):
            return timedelta(seconds=95)
        usual = SECONDS.get(begun.entry, 0.4)
        return timedelta(seconds=usual * (0.75 + self._random.random() / 2 + (self._random.random() < 0.04)))


class _InProcess(ApiClient):
    """GraphQL as the jobs ask it, without a web server: there is none yet."""

    is_away = False

    def ask(self, document: str | Trusted, variables: Any = None) -> dict[str, Any]:
        if self.is_away:
            raise ApiFailed(
                f"{self.url} did not answer: Connection refused. Is the site up, and is that CRM_GRAPHQL_URL?"
            )
        asked = {"documentId": document.id} if isinstance(document, Trusted) else {"query": document}
        posted = Client().post(
            "/graphql",
            json.dumps({**asked, "variables": dict(variables or {})}),
            content_type="application/json",
            headers={"Authorization": f"Bearer {self.token}", "Host": "localhost"},
        )
        answer = posted.json()
        if answer.get("errors"):
            raise ApiFailed(f"{self.url} answered with errors: {answer['errors']}")
        data: dict[str, Any] = answer["data"]
        return data


@contextmanager
def _offline(end: datetime) -> Iterator[None]:
    """Send no mail but onto the output, ask no site, and give the jobs their token."""
    console = "django.core.mail.backends.console.EmailBackend"
    mails = {"MAILERS": {"default": {"BACKEND": console}}} if django.VERSION >= (6, 1) else {"EMAIL_BACKEND": console}
    with override_settings(
        CRM_GRAPHQL_URL="", CRM_REMIND_MOST=3, SECURE_SSL_REDIRECT=False, ALLOWED_HOSTS=["localhost"], **mails
    ):
        call_command("service_token", "jobs")
        with clock.at(end - WEEK):
            for name, often in (("Dana Lindholm", "daily"), ("Omar Haddad", "weekly")):
                email = f"{name.split()[0].lower()}@example.com"
                Recipient.objects.get_or_create(email=email, defaults={"name": name, "frequency": often})
        # Whether a job's window has closed, the job asks this machine's clock, for which each has closed long ago.
        in_time = mock.patch.object(Context, "should_stop", new=False)
        with in_time, mock.patch.object(cron, "ApiClient", _InProcess):
            yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Show nothing of what jobs write: it is kept with their attempts."""
    before = logging.root.handlers[:]
    logging.root.handlers[:] = []
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.root.handlers[:] = before


@contextmanager
def _quick() -> Iterator[None]:
    """Do once what each attempt does anew, and leave it to the kernel when SQLite's pages reach the disk.

    A machine that loses its power meanwhile begins again, with a new file.
    """
    gc.disable()
    known = redaction.of_project()
    try:
        with mock.patch.object(inline, "of_project", return_value=known), _unsynced():
            yield
    finally:
        gc.enable()


@contextmanager
def _unsynced() -> Iterator[None]:
    if connection.vendor != "sqlite":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous")
        before = cursor.fetchone()[0]
        cursor.execute("PRAGMA synchronous = OFF")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA synchronous = {before}")


@contextmanager
def _alone() -> Iterator[None]:
    """Let no second one play at the same time."""
    path = Path(settings.CRM_TOKEN_FILE).with_name(".demo.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _note(what: str, at: datetime) -> None:
    with ledger.writing() as using:
        note(what, "demo", "past", BY, at, using)
