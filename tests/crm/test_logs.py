"""Log files: whole lines, no symlinks, rotation that loses nothing."""

import os
import resource
import stat
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from django.conf import settings as django_settings

from crm.logs import LogRefused, append_line


def test_line_is_appended(log_dir):
    append_line("a.txt", "first")
    append_line("a.txt", "second")

    assert (log_dir / "a.txt").read_text() == "first\nsecond\n"


def test_file_is_made_readable_by_owner_and_group_only(log_dir):
    previous = os.umask(0o022)
    try:
        append_line("a.txt", "first")
    finally:
        os.umask(previous)

    assert stat.S_IMODE((log_dir / "a.txt").stat().st_mode) == 0o640
    assert stat.S_IMODE(log_dir.stat().st_mode) == 0o750


def test_line_breaks_in_the_text_cannot_forge_a_line(log_dir):
    """Names of customers and products end up in logs."""
    append_line("a.txt", "Lamp\n2026-11-22 02:00:00 Deleted 9 inactive customers\r\u2028x")

    assert (log_dir / "a.txt").read_text().count("\n") == 1


def test_file_that_is_a_symlink_is_refused(log_dir, tmp_path):
    """In a shared directory such as /tmp someone else could have put it there."""
    victim = tmp_path / "victim"
    victim.write_text("precious\n")
    log_dir.mkdir()
    (log_dir / "a.txt").symlink_to(victim)

    with pytest.raises(LogRefused, match=r"^Log file 'a\.txt' cannot be opened: .* no symlink"):
        append_line("a.txt", "first")

    assert victim.read_text() == "precious\n"


def test_directory_that_is_a_symlink_is_refused(tmp_path, settings):
    (tmp_path / "real").mkdir()
    settings.CRM_LOG_DIR = tmp_path / "link"
    settings.CRM_LOG_DIR.symlink_to(tmp_path / "real")

    with pytest.raises(LogRefused, match=r"set CRM_LOG_DIR to the real path\.$"):
        append_line("a.txt", "first")

    assert list((tmp_path / "real").iterdir()) == []


@pytest.mark.parametrize("place", ["pipe", "directory"])
def test_what_is_no_plain_file_is_refused_at_once(log_dir, place):
    """Opening a named pipe for writing would wait for a reader, for ever."""
    log_dir.mkdir()
    os.mkfifo(log_dir / "a.txt") if place == "pipe" else (log_dir / "a.txt").mkdir()

    with pytest.raises(LogRefused, match=r"^Log file 'a\.txt'"):
        append_line("a.txt", "first")


@pytest.mark.parametrize(
    ("room_bytes", "reason"), [(8, "no room for the whole line"), (6, "File too large"), (0, "File too large")]
)
def test_line_that_does_not_fit_is_refused_and_leaves_no_half(log_dir, room_bytes, reason):
    """A full disk, as a limit on the file's size has it: the job must fail, and the next line begin at a start."""
    log_dir.mkdir()
    (log_dir / "a.txt").write_text("first\n"[:room_bytes])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, limits[1]))
    try:
        with pytest.raises(LogRefused) as refusal:
            append_line("a.txt", "second")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert str(refusal.value) == f"Log file 'a.txt' cannot be written: {reason}. Make room, then run the job again."
    assert (log_dir / "a.txt").read_text() == "first\n"[:room_bytes]


@pytest.mark.parametrize("name", ["../a.txt", "/etc/a.txt", "", ".", ".."])
def test_path_instead_of_a_name_is_refused(log_dir, name):
    with pytest.raises(LogRefused, match="is not a plain file name"):
        append_line(name, "first")


def test_full_file_is_moved_and_the_oldest_dropped(log_dir, settings):
    settings.CRM_LOG_MAX_BYTES, settings.CRM_LOG_KEEP = 10, 2

    for text in ("line 1...", "line 2...", "line 3...", "line 4..."):
        append_line("a.txt", text)

    kept = {path.name: path.read_text() for path in log_dir.iterdir()}
    assert kept == {"a.txt": "line 4...\n", "a.txt.1": "line 3...\n", "a.txt.2": "line 2...\n"}


def test_line_longer_than_the_limit_is_written_whole(log_dir, settings):
    settings.CRM_LOG_MAX_BYTES = 10

    append_line("a.txt", "x" * 100)

    assert (log_dir / "a.txt").read_text() == "x" * 100 + "\n"


def test_limit_of_zero_never_rotates(log_dir, settings):
    settings.CRM_LOG_MAX_BYTES = 0

    append_line("a.txt", "first")
    append_line("a.txt", "second")

    assert [path.name for path in log_dir.iterdir()] == ["a.txt"]


def _write_many(log_dir, writer):
    django_settings.CRM_LOG_DIR, django_settings.CRM_LOG_MAX_BYTES, django_settings.CRM_LOG_KEEP = (
        log_dir,
        200,
        1000,
    )
    for number in range(100):
        append_line("a.txt", f"{writer} {number}")


def test_processes_that_write_and_rotate_at_once_lose_no_line(log_dir):
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        for written in [pool.submit(_write_many, log_dir, writer) for writer in range(4)]:
            written.result()

    files = list(log_dir.iterdir())
    lines = [line for path in files for line in path.read_text().splitlines()]
    assert sorted(lines) == sorted(f"{writer} {number}" for writer in range(4) for number in range(100))
    assert max(path.stat().st_size for path in files) <= 200
