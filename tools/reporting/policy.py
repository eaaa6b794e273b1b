# SPDX-License-Identifier: MIT OR Apache-2.0
"""The group `policy`: misses over the size of memory, workload by workload."""

from reporting import draw
from reporting.draw import Panel, Picture, Style
from reporting.walk import goals_panel

BITS = ("clock", "gclock", "two_lists", "generations")
ALL = ("lru", "arc", "s3fifo", "sieve", "lfu")
LINES = {
    "ours": (Style("ours", (), 2.4), "ptage, from accessed bits"),
    "clock": (Style("red", (5, 1.5), 1.7, "v"), "CLOCK, from the same bits"),
    "bits": (Style("amber", (2.5, 1), 1.5, "P"),
             "the best of CLOCK, GCLOCK, two lists, generations at each size"),
    "all": (Style("green", (7, 1.5, 1, 1.5), 1.5, "X"),
            "the best of LRU, ARC, S3-FIFO, SIEVE, LFU, which see every access"),
    "belady": (Style("ink", (1, 1.4), 1.6, "s"),
               "Belady, who knows the future: the bound"),
}
NESTED = {
    "always": (Style("ours", (), 2.4), "nested accesses are told: ptage"),
    "evictions": (Style("red", (5, 1.5), 1.7, "v"), "only evictions ask"),
    "never": (Style("soft", (1.2, 1.2), 1.7, "P"), "nobody asks"),
    "bound": (Style("ink", (1, 1.4), 1.6, "s"), "the bound (Belady)"),
}
GOALS = {
    "geomean/misses_vs_clock": "misses ÷ CLOCK's: less",
    "geomean/misses_vs_best_bits": "÷ those of the best that sees bits: less",
    "geomean/misses_vs_best_all": "÷ the best that sees every access: less",
}
NESTED_GOALS = {"nested/refaults": "refaults, told ÷ only evictions ask: less"}
PEERS = ("the published algorithms, in the benchmark's own program; Belady "
         "1966 for the bound")


def _cells(results):
    """{workload: {percent: Metric}}, of those that count misses."""
    cells = {}
    for metric in results.of_group("policy"):
        parts = metric.id.split("/")
        if len(parts) == 4 and parts[3] == "misses_vs_clock" and \
                parts[2].isdigit() and "misses_ours" in metric.counters:
            cells.setdefault(parts[1], {})[int(parts[2])] = metric
    return cells


def _misses(counters):
    def best(names):
        found = [counters[f"misses_{name}"] for name in names
                 if f"misses_{name}" in counters]
        return min(found) if found else None
    return {"ours": best(["ours"]), "clock": best(["clock"]),
            "bits": best(BITS), "all": best(ALL), "belady": best(["belady"])}


def _lines(made, lines, styles, zero=True):
    for name in reversed(list(styles)):
        if name not in lines:
            continue
        style = styles[name][0]
        xs, ys = zip(*lines[name])
        made.plot(xs, ys, color=style.shade, linestyle=style.line,
                  linewidth=style.width, marker=style.marker, markersize=3.5,
                  zorder=4 if style.colour == "ours" else 2)
    highest = max(y for line in lines.values() for _, y in line)
    if zero:
        made.set_ylim(0, highest * 1.06 or 1)
    made.set_xticks(sorted({x for line in lines.values() for x, _ in line}))
    made.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")


def _misses_picture(results):
    panels = []
    for workload, sizes in _cells(results).items():
        lines = {}
        per_reference = True
        for percent in sorted(sizes):
            counters = sizes[percent].counters
            whole = counters.get("references")
            per_reference = per_reference and bool(whole)
            for name, misses in _misses(counters).items():
                if misses is not None:
                    lines.setdefault(name, []).append(
                        (percent, misses / whole * 100 if whole else misses))
        held_out = any(metric.counters.get("tuned") == 0
                       for metric in sizes.values())
        made = draw.axes(height=2.7)
        _lines(made, lines, LINES)
        if per_reference:
            made.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
        made.set_xlabel("memory ÷ pages that are used")
        made.set_ylabel("misses ÷ references" if per_reference else "misses")
        panels.append(Panel(
            workload.replace("_", " ") + (" (held out)" if held_out else ""),
            draw.svg(made, f"policy-misses-{workload}".replace("_", "-"),
                     f"Misses over the size of memory, {workload}")))
    if not panels:
        return []
    panels = goals_panel(results, "policy", "policy-misses", GOALS) + panels
    point = ""
    parts = []
    for name, text in (("clock", "CLOCK's"),
                       ("best_bits", "those of the best that sees bits"),
                       ("best_all", "those of the best that sees every access")):
        metric = results.metrics.get(f"policy/geomean/misses_vs_{name}")
        if metric and metric.measured:
            parts.append(f"{draw.times(metric.ratio)} of {text}")
    if parts:
        point = "Misses, in the geometric mean: " + ", ".join(parts) + "."
    return [Picture(
        name="policy-misses", group="policy",
        title="Misses over the size of memory", point=point,
        reading="Counts, the same in every run: there is no noise and no "
        "interval. Lower is better; on the first panel, of geometric means, the "
        "dashed stroke in a row is its goal. By workloads that are held out no "
        "constant was chosen.",
        panels=panels, legend=list(LINES.values()), peers=PEERS,
        measure="policy")]


def _nested_picture(results):
    cells = {}
    for metric in results.of_group("policy"):
        parts = metric.id.split("/")
        if len(parts) == 5 and parts[1] == "nested" and parts[3].isdigit() \
                and "always" in metric.counters:
            cells.setdefault(parts[2], {})[int(parts[3])] = metric
    panels = []
    for workload, sizes in cells.items():
        lines = {}
        for percent in sorted(sizes):
            for name in NESTED:
                if name in sizes[percent].counters:
                    lines.setdefault(name, []).append(
                        (percent, sizes[percent].counters[name]))
        made = draw.axes(height=2.7)
        _lines(made, lines, NESTED)
        made.set_xlabel("memory ÷ pages that L2 uses")
        made.set_ylabel("refaults ‰ of accesses")
        panels.append(Panel(
            workload.replace("_", " "),
            draw.svg(made, f"policy-nested-{workload}".replace("_", "-"),
                     f"Refaults of a nested guest, {workload}")))
    if not panels:
        return []
    panels = goals_panel(results, "policy", "policy-nested",
                         NESTED_GOALS) + panels
    metric = results.metrics.get("policy/nested/refaults")
    point = ""
    if metric and metric.measured:
        point = ("Where aging is told of a nested guest's accesses, its pages "
                 f"come back {draw.times(metric.ratio)} times as often as where "
                 "only eviction is.")
    return [Picture(
        name="policy-nested", group="policy",
        title="Pages of a nested guest that come back", point=point,
        reading="Memory is over-committed; lower is better. Counts, the same in "
        "every run. On the first panel, a geometric mean, the dashed stroke is "
        "the goal.",
        panels=panels, legend=list(NESTED.values()), peers="",
        measure="policy")]


def pictures(results):
    return _misses_picture(results) + _nested_picture(results)
