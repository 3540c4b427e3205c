"""What there is for OpenTelemetry."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from crons.extensions import Extension
from crons.signals import attempt_finished

if TYPE_CHECKING:
    from crons.executors import Begun, Ending

# The outcomes of attempts whose process was ended by others.
_KILLED = ("timed_out", "cancelled", "lost")
# A process with another number was forked from one that had found the extensions.
_FIRST_PROCESS = os.getpid()


class OpenTelemetryExtension(Extension):
    """Each attempt is a span."""

    def __init__(self) -> None:
        attempt_finished.connect(_on_finished, dispatch_uid="crons.contrib.opentelemetry")

    def begin_attempt(self, begun: Begun) -> Callable[[Ending], None] | None:
        """Begin the span, where the project has loaded the API and set a provider of tracers."""
        if not _is_traced():
            return None
        from crons.contrib.opentelemetry.spans import begin

        return begin(begun, is_forked=os.getpid() != _FIRST_PROCESS)


def _on_finished(attempt: Any, **kwargs: object) -> None:
    # A process that is killed ends no span: so the one that has written down its end makes it.
    if attempt.outcome in _KILLED and _is_traced():
        from crons.contrib.opentelemetry.spans import record_killed

        record_killed(attempt)


def _is_traced() -> bool:
    """Say whether the project has set a provider of tracers. Never imported here: who has set one has imported it."""
    api = sys.modules.get("opentelemetry.trace")
    return api is not None and not isinstance(
        api.get_tracer_provider(), (api.ProxyTracerProvider, api.NoOpTracerProvider)
    )


EXTENSION = OpenTelemetryExtension()
