"""The archives: what leaves, what stays, what a kill or a damaged file leaves behind, and how it comes back."""

import errno
import fcntl
import gzip
import json
import os
import shutil
import stat
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from crm import cron, logs
from crm.archives import files, log_files, nightly
from crm.archives.files import ArchiveRefused
from crm.archives.models import Archive
from crm.archives.moving import CHANGED, MOST_RECORDS, Moving, TooManyRecords, move, window_of
from crm.archives.restoring import named, restore
from crm.archives.tables import MOVEMENTS, ORDERS
from crm.models import Order, OrderItem, Product, StockMovement
from crm.reports import totals
from crons.attempts import Counts

from .conftest import NOW, attempt
from .killing import at_every_statement

TICK = timedelta(microseconds=1)
ORDERS_CUT = NOW - timedelta(days=1000)
NIGHT = Moving(NOW, key="night", batch_size=2)
SMALL = replace(NIGHT, most=3)


@pytest.fixture(autouse=True)
def folder(tmp_path, settings, monkeypatch):
    """A directory of the test's own; fsync is counted where that matters, and slow everywhere."""
    settings.CRM_ARCHIVE_DIR = tmp_path / "archives"
    settings.CRM_ARCHIVE_ORDERS_DAYS = 1000
    settings.CRM_ARCHIVE_MOVEMENTS_DAYS = 730
    settings.CRM_ARCHIVE_LOGS_DAYS = 90
    monkeypatch.setattr(os, "fsync", lambda file: None)
    return settings.CRM_ARCHIVE_DIR


@pytest.fixture
def lamp(db):
    return Product.objects.create(name="Lamp", price=Decimal("9.90"), stock=50)


@pytest.fixture
def old(make_customer, lamp):
    """Make orders at moments, each with two of one lamp."""
    customer = make_customer()

    def make(*moments, status="completed"):
        made = []
        for at in moments:
            order = Order.objects.create(customer=customer, ordered_at=at, status=status, total=Decimal("19.80"))
            OrderItem.objects.create(order=order, product=lamp, quantity=2, unit_price=lamp.price)
            made.append(order)
        return made

    return make


def movements(lamp, *moments, key="run-{}", reason="restock"):
    return [
        StockMovement.objects.create(
            product=lamp, delta=10, reason=reason, key=key.format(number), stock_after=10, created_at=at
        )
        for number, at in enumerate(moments)
    ]


def day(text):
    return datetime.fromisoformat(f"{text}T12:00:00.123456+00:00")


def rows_of(*models):
    return [list(model.objects.order_by("pk").values()) for model in models]


def content(folder):
    """What lies there: each file's text, unpacked; drafts and locks too, but for the lock itself."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != ".lock":
            data = path.read_bytes()
            found[str(path.relative_to(folder))] = gzip.decompress(data) if path.suffix == ".gz" else data
    return found


# ── what leaves ───────────────────────────────────────────────────────────────────────────────────


def test_an_order_older_than_its_retention_leaves_with_its_items(old, folder, lamp):
    """To the microsecond: what happened at the cut itself stays."""
    gone, kept = old(ORDERS_CUT - TICK, ORDERS_CUT)

    done = move(ORDERS, NIGHT)

    assert (done.moved, done.archives, done.finished) == (1, ["orders/2024-02.1"], True)
    assert [order.pk for order in Order.objects.all()] == [kept.pk]
    assert OrderItem.objects.count() == 1
    (line,) = gzip.decompress((folder / "orders/2024-02.1.jsonl.gz").read_bytes()).splitlines()
    assert json.loads(line)["order"]["total"] == "19.80"
    assert json.loads(line)["order"]["ordered_at"] == (ORDERS_CUT - TICK).isoformat()
    assert json.loads(line)["items"][0]["order_id"] == gone.pk
    archive = Archive.objects.get()
    assert (archive.state, archive.out, archive.cents_out, archive.run_key) == ("archived", 1, 1980, "night")
    manifest = json.loads((folder / "orders/2024-02.1.manifest.json").read_bytes())
    assert (manifest["schema"], manifest["records"], manifest["rows"]) == (1, 1, {"order": 1, "items": 1})
    assert manifest["sha256"] == archive.sha256
    assert stat.S_IMODE((folder / "orders/2024-02.1.jsonl.gz").stat().st_mode) == 0o600


def test_report_counts_archived_orders_as_before(old, make_customer):
    """Revenue is what was sold, wherever its orders lie; it is counted once, also half-way there or back."""
    old(day("2022-01-05"), day("2022-01-06"), day("2023-05-05"), NOW - TICK)
    Order.objects.filter(ordered_at=day("2022-01-06")).update(status="cancelled")
    before = [totals(NOW), totals(day("2023-01-01"))]
    seen = []

    def on_progress(*_: object) -> None:
        seen.append([totals(NOW), totals(day("2023-01-01"))])

    archived = move(ORDERS, replace(NIGHT, batch_size=1, on_progress=on_progress)).archives
    seen.append([totals(NOW), totals(day("2023-01-01"))])
    for archive in Archive.objects.all():
        restore(archive, replace(NIGHT, batch_size=1, on_progress=on_progress))

    assert len(archived) == 2
    assert (before[0].orders, before[1].orders, before[0].revenue) == (4, 2, Decimal("59.40"))
    assert (len(seen), [each for each in seen if each != before]) == (7, [])


def test_what_something_keeps_stays_and_is_counted_by_reason(old, lamp):
    """Open orders, unsettled confirmations, and movements that a cancelled order will put back."""
    (opened,) = old(day("2022-01-05"), status="shipped")
    (unsettled,) = old(day("2022-01-06"))
    Order.objects.filter(pk=unsettled.pk).update(confirmation="sending")
    movements(lamp, day("2022-01-05"), key=f"order-{opened.pk}", reason="sale")
    movements(lamp, day("2022-01-07"))

    done = nightly.archive_old(NIGHT, names=["orders", "movements"])

    assert [each.moved for each in done] == [0, 1]
    assert [dict(each.skipped) for each in done] == [
        {"the order is open": 1, "its confirmation is not settled": 1},
        {"the order is open": 1},
    ]
    assert Order.objects.count() == 2
    assert [row.key for row in StockMovement.objects.all()] == [f"order-{opened.pk}"]
    assert [archive.name for archive in Archive.objects.all()] == ["movements/2022-01.1"]


def test_an_order_that_another_table_refers_to_stays(old, monkeypatch):
    """Deleting it would take along what nobody archived. Only its items do so far: here they are another's."""
    old(day("2022-01-05"))
    monkeypatch.setattr("crm.archives.tables.OrderItem", Product)

    assert ORDERS.keeping(list(Order.objects.all())) == {Order.objects.get().pk: "order item: refers to it"}


def test_months_are_those_of_the_business(settings, old):
    """An order at half past midnight in Paris is of that day's month, whatever UTC calls it."""
    settings.TIME_ZONE = "Europe/Paris"
    old(datetime(2022, 1, 31, 23, 30, tzinfo=UTC))

    move(ORDERS, NIGHT)

    archive = Archive.objects.get()
    assert archive.name == "orders/2022-02.1"
    assert (archive.since, archive.until) == window_of("2022-02", ZoneInfo("Europe/Paris"))
    assert archive.since == datetime(2022, 1, 31, 23, 0, tzinfo=UTC)
    assert window_of("2022-12", ZoneInfo("UTC"))[1] == datetime(2023, 1, 1, tzinfo=UTC)


def test_a_dry_run_counts_the_same_and_writes_nothing(old, folder):
    old(day("2022-01-05"), day("2022-01-06"), day("2022-03-01"), NOW)

    looked = move(ORDERS, NIGHT, dry_run=True)

    assert (looked.moved, dict(looked.windows)) == (3, {"2022-01": 2, "2022-03": 1})
    assert (Order.objects.count(), Archive.objects.count(), folder.exists()) == (4, 0, False)
    assert move(ORDERS, NIGHT).moved == looked.moved


def test_a_table_that_is_kept_for_ever_is_not_even_read(old, settings, folder):
    settings.CRM_ARCHIVE_ORDERS_DAYS = 0
    old(day("2002-01-05"))

    with CaptureQueriesContext(connection) as captured:
        done = move(ORDERS, NIGHT)

    assert (done.moved, done.cut_at, len(captured)) == (0, None, 0)


def test_more_than_a_share_is_refused_until_a_person_means_it(old, settings, monkeypatch):
    """A clock that is years ahead would empty the table in one night."""
    monkeypatch.setattr("crm.archives.moving._SHARE_COUNTS_FROM", 2)
    old(day("2022-01-05"), day("2022-01-06"), NOW)

    for given in ({}, {"dry_run": True}):
        with pytest.raises(
            TooManyRecords, match=r"^2 of 3 orders are older than 2024-02-26, but .* at most 50% .*--force$"
        ):
            move(ORDERS, NIGHT, **given)

    assert Order.objects.count() == 3
    assert move(ORDERS, NIGHT, force=True).moved == 2


def test_statements_do_not_grow_with_the_rows_of_a_batch(old, lamp):
    """Keyset pages: no page is read by counting the ones before it."""
    counts = []
    for number in (1, 40):
        old(*[day("2022-01-05")] * number)
        with CaptureQueriesContext(connection) as captured:
            assert move(ORDERS, replace(NIGHT, batch_size=500)).moved == number
        counts.append(len(captured))
        assert not [each for each in captured.captured_queries if "OFFSET" in each["sql"].upper()]

    assert counts[0] == counts[1]


# ── a kill, a change, another one ─────────────────────────────────────────────────────────────────


def test_killed_at_any_statement_or_file_it_ends_the_same(old, lamp, folder):
    """Each record is in its table or in one whole archive, and neither twice nor in half a file."""
    old(day("2022-01-05"), day("2022-01-05"), day("2022-01-07"), day("2022-02-01"), NOW)
    names = [(files.os, "replace"), (files.os, "fsync"), (files, "_created"), (files.gzip.GzipFile, "write")]

    def state():
        archives = list(
            Archive.objects.order_by("name").values("name", "state", "position", "out", "cents_out", "sha256")
        )
        return rows_of(Order, OrderItem), archives, content(folder)

    seen = []
    for steps in at_every_statement(lambda: move(ORDERS, NIGHT), names):
        assert steps < 1_000
        move(ORDERS, NIGHT)
        if state() not in seen:
            seen.append(state())
        shutil.rmtree(folder)

    assert len(seen) == 1
    assert steps > 50
    _, archives, kept = seen[0]
    assert [(each["name"], each["out"]) for each in archives] == [("orders/2022-01.1", 3), ("orders/2022-02.1", 1)]
    assert sorted(kept) == sorted(f"{each['name']}.{end}" for each in archives for end in ("jsonl.gz", "manifest.json"))


def test_killed_at_any_byte_half_a_file_does_not_count(folder):
    """Cut anywhere, as a power cut leaves it: a draft, or a file whose manifest never came."""
    record = {"order": {"id": 1}}
    with files.locked("orders"):
        first = files.write("orders/2022-01", 1, [record], {"table": "orders"})
    whole = (folder / "orders/2022-01.1.jsonl.gz").read_bytes()
    as_it_should_be = content(folder)

    for length in range(len(whole)):
        (folder / "orders/2022-01.1.manifest.json").unlink()
        (folder / "orders/.draft-2022-01").write_bytes(whole[:length])
        (folder / "orders/2022-01.1.jsonl.gz").write_bytes(whole[:length])
        with pytest.raises(ArchiveRefused):
            files.check("orders/2022-01.1", sha256=first.sha256, records=1)
        with files.locked("orders"):
            assert files.write("orders/2022-01", 1, [record], {"table": "orders"}) == first
        assert content(folder) == as_it_should_be


def test_what_was_changed_after_it_was_copied_stays_and_is_archived_later(old, monkeypatch):
    """A copy is not the row: only a row that is still as it was copied is deleted."""
    changed, vanished, _ = old(day("2022-01-05"), day("2022-01-06"), day("2022-01-07"))
    real = files.write

    def written(*args):
        done = real(*args)
        Order.objects.filter(pk=changed.pk).update(total=Decimal("1.00"))
        OrderItem.objects.filter(order=vanished).delete()
        vanished.delete()
        return done

    monkeypatch.setattr(files, "write", written)
    done = move(ORDERS, NIGHT)
    monkeypatch.undo()

    assert (done.moved, dict(done.skipped)) == (1, {CHANGED: 1, "deleted by somebody else meanwhile": 1})
    assert [order.pk for order in Order.objects.all()] == [changed.pk]
    assert move(ORDERS, NIGHT).archives == ["orders/2022-01.2"]
    assert Order.objects.count() == 0


def test_another_installations_file_is_not_written_over(old, folder):
    """Two databases with one directory: what the other has there is the only copy of its rows."""
    old(day("2022-01-05"))
    (folder / "orders").mkdir(parents=True)
    foreign = files.write("orders/2022-01", 1, [{"order": {"id": 99}}], {})
    before = content(folder)

    assert move(ORDERS, NIGHT).archives == ["orders/2022-01.2"]

    assert foreign.name == "orders/2022-01.1"
    assert content(folder).items() >= before.items()


def test_two_at_once_are_one(old, folder):
    """By the lock of this host, and where hosts share only the database, by the row."""
    old(day("2022-01-05"))
    (folder / "orders").mkdir(parents=True)

    with (folder / "orders/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ArchiveRefused, match=r"^Somebody else is archiving or restoring orders now"):
            move(ORDERS, NIGHT)
    assert Order.objects.count() == 1

    def elsewhere():
        Archive.objects.update(position=1)
        return transaction.atomic()

    with pytest.raises(ArchiveRefused, match=r"^Somebody else goes on with the archive orders/2022-01\.1 now"):
        move(ORDERS, replace(NIGHT, atomic=elsewhere))
    assert Order.objects.count() == 1


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_deletes_nothing_and_says_so(old, folder, monkeypatch, call):
    old(day("2022-01-05"))

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, call, full)
    with pytest.raises(ArchiveRefused, match=r"cannot be written: No space left on device.*Make room there"):
        move(ORDERS, NIGHT)
    monkeypatch.undo()

    assert (Order.objects.count(), Archive.objects.count(), content(folder)) == (1, 0, {})
    assert MOST_RECORDS == 50_000


def test_what_there_is_no_time_for_is_left_to_the_next_night(old):
    old(day("2022-01-05"), day("2022-01-06"), day("2022-01-07"), day("2022-02-01"))
    readings = iter(range(100))

    done = move(ORDERS, replace(NIGHT, until=2, clock=lambda: next(readings)))

    assert (done.finished, done.moved) == (False, 2)
    assert (Archive.objects.get().state, Archive.objects.get().position) == ("deleting", 2)
    assert move(ORDERS, NIGHT).moved == 2
    assert [archive.state for archive in Archive.objects.all()] == ["archived", "archived"]


# ── bringing back ─────────────────────────────────────────────────────────────────────────────────


def test_a_window_comes_back_as_it_was_and_stays(old, lamp):
    """Twice is the same as once; and the next night leaves alone what was asked for."""
    old(day("2022-01-05"), day("2022-01-06"), day("2022-01-07"))
    movements(lamp, day("2022-01-05"), day("2022-01-06"))
    before = rows_of(Order, OrderItem, StockMovement)
    nightly.archive_old(NIGHT, names=["orders", "movements"])

    back = [restore(archive, SMALL) for name in ("orders/2022-01", "movements/2022-01.1") for archive in named(name)]
    again = [restore(archive, SMALL) for archive in named("orders/2022-01")]

    assert [(each.restored, dict(each.skipped)) for each in back] == [(3, {}), (2, {})]
    assert [(each.restored, dict(each.skipped)) for each in again] == [(0, {"there already": 3})]
    assert rows_of(Order, OrderItem, StockMovement) == before
    assert {(row.state, row.out, row.cents_out) for row in Archive.objects.all()} == {("restored", 0, 0)}
    night = move(ORDERS, NIGHT)
    assert (night.moved, dict(night.skipped)) == (0, {"restored, and held": 3})
    assert move(ORDERS, replace(NIGHT, now=NOW + timedelta(days=31))).archives == ["orders/2022-01.2"]


def test_killed_at_any_statement_a_restore_ends_the_same(old):
    old(day("2022-01-05"), day("2022-01-06"), day("2022-01-07"))
    before = rows_of(Order, OrderItem)
    move(ORDERS, NIGHT)
    archive = Archive.objects.get()

    for steps in at_every_statement(lambda: restore(archive, NIGHT)):
        assert steps < 1_000
        restore(archive, NIGHT)
        assert rows_of(Order, OrderItem) == before
        assert Archive.objects.values_list("out", "cents_out", "state").get() == (0, 0, "restored")
    assert steps > 15


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path, text: path.write_bytes(text[:-3]), "its SHA-256 is .*, and the manifest has"),
        (lambda path, text: path.write_bytes(text[:20] + bytes([text[20] ^ 1]) + text[21:]), "its SHA-256 is"),
        (lambda path, text: path.unlink(), "it is not there"),
        (lambda path, text: manifest(path).unlink(), "there is no such manifest"),
        (lambda path, text: manifest(path).write_text("{"), "it cannot be read"),
        (lambda path, text: manifest(path).write_text("[]"), "it is no manifest"),
        (lambda path, text: altered(path, schema=2), "its schema is 2, and this release reads 1"),
        (lambda path, text: altered(path, records=7), "the manifest has 7 records, and the database 1"),
        (lambda path, text: altered(path, sha256="0" * 64), "its SHA-256 is .*, and the manifest has 0000"),
    ],
)
def test_a_damaged_file_is_refused_before_anything_is_written(old, folder, damage, message):
    old(day("2022-01-05"))
    move(ORDERS, NIGHT)
    path = folder / "orders/2022-01.1.jsonl.gz"
    damage(path, path.read_bytes())

    with pytest.raises(ArchiveRefused, match=f"{message}.*Nothing was deleted or restored"):
        restore(Archive.objects.get(), NIGHT)

    assert Order.objects.count() == 0
    assert Archive.objects.get().state == "archived"


def test_a_file_that_is_damaged_before_the_deletion_deletes_nothing(old, folder):
    """An attempt that was killed between copy and deletion: the next one looks at the file again."""
    old(day("2022-01-05"))
    move(ORDERS, replace(NIGHT, until=1, clock=iter([0, 2]).__next__))
    path = folder / "orders/2022-01.1.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(ArchiveRefused, match="its SHA-256 is"):
        move(ORDERS, NIGHT)

    assert Order.objects.count() == 1


def manifest(path):
    return path.with_name(path.name.replace("jsonl.gz", "manifest.json"))


def altered(path, **values):
    manifest(path).write_text(json.dumps(json.loads(manifest(path).read_bytes()) | values))


def test_what_cannot_come_back_is_said_and_the_rest_comes(old, make_customer, lamp):
    """A customer who was deleted meanwhile, another row under the id, a movement that was made again."""
    mine, taken = old(day("2022-01-05"), day("2022-01-06"))
    other = make_customer()
    theirs = Order.objects.create(customer=other, ordered_at=day("2022-01-07"), status="completed")
    first, _ = movements(lamp, day("2022-01-05"), day("2022-01-06"))
    nightly.archive_old(NIGHT, names=["orders", "movements"])
    other.delete()
    Order.objects.create(pk=taken.pk, customer=mine.customer, ordered_at=NOW)
    movements(lamp, NOW)  # the same key, reason and product

    orders, moves = (restore(archive, NIGHT) for archive in Archive.objects.order_by("pk"))

    assert (orders.restored, dict(orders.skipped)) == (1, {"another row has its id": 1, "its customer is gone": 1})
    assert (moves.restored, dict(moves.skipped)) == (1, {"breaks a rule of the table": 1})
    assert not Order.objects.filter(pk=theirs.pk).exists()
    assert not StockMovement.objects.filter(pk=first.pk).exists()
    assert Archive.objects.get(table="orders").out == 2


def test_an_archive_of_a_later_release_is_refused(old):
    """A column that this release has not would be lost without a word."""
    old(day("2022-01-05"))
    record = {**ORDERS.records(list(Order.objects.all()))[0]}
    record["order"] = record["order"] | {"gift_note": "x"}

    with pytest.raises(ArchiveRefused, match=r"^The archive has gift_note of order, and this release's table"):
        ORDERS.insert([record])


# ── logs ──────────────────────────────────────────────────────────────────────────────────────────


def old_log(log_dir, name="crm_report_log.txt.2", text=b"one\n\xff two\nno end", age_days=91):
    log_dir.mkdir(exist_ok=True)
    path = log_dir / name
    path.write_bytes(text)
    moment = (NOW - timedelta(days=age_days)).timestamp()
    os.utime(path, (moment, moment))
    return path


@pytest.mark.django_db
def test_a_rotated_log_leaves_and_comes_back_byte_for_byte(log_dir, folder):
    """The file that a job writes to stays, and so does what is young or not a log of a job."""
    old_log(log_dir)
    kept = [
        old_log(log_dir, "crm_report_log.txt"),
        old_log(log_dir, "crm_report_log.txt.1", age_days=89),
        old_log(log_dir, "django_crontab.log.1"),
    ]

    looked = log_files.move(NIGHT, dry_run=True)
    done = log_files.move(NIGHT)

    assert (looked.moved, dict(looked.windows)) == (3, {"crm_report_log.txt.2": 3})
    assert done.moved == 3
    assert sorted(log_dir.iterdir()) == sorted(kept)
    (archive,) = Archive.objects.all()
    assert archive.name.startswith("logs/crm_report_log.txt.2026-08-23T02-00-00-")
    for restored in (3, 0):
        assert restore(archive, NIGHT).restored == restored
    (back,) = (log_dir / "restored").iterdir()
    assert back.read_bytes() == b"one\n\xff two\nno end"
    logs.append_line("crm_report_log.txt", "goes on")


@pytest.mark.django_db
def test_killed_at_any_step_a_log_is_there_or_archived(log_dir, folder):
    def reset():
        for path in (log_dir, folder):
            shutil.rmtree(path, ignore_errors=True)
        old_log(log_dir)

    def state():
        archives = [(row.state, row.records, row.out, row.sha256) for row in Archive.objects.all()]
        return archives, sorted(content(folder).values())[-1], [path.name for path in log_dir.iterdir()]

    calls = [(files.os, "replace"), (files.os, "rename"), (files, "_created"), (log_files.Path, "unlink")]
    seen = []
    reset()
    for steps in at_every_statement(lambda: log_files.move(NIGHT), calls):
        assert steps < 1_000
        log_files.move(NIGHT)
        if state() not in seen:
            seen.append(state())
        reset()

    assert len(seen) == 1
    assert seen[0][0][0][:3] == ("archived", 3, 3)
    assert steps > 10


@pytest.mark.django_db
def test_a_log_that_was_written_to_after_its_copy_stays(log_dir, monkeypatch):
    old_log(log_dir)
    real = files.write

    def written(*args):
        done = real(*args)
        (taken,) = log_dir.glob("*.taken")
        with taken.open("ab") as file:
            file.write(b" after all\n")
        return done

    monkeypatch.setattr(files, "write", written)
    done = log_files.move(NIGHT)
    monkeypatch.undo()

    assert (done.moved, dict(done.skipped)) == (0, {log_files.CHANGED: 1})
    assert log_files.move(NIGHT).moved == 3
    assert [path.name for path in log_dir.iterdir()] == ["crm_report_log.txt"]  # for the next line


# ── ways in ───────────────────────────────────────────────────────────────────────────────────────


def test_the_job_reports_and_names_its_run(old, log_dir, monkeypatch, capsys):
    monkeypatch.setenv("CRONS_RUN", "417")
    old(day("2022-01-05"))
    old(day("2022-01-06"), status="paid")
    mine = attempt(key="archive@night")
    mine = replace(mine, fence=lambda token: nullcontext())

    cron.archive_old_records(mine)

    assert mine.work.counts == Counts(examined=2, changed=1, skipped={"the order is open": 1})
    archive = Archive.objects.get()
    assert (archive.run, archive.run_key) == (417, "archive@night")
    assert "orders: moved 1 records from before 2024-02-26 to 1 archives." in capsys.readouterr().out


def test_the_commands_list_look_and_bring_back(old, capsys):
    old(day("2022-01-05"))
    call_command("archive_old_records", dry_run=True)
    move(ORDERS, NIGHT)
    capsys.readouterr()

    call_command("restore_archive", "orders/2022-01", dry_run=True)
    call_command("restore_archive", "orders/2022-01")
    call_command("restore_archive", list=True)

    assert capsys.readouterr().out.splitlines() == [
        "orders/2022-01.1: would restore 1 of 1 records.",
        "orders/2022-01.1: restored 1 of 1 records.",
        "What came back is left alone for 30 days.",
        "orders/2022-01.1  1 records, 0 out of their table, restored",
    ]
    with pytest.raises(
        CommandError, match=r"^There is no archive 'orders/1999-01'\. The newest is orders/2022-01\.1\."
    ):
        call_command("restore_archive", "orders/1999-01")


def test_the_page_shows_archives_retention_and_a_link_to_the_run(old, admin_client):
    old(day("2022-01-05"))
    move(ORDERS, replace(NIGHT, run=417))
    archive = Archive.objects.get()

    listed = admin_client.get(reverse("admin:crm_archive_changelist")).content.decode()
    page = admin_client.get(reverse("admin:crm_archive_change", args=[archive.pk])).content.decode()

    assert f'<a href="{reverse("crons:run", args=[417])}">run 417</a>' in listed
    assert "orders 1,000 days (CRM_ARCHIVE_ORDERS_DAYS), stock movements 730 days" in listed
    assert "manage.py restore_archive orders/2022-01.1" in page
    assert "Delete" not in page


def test_a_retention_that_would_blind_the_cleanup_stops_the_start(monkeypatch):
    """Its customers' orders of the last year would be out of its sight, and it would delete them."""
    import runpy

    import crm.settings

    monkeypatch.setenv("CRM_ARCHIVE_ORDERS_DAYS", "399")
    with pytest.raises(ImproperlyConfigured, match=r"^CRM_ARCHIVE_ORDERS_DAYS=399 would hide orders"):
        runpy.run_path(crm.settings.__file__)
    assert MOVEMENTS.kept_for == timedelta(days=730)
