"""The scheduler and the workers of the executors that are elsewhere: made once, when a test first needs them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contracts.workers import Station


@pytest.fixture(scope="session")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """One for each process of the test run."""
    made = Station(tmp_path_factory.mktemp("station"))
    yield made
    made.close()
