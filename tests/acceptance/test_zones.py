"""A host whose time zone data is older than what the code names: its own problem, and nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.conftest import PATIENCE_SECONDS, Site, wait_for_line

ZONEINFO = Path("/usr/share/zoneinfo")


@pytest.fixture
def older(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine that knows UTC and Berlin only, and whose tzdata package is empty."""
    zones = tmp_path / "zoneinfo"
    (zones / "Europe").mkdir(parents=True)
    for name in ("UTC", "Europe/Berlin"):
        (zones / name).symlink_to(ZONEINFO / name)
    package = tmp_path / "modules" / "tzdata"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    return {"PYTHONTZPATH": str(zones), "PYTHONPATH": str(package.parent)}


def test_a_host_without_a_zone_of_the_code_leaves_its_entry_to_others(site: Site, older: dict[str, str]) -> None:
    """There the whole module could not be imported, and `serve` did not start."""
    site.env |= {"TEST_ZONE": "Europe/Kyiv"}
    site.crons("sync")
    refused = site.crons("sync", check=False, **older)
    lacking = site.start("serve", **older)
    wait_for_line(lacking, "crons serve: pid")
    site.make_due("in_another_zone", "plain")

    site.wait_for_row("SELECT 1 FROM crons_heartbeat WHERE CAST(lacks AS TEXT) LIKE '%%Kyiv%%'", lacking)
    site.wait_for_row("SELECT 1 FROM crons_run WHERE verdict = 'succeeded'", lacking)
    alone = site.sql("SELECT e.name FROM crons_run r JOIN crons_entry e ON e.id = r.entry_id")
    told = site.crons("health", check=False).stdout
    other = site.start("serve")
    site.wait_for_row("SELECT COUNT(*) FROM crons_run WHERE verdict = 'succeeded' HAVING COUNT(*) >= 2", other)
    for each in (lacking, other):
        each.terminate()

    said = [each.communicate(timeout=PATIENCE_SECONDS)[0] for each in (lacking, other)]
    assert [each.returncode for each in (lacking, other)] == [0, 0], "".join(said)
    assert alone == [("plain",)]
    assert "has no time zone data of 'Europe/Kyiv', and leaves its entries to other hosts" in told
    assert refused.returncode == 1
    assert "names the zone 'Europe/Kyiv', which is not in this machine's time zone data" in refused.stderr
    assert site.sql("SELECT parked_reason FROM crons_entry WHERE name = 'in_another_zone'") == [("",)]
