"""Who is gone: the kernel knows, no pid is compared."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from crons.hosts import instances
from crons.hosts.instances import Instance


@pytest.fixture
def instance() -> Iterator[Instance]:
    instance = Instance.start("serve")
    yield instance
    instance.stop()


def test_an_instance_lives_while_its_process_does(instance: Instance) -> None:
    assert not instances.is_gone(instance.name, instance.boot_id)


def test_an_instance_is_gone_once_it_has_stopped(instance: Instance) -> None:
    instance.stop()

    assert instances.is_gone(instance.name, instance.boot_id)


def test_another_process_that_holds_the_name_keeps_it_alive(instance: Instance) -> None:
    """A job may outlive its scheduler: as long as it might run, nothing is declared lost."""
    assert instance.bound is not None
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[instance.bound.fileno()]
    ) as job:
        instance.stop()
        was_gone = instances.is_gone(instance.name, instance.boot_id)
        job.communicate(b"\n")

    assert not was_gone
    assert instances.is_gone(instance.name, instance.boot_id)


def test_a_program_started_by_a_job_does_not_keep_it_alive(instance: Instance) -> None:
    """Only forks of the instance can run its jobs; the name is not passed on to programs."""
    assert instance.bound is not None

    assert not instance.bound.get_inheritable()


def test_another_boot_proves_nothing(instance: Instance) -> None:
    """Another machine, boot or network namespace: its names cannot be seen from here."""
    instance.stop()

    assert not instances.is_gone(instance.name, "another-boot/net:[1]")


def test_two_instances_have_two_names(instance: Instance) -> None:
    other = Instance.start("tick")

    assert other.name != instance.name
    assert (other.host, other.pid, other.boot_id) == (instance.host, os.getpid(), instance.boot_id)
    other.stop()


def test_looking_does_not_take_the_name(instance: Instance) -> None:
    """A watcher that held the name for a moment would make the next one see a living process."""
    instance.stop()

    assert instances.is_gone(instance.name, instance.boot_id)
    assert instances.is_gone(instance.name, instance.boot_id)
