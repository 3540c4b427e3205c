"""Service tokens: made once, kept as a hash, refused with a reason, replaced without a break."""

import logging
import re
import stat
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crm import token_files, tokens
from crm.models import ServiceToken

from .conftest import NOW

DAY = timedelta(days=1)


@pytest.fixture
def issued(db):
    """A token that is good for a hundred days, and its text."""
    return tokens.issue("reports", ["orders:read"], NOW + 100 * DAY, now=NOW)


def test_text_is_told_once_and_only_its_hash_is_kept(issued):
    row, text = issued

    assert re.fullmatch(r"crm_[a-z0-9]{8}_[A-Za-z0-9_-]{43}", text)
    assert text[4:12] == row.prefix
    secret = text[13:]
    kept = [str(value) for value in ServiceToken.objects.values_list().get()]
    assert not any(secret in value for value in [*kept, repr(row), str(row)])
    assert row.secret_hash not in (repr(row), str(row))


def test_token_is_known_by_one_indexed_query(issued):
    row, text = issued
    tokens.authenticate(text, now=NOW)

    with CaptureQueriesContext(connection) as captured:
        found = tokens.authenticate(text, now=NOW)

    assert found == row
    assert len(captured) == 1
    with connection.cursor() as cursor:
        explain = "EXPLAIN QUERY PLAN"
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # of one row it would read all
            explain = "EXPLAIN"
        cursor.execute(f"{explain} SELECT * FROM crm_servicetoken WHERE prefix = %s", [row.prefix])
        plan = str(cursor.fetchall())
    assert "INDEX" in plan.upper()
    assert "Seq Scan" not in plan


def test_use_is_noted_once_a_minute(issued):
    _, text = issued

    for seconds in (0, 59, 60, 61):
        tokens.authenticate(text, now=NOW + timedelta(seconds=seconds))
        if seconds < 60:
            assert ServiceToken.objects.get().last_used_at == NOW
    assert ServiceToken.objects.get().last_used_at == NOW + timedelta(seconds=60)


def test_token_opens_until_the_moment_it_expires(issued):
    _, text = issued
    end = NOW + 100 * DAY

    tokens.authenticate(text, now=end - timedelta(microseconds=1))
    with pytest.raises(tokens.InvalidToken, match=r"^The service token \w{8} expired 2027-03-02 02:00:00 UTC\.$"):
        tokens.authenticate(text, now=end)


def test_revoked_token_opens_nothing(issued):
    row, text = issued
    tokens.revoke(row.prefix, now=NOW)
    tokens.revoke(row.prefix, now=NOW + DAY)  # again changes nothing

    with pytest.raises(tokens.InvalidToken, match=r"^The service token \w{8} was revoked 2026-11-22 02:00:00 UTC\.$"):
        tokens.authenticate(text, now=NOW)
    assert ServiceToken.objects.get().last_used_at is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text + "A",
        lambda text: text[:-1] + ("A" if text[-1] != "A" else "B"),
        lambda text: text[:4] + ("aaaaaaaa" if text[4:12] != "aaaaaaaa" else "bbbbbbbb") + text[12:],
        lambda text: text.upper(),
        lambda text: f" {text}",
        lambda text: f"{text}\n",
        lambda text: text[:12] + "\x00" + text[13:],
        lambda text: text[:-1] + "é",
        lambda text: "",
        lambda text: "crm_" * 10_000,
    ],
)
def test_what_is_not_the_token_is_not_known(issued, change):
    """Neither whether a prefix exists nor why a text is wrong is told to a stranger, and the text is never repeated."""
    _, text = issued

    with pytest.raises(tokens.InvalidToken) as refused:
        tokens.authenticate(change(text), now=NOW)

    assert str(refused.value) == "The service token is not known. Check that it was copied whole, or issue another."
    assert ServiceToken.objects.get().last_used_at is None


def test_wrong_secret_of_a_revoked_token_is_not_told_of_that(issued):
    row, text = issued
    tokens.revoke(row.prefix)

    with pytest.raises(tokens.InvalidToken, match="is not known"):
        tokens.authenticate(text[:13] + "A" * 43)


@pytest.mark.parametrize(
    ("name", "scopes", "life", "message"),
    [
        ("", ["orders:read"], DAY, "The name is ''. Give 1 to 100 printable characters: who will use the token."),
        ("\x00", ["orders:read"], DAY, r"The name is '\x00'. Give 1 to 100 printable"),
        ("a" * 101, ["orders:read"], DAY, "The name is 'aaa"),
        ("x", [], DAY, "The token would have no scope. Give at least one of customers:read, "),
        ("x", ["orders:read", "all"], DAY, "'all' is no scope. Known: customers:read, "),
        ("x", ["orders:read"], 367 * DAY, "The token would expire 2027-11-24 02:00:00 +0000. Give a moment from now"),
        ("x", ["orders:read"], timedelta(0), "The token would expire 2026-11-22 02:00:00 +0000. "),
    ],
)
def test_token_that_may_not_be_is_not_made(db, name, scopes, life, message):
    with pytest.raises(tokens.TokenRefused) as refused:
        tokens.issue(name, scopes, NOW + life, now=NOW)

    assert str(refused.value).startswith(message)
    assert not ServiceToken.objects.exists()


def test_prefix_that_is_taken_is_drawn_again(issued, monkeypatch):
    """A prefix is 41 bits: two tokens may draw the same one."""
    row, _ = issued
    letters = iter(row.prefix + "zzzzzzz9")
    monkeypatch.setattr(tokens.secrets, "choice", lambda _: next(letters))

    second, text = tokens.issue("second", ["orders:read"], NOW + DAY, now=NOW)

    assert second.prefix == "zzzzzzz9"
    assert tokens.authenticate(text, now=NOW) == second


def test_rotated_token_opens_beside_the_new_one_for_a_while(issued):
    old, old_text = issued

    new, new_text = tokens.rotate(old.prefix, now=NOW + DAY, overlap=timedelta(hours=2))

    assert (new.name, new.scopes) == ("reports", ["orders:read"])
    assert new.expires_at == NOW + 101 * DAY
    both = NOW + DAY + timedelta(hours=1)
    assert tokens.authenticate(old_text, now=both).pk == old.pk
    assert tokens.authenticate(new_text, now=both) == new
    with pytest.raises(tokens.InvalidToken, match="expired 2026-11-23 04:00:00"):
        tokens.authenticate(old_text, now=NOW + DAY + timedelta(hours=2))


def test_rotating_never_lengthens_the_old_ones_life(issued):
    old, _ = issued

    tokens.rotate(old.prefix, now=NOW + 99 * DAY, overlap=10 * DAY)

    old.refresh_from_db()
    assert old.expires_at == NOW + 100 * DAY


def test_what_is_closed_cannot_be_rotated(issued):
    row, _ = issued

    with pytest.raises(tokens.TokenRefused, match=rf"^The token {row.prefix} is expired\. Issue a new one"):
        tokens.rotate(row.prefix, now=NOW + 200 * DAY)
    tokens.revoke(row.prefix, now=NOW)
    with pytest.raises(tokens.TokenRefused, match="is revoked"):
        tokens.rotate(row.prefix, now=NOW)
    with pytest.raises(tokens.TokenRefused, match=r"^There is no token 'crm_aaaa…'\. See: manage\.py"):
        tokens.rotate("crm_aaaaaaaa_secret", now=NOW)
    assert ServiceToken.objects.count() == 1


# ── the command ───────────────────────────────────────────────────────────────────────────────────


def test_issued_token_stands_alone_on_stdout(db, capsys, caplog):
    """`service_token issue … | wl-copy` must get the token and nothing else; no log may get it."""
    caplog.set_level(logging.DEBUG)

    call_command("service_token", "issue", "reports", "--scope=orders:read", "--scope=reports:read", "--days=30")

    output = capsys.readouterr()
    row = tokens.authenticate(output.out.removesuffix("\n"))
    assert row.scopes == ["orders:read", "reports:read"]
    assert timedelta(days=29) < row.expires_at - row.created_at <= timedelta(days=30)
    assert f"Issued reports ({row.prefix}): orders:read, reports:read; expires " in output.err
    secret = output.out[13:-1]
    assert secret not in output.err + caplog.text


def test_token_goes_into_a_file_of_its_owner(db, tmp_path, capsys):
    path = tmp_path / "folder" / "token"

    call_command("service_token", "issue", "reports", "--scope=orders:read", "--out", str(path))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert tokens.authenticate(text.removesuffix("\n")).name == "reports"
    output = capsys.readouterr()
    assert text.strip() not in output.out + output.err
    assert list(path.parent.iterdir()) == [path]


def test_file_replaces_a_symlink_and_leaves_its_target(db, tmp_path):
    target, path = tmp_path / "target", tmp_path / "token"
    target.write_text("precious")
    path.symlink_to(target)

    call_command("service_token", "issue", "reports", "--scope=orders:read", "--out", str(path))

    assert target.read_text() == "precious"
    assert not path.is_symlink()


@pytest.mark.parametrize("place", ["directory", "directory/file/token"])
def test_token_whose_file_cannot_be_written_is_not_made(db, tmp_path, place):
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "file").touch()

    with pytest.raises(CommandError, match=rf"^{tmp_path / place} (is a directory\.|cannot be written: )"):
        call_command("service_token", "issue", "reports", "--scope=orders:read", "--out", str(tmp_path / place))

    assert not ServiceToken.objects.exists()


def test_list_shows_what_an_operator_asks_for(issued, capsys):
    row, text = issued
    tokens.authenticate(text, now=NOW)
    ServiceToken.objects.update(expires_at=NOW + 100 * DAY, revoked_at=NOW)

    call_command("service_token", "list")

    assert capsys.readouterr().out == (
        f"{row.prefix}  revoked  reports: orders:read; expires 2027-03-02 02:00 +0000; "
        "last used 2026-11-22 02:00 +0000\n"
    )


def test_empty_list_says_how_to_begin(db, capsys):
    call_command("service_token", "list")

    assert capsys.readouterr().out.startswith("There are no tokens. Make one: manage.py service_token issue ")


def test_token_is_rotated_and_revoked_by_its_prefix(db, capsys):
    call_command("service_token", "issue", "reports", "--scope=orders:read")
    old = capsys.readouterr().out.strip()

    call_command("service_token", "rotate", old[4:12], "--overlap-hours=0")
    new = capsys.readouterr().out.strip()

    with pytest.raises(tokens.InvalidToken, match="expired"):
        tokens.authenticate(old)
    assert tokens.authenticate(new).name == "reports"
    call_command("service_token", "revoke", new[4:12])
    assert capsys.readouterr().out.startswith(f"reports ({new[4:12]}) is revoked since ")
    with pytest.raises(tokens.InvalidToken, match="revoked"):
        tokens.authenticate(new)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["issue", "x", "--scope=all"], "'all' is no scope. Known: "),
        (["issue", "x", "--scope=orders:read", "--days=367"], "'367' is no number of days. Give 1 to 366."),
        (["issue", "x"], "the following arguments are required: --scope"),
        (["rotate", "aaaaaaaa", "--overlap-hours=-1"], "'-1' is no number of hours."),
        (["revoke", "aaaaaaaa"], "There is no token 'aaaaaaaa'. See: manage.py service_token list"),
    ],
)
def test_mistake_at_the_command_line_is_told(db, arguments, message):
    with pytest.raises(CommandError) as refused:
        call_command("service_token", *arguments)

    assert message in str(refused.value)


# ── the token of the jobs ─────────────────────────────────────────────────────────────────────────


def read(path):
    return path.read_text().removesuffix("\n")


def test_jobs_keep_a_good_token(db, tmp_path):
    path = tmp_path / "jobs_token"

    first = token_files.ensure_for_jobs(path, now=NOW)
    text = read(path)
    again = token_files.ensure_for_jobs(path, now=NOW + 59 * DAY)

    assert (first.name, first.scopes) == ("jobs", list(token_files.JOBS_SCOPES))
    assert again is None
    assert read(path) == text
    assert ServiceToken.objects.count() == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text(""),
        lambda path: path.write_bytes(b"\xff" * 300),
        lambda path: path.chmod(0o640),  # others have read it, perhaps
        lambda path: ServiceToken.objects.update(revoked_at=NOW),
        lambda path: ServiceToken.objects.update(expires_at=NOW + 7 * DAY),
        lambda path: ServiceToken.objects.update(scopes=["orders:read"]),
        lambda path: ServiceToken.objects.all().delete(),  # another database
    ],
)
def test_jobs_get_a_new_token_where_theirs_is_no_good(db, tmp_path, spoil):
    path = tmp_path / "jobs_token"
    first = token_files.ensure_for_jobs(path, now=NOW)
    spoil(path)

    second = token_files.ensure_for_jobs(path, now=NOW)

    assert second.prefix != first.prefix
    assert tokens.authenticate(read(path), now=NOW) == second
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def used(row, at):
    """Have *row* be last used then."""
    ServiceToken.objects.filter(pk=row.pk).update(last_used_at=at)


def test_tokens_in_use_are_named_for_two_weeks_before_their_end(issued):
    """`issued` ends on day 100; before its last two weeks there is nothing to tell, and after its end neither."""
    row, _ = issued
    used(row, NOW + 85 * DAY)

    assert tokens.ending(NOW + 86 * DAY - timedelta(seconds=1)) == []
    assert tokens.ending(NOW + 86 * DAY) == [row]
    used(row, NOW + 99 * DAY)
    assert tokens.ending(NOW + 100 * DAY - timedelta(seconds=1)) == [row]
    assert tokens.ending(NOW + 100 * DAY) == []


@pytest.mark.parametrize("used_at", [None, NOW + 82 * DAY])
def test_token_that_nobody_uses_may_end_unnoticed(issued, used_at):
    """Made to try something, and forgotten: a message each night would teach people not to read them."""
    used(issued[0], used_at)

    assert tokens.ending(NOW + 90 * DAY) == []


def test_revoked_token_is_not_named(issued):
    used(issued[0], NOW + 89 * DAY)
    tokens.revoke(issued[0].prefix, now=NOW + 89 * DAY)

    assert tokens.ending(NOW + 90 * DAY) == []


def test_replaced_token_is_named_only_where_somebody_still_shows_it(issued):
    """On one of two hosts the new one was put into its place: the other's jobs would fail one night."""
    row, _ = issued
    used(row, NOW + 89 * DAY)
    tokens.issue("reports", ["orders:read"], NOW + 200 * DAY, now=NOW + 89 * DAY)

    assert tokens.ending(NOW + 90 * DAY) == []
    used(row, NOW + 90 * DAY)
    assert tokens.ending(NOW + 90 * DAY) == [row]


def test_jobs_token_that_is_renewed_each_week_is_never_named(db, tmp_path):
    """Whoever does as the documentation says hears nothing."""
    path = tmp_path / "jobs_token"

    for day in range(200):
        now = NOW + day * DAY
        if day % 7 == 0:
            token_files.ensure_for_jobs(path, now=now)
        tokens.authenticate(read(path), now=now)
        assert tokens.ending(now) == []

    assert ServiceToken.objects.count() == 4


def test_command_says_whether_the_jobs_got_a_token(db, tmp_path, settings, capsys):
    settings.CRM_TOKEN_FILE = tmp_path / "jobs_token"

    call_command("service_token", "jobs")
    issued = capsys.readouterr().out
    call_command("service_token", "jobs")

    assert re.match(rf"Issued jobs \(\w{{8}}\) for the jobs, into {settings.CRM_TOKEN_FILE}: customers:read, ", issued)
    assert capsys.readouterr().out == f"The token of the jobs in {settings.CRM_TOKEN_FILE} is good.\n"
