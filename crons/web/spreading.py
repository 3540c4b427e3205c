"""What comes in the next 24 hours: slots of many entries in one minute, and minutes that would part them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from crons.conf import conf
from crons.exceptions import CronsError
from crons.ledger import account_of
from crons.models import Entry
from crons.planner import Account
from crons.schedules import parse

AHEAD = timedelta(days=1)
# An entry with more slots in a day comes all the time: it collides with everything, and moving it parts nothing.
OFTEN = 48
# So many slots at once are worth a line.
MANY = 3
SHOWN = 10
NAMED = 8


@dataclass(frozen=True)
class Collision:
    """Slots of *entries* that fall due in one minute."""

    at: datetime
    entries: list[Entry]

    @property
    def begins(self) -> int:
        """How many of them one scheduler begins at once."""
        return conf.max_running

    @property
    def rest(self) -> int:
        """How many are not named."""
        return max(len(self.entries) - NAMED, 0)

    @property
    def waits(self) -> int:
        """How many of them one scheduler cannot begin at once."""
        return max(len(self.entries) - conf.max_running, 0)


@dataclass(frozen=True)
class Move:
    """What would part an entry from the others: the schedule that it has, and the one that it could have."""

    entry: Entry
    schedule: str


@dataclass(frozen=True)
class Coming:
    """The slots of the next 24 hours. *often*: entries that come so often that they are left out of collisions."""

    slots: dict[int, list[datetime]]
    collisions: list[Collision] = field(default_factory=list)
    more: int = 0
    moves: list[Move] = field(default_factory=list)
    most_before: int = 0
    most_after: int = 0
    often: int = 0


def coming(entries: Iterable[Entry], now: datetime) -> Coming:
    """Return what falls due of *entries* until AHEAD, where many do at once, and how to spread them.

    Cost: no statement; of each entry OFTEN slots.
    """
    slots: dict[int, list[datetime]] = {}
    accounts: dict[int, Account] = {}
    rows = {}
    for entry in entries:
        account = _account(entry)
        if account is None:
            continue
        after = max(now, entry.accounted_until)
        slots[entry.pk] = account.schedule.between(after, now + AHEAD, account.tz, OFTEN + 1)
        accounts[entry.pk], rows[entry.pk] = account, entry
    seldom = {pk: moments for pk, moments in slots.items() if len(moments) <= OFTEN}
    at_once = _at_once(seldom)
    found = [Collision(at, [rows[pk] for pk in ids]) for at, ids in at_once.items() if len(ids) >= MANY]
    found.sort(key=lambda each: (-len(each.entries), each.at))
    moves, after_moves = _spread(found, rows, accounts, seldom, now)
    return Coming(
        slots=slots,
        collisions=found[:SHOWN],
        more=max(len(found) - SHOWN, 0),
        moves=moves,
        most_before=len(found[0].entries) if found else 0,
        most_after=max(map(len, _at_once(after_moves).values()), default=0),
        often=len(slots) - len(seldom),
    )


def _account(entry: Entry) -> Account | None:
    """Return the account of an entry that falls due by itself; None of any other."""
    if not entry.schedule or entry.retired_at is not None or entry.parked_reason:
        return None
    try:
        return account_of(entry)
    except CronsError:
        return None  # the first page says that it cannot be planned


def _at_once(slots: dict[int, list[datetime]]) -> dict[datetime, list[int]]:
    found: dict[datetime, list[int]] = defaultdict(list)
    for pk, moments in slots.items():
        # By minutes: an interval may fall due at any second.
        for at in dict.fromkeys(each.replace(second=0, microsecond=0) for each in moments):
            found[at].append(pk)
    return found


def _spread(
    found: list[Collision],
    rows: dict[int, Entry],
    accounts: dict[int, Account],
    slots: dict[int, list[datetime]],
    now: datetime,
) -> tuple[list[Move], dict[int, list[datetime]]]:
    """Move all but one entry of each collision to the emptiest minute of its own hour, the nearest of several."""
    moved = dict(slots)
    load = Counter({at: len(ids) for at, ids in _at_once(slots).items()})
    moves: dict[int, Move] = {}
    for collision in found:
        # The first by its name stays; those that nothing can move stay too.
        movable = [each for each in sorted(collision.entries, key=lambda row: row.name) if _minutes(each.schedule)]
        stays = 0 if len(movable) < len(collision.entries) else 1
        for entry in movable[stays:]:
            if entry.pk in moves or load[collision.at] < 2:
                continue
            move, moments = _best(entry, accounts[entry.pk], moved[entry.pk], load, now)
            if move is None:
                continue
            moves[entry.pk] = move
            load.subtract(_whole(moved[entry.pk]))
            moved[entry.pk] = moments
            load.update(_whole(moments))
    return sorted(moves.values(), key=lambda each: each.entry.name), moved


def _best(
    entry: Entry, account: Account, mine: list[datetime], load: Counter[datetime], now: datetime
) -> tuple[Move | None, list[datetime]]:
    """Return the schedule of this entry that meets the fewest others, and its slots; None where none is better."""
    without = Counter(load)
    without.subtract(_whole(mine))
    best = (max((without[at] for at in _whole(mine)), default=0), 0)
    move, moments = None, mine
    for distance, text in enumerate(_minutes(entry.schedule), 1):
        try:
            there = parse(text).between(now, now + AHEAD, account.tz, OFTEN + 1)
        except CronsError:
            continue
        meets = (max((without[at] for at in _whole(there)), default=0), distance)
        if meets[0] < best[0]:
            best, move, moments = meets, Move(entry, text), there
        if best[0] == 0:
            break
    return move, moments


def _whole(moments: list[datetime]) -> list[datetime]:
    return list(dict.fromkeys(each.replace(second=0, microsecond=0) for each in moments))


def _minutes(text: str) -> list[str]:
    """List the schedules that differ from a cron line in its minute only, the nearest first; none of another text."""
    fields = text.split()
    if len(fields) != 5:
        return []
    minute = fields[0]
    if minute.isdecimal() and int(minute) < 60:
        others = sorted(set(range(60)) - {int(minute)}, key=lambda each: (each - int(minute)) % 60)
        # Later within its hour first: the hours, and so the day, stay as they are.
        others.sort(key=lambda each: each < int(minute))
        return [" ".join([str(each), *fields[1:]]) for each in others]
    step = minute.removeprefix("*/")
    if step != minute and step.isdecimal() and 1 < int(step) < 60:
        return [" ".join([f"{each}-59/{step}", *fields[1:]]) for each in range(1, int(step))]
    return []
