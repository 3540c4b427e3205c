"""The page of the system checks names all that are raised."""

import re
from pathlib import Path

import crons

ROOT = Path(__file__).resolve().parents[2]


def test_every_id_is_documented_and_tested_once():
    """An id is an address: the code, the reference and these tests name the same ones."""
    source = "".join(path.read_text() for path in Path(crons.__file__).parent.rglob("*.py"))
    raised = {*re.findall(r'id="(crons\.[EW]\d{3})"', source)}
    raised |= {f"crons.{each}" for each in re.findall(r'Problem\(\s*"([EW]\d{3})"', source)}
    headings = re.findall(r"^## (\S+)$", (ROOT / "docs/reference/checks.md").read_text(), re.MULTILINE)
    files = [path for name in ("crons", "contrib") for path in (ROOT / "tests" / name).rglob("test_*.py")]
    tests = "".join(path.read_text() for path in files)
    tested = {f"crons.{each}" for each in re.findall(r'"(?:crons\.)?([EW]\d{3})"', tests)}

    assert len(headings) == len(set(headings))
    assert set(headings) == raised == tested
