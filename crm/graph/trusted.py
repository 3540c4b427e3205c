"""Trusted documents: what may be asked by its name alone, the SHA-256 of its text.

They lie beside this file in documents/, with the code that asks them: who may change the code may trust a document.
Read once for each process; a text that is changed has another id, and the old one is known no more.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "documents"
# As the appendix of GraphQL over HTTP on persisted documents has it.
FORM = re.compile("sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Trusted:
    """A document with its name, the one of its file, and its id."""

    name: str
    text: str
    id: str


def of(name: str) -> Trusted:
    """Give the document *name*.

    Raises: KeyError for one that is not there.
    """
    return next((each for each in _all().values() if each.name == name), None) or _missing(name)


def by_id(given: str) -> Trusted | None:
    """Give the document of the id *given*; None for none."""
    return _all().get(given)


def every() -> list[Trusted]:
    """List all, by their names."""
    return list(_all().values())


def id_of(text: str) -> str:
    """Give the id of the document *text*."""
    return f"sha256:{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()}"  # JSON has halves of characters


@cache
def _all() -> dict[str, Trusted]:
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.graphql"))}
    return {id_of(text): Trusted(name, text, id_of(text)) for name, text in texts.items()}


def _missing(name: str) -> Trusted:
    raise KeyError(f"{FOLDER} has no {name}.graphql")
