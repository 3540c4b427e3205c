"""A program `crontab` that keeps its bytes in a file, and shows carriage returns and backspaces as Debian's does."""

import os
import sys
from pathlib import Path

store = Path(os.environ["CRONTAB_STORE"])
refusal = os.environ.get("CRONTAB_REFUSAL", "")
[how] = sys.argv[1:]
if refusal and (how == os.environ.get("CRONTAB_REFUSED", how)):
    sys.exit(refusal)
if os.environ.get("LC_ALL") != "C":
    sys.exit("keine crontab für root")  # messages are matched, so they must not be translated
if how == "-":
    given = sys.stdin.buffer.read()
    if meddler := os.environ.get("CRONTAB_MEDDLER"):
        given += meddler.encode()
    store.write_bytes(given)
elif how == "-r":
    store.unlink()
elif not store.exists() and how == "-l":
    sys.exit("no crontab for tester")
else:
    content = store.read_bytes()
    if how == "-l":
        content = content.replace(b"\r", b"\\r").replace(b"\b", b"\\b")
    sys.stdout.buffer.write(content)
