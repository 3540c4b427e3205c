"""Where a declaration stands in code, and whether two of them are the same one, imported twice.

A module that is imported a second time declares the same jobs again, and that is harmless: a reload, one file under
two names (`shop.cron` and `cron`), `python -m shop.cron`. Two declarations of one name during one import are a
mistake, also where a loop makes both on one line. The module's code object tells the two cases apart: each import
has a new one.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

# Frames of these modules lie between the declaration and the registry; the origin is the first frame outside.
OWN = frozenset({"crons.jobs.declare", __name__})


@dataclass(frozen=True)
class Origin:
    """*place* is "file:line"; *module* the file whose import declared it, *code* and *setup* which import that was."""

    place: str
    module: str
    code: CodeType | None = field(repr=False)
    setup: object = field(default=None, repr=False)

    @classmethod
    def here(cls, setup: object, body: Any = None) -> Origin:
        """Return the origin of what is being declared now: of *body*, if it is a function, else of the call."""
        caller: FrameType | None = sys._getframe(1)
        while caller is not None and caller.f_globals.get("__name__") in OWN:
            caller = caller.f_back
        outer = caller
        while outer is not None and outer.f_code.co_name != "<module>":
            outer = outer.f_back
        written = getattr(getattr(body, "__wrapped__", body), "__code__", None)
        if isinstance(written, CodeType):
            place = f"{written.co_filename}:{written.co_firstlineno}"
        else:
            place = f"{_file(caller.f_code, caller)}:{caller.f_lineno}" if caller is not None else ""
        if outer is None:
            return cls(place, "", None, setup)
        return cls(place, os.path.realpath(_file(outer.f_code, outer)), outer.f_code, setup)

    def repeats(self, other: Origin) -> bool:
        """Say whether the module that declared *other* declares this when it is imported once more."""
        return self.module == other.module and (self.code is not other.code or self.setup is not other.setup)


def _file(code: CodeType, frame: FrameType) -> str:
    # Code typed at a prompt has no file, and a new name for each piece.
    return str(frame.f_globals.get("__name__")) if code.co_filename.startswith("<") else code.co_filename
