"""Rules over time: what only inspection asks, once a minute in a process and in each tick.

Each is a function that reads a `Look` and yields a `Problem` for each thing that is wrong, as those in
`crons/watch/problems.py` do. They may cost more than the first page can pay, and still no more with a longer history:
along an index, and up to `READ` rows. What they find opens an incident, and is seen by pages, `crons health` and
metrics as such. To add one: write it in a module beside this one, add it here, and give its kind a line in the table
`crons/watch/rules.py` and in docs/howto/alerts.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from crons.watch.look import Look, Problem
from crons.watch.old_code import old_code
from crons.watch.past import idle, silent, too_long
from crons.watch.trends import trends
from crons.watch.unsent import channels

OVER_TIME: list[Callable[[Look], Iterator[Problem]]] = [trends, old_code, channels, too_long, silent, idle]
