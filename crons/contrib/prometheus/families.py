"""The figures as metrics: their names, units, labels, and what a person reads of each."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from itertools import accumulate
from typing import Any

from prometheus_client.metrics_core import GaugeHistogramMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from crons.contrib.prometheus.figures import LABELLED, MOST, NEWEST, Beat, Figures

Labelled = Iterable[tuple[tuple[str, ...], float]]
# In seconds: a mail is sent in one, a nightly report takes hours.
BOUNDS = (0.1, 0.5, 1, 5, 15, 30, 60, 300, 900, 1800, 3600, 14400)
WINDOW = f"in the last hour, or in the newest {NEWEST} rows (crons_recent_window_seconds says how far back that is)"


class Families(Collector):
    """Everything here is a gauge: rows are pruned, so what is counted in them goes down, too."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Yield each family once, with all its samples."""
        yield from self._of_entries()
        yield from self._of_the_last_hour()
        yield from self._of_now()
        yield from self._of_schedulers()

    def _of_entries(self) -> Iterator[Metric]:
        told = self._figures
        yield _gauge("crons_entries", f"Entries that are not retired; {MOST} means at least.", [((), told.entries)])
        about = f"Entries: the {LABELLED} that were declared first."
        paused = _by_entry(told.paused)
        yield _gauge("crons_entry_paused", f"Whether a pause holds for the entry. {about}", paused, "entry")
        parked = _by_entry(told.parked)
        yield _gauge("crons_entry_parked", f"Whether the entry cannot be planned. {about}", parked, "entry")
        ended = [((entry,), at.timestamp()) for entry, at in told.last_success_at.items()]
        text = f"When the newest run that succeeded ended; none: it never did. {about}"
        yield _gauge("crons_last_success_timestamp_seconds", text, ended, "entry")

    def _of_the_last_hour(self) -> Iterator[Metric]:
        told = self._figures
        text = "How far back the figures called recent reach."
        yield _gauge("crons_recent_window_seconds", text, [((), told.window.total_seconds())])
        text = f"Runs of slots and requests {WINDOW}, by verdict; open: not over."
        yield _gauge("crons_recent_runs", text, told.runs.items(), "entry", "verdict")
        text = "Slots that no run was made of, missed or skipped, in ranges that end in the last hour; counted whole."
        yield _gauge("crons_recent_slots_without_run", text, told.slots_without_run.items(), "entry", "verdict")
        text = "How long after its slot the entry's newest run of the last hour first began; of others the worst."
        yield _gauge("crons_recent_lateness_seconds", text, _by_entry(told.lateness), "entry")
        text = f"How long the last attempts of runs took {WINDOW}: a histogram of what is there, not a counter."
        family = GaugeHistogramMetricFamily("crons_recent_run_duration_seconds", text, labels=["entry"])
        for entry, lengths in told.durations.items():
            seconds = [each.total_seconds() for each in lengths]
            family.add_metric([entry], _buckets(seconds), gsum_value=sum(seconds))
        yield family

    def _of_now(self) -> Iterator[Metric]:
        told = self._figures
        text = f"Runs that are due, sent to workers, waiting for a retry, or running; {MOST} means at least."
        yield _gauge("crons_queue_runs", text, (((state,), count) for state, count in told.queue.items()), "state")
        text = "For how long the oldest run that could begin has waited; of sent ones, to be sent again."
        yield _gauge("crons_queue_oldest_seconds", text, _by_entry(told.oldest), "state")
        text = "For how long the entry that fell due first has waited to be planned: nobody looks at the clock."
        yield _gauge("crons_planning_lag_seconds", text, [((), told.planning_lag.total_seconds())])
        text = f"Pauses in force, of an entry, of a tag, or of all; {MOST} means at least."
        yield _gauge("crons_pauses", text, (((scope,), count) for scope, count in told.pauses.items()), "scope")
        text = f"Incidents that are open; {MOST} means at least."
        yield _gauge("crons_incidents_open", text, told.incidents.items(), "rule", "severity")

    def _of_schedulers(self) -> Iterator[Metric]:
        beats = self._figures.beats
        text = "Schedulers that live."
        yield _gauge("crons_schedulers", text, _by_host(beats, lambda beat: beat.living), "kind", "host")
        text = "Since when the host's schedulers of this kind have given no sign of life."
        aged = _by_host(beats, lambda beat: beat.age.total_seconds())
        yield _gauge("crons_scheduler_heartbeat_age_seconds", text, aged, "kind", "host")
        text = "How far the scheduler's clock was ahead of the database's."
        skewed = _by_host(beats, lambda beat: beat.skew_seconds)
        yield _gauge("crons_clock_skew_seconds", text, skewed, "kind", "host")


def _gauge(name: str, text: str, samples: Labelled, *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _by_entry(values: Mapping[str, timedelta | bool]) -> Labelled:
    for label, value in values.items():
        yield (label,), value.total_seconds() if isinstance(value, timedelta) else float(value)


def _by_host(beats: Iterable[Beat], value: Any) -> Labelled:
    return [((beat.kind, beat.host), value(beat)) for beat in beats]


def _buckets(seconds: list[float]) -> list[tuple[str, float]]:
    """Count what took at most each bound, and what took longer than all of them."""
    counts = [0] * (len(BOUNDS) + 1)
    for each in seconds:
        counts[bisect_left(BOUNDS, each)] += 1
    return list(zip([*map(str, map(float, BOUNDS)), "+Inf"], accumulate(counts), strict=True))
