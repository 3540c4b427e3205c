"""Imports of customers: a file is checked whole, imported by batches, once, wherever it is killed."""

import csv
import io
import tracemalloc
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils import timezone

from crm import cron, customers, tokens
from crm.body_limit import FORM, MOST_BYTES, UPLOAD, limited
from crm.imports import files, running
from crm.imports.files import NotCsv
from crm.imports.models import CustomerImport, ImportPiece, ImportProblem
from crm.models import Customer
from crons import api
from crons.models import Run

from . import killing
from .conftest import NOW, attempt

HEADER = "name,email,phone\n"
LIST = "admin:crm_customerimport_changelist"


def keep(text, *, size=7):
    """Keep the file in pieces of a few bytes, so that letters and lines are cut."""
    content = text if isinstance(text, bytes) else text.encode()
    return running.keep((content[at : at + size] for at in range(0, len(content), size)), "new.csv", by="ada", now=NOW)


def work(row):
    return running.work(row.pk, now=lambda: NOW, run=None, on_progress=lambda done, of: None)


def made():
    return list(Customer.objects.order_by("pk").values_list("name", "email", "phone"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEADER + "Ada,ada@x.de,+15551234567\n", ("Ada", "ada@x.de", "+15551234567")),
        ("\ufeffName;E-Mail;Phone\r\nJosé Núñez;jose@x.de;\r\n", ("José Núñez", "jose@x.de", "")),
        ("email\tname\nada@x.de\t  Ada \n\n \t\n", ("Ada", "ada@x.de", "")),
        (HEADER + '"Lovelace, ""Ada""",ada@x.de,', ('Lovelace, "Ada"', "ada@x.de", "")),
        (HEADER + "A\u2028da,ada@x.de,\nBob,bob@x.de,\n", ("Bob", "bob@x.de", "")),
    ],
)
def test_file_is_read_as_spreadsheets_write_it(db, text, expected):
    work(keep(text))

    assert made() == [expected]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "The file is empty."),
        (b"\n\n", "The file is empty."),
        (HEADER.encode(), "The file has a first line and no rows."),
        (b"name,email,phone,age\nA,a@x.de,,3\n", "The first line has the columns 'name, email, phone, age'."),
        (b"name,name,email\nA,B,a@x.de\n", "The first line has the columns 'name, name, email'."),
        (b"Ada,ada@x.de,\n", "The first line has the columns 'ada, ada@x.de, '."),
        ((HEADER + "Ada,ada@x.de,\n").encode("utf-16"), "The file is in UTF-16."),
        (HEADER.encode() + b"Ad\xe9,ada@x.de,\n", "After line "),
        (HEADER.encode() + b"A\0,ada@x.de,\n", "Line 2 has a NUL byte"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "After line "),
        (HEADER.encode() + b"x" * 20_001, "Line 2 has more than 20000 characters."),
        (HEADER.encode() + b'Ada,"ada@x.de,\n' + b"Bob,bob@x.de,\n" * 12_000, "After row 1: field larger"),
        (HEADER.encode() + b'Ada,"ada"@x.de,\n', "After row 1: "),
    ],
)  # fmt: skip
def test_file_that_is_no_csv_is_refused_whole(db, content, problem):
    with pytest.raises(NotCsv) as refused:
        keep(content, size=4_096)

    assert str(refused.value).startswith(problem)
    assert not CustomerImport.objects.exists()
    assert not ImportPiece.objects.exists()


def test_file_that_is_too_large_is_refused_before_it_is_read(db, monkeypatch):
    monkeypatch.setattr(running, "MOST_BYTES", 100)

    with pytest.raises(NotCsv, match=r"^The file has more than 100 bytes\. Import it in parts\.$"):
        keep(HEADER + "Ada,ada@x.de,\n" * 20)
    monkeypatch.setattr(running, "MOST_BYTES", 10_000)
    monkeypatch.setattr(running, "MOST_ROWS", 19)
    with pytest.raises(NotCsv, match=r"^The file has more than 19 rows\."):
        keep(HEADER + "Ada,ada@x.de,\n" * 20)


def test_rows_that_break_a_rule_are_named_and_the_others_made(db, make_customer):
    make_customer(email="taken@x.de")
    rows = [
        "Ada,ada@x.de,", "Ada,ADA@X.de,", "Bob,taken@x.de,", ",c@x.de,", "Cid,nobody,", "Dan,dan@x.de,12",
        "=cmd(),e@x.de,", "Eve,=e@x.de,", "Eve,eve@ex\u0430mple.de,", "Fay,fay@x.de", "Gil\x1b[31m,gil@x.de,",
        "Hal,hal@x.de,,", "Ida,ida@x.de,555-123-4567",
    ]  # fmt: skip

    done = work(keep(HEADER + "\n".join(rows)))

    assert [email for _, email, _ in made()] == ["taken@x.de", "ada@x.de", "ida@x.de"]
    assert (done.state, done.rows_done, done.made, done.refused) == ("done", 13, 2, 11)
    problems = dict(ImportProblem.objects.values_list("row", "problem"))
    taken = "A customer, or an earlier row of this file, has this e-mail address."
    looks = "The e-mail address has letters that only look like those of another. Write its domain as xn--…"
    assert problems == {
        3: taken, 4: taken, 5: "The name is missing.", 6: "Enter a valid email address.",
        7: "Enter a phone number as +15551234567 or 555-123-4567.",
        8: "The name begins with '=', as a formula does. Leave that out.",
        9: "The email begins with '=', as a formula does. Leave that out.",
        10: looks, 11: "It has 2 values; expected 3.", 12: "The name has control characters. Leave them out.",
        13: "It has 4 values; expected 3.",
    }  # fmt: skip
    assert ImportProblem.objects.get(row=8).given == "=cmd() | e@x.de | "


def test_killed_at_any_statement_it_comes_to_the_same_end(db, monkeypatch):
    """No row is made twice, and none is refused for what it made itself."""
    monkeypatch.setattr(running, "_BATCH", 2)
    row = keep(HEADER + "Ada,ada@x.de,\nBob,bob@x.de,\nCid,nobody,\n", size=500)

    for _ in killing.at_every_statement(lambda: work(row)):
        done = work(row)

        assert [name for name, _, _ in made()] == ["Ada", "Bob"]
        assert (done.state, done.made, done.refused) == ("done", 2, 1)
        assert not ImportPiece.objects.exists()


def test_two_at_once_make_each_row_once(db, monkeypatch):
    """The second comes between two batches of the first."""
    monkeypatch.setattr(running, "_BATCH", 1)
    row = keep(HEADER + "".join(f"P{n},p{n}@x.de,\n" for n in range(5)))
    twice = []

    def once_more(done, of):
        if not twice:
            twice.append(done)
            work(row)

    done = running.work(row.pk, now=lambda: NOW, run=None, on_progress=once_more)

    assert (twice, done.state, done.made, done.refused) == ([1], "done", 5, 0)
    assert Customer.objects.count() == 5


def test_cancelled_import_ends_at_its_next_batch(db, monkeypatch):
    monkeypatch.setattr(running, "_BATCH", 2)
    row = keep(HEADER + "".join(f"P{n},p{n}@x.de,\n" for n in range(5)))

    done = running.work(row.pk, now=lambda: NOW, run=None, on_progress=lambda done, of: running.cancel(row.pk, now=NOW))

    assert (done.state, done.rows_done, done.made) == ("cancelled", 2, 2)
    assert not running.cancel(row.pk, now=NOW)
    assert work(row).made == 2
    assert not ImportPiece.objects.exists()


def test_memory_does_not_grow_with_the_file():
    """A piece and a row, of 20 MB."""
    pieces = (b"Somebody,somebody@example.com,+15551234567\n" * 500 for _ in range(200))
    tracemalloc.start()

    count = sum(1 for _ in files.rows(piece for part in ([HEADER.encode()], pieces) for piece in part))

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 100_000
    assert peak < 1_000_000


def test_job_says_what_it_did(db, capsys, monkeypatch):
    monkeypatch.setenv("CRONS_RUN", "17")
    row = keep(HEADER + "Ada,ada@x.de,\nBob,nobody,\n")

    cron.import_customers(attempt(), import_id=row.pk)

    row.refresh_from_db()
    assert row.run == 17
    assert capsys.readouterr().out == (f"Import {row.pk}: new.csv: done; 1 customers made, 1 rows refused of 2.\n")


@pytest.fixture
def asked(monkeypatch):
    """What runs are asked for, instead of a ledger's."""
    asked = []

    def run_now(name, **given):
        asked.append((name, given["by"], given["args"], given["key"]))
        return Run(pk=99)

    monkeypatch.setattr(running.api, "run_now", run_now)
    return asked


def test_file_sent_in_the_admin_is_imported_and_its_refused_rows_are_downloaded(client, db, asked):
    client.force_login(User.objects.create_superuser("root"))
    file = SimpleUploadedFile("new.csv", (HEADER + "Ada,ada@x.de,\nBob,nobody,+1\n").encode())

    sent = client.post(reverse("admin:crm_customerimport_add"), {"file": file}, follow=True)
    row = CustomerImport.objects.get()
    work(row)
    listed = client.get(reverse(LIST))
    got = client.get(reverse("admin:crm_customerimport_refused", args=[row.pk]))

    assert "2 rows are imported by" in sent.text
    assert asked == [("import_customers", "root", {"import_id": row.pk}, f"import_customers-{row.pk}-0")]
    assert reverse("admin:crm_customerimport_refused", args=[row.pk]) in listed.text
    [_, given] = list(csv.reader(io.StringIO(got.getvalue().decode("utf-8-sig"))))
    assert given[1:3] == ["3", "Bob | nobody | +1"]
    assert client.get(reverse("admin:crm_customerimport_change", args=[row.pk])).status_code == 200


def test_file_that_is_none_is_refused_on_the_page(client, db, asked):
    client.force_login(User.objects.create_superuser("root"))

    page = client.post(reverse("admin:crm_customerimport_add"), {"file": SimpleUploadedFile("x.png", b"\x89PNG\0")})

    assert "not UTF-8" in page.text
    assert (asked, CustomerImport.objects.count()) == ([], 0)


def test_import_is_cancelled_and_gone_on_with_by_who_may_make_customers(client, db, asked):
    row = keep(HEADER + "Ada,ada@x.de,\n")
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__in=["view_customerimport", "add_customerimport"]))
    act = {"_selected_action": [row.pk]}

    client.force_login(viewer)
    client.post(reverse(LIST), act | {"action": "cancel"})
    assert client.get(reverse("admin:crm_customerimport_add")).status_code == 403
    assert CustomerImport.objects.get().state == "waiting"
    client.force_login(User.objects.create_superuser("root"))
    client.post(reverse(LIST), act | {"action": "go_on"})
    client.post(reverse(LIST), act | {"action": "cancel"})

    assert CustomerImport.objects.get().state == "cancelled"
    assert len(asked) == 1


def test_file_sent_before_crons_knows_the_job_is_kept_and_begun_once_it_does(client, db):
    """Before the first `crons sync` there is no entry; later the run that has ended so is tried again."""
    client.force_login(User.objects.create_superuser("root"))
    file = SimpleUploadedFile("new.csv", (HEADER + "Ada,ada@x.de,\n").encode())
    api.entries().delete()

    sent = client.post(reverse("admin:crm_customerimport_add"), {"file": file}, follow=True)
    row = CustomerImport.objects.get()
    go_on = {"_selected_action": [row.pk], "action": "go_on"}
    api.sync()
    begun = client.post(reverse(LIST), go_on, follow=True)
    twice = client.post(reverse(LIST), go_on, follow=True)
    run = api.history("import_customers").get()
    Run.objects.update(state="done", verdict="failed", ended_at=NOW)
    again = client.post(reverse(LIST), go_on, follow=True)

    assert str(next(iter(sent.context["messages"]))) == (
        f"Import {row.pk}: new.csv is kept, but not begun: 'import_customers' is declared, but not in this database "
        "yet. Run: manage.py crons sync. Then choose it in the list, and 'Go on'."
    )
    link = f'<a href="{reverse("crons:run", args=[run.pk])}">run {run.pk}</a>'
    for page in (begun, twice, again):
        assert f"Import {row.pk}: new.csv goes on as {link}." in page.text
    run.refresh_from_db()
    assert (run.args, run.state, run.verdict) == ({"import_id": row.pk}, "waiting", "")


def test_file_that_is_no_longer_whole_ends_the_job(db, monkeypatch):
    """Else it would look for the missing rows for ever."""
    monkeypatch.setattr(running, "_BATCH", 2)
    row = keep(HEADER + "".join(f"P{n},p{n}@x.de,\n" for n in range(9)), size=70)
    row.pieces.filter(number__gt=1).delete()

    with pytest.raises(NotCsv, match=rf"^Import {row.pk}: new\.csv has 9 rows, but what is kept of it ends after 5\.$"):
        work(row)


def test_row_has_the_number_that_a_spreadsheet_shows(db):
    """Which counts empty ones, and one for a value of several lines."""
    done = work(keep(HEADER + '\n"Ada",nobody,\n\n,,\n"B\nob",nobody,\nCid,nobody,\n'))

    assert [each.row for each in done.problems.all()] == [3, 6, 7]


@pytest.mark.parametrize(
    ("path", "who", "length", "answer"),
    [
        ("/graphql", "root", MOST_BYTES + 1, "413"),
        (FORM, "root", MOST_BYTES + 1, "taken"),
        (FORM, "root", 30_000_000, "413"),
        (FORM, "importer", MOST_BYTES + 1, "taken"),
        (FORM, "viewer", MOST_BYTES + 1, "403"),
        (FORM, "", MOST_BYTES + 1, "403"),
        (FORM, "forger", MOST_BYTES + 1, "403"),
        (FORM, "", MOST_BYTES, "taken"),  # the page says where to log in
        (UPLOAD, "token", 20_000_000, "taken"),
        (UPLOAD, "token", 20_000_001, "413"),
        (UPLOAD, "other token", MOST_BYTES + 1, "403"),
        (UPLOAD, "root", MOST_BYTES + 1, "403"),
        (UPLOAD, "", MOST_BYTES + 1, "403"),
    ],
)
def test_only_the_page_for_files_takes_large_bodies_and_of_those_who_may(client, db, path, who, length, answer):
    """Under ASGI a body is on the disk before a view can refuse it."""
    from asgiref.sync import async_to_sync

    assert reverse("admin:crm_customerimport_add") == FORM
    assert reverse("upload_import") == UPLOAD
    credentials = [(b"cookie", b"sessionid=forged")] * bool(who)
    if who.endswith("token"):
        scope = "imports:read" if who == "other token" else "imports:write"
        now = timezone.now()
        _, text = tokens.issue("test", [scope], now + timedelta(days=1), now=now)
        credentials = [(b"authorization", f"Bearer {text}".encode())]
    elif who not in ("", "forger"):
        user = User.objects.create_user(who, is_staff=True, is_superuser=who == "root")
        if who == "importer":
            user.user_permissions.set(Permission.objects.filter(codename__in=["add_customerimport", "add_customer"]))
        client.force_login(user)
        credentials = [(b"cookie", f"a=b; sessionid={client.cookies['sessionid'].value}".encode())]
    seen = []

    async def application(scope, receive, send):
        seen.append("taken")

    async def send(message):
        seen.append(str(message.get("status", "")))

    headers = [(b"content-length", str(length).encode()), *credentials]
    async_to_sync(limited(application))({"type": "http", "path": path, "headers": headers}, None, send)

    assert seen[0] == answer
    assert customers.bulk.MOST >= running._BATCH
