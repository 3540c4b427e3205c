"""Log files: whole lines, no symlinks, rotation that loses nothing."""

import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from crm.logs import LogRefused, append_line, append_lines

PROJECT = Path(__file__).parents[2]


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


WRITE_MANY = """
import sys
from django.conf import settings
from crm.logs import append_line
settings.configure(CRM_LOG_DIR=sys.argv[1], CRM_LOG_MAX_BYTES=200, CRM_LOG_KEEP=1000)
print("ready", flush=True)
sys.stdin.read()
for number in range(100):
    append_line("a.txt", f"{sys.argv[2]} {number}")
"""


def test_processes_that_write_and_rotate_at_once_lose_no_line(log_dir):
    gate, opener = os.pipe()
    start = [sys.executable, "-c", WRITE_MANY, str(log_dir)]
    writers = [
        subprocess.Popen([*start, str(number)], cwd=PROJECT, stdin=gate, stdout=subprocess.PIPE) for number in range(4)
    ]
    os.close(gate)
    for writer in writers:
        with writer.stdout:
            assert writer.stdout.readline() == b"ready\n"

    os.close(opener)

    assert [writer.wait() for writer in writers] == [0] * 4
    files = list(log_dir.iterdir())
    lines = [line for path in files for line in path.read_text().splitlines()]
    assert sorted(lines) == sorted(f"{writer} {number}" for writer in range(4) for number in range(100))
    assert max(path.stat().st_size for path in files) <= 200


@pytest.mark.parametrize("written_bytes", [1, 4, 7])
def test_writer_killed_in_the_middle_leaves_a_half_by_itself(log_dir, written_bytes):
    """Nobody is left to cut it off; what comes next must not read as its end."""
    append_line("a.txt", "first")
    _killed_after(written_bytes)

    append_lines("a.txt", ["three", "four"])

    half = "one\ntwo\n"[:written_bytes].splitlines()
    assert (log_dir / "a.txt").read_text().splitlines() == ["first", *half, "three", "four"]


def _killed_after(written_bytes):
    """Have a process append two lines and be killed when *written_bytes* of them (at most 8) stand there."""
    pid = os.fork()
    if pid == 0:
        write = os.write

        def write_a_part(file, lines):
            write(file, lines[:written_bytes])
            os.kill(os.getpid(), signal.SIGKILL)

        os.write = write_a_part
        append_lines("a.txt", ["one", "two"])
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_lines_are_written_together_or_not_at_all(log_dir):
    """A run that got half of its lines in would look like a quiet day."""
    log_dir.mkdir()
    (log_dir / "a.txt").write_text("x" * 599 + "\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (605, limits[1]))  # has room for the first
    try:
        with pytest.raises(LogRefused):
            append_lines("a.txt", ["one", "two"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (log_dir / "a.txt").stat().st_size == 600

    append_lines("a.txt", ["one", "two"])

    assert (log_dir / "a.txt").read_text().splitlines()[1:] == ["one", "two"]


def test_directory_that_cannot_be_made_is_refused(settings, tmp_path):
    (tmp_path / "file").write_text("")
    settings.CRM_LOG_DIR = tmp_path / "file" / "log"

    with pytest.raises(LogRefused, match=r"^CRM_LOG_DIR .* cannot be used: Not a directory\."):
        append_line("a.txt", "first")


@pytest.mark.parametrize(
    "control",
    [
        "\n",
        "\r",
        "\x00",
        "\x1b",
        "\x7f",
        "\x85",
        "\u2028",
        "\u2029",
        "\u202e",
        "\u2066",
        "\u200b",
        "\u200f",
        "\ufeff",
        "\U000e0041",
    ],
)
def test_control_characters_become_spaces(log_dir, control):
    append_line("a.txt", f"a{control}b")

    assert (log_dir / "a.txt").read_bytes() == b"a b\n"


def test_half_of_a_character_is_written_in_letters(log_dir):
    """JSON can carry what UTF-8 cannot."""
    append_line("a.txt", "a\ud800b")

    assert (log_dir / "a.txt").read_text() == "a\\ud800b\n"
