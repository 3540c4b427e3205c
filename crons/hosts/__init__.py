"""Which processes there are on this machine, who is who, and what has outlived its supervisor."""

from crons.hosts.in_tests import is_suite, refuse_schedulers
from crons.hosts.instances import Instance, boot_id, boottime, host, is_gone, lock_attempt, operator

__all__ = [
    "Instance",
    "boot_id",
    "boottime",
    "host",
    "is_gone",
    "is_suite",
    "lock_attempt",
    "operator",
    "refuse_schedulers",
]
