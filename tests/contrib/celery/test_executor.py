"""The executor celery: how long it waits for its broker, and where what it has sent goes."""

from __future__ import annotations

import pytest

from crons.contrib.celery.executor import CelerySender


@pytest.mark.parametrize("transport", ["redis", "rediss", "sentinel"])
def test_a_redis_that_says_nothing_is_waited_for_so_long_and_no_longer(transport):
    """Behind Sentinel too: without a limit the thread that sends would wait for ever."""
    celery = pytest.importorskip("celery", reason="Celery's packages are not there")
    app = celery.Celery("shop", broker=f"{transport}://127.0.0.1:1/0", set_as_current=False)
    app.conf.broker_transport_options = {"master_name": "shop"}

    options = CelerySender(alias="celery")._connected(app).transport_options

    assert (options["socket_connect_timeout"], options["socket_timeout"]) == (4.0, 5.0)
    assert (options["max_retries"], options["master_name"]) == (1, "shop")
