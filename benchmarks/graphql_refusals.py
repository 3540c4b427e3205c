"""What a refusal of GraphQL costs: processor time and length of the answer to each hostile document, for a stranger."""

from __future__ import annotations

import json
from time import process_time
from typing import Any

from benchmarks.hostile_documents import DOCUMENTS


def measure(rounds: int = 7) -> dict[str, Any]:
    """Give the least processor seconds and the bytes of the answer for each document."""
    from django.test import RequestFactory
    from django.test.utils import override_settings

    from crm.endpoint import view

    factory, found = RequestFactory(), {}
    with override_settings(ALLOWED_HOSTS=["*"]):
        for name, make in DOCUMENTS.items():
            body, took = make(), []
            for _ in range(rounds):
                request = factory.post("/graphql", body, content_type="application/json")
                started = process_time()
                answer = view(request)
                took.append(process_time() - started)
            found[name] = {"seconds": min(took), "bytes": len(answer.content), "status": answer.status_code}
    return found


if __name__ == "__main__":
    import django

    django.setup()
    print(json.dumps(measure()))
