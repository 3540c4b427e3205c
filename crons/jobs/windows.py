"""The hours in which a job may begin, as the wall clock of its entry's zone shows them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo

from crons.exceptions import InvalidJob
from crons.schedules import zones

HOUR = re.compile(r"([01]?[0-9]|2[0-3]):[0-5][0-9]")
# No zone has ever left out more than one day at a time.
DAYS_LOOKED_AT = 4


@dataclass(frozen=True, slots=True)
class Window:
    """Begin only from *opens* until *closes*, texts such as "22:00", of the entry's zone; over midnight where it must.

    Clock changes: what a wall clock has shown, it has shown. An hour that comes twice opens and closes nothing again,
    and what would open or close in an hour that is left out does so right after it.
    """

    opens: str
    closes: str

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if not isinstance(value, str) or not HOUR.fullmatch(value):
                raise InvalidJob(f"Window({name}={value!r}): expected an hour and minute such as '22:00'.")
            # One way to write it: rows are compared with what the code declares.
            object.__setattr__(self, name, value.rjust(5, "0"))
        if self.opens == self.closes:
            raise InvalidJob(
                f"Window({self.opens!r}, {self.closes!r}) closes when it opens: leave it out for any time."
            )

    def __str__(self) -> str:
        return f"{self.opens} to {self.closes}"

    def is_open(self, moment: datetime, tz: tzinfo) -> bool:
        """Answer whether it is open at *moment*."""
        shown = zones.highest_reading(moment, tz).time()
        opens, closes = time.fromisoformat(self.opens), time.fromisoformat(self.closes)
        if opens < closes:
            return opens <= shown < closes
        return shown >= opens or shown < closes

    def closing(self, moment: datetime, tz: tzinfo) -> datetime:
        """Return the first moment from *moment* on at which it is closed; at the ends of the calendar, *moment*."""
        return self._first(self.closes, moment, tz, is_open=False)

    def opening(self, moment: datetime, tz: tzinfo) -> datetime:
        """Return the first moment from *moment* on at which it is open: that one, or the next opening.

        At the ends of the calendar, where nothing is planned, that one.
        """
        return self._first(self.opens, moment, tz, is_open=True)

    def _first(self, changes: str, moment: datetime, tz: tzinfo, *, is_open: bool) -> datetime:
        try:
            if self.is_open(moment, tz) is is_open:
                return moment
            today = zones.highest_reading(moment, tz).date()
            for days in range(DAYS_LOOKED_AT):
                shown = datetime.combine(today + timedelta(days=days), time.fromisoformat(changes))
                at = zones.first_moment(shown, tz)
                # One that lies whole in an hour that is left out does not open on that day.
                if at > moment and self.is_open(at, tz) is is_open:
                    return at
        except OverflowError:
            pass
        return moment
