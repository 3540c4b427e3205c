"""Become a program that ends with its parent: `die_with_parent.py TERM PROGRAM …`.

The kernel sends it the signal when whoever started it is gone, killed even. With `--as ACCOUNT` before
the signal it becomes that account first; root only.
"""

import ctypes
import os
import pwd
import select
import signal
import sys

PR_SET_PDEATHSIG, STDOUT = 1, 1


def nobody_reads(descriptor: int) -> bool:
    """Say whether *descriptor* is a pipe whose other end is closed.

    supervisord holds that end: where it was killed while Python started here, the new parent is all we ever saw.
    """
    watch = select.poll()
    watch.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in watch.poll(0))


def main(words: list[str]) -> None:
    """Ask the kernel for the signal, then become the program; what went wrong ends it with a line."""
    parent = os.getppid()
    if words[:1] == ["--as"]:
        account = pwd.getpwnam(words[1])
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
        words = words[2:]
    number = signal.Signals[f"SIG{words[0]}"]
    # After the change of account, which clears it.
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0):
        raise OSError("prctl(PR_SET_PDEATHSIG) was refused")
    if os.getppid() != parent or nobody_reads(STDOUT):
        sys.exit("die_with_parent: the parent was gone before the kernel could be asked.")
    os.execvp(words[1], words[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
