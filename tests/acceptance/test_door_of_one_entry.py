"""`crons run NAME` where it is the only trigger there is."""

from __future__ import annotations

from tests.acceptance.conftest import Site


def test_a_crontab_line_alone_catches_up_on_every_slot(site: Site) -> None:
    """Older slots of catch_up="all" wait their turn: without another trigger the line itself has to run them."""
    site.make_due()
    site.sql("UPDATE crons_entry SET schedule = '0 * * * *', wake_at = NULL WHERE name = 'each_second'")
    back = "strftime('%Y-%m-%d %H:%M:%f', 'now', '-5 hours')"
    if site.database.vendor == "postgresql":
        back = "now() - interval '5 hours'"
    site.sql(f"UPDATE crons_entry SET accounted_until = {back} WHERE name = 'each_second'")

    site.crons("run", "each_second", "--scheduled")

    assert site.verdicts("each_second") == [("succeeded", 1, "succeeded")] * 5
    assert len(site.traces()) == 5


def test_a_retry_that_is_near_is_waited_for_and_said_once(site: Site) -> None:
    """The exit code is the verdict, so the door stays; it says so once, not twice a second."""
    done = site.crons("run", "fails_with_pauses", "--manual", check=False)

    told = [line for line in done.stderr.splitlines() if "again at" in line]
    assert done.returncode == 1
    assert [line.partition("again at")[0] for line in told] == [
        "run 1 of fails_with_pauses: try 1 failed: RuntimeError: no luck today; ",
        "run 1 of fails_with_pauses: try 2 failed: RuntimeError: no luck today; ",
    ]
    assert done.stderr.splitlines()[-1] == "run 1 of fails_with_pauses: failed: RuntimeError: no luck today"
    assert site.verdicts("fails_with_pauses") == [("failed", 3, "failed failed failed")]
