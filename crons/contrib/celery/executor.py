"""The executor celery: a message to Celery's workers, sent so that a dead broker costs nothing but time.

A worker that gets it asks the ledger whether the run is still to be begun, and runs it under a supervisor of its
own (tasks.py beside this, crons.triggers.worker). So timeout, cancelling and output are the same as on this machine,
and a message that comes twice, or late, does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

from crons.executors import RunMessage, Sender

if TYPE_CHECKING:
    from celery import Celery
    from kombu.connection import Connection

RUN = "crons.run"
PICKLE = {"pickle", "application/x-python-serialize"}
# Celery's own limits are there for a supervisor that cannot kill: well after ours, and in place of the project's.
LIMIT_MARGIN = timedelta(minutes=2)
NO_LIMIT = timedelta(days=365)
CONNECT_SECONDS = 4.0
# Of a broker that takes the connection and then says nothing.
SILENT_SECONDS = 5.0
GIVE_UP_AT_ONCE = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}


class CelerySender(Sender):
    """Sends runs to a Celery application.

    Args: *app* is its dotted path, "crm.celery.app"; without, the current one of this process. *queue* is where
    jobs go whose route names none; without, the application's default.
    """

    route_keys = ("queue", "priority", "routing_key", "exchange")

    def __init__(self, *, alias: str, app: str = "", queue: str = "") -> None:
        super().__init__(alias=alias)
        self._app_path = app
        self.queue = queue
        self._connection: Connection | None = None

    def send(self, message: RunMessage) -> None:
        """Publish *message* once; nothing is tried again here, the ledger does that.

        Raises: whatever the transport raises.
        """
        app = self.app
        limit = (message.timeout + LIMIT_MARGIN if message.timeout else NO_LIMIT).total_seconds()
        route = {"queue": self.queue, **message.route}
        try:
            app.send_task(
                RUN,
                args=[message.run, message.deployment],
                kwargs={"executor": message.executor},
                # Its own for each message: one that somebody revokes is dropped by workers for hours.
                task_id=f"crons-{message.deployment[-12:]}-{message.run}-{message.tries}-{message.number}",
                producer=app.amqp.Producer(self._connected(app)),
                retry=False,
                ignore_result=True,
                time_limit=limit,
                soft_time_limit=limit,
                argsrepr=f"{message.entry} ({message.key})",
                kwargsrepr="",
                **{key: value for key, value in route.items() if value != ""},
            )
        except Exception:
            self.close()  # whatever state it is in, the next message gets a new one
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with suppress(Exception):  # a broker that is gone hears nothing
                connection.release()  # type: ignore[no-untyped-call]

    def problems(self, route: Mapping[str, Any]) -> Iterator[str]:
        """Say why messages with *route* would get nowhere."""
        yield from super().problems(route)
        try:
            _ = self.app
        except Exception as error:  # noqa: BLE001 (its module is anybody's code)
            named = f"its OPTIONS name the Celery application {self._app_path!r}" if self._app_path else "Celery"
            yield f"{named}, which cannot be imported: {type(error).__name__}: {error}"

    @property
    def takes_pickle(self) -> bool:
        """Whether workers of this application unpack objects that a message carries."""
        return not PICKLE.isdisjoint(self.app.conf.accept_content or ())

    @property
    def app(self) -> Celery:
        """The application that messages are sent by.

        Raises: ImportError if there is none at the path.
        """
        if self._app_path:
            found: Celery = import_string(self._app_path)
            return found
        from celery import current_app

        return current_app._get_current_object()

    def _connected(self, app: Celery) -> Connection:
        if self._connection is None:
            options: dict[str, Any] = {**app.conf.broker_transport_options, **GIVE_UP_AT_ONCE}
            connection = app.connection_for_write(connect_timeout=CONNECT_SECONDS)
            if connection.transport_cls in ("redis", "rediss", "sentinel"):
                options |= {"socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": SILENT_SECONDS}
            connection.transport_options = options
            self._connection = connection
        return self._connection
