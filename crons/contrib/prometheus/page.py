"""GET /crons/metrics: the figures, in the format that the scraper asks for."""

from __future__ import annotations

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from crons.contrib.prometheus.families import Families
from crons.contrib.prometheus.figures import read
from crons.exceptions import CronsError
from crons.web.health import for_machines, refusal


@for_machines
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with what the rows say now; 503 where they cannot be read, so that the scrape counts as failed."""
    if refused := refusal(request):
        return refused
    try:
        figures = read()
    except (CronsError, DatabaseError) as error:
        return HttpResponse(f"{error}\n", status=503, content_type="text/plain; charset=utf-8")
    # Of its own, for this request: what the project counts in its processes is on another page, if it has one.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Families(figures))
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(registry), content_type=content_type)
