"""The errors that crons raises, mistakes and broken promises, and the guess that their messages make.

::

    CronsError
    ├── DeclarationError            something declared in code, settings or a file cannot work
    │   ├── InvalidSchedule         a schedule text that cannot be read, or never matches
    │   ├── InvalidJob              a policy, argument or name that cannot work
    │   ├── DuplicateJob            two declarations of one name
    │   └── InvalidSetting          a value in settings.CRONS
    ├── UnknownJob                  a name that nobody declared (did you mean …?)
    ├── NotAdopted                  this database belongs to another deployment
    ├── Disabled                    CRONS["ENABLED"] is off
    ├── ZoneMissingHere             this machine's time zone data lacks a zone that an entry is read in
    ├── Refused                     the ledger says no: overlapping, not running, already over
    ├── GiveUp                      raised by a job: it failed, and trying again is of no use
    ├── ToBeContinued               raised by a job: its window closes, and it goes on when that opens again
    ├── Fenced                      the attempt no longer owns its run
    ├── LedgerUnavailable           the database could not be asked or did not answer: nothing was run
    │   └── ClockInDoubt            its clock is far from what the rows say
    └── TargetError                 a crontab cannot be read or written, or is not what it was: nothing was changed
"""

import difflib
from collections.abc import Iterable


def closest(word: str, known: Iterable[str], *, likeness: float = 0.6, any_case: bool = False) -> str | None:
    """Return the one of *known* that is most like *word*: 1 is the same; None where none is like it enough."""
    spelt = {each.lower() if any_case else each: each for each in known}
    near = difflib.get_close_matches(word.lower() if any_case else word, spelt, 1, likeness)
    return spelt[near[0]] if near else None


def nearest(word: str, known: Iterable[str], *, any_case: bool = False) -> str:
    """Return " Did you mean …?" with the one of *known* that is closest to *word*, or nothing where none is."""
    near = closest(word, known, any_case=any_case)
    return f" Did you mean {near!r}?" if near else ""


def nearest_and_all(word: str, known: Iterable[str]) -> str:
    """Return nearest(), and behind it all of *known*, in their order."""
    known = list(known)
    return f"{nearest(word, known)} Known: {', '.join(known) or 'none'}."


class CronsError(Exception):
    """Every error of this package."""


class DeclarationError(CronsError):
    """Something declared in code, settings or a file cannot work."""


class InvalidSchedule(DeclarationError):
    """A schedule text cannot be read, or never matches."""


class InvalidJob(DeclarationError):
    """A job's policy, argument or name cannot work."""


class DuplicateJob(DeclarationError):
    """Two declarations share one name."""


class NotImported(DeclarationError):
    """A line of a source names what cannot be imported."""


class InvalidSetting(DeclarationError):
    """A value in settings.CRONS is not what that key takes."""


class UnknownJob(CronsError):
    """Nobody declared a job or entry of that name."""


class NotAdopted(CronsError):
    """The database belongs to another deployment, so nothing may fire from it."""


class Disabled(CronsError):
    """CRONS["ENABLED"] is off."""


class ZoneMissingHere(CronsError):
    """This machine's time zone data lacks the zone; another host's may have it."""


class Refused(CronsError):
    """The ledger refuses: the run is overlapping, not running, or already over."""


class GiveUp(CronsError):
    """For jobs to raise: this failed, and trying again is of no use, whatever retry= says."""


class ToBeContinued(CronsError):
    """For jobs to raise when `context.should_stop`: what is done is kept, and the run goes on when its window opens."""


class Fenced(CronsError):
    """The attempt no longer owns its run, so its effects must not commit."""


class LedgerUnavailable(CronsError):
    """The database could not be asked or did not answer: nothing was run."""


class ClockInDoubt(LedgerUnavailable):
    """The clock is far from the newest rows: whatever it recorded might not have come yet, so nothing was."""


class TargetError(CronsError):
    """A foreign schedule cannot be read or written, or is not what it was: nothing was changed."""
