# SPDX-License-Identifier: MIT OR Apache-2.0
"""The group `walk`: scans against what the memory can do, over density and size."""

import re

from reporting import draw
from reporting.draw import Panel, Picture, Style

LIMIT = {"added up by vectors", "read as a stream"}
WAYS = {
    "tested": (Style("ours", (), 2.4), "harvest, tests"),
    "tested and cleared": (Style("green", (6, 1.4), 2.0, "D"),
                           "harvest, tests and clears"),
    "each entry, tested": (Style("amber", (2.5, 1), 1.5, "P"),
                           "entry by entry, tests"),
    "each entry, cleared": (Style("red", (4, 1.2), 1.5, "v"),
                            "entry by entry, clears"),
    "each entry, a lock for each table, cleared": (
        Style("pink", (4, 1.2, 1, 1.2), 1.5, "X"),
        "the same, with a lock for each table"),
    "called back for each leaf, cleared": (
        Style("faint", (1, 1.2), 1.8, "s"),
        "the same, called back for each leaf"),
}
LINE = Style("ink", (), 1.0)
PLACES = {"second-level cache": "in the second-level cache",
          "third-level cache": "in the third-level cache",
          "memory": "larger than the caches"}
HEADING = re.compile(r"(second-level cache|third-level cache|memory), "
                     r"([\d.]+) % young")


def _densities(results):
    cells = {}
    for row in results.rows("walk"):
        match = HEADING.fullmatch(row.heading)
        if match:
            cells.setdefault(match[1], {}).setdefault(
                float(match[2]), {})[row.name] = row
    panels, point = [], ""
    for place in PLACES:
        densities = sorted(cells.get(place, ()))
        lines = {}
        for at, density in enumerate(densities):
            rows = cells[place][density]
            limit = next((row for name, row in rows.items() if name in LIMIT),
                         None)
            for way in WAYS:
                if limit and way in rows:
                    row = rows[way]
                    lines.setdefault(way, []).append(
                        (at, limit.median / row.median,
                         limit.median / row.high, limit.median / row.low))
        if not lines:
            continue
        made = draw.axes()
        for way in reversed(list(lines)):
            style = WAYS[way][0]
            xs, ys, lows, highs = zip(*lines[way])
            made.fill_between(xs, lows, highs, color=style.shade, alpha=0.15,
                              linewidth=0)
            made.plot(xs, ys, color=style.shade, linestyle=style.line,
                      linewidth=style.width, marker=style.marker, markersize=4)
        made.axhline(1, color=LINE.shade, linewidth=LINE.width)
        lowest = min(y for line in lines.values() for _, y, _, _ in line)
        made.set_yscale("log")
        made.set_ylim(lowest / 1.3, 2)
        draw.nice_log_axis(made.yaxis, lowest / 1.3, 2,
                           lambda value, _: f"{value:g}")
        made.set_xticks(range(len(densities)))
        made.set_xticklabels([f"{density:g} %" for density in densities])
        made.set_xlabel("entries that are young")
        made.set_ylabel("speed ÷ the limit")
        panels.append(Panel(
            f"Tables {PLACES[place]}",
            draw.svg(made, f"walk-speed-{place.split('-')[0]}",
                     f"Speed of scans ÷ streaming over density, {place}")))
    if not panels:
        return []
    metric = results.metrics.get("walk/linear/test/1")
    each = results.metrics.get("walk/vs_per_entry")
    if metric and metric.measured:
        point = (f"A harvest reads tables at {draw.times(metric.ratio)} of the "
                 "speed of a streaming read of the same bytes")
        point += (f", and clears {draw.times(each.ratio)} times as fast as a "
                  "loop over the entries." if each and each.measured else ".")
    return [Picture(
        name="walk-speed", group="walk",
        title="Scan speed against the memory's limit", point=point,
        reading="How fast whole tables are aged, divided by how fast the same "
        "bytes are read and nothing else. Bands are 95 % intervals of the "
        "median; higher is better. A clear costs a locked operation for each "
        "young entry, whoever makes it.",
        panels=panels, legend=[(LINE, "the limit: the same bytes, read as a stream"),
                               *WAYS.values()],
        peers="loops and locks of the benchmark's own",
        measure="--filter='^walk/(linear|vs_per_entry|densities)'")]


SHARES = {
    "linear/test/1": "in order, one thread",
    "linear/test/2": "in order, two threads",
    "linear/test_portable/1": "in order, without vector loads",
    "shuffled/test/1": "shuffled, one thread",
    "shuffled/test/2": "shuffled, two threads",
    "l2/test/1": "in the second-level cache",
}
FASTER = {
    "vs_per_entry": "harvest ÷ entry by entry",
    "skip_cold/0.1": "cold tables skipped, 0.1 % hot",
    "skip_cold/100": "the same, all hot",
    "hot_parent/clear": "dense tables aged at their parents",
    "hot_parent/clear/unverified": "the same, none verified",
    "parallel/2": "two threads ÷ one",
}


def metric_rows(results, group, texts):
    rows = []
    for name, text in texts.items():
        metric = results.metrics.get(f"{group}/{name}")
        if metric is None or not metric.measured:
            continue
        style = Style("red", marker="X") if metric.verdict == "missed" else \
            Style("ours")
        rows.append(draw.metric_row(metric, text, style))
    return rows


def goals_panel(results, group, name, texts):
    """In a list: a panel of these figures, each with its goal; none if none is
    measured."""
    rows = metric_rows(results, group, texts)
    if not rows:
        return []
    return [draw.dots_panel(
        rows, f"{name}-goals", "Against the goals", "figure, goal at the stroke",
        f"Figures of {group} with their goals", log=True)]


def _against_goals(results):
    panels = []
    rows = metric_rows(results, "walk", SHARES)
    if rows:
        panels.append(draw.dots_panel(
            rows, "walk-goals-share", "Speed ÷ a streaming read",
            "share of the limit", "Speed of harvests ÷ streaming, with goals"))
    rows = metric_rows(results, "walk", FASTER)
    if rows:
        panels.append(draw.dots_panel(
            rows, "walk-goals-faster", "Times faster than the plain way",
            "times faster", "Speed ÷ the plain way, with goals", log=True))
    sizes = []
    for row in results.rows("walk"):
        match = re.fullmatch(r"profile of (\d+) GiB", row.name)
        if match:
            sizes.append((row.heading, int(match[1]), row))
    if sizes:
        made = draw.axes()
        styles = [Style("ours", (), 2.2), Style("green", (6, 1.4), 2.0, "D")]
        low, high = 1e300, 0
        for style, heading in zip(styles, dict.fromkeys(
                heading for heading, _, _ in sizes)):
            points = sorted((size, row.median, row.low, row.high)
                            for its, size, row in sizes if its == heading)
            xs, ys, lows, highs = zip(*points)
            made.fill_between(xs, lows, highs, color=style.shade, alpha=0.15,
                              linewidth=0)
            made.plot(xs, ys, color=style.shade, linestyle=style.line,
                      linewidth=style.width, marker=style.marker, markersize=4)
            made.annotate(heading, (xs[-1], ys[-1]), xytext=(3, 9),
                          textcoords="offset points", color=style.shade,
                          ha="right", fontsize=8)
            low, high = min([low, *ys]), max([high, *ys])
        made.set_xscale("log")
        made.set_yscale("log")
        made.set_ylim(low / 2.2, high * 2.5)
        draw.nice_log_axis(made.xaxis, 1, 1e5, lambda gib, _: (
            f"{gib / 1024:g} TiB" if gib >= 1024 else f"{gib:g} GiB"))
        made.set_xticks(sorted({size for _, size, _ in sizes}))
        draw.nice_log_axis(made.yaxis, low / 2.2, high * 2.5,
                           lambda us, _: draw.duration(us * 1e3))
        made.set_xticks(sorted({size for _, size, _ in sizes})[::2] or [1])
        made.set_xlabel("size of the guest")
        made.set_ylabel("a round of the profile")
        panels.append(Panel("A profile over the guest's size",
                            draw.svg(made, "walk-goals-profile",
                                     "Cost of a profile over guest size")))
    if not panels:
        return []
    return [Picture(
        name="walk-goals", group="walk",
        title="What is read, and what need not be read",
        point="", reading="Dots are medians, bars 95 % intervals of the median; "
        "the dashed stroke in a row is its goal. Further right is better, but "
        "for the profile, whose cost should not grow with the size.",
        panels=panels, legend=[], measure="--filter='^walk/'")]


def pictures(results):
    return _densities(results) + _against_goals(results)
