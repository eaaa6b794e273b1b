# SPDX-License-Identifier: MIT OR Apache-2.0
"""The group `rmap`: cost over entries, runs against streaming, and latencies
while a writer works."""

import math
import re

from reporting import draw
from reporting.draw import Panel, Picture, Style
from reporting.walk import metric_rows

DISCIPLINES = {
    "Lockless": (Style("ours", (), 2.4),
                 "Lockless: ptage, wait-free for lists too"),
    "BitLocked": (Style("red", (5, 1.5), 1.8, "v"),
                  "BitLocked: a bit in each rmap, as in Linux since 6.15"),
    "SingleEntryLockless": (Style("soft", (1.2, 1.2), 1.8, "s"),
                            "SingleEntryLockless, as first proposed; lists "
                            "under a lock"),
}
PEERS = ("BitLocked and SingleEntryLockless, the library's own, after Linux "
         "KVM since 6.15 and as first proposed; each with the prefetch and the "
         "chunk size that serve it best")
WRITERS = {"none": "Nobody writes",
           "contended": "A writer is at full speed",
           "stalled_writer": "A writer stalls now and then"}
RUNS = {"run/vs_streaming": "tables in order",
        "run/vs_streaming/shuffled": "tables shuffled",
        "run/vs_streaming/empty10": "one frame in ten unmapped",
        "run/vs_streaming/outliers1": "one in a hundred elsewhere"}
FEWEST = 100


def _discipline(name):
    return re.match(r"\w*", name)[0]


def _fastest(rows):
    """By discipline: each is taken at its best."""
    best = {}
    for row in rows:
        name = _discipline(row.name)
        if name in DISCIPLINES and (name not in best or
                                    row.median < best[name].median):
            best[name] = row
    return best


def _cost(results):
    panels, point = [], ""
    for cached, title in (("", "Larger than the caches"),
                          (", cached", "In the caches")):
        lines = {}
        for entries, heading in [
                (1, "one entry each, in random places" if not cached else "")] \
                + [(n, f"{n} entries each{cached}") for n in (2, 4, 14, 100)]:
            for name, row in _fastest(results.rows("rmap", heading)).items():
                lines.setdefault(name, []).append(
                    (entries, row.median / entries, row.low / entries,
                     row.high / entries))
        if not lines:
            continue
        made = draw.axes()
        for name in reversed([name for name in DISCIPLINES if name in lines]):
            style = DISCIPLINES[name][0]
            xs, ys, lows, highs = zip(*lines[name])
            made.fill_between(xs, lows, highs, color=style.shade, alpha=0.15,
                              linewidth=0)
            made.plot(xs, ys, color=style.shade, linestyle=style.line,
                      linewidth=style.width, marker=style.marker, markersize=4,
                      zorder=4 if name == "Lockless" else 2)
        every = [y for line in lines.values() for _, y, _, _ in line]
        made.set_xscale("log")
        made.set_yscale("log")
        made.set_ylim(min(every) / 1.4, max(every) * 1.4)
        draw.nice_log_axis(made.xaxis, 1, 1e9, lambda value, _: f"{value:g}")
        made.set_xticks(sorted({x for line in lines.values()
                                for x, _, _, _ in line}))
        draw.nice_log_axis(made.yaxis, min(every) / 1.4, max(every) * 1.4,
                           draw.duration)
        made.set_xlabel("entries of the rmap")
        made.set_ylabel("time ÷ entries")
        panels.append(Panel(title, draw.svg(
            made, "rmap-cost-" + ("cached" if cached else "memory"),
            f"Time of asking an entry over entries of its rmap, {title}")))
    rows = metric_rows(results, "rmap", RUNS)
    if rows:
        panels.append(draw.dots_panel(
            rows, "rmap-cost-runs", "Consecutive frames ÷ a streaming read",
            "share of the limit",
            "Rmaps and entries of consecutive frames ÷ streaming, with goals"))
    if not panels:
        return []
    fresh = results.metrics.get("rmap/single/sequential/vs_bit_locked")
    if fresh and fresh.measured:
        point = ("Asking frames in order is "
                 f"{draw.times(fresh.ratio)} times as fast without the bit "
                 "in each rmap as with it")
        random = results.metrics.get("rmap/single/random/vs_bit_locked")
        point += (f"; in random order {draw.times(random.ratio)} times."
                  if random and random.measured else ".")
    return [Picture(
        name="rmap-cost", group="rmap", title="Cost over entries", point=point,
        reading="What it takes to test and clear one entry through its rmap, "
        "by how many entries the rmap has; lower is better. Bands and bars are "
        "95 % intervals of the median. On the last panel further right is "
        "better, and the dashed stroke in a row is its goal.",
        panels=panels, legend=list(DISCIPLINES.values()), peers=PEERS,
        measure="--filter='^rmap/(single|run|many/[0-9]+/(cached/)?vs)'")]


def _scans(results):
    best = {}
    for run in results.scans:
        writer, rmaps = run.key
        key = (writer, _discipline(rmaps))
        # A window is equally long for all, so more scans are faster ones.
        if key[1] in DISCIPLINES and sum(run.count) > FEWEST and (
                key not in best or sum(run.count) > sum(best[key].count)):
            best[key] = run
    lines = {key: draw.longer(run, FEWEST) for key, run in best.items()}
    if not lines:
        return []
    low = min(corners[0][0] for corners in lines.values())
    low = 10 ** math.floor(math.log10(min(
        next((x for x, y in corners if y <= 0.99), low)
        for corners in lines.values())))
    high = max(corners[-1][0] for corners in lines.values()) * 1.3
    lowest = min(y for corners in lines.values() for _, y in corners)
    panels = []
    for writer, title in WRITERS.items():
        names = [name for name in DISCIPLINES if (writer, name) in lines]
        if not names:
            continue
        made = draw.axes()
        for name in reversed(names):
            style = DISCIPLINES[name][0]
            xs, ys = zip(*lines[writer, name])
            made.step(xs, ys, where="post", color=style.shade,
                      linestyle=style.line, linewidth=style.width,
                      zorder=4 if name == "Lockless" else 2)
        made.set_xscale("log")
        made.set_yscale("log")
        made.set_xlim(low, high)
        made.set_ylim(10 ** math.floor(math.log10(lowest)), 1.5)
        draw.log_axis(made.xaxis, draw.duration)
        draw.log_axis(made.yaxis, draw.one_in)
        made.set_xlabel("time of a scan of 14 entries")
        made.set_ylabel("scans that take longer")
        panels.append(Panel(title, draw.svg(
            made, f"rmap-scans-{writer.replace('_', '-')}",
            f"Distribution of scan latencies, {title}: {', '.join(names)}")))
    point = ""
    rate = results.metrics.get("rmap/many/14/stalled_writer/vs_bit_locked")
    tail = results.metrics.get("rmap/many/14/stalled_writer/p999_vs_bit_locked")
    if rate and rate.measured and tail and tail.measured:
        point = (f"Beside a writer that stalls, {draw.times(rate.ratio)} times "
                 "as many scans as under the bit, and a p99.9 of "
                 f"{draw.times(tail.ratio)} of its.")
    return [Picture(
        name="rmap-scans", group="rmap", point=point,
        title="How long readers wait for a writer",
        reading="At a height of “1 in 1,000” a line shows its p99.9. Further "
        "left is better. The writer that stalls loses its CPU for 20 µs in one "
        "removal in 256, as an interrupt does.",
        panels=panels, legend=list(DISCIPLINES.values()), peers=PEERS,
        measure="--filter='^rmap/many/14/(contended|stalled_writer)'")]


def pictures(results):
    return _cost(results) + _scans(results)
