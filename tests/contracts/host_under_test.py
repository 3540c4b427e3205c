"""A host that a test kills: python -m tests.contracts.host_under_test JOB NAMED_PIPE."""

from __future__ import annotations

import sys

import django
from django.conf import settings


def main(job: str, path: str) -> None:
    """Start *job*, say who this instance is, and work for ever."""
    settings.configure(SECRET_KEY="a-host-under-test", INSTALLED_APPS=["crons"], USE_TZ=True)
    django.setup()
    from crons.executors.process.executor import ProcessExecutor
    from crons.hosts.instances import Instance
    from crons.jobs import Job, registry
    from tests.contracts.hosting import Host
    from tests.contracts.jobs_under_test import BODIES

    registry.jobs = {name: Job(name, each) for name, each in BODIES.items()}
    instance = Instance.start("serve")
    host = Host(ProcessExecutor(alias="process", max_running=2))
    host.executor.prepare()
    host.start(job, path=path, **({"end": "wait"} if job.startswith("leaves") else {}))
    sys.stdout.write(f"{instance.name} {instance.boot_id}\n")
    sys.stdout.flush()
    while True:
        host.executor.work(host.writer, 60)


if __name__ == "__main__":
    main(*sys.argv[1:])
