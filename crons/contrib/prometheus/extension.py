"""What there is for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from crons.extensions import Extension

if TYPE_CHECKING:
    from django.urls import URLPattern


class PrometheusExtension(Extension):
    """It scrapes figures."""

    def urls(self) -> Iterable[URLPattern]:
        """Return the page of figures, where the library that writes them is installed."""
        if find_spec("prometheus_client") is None:
            return ()
        from django.urls import path

        from crons.contrib.prometheus.page import metrics

        return (path("metrics", metrics, name="metrics"),)


EXTENSION = PrometheusExtension()
