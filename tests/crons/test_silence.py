"""Connections that go silent: what the kernel is told of them, and the watchdog."""

from __future__ import annotations

import socket
from datetime import timedelta
from types import SimpleNamespace

import pytest

from crons.ledger import silence


def connected(family=socket.AF_INET):
    """Return both ends of a connection, and what Django would call it."""
    if family == socket.AF_UNIX:
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            ours = socket.create_connection(server.getsockname())
            theirs, _ = server.accept()
    options: dict[str, object] = {}
    django = SimpleNamespace(vendor="postgresql", alias="default", settings_dict={"OPTIONS": options}, connection=ours)
    return ours, theirs, django


def told(ours):
    """What the kernel was told of *ours*."""
    return (
        ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
        ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
    )


def test_the_kernel_notices_a_silent_connection_within_a_lease(settings):
    """Its own patience is two hours for one that is idle, and a quarter of an hour for what was sent."""
    settings.CRONS = {**settings.CRONS, "LEASE": timedelta(seconds=30)}
    ours, theirs, connection = connected()

    silence._set_options(connection)

    with ours, theirs:
        assert told(ours) == (1, 10, 3, 10_000)


@pytest.mark.parametrize(
    "given", [{"keepalives": 0, "tcp_user_timeout": 0}, {"keepalives_idle": 5, "tcp_user_timeout": "100"}]
)
def test_what_the_project_says_of_its_connections_stands(given):
    """libpq has done it already."""
    ours, theirs, connection = connected()
    connection.settings_dict["OPTIONS"].update(given)
    before = told(ours)

    silence._set_options(connection)

    with ours, theirs:
        assert told(ours) == before


@pytest.mark.parametrize(("alias", "vendor"), [("other", "postgresql"), ("default", "sqlite")])
def test_other_connections_are_left_alone(alias, vendor):
    """They are the project's."""
    ours, theirs, connection = connected()
    connection.alias, connection.vendor = alias, vendor
    before = told(ours)

    silence._set_options(connection)

    with ours, theirs:
        assert told(ours) == before


def test_the_watchdog_ends_the_connection_of_a_block_that_takes_too_long(monkeypatch):
    """Whoever waits for an answer gets an error, and the next look has a connection of its own."""
    ours, theirs, connection = connected(socket.AF_UNIX)
    monkeypatch.setattr(silence, "connections", {"default": connection})
    monkeypatch.setattr(silence, "STOPPING_SECONDS", 0.0)
    monkeypatch.setattr(silence, "LOOK_SECONDS", 0.01)
    watchdog = silence.Watchdog(lambda: True)

    with ours, theirs:
        with watchdog:
            answer = ours.recv(1)  # without the watchdog this is for ever
        watchdog.close()

        assert answer == b""


def test_a_block_that_is_over_is_watched_no_more(monkeypatch):
    """A connection that rests between two looks is well."""
    ours, theirs, connection = connected(socket.AF_UNIX)
    monkeypatch.setattr(silence, "connections", {"default": connection})
    monkeypatch.setattr(silence, "STOPPING_SECONDS", 0.0)
    watchdog = silence.Watchdog(lambda: True)
    cuts = []
    monkeypatch.setattr(watchdog, "_cut", cuts.append)
    looks = iter([False, False, True])
    monkeypatch.setattr(watchdog, "_closed", SimpleNamespace(wait=lambda seconds: next(looks)))

    watchdog._since = None
    watchdog._watch()

    with ours, theirs:
        assert cuts == []
