# SPDX-License-Identifier: MIT OR Apache-2.0
"""What runs of the benchmarks left in their JSON files, checked and joined."""

import dataclasses
import json
import math
import os


class Bad(Exception):
    """What is wrong with an argument or a file, in one line."""


@dataclasses.dataclass(frozen=True)
class Metric:
    """An id and its figure; `ratio` is None if it was not measured."""
    id: str
    ratio: float = None
    spread: float = None
    samples: int = 0
    low: float = None   # of the 95 % interval of the median,
    high: float = None  # or None
    goal: float = None
    goal_kind: str = ""  # "at least", "exactly", …
    higher_is_better: bool = True
    verdict: str = ""
    missing: str = ""  # why there is no figure
    counters: dict = dataclasses.field(default_factory=dict)

    @property
    def group(self):
        return self.id.split("/")[0]

    @property
    def measured(self):
        return self.ratio is not None


@dataclasses.dataclass(frozen=True)
class Measured:
    """A side of a comparison: what was measured, in its own unit."""
    group: str
    heading: str
    name: str
    unit: str
    median: float
    spread: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Latencies:
    """How often what took how long: `count[i]` took less than `below_ns[i]`."""
    key: tuple
    below_ns: list
    count: list


@dataclasses.dataclass
class Results:
    """One file, or several that were joined."""
    names: list
    contexts: list
    metrics: dict  # by id
    measured: list
    faults: list      # key: guest, ager, load
    scans: list       # key: writer, rmaps
    sizes: dict       # metrics by id: those of guests of several sizes

    def groups(self):
        """The groups that have a figure, in the order of the metrics."""
        found = dict.fromkeys(metric.group for metric in self.metrics.values()
                              if metric.measured)
        if self.sizes:
            found.setdefault("contention")
        return list(found)

    def of_group(self, group):
        return [metric for metric in self.metrics.values()
                if metric.group == group]

    def rows(self, group, heading=None):
        return [row for row in self.measured if row.group == group and
                (heading is None or row.heading == heading)]

    def quick(self):
        return any("--quick" in str(context.get("command", "")).split()
                   for context in self.contexts)


def _number(value):
    """A finite number, or None."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and \
            math.isfinite(value):
        return float(value)
    return None


_KNOWN = {"name", "run_name", "run_type", "repetitions", "repetition_index",
          "threads", "iterations", "real_time", "cpu_time", "time_unit",
          "label", "ratio", "spread", "samples", "interval_low",
          "interval_high", "goal", "higher_is_better", "error_occurred",
          "error_message", "goal_kind"}


def _metric(entry, where):
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise Bad(f"{where}: wants a name")
    ratio = _number(entry.get("ratio"))
    if ratio is None and "ratio" in entry:
        raise Bad(f"{where}: ratio is no number")
    if ratio is None and not entry.get("error_occurred"):
        raise Bad(f"{where}: wants ratio, or error_occurred")
    low, high = _number(entry.get("interval_low")), _number(
        entry.get("interval_high"))
    if low is None or high is None:
        low = high = None
    return Metric(
        id=entry["name"], ratio=ratio, spread=_number(entry.get("spread")),
        samples=int(_number(entry.get("samples")) or 0), low=low, high=high,
        goal=_number(entry.get("goal")),
        goal_kind=str(entry.get("goal_kind", "")),
        higher_is_better=entry.get("higher_is_better") != 0,
        verdict=str(entry.get("label", "")),
        missing=str(entry.get("error_message", "")),
        counters={name: value for name, value in entry.items()
                  if name not in _KNOWN and _number(value) is not None})


def _entries(document, member):
    entries = document.get(member, [])
    if not isinstance(entries, list):
        raise Bad(f"{member}: wants a list")
    return [(entry, f"{member}[{number}]")
            for number, entry in enumerate(entries)]


def _metrics(document, member):
    found = {}
    for entry, where in _entries(document, member):
        metric = _metric(entry, where)
        found[metric.id] = metric
    return found


def _measured(entry, where):
    texts = ("group", "heading", "name", "unit")
    if not isinstance(entry, dict) or not all(
            isinstance(entry.get(text), str) for text in texts):
        raise Bad(f"{where}: wants group, heading, name and unit")
    median = _number(entry.get("median"))
    if median is None:
        raise Bad(f"{where}: wants median")
    low, high = (_number(entry.get(end))
                 for end in ("interval_low", "interval_high"))
    # Of too few rounds there is no interval.
    if low is None or high is None:
        low = high = median
    return Measured(*(entry[text] for text in texts), median,
                    _number(entry.get("spread")) or 0.0, low, high)


def _latencies(entry, where, keys):
    if not isinstance(entry, dict) or not all(
            isinstance(entry.get(key), str) for key in keys):
        raise Bad(f"{where}: wants " + ", ".join(keys))
    below, count = entry.get("below_ns"), entry.get("count")
    for values in (below, count):
        # Empty where every window was dropped.
        if not isinstance(values, list) or not all(
                type(value) is int and value > 0 for value in values):
            raise Bad(f"{where}: below_ns and count want whole numbers above 0")
    if len(below) != len(count) or any(
            a >= b for a, b in zip(below, below[1:])):
        raise Bad(f"{where}: below_ns must increase, and count be as long")
    return Latencies(tuple(entry[key] for key in keys), below, count)


def read(path):
    """The results in a file."""
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except OSError as error:
        raise Bad(f"{path}: cannot read: {error.strerror}") from None
    except ValueError as error:
        raise Bad(f"{path}: not JSON: {error}") from None
    try:
        if not isinstance(document, dict) or not isinstance(
                document.get("benchmarks"), list):
            raise Bad('no "benchmarks": not what `tools/bench --json` writes')
        context = document.get("context", {})
        if not isinstance(context, dict):
            raise Bad("context: wants members")
        results = Results(
            names=[os.path.basename(path)], contexts=[context],
            metrics=_metrics(document, "benchmarks"),
            measured=[_measured(*entry)
                      for entry in _entries(document, "measured")],
            faults=[_latencies(*entry, ("guest", "ager", "load"))
                    for entry in _entries(document, "contention_faults")],
            scans=[_latencies(*entry, ("writer", "rmaps"))
                   for entry in _entries(document, "rmap_scan_latencies")],
            sizes=_metrics(document, "contention_sizes"))
    except Bad as bad:
        raise Bad(f"{path}: {bad}") from None
    return results


def join(several):
    """One of several. Of what more than one measured, the first counts."""
    joined = several[0]
    for more in several[1:]:
        metrics = dict(joined.metrics)
        for metric in more.metrics.values():
            if not metrics.get(metric.id, Metric("")).measured:
                metrics[metric.id] = metric
        have = {row.group for row in joined.measured}
        joined = Results(
            names=joined.names + more.names,
            contexts=joined.contexts + more.contexts, metrics=metrics,
            measured=joined.measured +
            [row for row in more.measured if row.group not in have],
            faults=joined.faults or more.faults,
            scans=joined.scans or more.scans,
            sizes=joined.sizes or more.sizes)
    return joined
