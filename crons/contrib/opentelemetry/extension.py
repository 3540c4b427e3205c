"""What there is for OpenTelemetry."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from crons.extensions import Extension

if TYPE_CHECKING:
    from crons.executors import Begun, Ending

# A process with another number was forked from one that had found the extensions.
_FIRST_PROCESS = os.getpid()


class OpenTelemetryExtension(Extension):
    """Each attempt is a span."""

    def begin_attempt(self, begun: Begun) -> Callable[[Ending], None] | None:
        """Begin the span, where the project has loaded the API and set a provider of tracers."""
        # Never imported here: who has set a provider has imported it.
        api = sys.modules.get("opentelemetry.trace")
        if api is None or isinstance(api.get_tracer_provider(), (api.ProxyTracerProvider, api.NoOpTracerProvider)):
            return None
        from crons.contrib.opentelemetry.spans import begin

        return begin(begun, is_forked=os.getpid() != _FIRST_PROCESS)


EXTENSION = OpenTelemetryExtension()
