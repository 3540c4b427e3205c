"""Whether this process may fire from this database: from its own place only, and by a clock that can be believed.

A copy of production must not send production's mail. A tick on a machine whose clock is a year ahead would account for
a year of slots that have not come; what no row can tell is whether nothing has looked for a year, so a person says it.

The identity is read off the place that the database lives in, so that all hosts of one deployment
agree on it without being told, and a dump that is restored elsewhere does not. CRONS["IDENTITY"]
wins; it is needed where copies are made below the database, as snapshots of its disk.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.db import DatabaseError, connections, transaction
from django.utils import timezone

from crons.conf import conf
from crons.exceptions import ClockInDoubt, Disabled, NotAdopted
from crons.hosts.instances import boot_id, host, is_gone
from crons.ledger import transactions
from crons.ledger.sql import moment
from crons.ledger.transactions import database_now, verb, writing
from crons.models import AuditEvent, Deployment, Heartbeat
from crons.presentation import utc

ONLY = 1
# Longer than anybody switches everything off without knowing it.
FAR_AHEAD = timedelta(days=31)
# Further back no time server and no other database server sets a clock that was nearly right.
FAR_BEHIND = timedelta(hours=1)
# A scheduler that lives writes its next heartbeat within ten.
NEXT_BEAT_SECONDS = 12.0
NEWEST = """SELECT
    (SELECT MAX(recorded_at) FROM crons_run WHERE id = (SELECT MAX(id) FROM crons_run)),
    (SELECT MAX(beat_at) FROM crons_heartbeat),
    (SELECT MIN(wake_at) FROM crons_entry WHERE wake_at IS NOT NULL)"""


@dataclass(frozen=True)
class Place:
    """A deployment's identity, and what it is made of in words."""

    identity: str
    described: str


def here() -> Place:
    """Return the identity of the place that this process's database lives in."""
    if conf.identity:
        return Place(f"name:{conf.identity}", f'CRONS["IDENTITY"] {conf.identity!r}')
    return located()


def located() -> Place:
    """Return where this process's database lives, whatever the deployment is named."""
    described, parts = _place()
    return Place(hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32], described)


def permit() -> None:
    """Refuse where nothing may be recorded or begun.

    Raises: Disabled; NotAdopted when this database is another deployment's; ClockInDoubt.
    """
    if not conf.enabled:
        raise Disabled('CRONS["ENABLED"] (or CRONS_ENABLED in the environment) is off: nothing is recorded or begun.')
    require()
    require_believable()


@verb
def require() -> None:
    """Make sure that this database may fire from here; the first to ask on a new database adopts it.

    Raises: NotAdopted, saying where it belongs, where this is, and what to do.
    """
    place = here()
    adopted = Deployment.objects.using(conf.database).filter(pk=ONLY).first()
    if adopted is None:
        _adopt_if_new(place)
    elif adopted.identity != place.identity:
        raise NotAdopted(
            f"this database was adopted by another deployment ({adopted.described}) "
            f"and this one is {place.described}: nothing is recorded or begun, so that a copy fires nothing. "
            "If it is meant to run here from now on: manage.py crons adopt"
        )


def refuse_a_copy() -> None:
    """Refuse to describe the rows of a copy as if they were true here; unlike require() it never adopts.

    Raises: NotAdopted.
    """
    adopted = Deployment.objects.using(conf.database).filter(pk=ONLY).first()
    if adopted is not None and adopted.identity != here().identity:
        raise NotAdopted(
            f"this database belongs to another deployment ({adopted.described}), so what its rows say "
            "is true of that one. If it is meant to run here from now on: manage.py crons adopt"
        )


@verb
def adopt(by: str) -> Place:
    """Make this the place that the database fires from."""
    place = here()
    with writing() as using:
        old = Deployment.objects.using(using).select_for_update().filter(pk=ONLY).first()
        now = database_now()
        row = {"identity": place.identity, "described": place.described, "adopted_at": now, "adopted_by": by}
        Deployment.objects.using(using).update_or_create(pk=ONLY, defaults=row)
        AuditEvent.objects.using(using).create(
            at=now,
            actor=by,
            verb="adopt",
            subject_type="deployment",
            subject=place.identity,
            before=old and {"identity": old.identity, "described": old.described},
            after={"identity": place.identity, "described": place.described},
        )
    return place


class ClockWatch:
    """Compares each look's time with the last one's, and with the rows where it has jumped. Costs nothing else."""

    def __init__(self) -> None:
        self._last: datetime | None = None

    def check(self, now: datetime) -> None:
        """Refuse to go on where *now* cannot be believed.

        Raises: ClockInDoubt.
        """
        if self._last is None or not -FAR_BEHIND < now - self._last < FAR_BEHIND:
            require_believable(now)
        self._last = now


@verb
def require_believable(now: datetime | None = None) -> None:
    """Refuse where the ledger's clock is far from the newest row's and the newest heartbeat's.

    Raises: ClockInDoubt.
    Cost: one statement; two more where it is.
    """
    with connections[conf.database].cursor() as cursor:
        cursor.execute(NEWEST)
        *moments, due = map(moment, cursor.fetchone())
    newest = max((at for at in moments if at is not None), default=None)
    now = now or database_now()
    require_near(newest, due, now)
    if moments[1] is not None and now - moments[1] > FAR_BEHIND:
        _ask_living_schedulers(now)


def require_near(newest: datetime | None, due: datetime | None, now: datetime) -> None:
    """Refuse where *now* is far from *newest*, the moment of the newest row, and nobody has said that it is right.

    Args: *due* is when the first entry falls, or fell, due: where that is no longer ago than FAR_AHEAD, there was
    nothing to record in between, and an old row says nothing.
    Raises: ClockInDoubt.
    """
    if newest is None or transactions.now_in_tests is not None:  # a test's own clock
        return
    if now > newest and (due is None or now - due <= FAR_AHEAD):
        return  # a job that runs once a year
    if _is_near(newest, now) or any(_is_near(at, now) for at in _vouched_for()):
        return
    raise ClockInDoubt(_doubt(newest, now))


def _adopt_if_new(place: Place) -> None:
    with writing() as using:
        row = {"identity": place.identity, "described": place.described, "adopted_at": database_now()}
        Deployment.objects.using(using).get_or_create(pk=ONLY, defaults=row)
    require()


def _place() -> tuple[str, list[str]]:
    connection = connections[conf.database]
    if connection.vendor == "sqlite":
        name = str(connection.settings_dict["NAME"])
        # As a URI the same file has many names, and with "file:" before it each would count as relative.
        file = unquote(urlsplit(name).path) if name.startswith("file:") else name
        path = name if "mode=memory" in name or name == ":memory:" else str(Path(file).resolve())
        return f"the file {path} on {host()}", ["sqlite", _machine(), path]
    return _postgresql_place()


def _postgresql_place() -> tuple[str, list[str]]:
    connection = connections[conf.database]
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database(), oid::text FROM pg_database WHERE datname = current_database()")
        name, oid = cursor.fetchone()
        # Some services keep this function from ordinary users; the database's own number must do then.
        try:
            with transaction.atomic(using=conf.database):
                cursor.execute("SELECT system_identifier::text FROM pg_control_system()")
                system = cursor.fetchone()[0]
        except DatabaseError:
            system = ""
    return f"the database {name} of server {system or 'unknown'}", ["postgresql", system, oid, name]


def _machine() -> str:
    # The machine id survives reboots and a new host name; a container without one falls back to its name.
    try:
        return Path("/etc/machine-id").read_text().strip() or host()
    except OSError:
        return host()


def _ask_living_schedulers(now: datetime) -> None:
    """Refuse where a scheduler of this machine lives whose heartbeats are of another time.

    Cost: waits for the next heartbeat of one whose last is old: it may only have been frozen for an hour.
    """
    if transactions.now_in_tests is not None:
        return
    rows_of = Heartbeat.objects.using(conf.database).filter(boot_id=boot_id(), beat_at__lt=now - FAR_BEHIND)
    living = [beat for beat in rows_of.exclude(pid=os.getpid()) if not is_gone(beat.instance, beat.boot_id)]
    until = time.monotonic() + NEXT_BEAT_SECONDS
    while living and time.monotonic() < until:
        for beat in living:
            newer = Heartbeat.objects.using(conf.database).filter(pk=beat.pk, beat_at__gt=beat.beat_at).first()
            if newer is not None and now - newer.beat_at > FAR_BEHIND:
                raise ClockInDoubt(_doubt(newer.beat_at, now, f"a heartbeat of {beat.kind} (pid {beat.pid}) just now"))
        time.sleep(0.5)


def _is_near(at: datetime, now: datetime) -> bool:
    return -FAR_BEHIND <= now - at <= FAR_AHEAD


def _vouched_for() -> Iterator[datetime]:
    """Yield when somebody last said that the clock is right, or that this database is to run here."""
    said = AuditEvent.objects.using(conf.database).filter(
        subject_type__in=("clock", "ledger"), subject="", verb__startswith="reconcile"
    )
    yield from said.order_by("-pk").values_list("at", flat=True)[:1]
    yield from Deployment.objects.using(conf.database).values_list("adopted_at", flat=True)


def _doubt(newest: datetime, now: datetime, what: str = "the newest row") -> str:
    side = "after" if now > newest else "before"
    host = "" if connections[conf.database].vendor == "sqlite" else f" (this host's says {utc(timezone.now())})"
    return (
        f"the database's clock says {utc(now)}{host}, {abs(now - newest).days} day(s) {side} {what}, of "
        f"{utc(newest)}: nothing is recorded or begun by a clock that may be wrong. Set it right; "
        "if it is right: manage.py crons reconcile --clock"
    )
