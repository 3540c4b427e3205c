"""How long the last runs of one entry took, as a chart of bars: places and lengths in SVG, and the same as a table.

Each bar is a run, the oldest on the left. Where a few took very much longer than the others, their bars are cut, and
say so: else all others would be flat.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from crons.presentation import length, local
from crons.web.jobs.marks import Mark

WIDTH, HEIGHT = 720, 141  # what is seen begins at 20
TOP, BOTTOM = 24, 160
WIDEST = 24.0
# Bars are cut where one is so many times as long as nine of ten.
ENORMOUS = 4
SHORTEST = timedelta(milliseconds=100)


@dataclass(frozen=True)
class Bar:
    """A run that ended, as it is drawn."""

    mark: Mark
    took: timedelta
    x: float
    width: float
    y: float
    height: float
    is_cut: bool

    @property
    def middle(self) -> float:
        """Where its middle is."""
        return round(self.x + self.width / 2, 1)

    @property
    def length(self) -> str:
        """Say how long it took."""
        return length(self.took)


@dataclass(frozen=True)
class Line:
    """A deploy, or a change of the schedule, before the bar at *x*."""

    x: float
    label: str


@dataclass(frozen=True)
class Chart:
    """What is drawn; *bars* is empty where no run has ended yet."""

    bars: list[Bar] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    top: str = ""
    p95_y: float | None = None
    p95: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    bottom: int = BOTTOM

    @property
    def cut(self) -> int:
        """How many bars are cut."""
        return sum(bar.is_cut for bar in self.bars)

    @property
    def says(self) -> str:
        """Say what the chart shows, for those who do not see it."""
        lengths = sorted(bar.took for bar in self.bars)
        if not lengths:
            return "No run has ended yet."
        if lengths[0] == lengths[-1]:
            span = f"each took {length(lengths[0])}"
        else:
            span = f"the shortest took {length(lengths[0])}, the longest {length(lengths[-1])}"
        bad = sum(bar.mark.tone == "bad" for bar in self.bars)
        p95 = f" Of those that succeeded, 95 of 100 took at most {self.p95}." if self.p95 else ""
        return f"{len(lengths)} {'run' if len(lengths) == 1 else 'runs'}: {span}; {bad or 'none'} ended badly.{p95}"


def draw(marks: Iterable[Mark], p95: timedelta | None, changes: Sequence[tuple[datetime, str]]) -> Chart:
    """Draw those of *marks* that took time, the oldest first, with a line at *p95* and one for each of *changes*."""
    drawn = [(mark, mark.took) for mark in marks if mark.took is not None and mark.is_over]
    if not drawn:
        return Chart()
    top = _top([took for _, took in drawn], p95)
    step = min(WIDTH / len(drawn), WIDEST)
    bars = []
    for place, (mark, took) in enumerate(drawn):
        height = _height(min(took, top), top)
        bars.append(
            Bar(mark, took, round(place * step, 1), round(step * 0.8, 1), round(BOTTOM - height, 1), height, took > top)
        )
    line = None if p95 is None else round(BOTTOM - _height(min(p95, top), top), 1)
    return Chart(bars, _lines(bars, changes, step), length(top), line, length(p95) if p95 is not None else "")


def _lines(bars: list[Bar], changes: Sequence[tuple[datetime, str]], step: float) -> list[Line]:
    """Place each of *changes* before the first bar after it; those that lie before all bars are left out."""
    zone = bars[0].mark.zone
    found = []
    for at, label in sorted(changes):
        if at < bars[0].mark.at:
            continue
        after = next((bar.x for bar in bars if bar.mark.at >= at), bars[-1].x + step)
        found.append(Line(round(max(after - step * 0.1, 0), 1), f"{label}, {local(at, zone)}"))
    return found


def _top(lengths: list[timedelta], p95: timedelta | None) -> timedelta:
    """Return what the highest bar stands for."""
    in_order = sorted(lengths)
    usual = in_order[-(-len(in_order) * 9 // 10) - 1]
    longest = max(in_order[-1], p95 or SHORTEST, SHORTEST)
    return usual * 2 if usual > timedelta(0) and longest > usual * ENORMOUS else longest


def _height(took: timedelta, top: timedelta) -> float:
    # At least a pixel: what took no time has run all the same.
    return round(max((BOTTOM - TOP) * (max(took, timedelta(0)) / top), 1), 1)
