"""Where this database may fire from: a copy of production must not send production's mail.

The identity is read off the place that the database lives in, so that all hosts of one deployment
agree on it without being told, and a dump that is restored elsewhere does not. CRONS["IDENTITY"]
wins; it is needed where copies are made below the database, as snapshots of its disk.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.db import DatabaseError, connections, transaction

from crons.conf import conf
from crons.exceptions import Disabled, NotAdopted
from crons.hosts.instances import host
from crons.ledger.clock import require_believable
from crons.ledger.transactions import database_now, verb, writing
from crons.models import AuditEvent, Deployment

ONLY = 1


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
    """Refuse to look at the rows of a copy as if they were true here. A look must not adopt, so this is not require().

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
