"""A backup is restored: what its database ran after it was made is not run again, but where that does no harm."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests import databases
from tests.acceptance.conftest import Site


def test_restored_backup_repeats_only_what_may_be_repeated(site: Site, tmp_path: Path) -> None:
    """The slot of the last hour ran after the backup was made, and nothing in the backup says so."""
    site.make_due("plain", "harmless")
    with databases.copies(site.database) as copy:
        folder = tmp_path / "restored"
        folder.mkdir()
        taken = datetime.now(UTC).isoformat()
        restored = Site(copy(folder), folder)
        site.stack.callback(restored.stack.close)
        site.crons("tick")
        lost = {entry: (key, token) for entry, key, token in site.traces()}

        reconciled = restored.crons("reconcile", "--since", taken, CRONS_ENABLED="0")
        restored.crons("adopt", "--yes")
        restored.crons("tick")

        assert set(lost) == {"plain", "harmless"}
        again = {entry: (key, token) for entry, key, token in restored.traces()}
        assert "plain" not in again
        assert again["harmless"][0] == lost["harmless"][0]
        assert again["harmless"][1] > 1_000_000 > max(token for _, token in lost.values())
        [written_off] = restored.sql(
            "SELECT r.verdict, r.reason, r.count FROM crons_range r JOIN crons_entry e ON e.id = r.entry_id "
            "WHERE e.name = 'plain'"
        )
        assert written_off == ("lost", "restored", 1)
        assert "plain: 1 slot(s) lost, they may have run\n" in reconciled.stdout
        assert reconciled.stdout.endswith("Reconciled. Now switch on, and start.\n")


def test_database_that_was_not_restored_is_left_alone(site: Site) -> None:
    """At three in the morning, on the wrong host."""
    site.make_due("plain")
    site.crons("tick")
    before = site.sql("SELECT name, accounted_until, wake_at FROM crons_entry ORDER BY id")

    refused = site.crons("reconcile", "--since", "2026-01-01T00:00Z", check=False)

    assert refused.returncode == 1
    assert "so it is no backup of 2026-01-01 00:00:00 UTC, or it has run since it was restored." in refused.stderr
    assert site.sql("SELECT name, accounted_until, wake_at FROM crons_entry ORDER BY id") == before


@pytest.mark.parametrize("moment", ["2026-13-01", "yesterday"])
def test_moment_that_is_none_is_a_mistake_of_usage(site: Site, moment: str) -> None:
    """Before anything is looked at."""
    refused = site.crons("reconcile", "--since", moment, check=False)

    assert refused.returncode == 2
    assert f"{moment!r} is no moment" in refused.stderr
