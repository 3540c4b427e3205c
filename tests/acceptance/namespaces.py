"""What a test may do to the machine only where nobody else sees it."""

from __future__ import annotations

import os
import subprocess

import pytest

OWN_MOUNTS = ("unshare", "--mount")
OWN_MACHINE = (*OWN_MOUNTS, "--pid", "--fork", "--kill-child", "--mount-proc")


def need(command: tuple[str, ...], for_what: str) -> None:
    """Skip, saying why, where *command* cannot make namespaces; with CI=true and as root that is a failure."""
    if os.geteuid() != 0:
        pytest.skip(f"needs root for {for_what}")
    probe = subprocess.run([*command, "mount", "--make-rprivate", "/"], capture_output=True, text=True, check=False)
    if probe.returncode == 0:
        return
    reason = f"needs mount namespaces for {for_what}: {probe.stderr.strip()}"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; CI=true allows no skip", pytrace=False)
    pytest.skip(reason)
