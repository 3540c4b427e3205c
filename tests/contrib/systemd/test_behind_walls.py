"""A job as systemd's units run it, as far as that can be had without systemd: read-only files, no privileges."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.acceptance import namespaces
from tests.acceptance.conftest import PATIENCE_SECONDS, ROOT, Site

# As ProtectSystem=, ReadWritePaths=, CapabilityBoundingSet= and NoNewPrivileges= of crons/contrib/systemd/units.py.
WALLS = """
mount --make-rprivate / && mount --bind "$1" "$1" && mount -o remount,bind,ro / || exit 70
if touch "$2/written" 2>/dev/null; then exit 71; fi
shift 2
exec setpriv --no-new-privs --bounding-set -all --inh-caps -all "$@"
"""


def test_a_job_runs_where_only_its_directories_can_be_written(site: Site, tmp_path: Path) -> None:
    """Hardening costs nothing that it protects: fork server, supervisors, leases and SQLite need none of it."""
    namespaces.need(namespaces.OWN_MOUNTS, "a read-only file system")
    command = [sys.executable, str(ROOT / "manage.py"), "crons", "run", "plain", "--manual"]

    done = subprocess.run(
        [*namespaces.OWN_MOUNTS, "/bin/sh", "-c", WALLS, "sh", str(tmp_path), str(ROOT), *command],
        env=site.env, cwd=site.folder, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert site.verdicts("plain") == [("succeeded", 1, "succeeded")]
    assert [entry for entry, _, _ in site.traces()] == ["plain"]
    site.wait_until_nothing_runs()
