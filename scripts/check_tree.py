"""Check what needs neither tools nor network: the locks are in step, no file names a machine or a registry.

--fingerprint LOCK prints what that lock's first line must hold.
"""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_DEVELOPMENT = ("requirements.txt", "requirements/dev.txt")
_LOCKS = {  # each with what it is made from
    "requirements.lock": _DEVELOPMENT,
    "requirements-django61.lock": _DEVELOPMENT,
    "requirements-release.lock": ("requirements/release.txt",),
}
# Bracketed, so that these lines do not match themselves.
_PRIVATE = {
    "a path of one machine": re.compile(r"(?<![\w.$}])/(?:[r]oot|[w]ork)/\w"),
    "the host of a package registry": re.compile(r"[p]ypi\.org|[p]ythonhosted\.org"),
}


def main() -> int:
    """Print each problem on its own line; end 1 when there is one."""
    if "--fingerprint" in sys.argv:
        print(fingerprint(sys.argv[-1]))
        return 0
    problems = [*stale_locks(), *private_lines()]
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def fingerprint(lock: str) -> str:
    """Give the hash of the requirements that *lock* is made from, comments and empty lines aside."""
    digest = hashlib.sha256()
    for name in _LOCKS[lock]:
        for line in (_ROOT / name).read_text().splitlines():
            if wanted := line.partition("#")[0].strip():
                digest.update(f"{wanted}\n".encode())
    return digest.hexdigest()[:16]


def stale_locks() -> list[str]:
    """Name the locks that were made from other requirements."""
    return [
        f"{lock} is older than {' or '.join(sources)}. Run: make lock"
        for lock, sources in _LOCKS.items()
        if not (_ROOT / lock).read_text().partition("\n")[0].endswith(f"Made from: {fingerprint(lock)}")
    ]


def private_lines() -> list[str]:
    """List the lines of tracked files that only make sense where they were written."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=_ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    found = []
    for name in filter(None, names):
        try:
            lines = (_ROOT / name).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):  # deleted but not committed; not a text
            continue
        for number, line in enumerate(lines, start=1):
            place = f"{name}:{number}"
            found += [f"{place}: {what}" for what, pattern in _PRIVATE.items() if pattern.search(line)]
    return found


if __name__ == "__main__":
    sys.exit(main())
