"""What a schedule text means, what is refused, and that the reference page is true."""

from __future__ import annotations

import pickle
import re
import shutil
import subprocess
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

import pytest

from crons.exceptions import InvalidSchedule
from crons.schedules import (
    EPOCH,
    FAR_FUTURE,
    FAR_PAST,
    LONGEST_TEXT,
    NEVER,
    NICKNAMES,
    Cron,
    Every,
    cron,
    every,
    parse,
    zones,
)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/crontab-syntax.md").read_text()
BERLIN = ZoneInfo("Europe/Berlin")
TICK = timedelta.resolution


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def shown(slot: datetime) -> str:
    local = slot.astimezone(BERLIN)
    return f"{local:%a %Y-%m-%d %H:%M:%S}".removesuffix(":00")


def rows(heading: str, columns: int) -> list[tuple[str, ...]]:
    """Read the body of the last table under *heading* of the reference page, without backticks."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    cells = [tuple(cell.strip().strip("`") for cell in line[2:-2].split(" | ")) for line in lines]
    assert cells
    assert {len(row) for row in cells} == {columns}
    return cells


class TestReferencePage:
    """docs/reference/crontab-syntax.md is executed, so it cannot say what is not so."""

    @pytest.mark.parametrize(("text", "english", "moments"), rows("Examples", 3))
    def test_example_is_due_and_reads_as_the_page_says(self, text, english, moments):
        """The examples are what people copy from."""
        schedule = parse(text)
        first = schedule.next_after(at("2025-01-15T09:07"), BERLIN)
        second = schedule.next_after(first, BERLIN)

        assert ", ".join(shown(slot) for slot in (first, second)) == moments
        assert schedule.explain() == english

    @pytest.mark.parametrize(("text", "zone", "day", "slots"), rows("Clock changes", 4))
    def test_slots_of_a_day_with_a_clock_change_are_those_of_the_page(self, text, zone, day, slots):
        """The page is where people look on the Sunday itself."""
        tz = ZoneInfo(zone)
        midnight = datetime.fromisoformat(day).replace(tzinfo=tz)
        after, until = midnight.astimezone(UTC) - TICK, (midnight + timedelta(days=1)).astimezone(UTC) - TICK

        found = [slot.astimezone(tz) for slot in parse(text).between(after, until, tz)]

        times = [slot.isoformat(timespec="minutes")[11:] for slot in found]
        assert ", ".join(times or ["none"]) == slots

    @pytest.mark.parametrize(("text", "reason"), rows("Refused", 2))
    def test_refused_text_is_refused_with_the_reason_of_the_page(self, text, reason):
        """The message says what came and what was expected."""
        with pytest.raises(InvalidSchedule) as caught:
            parse(text)

        assert str(caught.value) == f"{text!r}: {reason}"

    def test_nicknames_are_those_of_the_page(self):
        """A nickname nobody can look up is not there."""
        listed = {name: fields for names, fields in rows("Nicknames", 2) for name in re.findall(r"@\w+", names)}

        assert listed == NICKNAMES


class TestCron:
    def test_next_after_a_slot_is_the_one_after_it(self):
        """Strictly after: a cursor that stands on a slot must move."""
        assert cron("*/5 * * * *").next_after(at("2025-06-01T10:05"), UTC) == at("2025-06-01T10:10")

    def test_next_after_counts_microseconds(self):
        """A tick between two seconds must neither repeat nor lose a slot."""
        noon = at("2025-06-01T12:00")

        assert cron("0 12 * * *").next_after(noon - TICK, UTC) == noon
        assert cron("0 12 * * *").next_after(noon + TICK, UTC) == noon + timedelta(days=1)

    def test_latest_is_the_moment_itself_when_that_is_a_slot(self):
        """At or before: the slot that is due right now is the newest one."""
        noon = at("2025-06-01T12:00")

        assert cron("0 12 * * *").latest(noon, UTC) == noon
        assert cron("0 12 * * *").latest(noon + TICK, UTC) == noon
        assert cron("0 12 * * *").latest(noon - TICK, UTC) == noon - timedelta(days=1)

    def test_between_leaves_out_its_start_and_includes_its_end(self):
        """(after, until], so that two spans side by side share no slot."""
        hours = cron("0 * * * *").between(at("2025-06-01T10:00"), at("2025-06-01T12:00"), UTC)

        assert hours == [at("2025-06-01T11:00"), at("2025-06-01T12:00")]

    def test_between_stops_at_its_limit_with_the_oldest(self):
        """A caller takes a bite and comes back for more."""
        schedule = cron("0 * * * *")

        assert schedule.between(at("2025-06-01"), at("2025-06-02"), UTC, limit=1) == [at("2025-06-01T01:00")]
        assert schedule.between(at("2025-06-01"), at("2025-06-02"), UTC, limit=0) == []

    @pytest.mark.parametrize("schedule", [cron("* * * * *"), every(seconds=1), NEVER])
    def test_a_span_that_ends_before_it_starts_holds_nothing(self, schedule):
        """A clock that stepped back must not make slots, nor a negative number of them."""
        assert schedule.between(at("2025-06-02"), at("2025-06-01"), UTC) == []
        assert schedule.count(at("2025-06-02"), at("2025-06-01"), UTC) == 0
        assert schedule.count(at("2025-06-02"), at("2025-06-02"), UTC) == 0

    def test_count_of_a_decade_of_minutes_is_exact(self):
        """Counted by arithmetic: one slot for each real minute, clock changes or not."""
        after, until = at("2020-01-01"), at("2030-01-01")

        assert cron("* * * * *").count(after, until, BERLIN) == (until - after) // timedelta(minutes=1)

    def test_count_of_three_thousand_years_is_exact(self):
        """No slot is listed on the way, so no span is too long."""
        after, until = at("2025-01-01"), at("5025-01-01")

        assert cron("0 12 * * *").count(after, until, UTC) == (date(5025, 1, 1) - date(2025, 1, 1)).days
        assert cron("0 12 29 2 *").count(after, until, UTC) == 727

    def test_moments_come_back_in_utc_whatever_came_in(self):
        """Rows are in UTC."""
        local = datetime(2025, 7, 1, 7, 0, tzinfo=timezone(timedelta(hours=-5)))

        slot = cron("30 14 * * *").next_after(local, BERLIN)

        assert slot == at("2025-07-01T12:30")
        assert slot.tzinfo is UTC

    def test_either_day_field_is_enough_when_neither_begins_with_a_star(self):
        """Debian: the 13th, and every Friday."""
        slots = cron("0 0 13 * FRI").between(at("2025-01-01"), at("2025-01-20"), UTC)

        assert [slot.day for slot in slots] == [3, 10, 13, 17]

    @pytest.mark.parametrize(
        ("text", "days"),
        [
            ("0 0 */2 * MON", [13, 27]),
            ("0 0 1-31/2 * */1", [*range(1, 32, 2)]),
            ("0 0 1-31/2 * MON", sorted({*range(1, 32, 2), 6, 13, 20, 27})),
        ],
    )
    def test_both_day_fields_must_match_when_one_begins_with_a_star(self, text, days):
        """Debian looks at the first character only, so */2 counts as unrestricted and 1-31/2 does not."""
        slots = cron(text).between(at("2024-12-31T23:00"), at("2025-01-31T23:00"), UTC)

        assert [slot.day for slot in slots] == days

    def test_leap_days_are_skipped_in_years_that_have_none(self):
        """2096 to 2104: 2100 is no leap year."""
        assert cron("0 0 29 2 *").next_after(at("2096-03-01"), UTC) == at("2104-02-29")
        assert cron("0 0 29 2 *").latest(at("2104-02-28"), UTC) == at("2096-02-29")

    def test_a_leap_day_that_must_be_a_sunday_waits_for_forty_years(self):
        """The rarest date that comes at all must be found, not given up."""
        assert cron("0 0 29 2 */7").next_after(at("2088-03-01"), UTC) == at("2128-02-29")


class TestTexts:
    @pytest.mark.parametrize(
        ("typed", "canonical"),
        [
            ("*/5 * * * *", "*/5 * * * *"),
            ("  0\t2  * jan,Feb sun \n", "0 2 * JAN,FEB SUN"),
            ("@daily", "@daily"),
            ("every 5m", "every 300s"),
            ("every 300s", "every 300s"),
            ("", ""),
            (" \n", ""),
        ],
    )
    def test_text_is_canonical_and_reads_back_as_the_same_schedule(self, typed, canonical):
        """A row stores the text and nothing else."""
        schedule = parse(typed)

        assert schedule.text == canonical
        assert parse(schedule.text) == schedule

    def test_schedules_are_equal_where_text_and_zone_are(self):
        """Comparing tells sync whether a declaration has changed."""
        assert cron("0 2 * * sun") == cron("0  2 * * SUN")
        assert hash(cron("0 2 * * sun")) == hash(cron("0 2 * * SUN"))
        assert cron("0 2 * * *") != cron("0 2 * * *", zone="Europe/Berlin")
        assert cron("@daily") != cron("0 0 * * *")
        assert every(minutes=5) == every(timedelta(seconds=300)) == parse("every 5m")

    def test_a_schedule_cannot_be_changed(self):
        """Values are shared by caches and by threads."""
        with pytest.raises(AttributeError):
            cron("* * * * *").text = "@daily"

    @pytest.mark.parametrize("schedule", [cron("@daily", zone="Asia/Tokyo"), every(hours=1), NEVER])
    def test_a_schedule_survives_pickling(self, schedule):
        """Declarations cross process borders."""
        copy = pickle.loads(pickle.dumps(schedule))

        assert copy == schedule
        assert copy.next_after(EPOCH, UTC) == schedule.next_after(EPOCH, UTC)

    def test_the_zone_is_kept_with_the_schedule(self):
        """Who plans turns the name into a tzinfo."""
        assert parse("@daily", zone="Asia/Tokyo").zone == "Asia/Tokyo"
        assert parse("every 5s", zone="Asia/Tokyo").zone == "Asia/Tokyo"
        assert parse("@daily").zone is None

    def test_a_text_is_read_once(self):
        """Every planning pass reads the texts of its rows."""
        assert parse("7 7 * * *") is parse("7 7 * * *")

    def test_nicknames_are_due_when_their_fields_are(self):
        """A nickname is a spelling."""
        after, until = at("2024-01-01"), at("2025-06-01")

        for name, fields in NICKNAMES.items():
            assert cron(name).between(after, until, BERLIN) == cron(fields).between(after, until, BERLIN)


class TestEvery:
    def test_slots_are_counted_from_the_epoch(self):
        """All hosts see the same moments, whenever each of them started."""
        assert every(hours=12).next_after(at("2025-06-01T05:00"), UTC) == at("2025-06-01T12:00")
        assert every(days=7).next_after(at("1970-01-01"), UTC) == at("1970-01-08")

    @pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "Australia/Lord_Howe"])
    def test_no_zone_moves_a_slot(self, zone):
        """Real time has no zone."""
        slot = every(hours=12).next_after(at("2025-10-04T13:00"), ZoneInfo(zone))

        assert slot == at("2025-10-05T00:00")

    def test_latest_and_next_meet_at_a_slot(self):
        """The same slot from both sides, also before the epoch."""
        for noon in (at("2025-06-01T12:00"), at("1969-06-01T12:00")):
            assert every(hours=12).latest(noon, UTC) == noon
            assert every(hours=12).latest(noon - TICK, UTC) == noon - timedelta(hours=12)
            assert every(hours=12).next_after(noon - TICK, UTC) == noon

    def test_count_is_the_length_of_between(self):
        """Arithmetic and listing agree."""
        after, until = at("2025-06-01T00:00:01"), at("2025-06-01T01:00")

        assert every(seconds=7).count(after, until, UTC) == 514
        assert len(every(seconds=7).between(after, until, UTC)) == 514

    @pytest.mark.parametrize(
        ("seconds", "english"),
        [
            (1, "Every second"),
            (2, "Every 2 seconds"),
            (60, "Every minute"),
            (90, "Every 90 seconds"),
            (420, "Every 7 minutes, counted in UTC"),
            (900, "Every 15 minutes"),
            (3600, "Every hour, counted in UTC"),
            (5400, "Every 90 minutes, counted in UTC"),
            (43200, "Every 12 hours, counted in UTC"),
            (86400, "Every 24 hours, counted in UTC"),
            (604800, "Every 7 days, counted in UTC"),
        ],
    )
    def test_explained_in_the_largest_unit_that_fits(self, seconds, english):
        """ "Every 24 hours", for a clock change moves it within the day."""
        assert every(seconds=seconds).explain() == english

    def test_an_interval_longer_than_time_is_never_due_again(self):
        """The end of what a datetime holds is no reason to crash a planner."""
        longest = every(days=999_999_999)

        assert longest.next_after(at("2025-06-01"), UTC) == FAR_FUTURE
        assert longest.latest(at("2025-06-01"), UTC) == EPOCH
        assert longest.latest(at("1969-01-01"), UTC) == FAR_PAST


class TestNever:
    def test_never_is_what_the_empty_text_means(self):
        """A job that is only run by hand has a row too."""
        assert parse("") is NEVER
        assert parse("", zone="Asia/Tokyo") is NEVER
        assert NEVER.explain() == "Only by hand"

    def test_never_has_no_slots(self):
        """The constants say so where a datetime must be given."""
        assert NEVER.next_after(at("2025-06-01"), UTC) == FAR_FUTURE
        assert NEVER.latest(at("2025-06-01"), UTC) == FAR_PAST
        assert NEVER.between(at("2025-06-01"), at("2026-06-01"), UTC) == []
        assert NEVER.count(at("2025-06-01"), at("2026-06-01"), UTC) == 0


class TestBounds:
    @pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12", "America/New_York"])
    @pytest.mark.parametrize("text", ["* * * * *", "30 2 * * *", "0 0 29 2 *", "every 7d"])
    def test_the_ends_of_time_are_answered(self, text, zone):
        """A cursor at FAR_FUTURE or FAR_PAST must not overflow in any zone."""
        schedule, tz = parse(text), ZoneInfo(zone)
        earliest, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

        assert schedule.next_after(FAR_FUTURE, tz) == schedule.next_after(last, tz) == FAR_FUTURE
        assert FAR_PAST <= schedule.latest(earliest, tz) < schedule.next_after(earliest, tz)
        assert schedule.latest(last, tz) < FAR_FUTURE + timedelta(days=1)
        assert schedule.between(earliest, last, tz, limit=1) == [schedule.next_after(earliest, tz)]

    @pytest.mark.parametrize("call", ["next_after", "latest", "between", "count"])
    def test_a_naive_moment_is_a_value_error(self, call):
        """Which hour it means is anybody's guess, and a wrong guess runs a job at the wrong time."""
        naive = datetime(2025, 6, 1)  # noqa: DTZ001 - that is the point
        arguments = (naive,) if call in ("next_after", "latest") else (naive, naive)

        with pytest.raises(ValueError, match=r"has no zone: expected an aware datetime"):
            getattr(cron("* * * * *"), call)(*arguments, UTC)


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "0 fields, expected 5 (minute, hour, day of month, month, day of week)"),
            ("*", "1 field, expected 5 (minute, hour, day of month, month, day of week)"),
            ("٣ * * * *", "minute is ٣, expected 0-59, *, a-b, a,b or */n"),
            ("* * * * frı", "day of week is frı, expected 0-7, SUN-SAT, *, a-b, a,b or */n"),
            ("0 5-1 * * *", "hour is 5-1, expected a range that goes up: 5-23,0-1"),
            ("0 23-0 * * *", "hour is 23-0, expected a range that goes up: 23,0"),
            ("0 0 * * 7-5", "day of week is 7-5, expected a range that goes up: 0-5"),
            ("0 0 * NOV-FEB *", "month is NOV-FEB, expected a range that goes up: NOV-DEC,JAN-FEB"),
            ("1-5/0 * * * *", "minute is 1-5/0, expected a step of 1 or more"),
            ("*/ * * * *", "minute is */, expected a step of 1 or more"),
            ("*/2/2 * * * *", "minute is */2/2, expected a step of 1 or more"),
            ("*-5 * * * *", "minute is *-5, expected 0-59, *, a-b, a,b or */n"),
            ("0,61 * * * *", "minute is 61, expected 0-59, *, a-b, a,b or */n"),
            ("-5 * * * *", "minute is -5, expected 0-59, *, a-b, a,b or */n"),
            ("0 0 30,31 2 *", "day of month 30,31 never comes in month 2, expected a date that exists"),
            ("0 0 31 4,6 */2", "day of month 31 never comes in month 4,6, expected a date that exists"),
            ("@every 5m", "not a nickname, expected " + ", ".join(NICKNAMES)),
        ],
    )
    def test_cron_says_what_came_and_what_was_expected(self, text, reason):
        """The reader has the text before him and needs the field, the value and the way out."""
        with pytest.raises(InvalidSchedule) as caught:
            cron(text)

        assert str(caught.value) == f"{text!r}: {reason}"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                {},
                "every(datetime.timedelta(0)): 0:00:00 between two slots, expected whole seconds, at least 1",
            ),
            (
                {"seconds": -1},
                "every(datetime.timedelta(days=-1, seconds=86399)): "
                "-1 day, 23:59:59 between two slots, expected whole seconds, at least 1",
            ),
            (
                {"interval": timedelta(seconds=1.5)},
                "every(datetime.timedelta(seconds=1, microseconds=500000)): "
                "0:00:01.500000 between two slots, expected whole seconds, at least 1",
            ),
            ({"interval": 300}, "every(300): not a timedelta, expected timedelta(…) or every(seconds=…)"),
            (
                {"interval": timedelta(days=1), "hours": 1},
                "every(datetime.timedelta(days=1), …): both a timedelta and numbers, expected one of them",
            ),
            (
                {"minutes": "5"},
                "every(…): unsupported type for timedelta minutes component: str, "
                "expected numbers that make a timedelta",
            ),
        ],
    )
    def test_every_says_what_came_and_what_was_expected(self, arguments, message):
        """Half a second is refused here, not found out at night."""
        with pytest.raises(InvalidSchedule) as caught:
            every(**arguments)

        assert str(caught.value) == message

    @pytest.mark.parametrize("text", ["every", "every 5", "every 5 s", "every -5s", "every 99999999999999d", "every٣s"])
    def test_parse_refuses_an_interval_that_it_cannot_read(self, text):
        """A row's text may come from a form."""
        with pytest.raises(InvalidSchedule, match="expected"):
            parse(text)

    @pytest.mark.parametrize(
        ("zone", "guess"),
        [
            ("Europe/Berln", "Did you mean 'Europe/Berlin'?"),
            ("europe/berlin", "Did you mean 'Europe/Berlin'?"),
            ("Europe", "Did you mean 'Europe/Rome'?"),
            ("xxxxxxx", "Expected an IANA name such as 'Europe/Berlin'."),
            ("", "Expected an IANA name such as 'Europe/Berlin'."),
            (5, "Expected an IANA name such as 'Europe/Berlin'."),
        ],
    )
    def test_an_unknown_zone_is_refused_at_declaration(self, zone, guess):
        """Not at 02:00, when the planner would first need it."""
        for declare in (
            lambda: cron("@daily", zone=zone),
            lambda: every(hours=1, zone=zone),
            lambda: parse("@daily", zone=zone),
            lambda: parse("", zone=zone),
        ):
            with pytest.raises(InvalidSchedule) as caught:
                declare()
            assert str(caught.value) == f"zone {zone!r} is unknown. {guess}"

    @pytest.mark.parametrize("zone", ["Europe/Kyiv", "America/Ciudad_Juarez", "America/Nuuk", "Asia/Qostanay"])
    def test_a_zone_that_is_newer_than_this_machines_data_is_taken(self, monkeypatch, zone):
        """Refused, it took along all that its module declares, on each host that was not up to date."""
        newer = {"Europe/Kyiv", "America/Ciudad_Juarez", "America/Nuuk", "Asia/Qostanay"}
        monkeypatch.setattr(zones, "_zones", lambda: frozenset(available_timezones() - newer))

        declared = [cron("@daily", zone=zone), every(hours=1, zone=zone)]

        assert [each.zone for each in declared] == [zone, zone]
        with pytest.raises(InvalidSchedule, match="is unknown"):
            parse("@daily", zone=zone)  # by a person, who sees the answer

    @pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Argentina/Buenos_Aires"])
    def test_a_machine_without_zones_refuses_none(self, monkeypatch, zone):
        """A slim container has no data at all: that is no reason to say that the code is wrong."""
        monkeypatch.setattr(zones, "_zones", frozenset)

        assert cron("@daily", zone=zone).zone == zone

    @pytest.mark.parametrize("text", [None, 5, ["* * * * *"]])
    def test_what_is_no_text_is_refused(self, text):
        """A forgotten quote or a NULL of a row gets a message, not a traceback from deep inside."""
        for read in (cron, parse):
            with pytest.raises(InvalidSchedule) as caught:
                read(text)
            assert str(caught.value) == f"{text!r}: not a text, expected one such as '*/5 * * * *'"

    def test_a_text_that_no_row_should_hold_is_refused(self):
        """All values of all fields, written one by one, still fit; the message shows the beginning only."""
        written_out = " ".join(
            ",".join(map(str, values)) for values in (range(60), range(24), range(1, 32), range(1, 13), range(7))
        )
        too_long = "1," * LONGEST_TEXT + "1 * * * *"

        with pytest.raises(InvalidSchedule) as caught:
            cron(too_long)

        assert str(caught.value) == f"'{'1,' * 39}1…: {len(too_long)} characters, expected at most 500"
        assert cron(written_out).explain() == "At minutes 0 through 59 of hours 0 through 23"


def debian_reads(text: str, folder: Path) -> bool:
    """Ask Debian's crontab for a dry run: nothing is installed."""
    line = folder / "crontab"
    line.write_text(f"{text} true\n")
    return subprocess.run(["crontab", "-n", line], capture_output=True, check=False).returncode == 0


@pytest.mark.needs("cron")
class TestDebian:
    """The claim "as Debian cron means it", put to Debian's own crontab."""

    @pytest.fixture(autouse=True)
    def _crontab(self, tmp_path):
        if shutil.which("crontab") is None or not debian_reads("* * * * *", tmp_path):
            pytest.skip("needs Debian's package cron: crontab -n")

    def test_debian_reads_every_example(self, tmp_path):
        """What is declared here can be written to a crontab."""
        examples = [text for text, *_ in rows("Examples", 3) if not text.startswith("every")]

        assert [text for text in examples if not debian_reads(text, tmp_path)] == []

    def test_debian_refuses_the_same_texts_but_for_those_it_reads_by_halves(self, tmp_path):
        """The exceptions are those that the page tells of, a date that never comes, and @reboot."""
        refused = [text for text, _ in rows("Refused", 2) if not text.startswith("every")]

        assert [text for text in refused if debian_reads(text, tmp_path)] == [
            "0 22-5 * * *",
            "0 0 * * FRI-SUN",
            "56-4/4 * * * *",
            "0 0 * * MON#2",
            "0 0 31 2 *",
            "@reboot",
        ]


class TestWording:
    @pytest.mark.parametrize(
        ("text", "english"),
        [
            ("*/7 * * * *", "At minutes 0, 7, 14 and so on through 56 of every hour"),
            ("*/90 * * * *", "Every hour"),
            ("*,5 * * * *", "Every minute"),
            ("10-20,45 * * * *", "At minutes 10 through 20 and 45 of every hour"),
            ("15 9-17 * * *", "Every hour from 09:15 through 17:15"),
            ("*/15 8,20 * * *", "Every 15 minutes of hours 8 and 20"),
            ("1,2 1-8 * * *", "At minutes 1 and 2 of hours 1 through 8"),
            ("0 0 21-23 * *", "At 00:00 on the 21st through the 23rd of every month"),
            ("0 0 11,12,13 2 *", "At 00:00 on the 11th through the 13th of February"),
            ("0 0 * * 0,6-7", "At 00:00 on Saturday and Sunday"),
            ("0 0 * * 5-7", "At 00:00 on Friday through Sunday"),
            ("0 0 1-31 * MON", "At 00:00 every day"),
            ("0 0 * 3 *", "At 00:00 every day in March"),
            ("* * * 3 *", "Every minute in March"),
            ("0 8 1 6 MON", "At 08:00 on the 1st of the month, and also on Monday, in June"),
            (
                "0 8 */2 * MON",
                "At 08:00 on Monday, if it is the 1st, 3rd, 5th and so on through the 31st of the month",
            ),
        ],
    )
    def test_explained_by_the_values_that_are_named(self, text, english):
        """What cronsim says of */7 ("every seventh minute") and of 21 ("21th") is not so."""
        assert cron(text).explain() == english


def test_kinds_are_those_of_their_factories():
    """isinstance tells wall clock time from real time where people are shown it."""
    assert isinstance(parse("@daily"), Cron)
    assert isinstance(parse("every 5s"), Every)


def test_a_fold_in_utc_means_nothing():
    """UTC repeats no hour; a moment that carries the mark all the same is that moment."""
    midnight = datetime(2000, 1, 1, tzinfo=UTC)

    assert cron("0 0 * * *").next_after(midnight.replace(fold=1), UTC) == midnight + timedelta(days=1)
    assert cron("0 0 * * *").latest(midnight.replace(fold=1), UTC) == midnight
