"""What a job is given, used by a real job in a real process: its effects are kept while the run is its own."""

from __future__ import annotations

import os

from tests.acceptance.conftest import Site, moment


def test_effects_of_a_job_that_lost_its_run_are_not_kept(site: Site) -> None:
    """Another host may have declared it lost and begun it again: its transaction must not commit any more."""
    os.mkfifo(site.folder / "gate")
    site.make_due("writes_fenced")
    process = site.start("tick")
    gate = os.open(site.folder / "gate", os.O_WRONLY)  # opens once the job reads, so after its first write

    site.sql("UPDATE crons_attempt SET outcome = 'lost', lease_until = NULL")
    os.close(gate)
    output = process.communicate()[0]

    ((slot_at, late),) = site.sql(
        "SELECT slot_at, late_outcome FROM crons_run JOIN crons_attempt ON run_id = crons_run.id"
    )
    ((entry, key, token),) = site.traces()
    assert process.returncode == 0, output
    assert site.sql("SELECT verb, actor FROM crons_auditevent WHERE subject_type = 'test'") == [("write 1", key)]
    assert [moment(at) for (at,) in site.sql("SELECT at FROM crons_auditevent")] == [moment(slot_at)]
    assert (entry, late) == ("writes_fenced", "failed")
    assert site.sql("SELECT id FROM crons_attempt") == [(token,)]


def test_effects_of_a_job_that_kept_its_run_are_kept(site: Site) -> None:
    """The same job, left alone."""
    (site.folder / "gate").write_text("")
    site.make_due("writes_fenced")

    site.crons("tick")

    assert site.verdicts("writes_fenced") == [("succeeded", 1, "succeeded")]
    assert site.sql("SELECT verb FROM crons_auditevent ORDER BY id") == [("write 1",), ("write 2",)]
