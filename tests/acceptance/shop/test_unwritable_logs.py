"""Log folders that are symlinks, full or read-only: the job fails, says so, and hides nothing."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance import namespaces
from tests.acceptance.conftest import ROOT
from tests.acceptance.shop.conftest import HEARTBEAT, SCRIPT, Shop


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_log_folder_that_is_a_symlink_fails_the_job(shop: Shop, tmp_path: Path) -> None:
    """In a shared folder somebody else may have put it there; the reason stands in the ledger."""
    (tmp_path / "link").symlink_to(shop.log_dir)

    done = shop.manage("crons", "run", HEARTBEAT, CRM_LOG_DIR=str(tmp_path / "link"))

    assert done.returncode == 1
    assert f"CRM_LOG_DIR {tmp_path / 'link'} cannot be used: " in done.stderr
    assert "set CRM_LOG_DIR to the real path." in shop.manage("crons", "show", "1").stdout
    assert shop.log("crm_heartbeat_log.txt") == []


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_full_disk_fails_the_job(shop: Shop) -> None:
    """A heartbeat that left no line is none."""
    namespaces.need(namespaces.OWN_MOUNTS, "a disk that is full")
    here = shlex.quote(str(shop.log_dir))
    fill = f'mount -t tmpfs -o size=4k none {here} && head -c 4096 /dev/zero >{here}/big; exec "$@"'
    command = (sys.executable, ROOT / "manage.py", "crons", "run", HEARTBEAT)

    done = shop.start(*namespaces.OWN_MOUNTS, "/bin/sh", "-c", fill, "sh", *command)

    assert done.returncode == 1
    assert "Log file 'crm_heartbeat_log.txt' cannot be written: No space left on device." in done.stderr
    assert "No space left on device" in shop.manage("crons", "show", "1").stdout


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_full_disk_does_not_hide_that_customers_are_gone(shop: Shop) -> None:
    """The log has no room for their number; the run's output has it, and the run is no success."""
    before = shop.customers()

    done = over_the_log_folder(shop, f"size=4k none {shop.log_dir} && head -c 4096 /dev/zero >{shop.log_dir}/big")

    gone = before - shop.customers()
    assert gone > 0
    assert done.returncode == 1
    assert f"Deleted {gone} of {before} customers" in done.stdout
    assert "No space left on device" in done.stderr
    assert f"Deleted {gone} of {before} customers" in shop.manage("crons", "log", "1").stdout


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_log_folder_that_is_read_only_stops_the_cleanup_before_it_deletes(shop: Shop) -> None:
    before = shop.customers()

    done = over_the_log_folder(shop, f"ro none {shop.log_dir}")

    assert (done.returncode, shop.customers()) == (1, before)
    assert "Log file 'customer_cleanup_log.txt' cannot be opened: Read-only file system." in done.stderr


def over_the_log_folder(shop: Shop, mount: str) -> subprocess.CompletedProcess[str]:
    """Run the cleanup with another file system in the place of its log folder."""
    namespaces.need(namespaces.OWN_MOUNTS, "a disk that is full or read-only")
    command = f'mount -t tmpfs -o {mount} && exec "$@"'
    return shop.start(*namespaces.OWN_MOUNTS, "/bin/sh", "-c", command, "sh", SCRIPT)
