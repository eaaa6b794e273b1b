# SPDX-License-Identifier: MIT OR Apache-2.0
"""The group `contention`: faults, translations, and both over guest sizes."""

import math

from reporting import draw
from reporting.draw import Panel, Picture, Style
from reporting.walk import goals_panel

GUESTS = {"tdp": "direct tables (tdp)", "nested": "a nested guest",
          "shadow": "a guest without nested paging"}
# Who is seen at a glance, and who is there to compare with.
AGERS = {
    "none": (Style("ink", (1, 1.4), 1.8, "s"), "none: nobody ages"),
    "fast_only": (Style("ours", (), 2.4), "fast_only: ptage, without locks"),
    "slow": (Style("red", (5, 1.5), 1.8, "v"),
             "slow: the VM's lock for a pass"),
    "ticket": (Style("pink", (4, 1.2, 1, 1.2), 1.5, "D"),
               "ticket: a fair lock for each table"),
    "trylock": (Style("amber", (2.5, 1), 1.5, "P"),
                "trylock: the lock if it is free, else no answer"),
    "bit_locked": (Style("green", (7, 1.5, 1, 1.5), 1.5, "X"),
                   "bit_locked: a bit in each rmap, as merged in Linux"),
}
OTHERS = (Style("faint", (), 0.9), "others: read_only, bare_clear (loses "
          "bits), single_entry (as first proposed)")
FEWEST = 30
FAULT_FIGURES = {"fault_p99": "p99 ÷ nobody's", "fault_p999": "p99.9 ÷ nobody's",
                 "fault_p99_vs_slow": "p99 ÷ slow's",
                 "fault_p99_vs_bit_locked": "p99 ÷ bit_locked's"}
PEERS = ("the designs that the library replaces, in the benchmark's own "
         "program: slow as Linux KVM was before 6.15, bit_locked as it is since, "
         "single_entry as first proposed; ticket and trylock are other ways to "
         "lock")


def _style(ager):
    return AGERS.get(ager, OTHERS)[0]


def _legend(agers):
    shown = [AGERS[ager] for ager in AGERS if ager in agers]
    return shown + ([OTHERS] if set(agers) - set(AGERS) else [])


def _in_order(agers):
    return sorted(agers, key=lambda ager: list(AGERS).index(ager)
                  if ager in AGERS else len(AGERS))


def _and(parts):
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 \
        else "".join(parts)


def _factor(results, guest, ager, figure, load="/evict"):
    metric = results.metrics.get(f"contention/{guest}/{ager}{load}/{figure}")
    return metric.ratio if metric and metric.measured else None


def _has_goal(results, metric_id):
    metric = results.metrics.get(metric_id)
    return metric is not None and metric.goal is not None


def _faults_point(results, by_guest):
    ours, slow = [], []
    for guest, runs in by_guest.items():
        p99 = {ager: draw.percentile(runs[ager], 0.99)
               for ager in ("none", "fast_only", "slow") if ager in runs
               and sum(runs[ager].count) >= 1000}
        if "none" in p99 and "fast_only" in p99:
            ours.append(f"{draw.times(p99['fast_only'] / p99['none'])} ({guest})")
        if "none" in p99 and "slow" in p99:
            slow.append(f"{draw.times(p99['slow'] / p99['none'])} ({guest})")
    text = ""
    if ours:
        text = ("While fast_only ages at full duty, one fault in a hundred "
                f"takes {_and(ours)} times as long as with nobody aging")
        text += f"; behind the VM's lock {_and(slow)} times." if slow else "."
    return text


def _faults(results, load, name, title):
    by_guest = {}
    for run in results.faults:
        guest, ager, its_load = run.key
        if its_load == load and sum(run.count) > FEWEST:
            by_guest.setdefault(guest, {})[ager] = run
    if not by_guest:
        return []
    lines = {guest: {ager: draw.longer(run, FEWEST)
                     for ager, run in runs.items()}
             for guest, runs in by_guest.items()}
    # The same axes for all, from where the first lines begin to fall.
    every = [corners for runs in lines.values() for corners in runs.values()]
    low = min(next((x for x, y in corners if y < 0.97), corners[-1][0])
              for corners in every) / 1.6
    high = max(corners[-1][0] for corners in every) * 1.3
    lowest = min(y for corners in every for _, y in corners)
    panels = []
    for guest, runs in lines.items():
        made = draw.axes()
        for ager in reversed(_in_order(runs)):
            style = _style(ager)
            xs, ys = zip(*runs[ager])
            made.step(xs, ys, where="post", color=style.shade,
                      linestyle=style.line, linewidth=style.width,
                      zorder=4 if ager == "fast_only" else 2)
        made.set_xscale("log")
        made.set_yscale("log")
        made.set_xlim(low, high)
        made.set_ylim(10 ** math.floor(math.log10(lowest)), 1.5)
        draw.log_axis(made.xaxis, draw.duration)
        draw.log_axis(made.yaxis, draw.one_in)
        made.set_xlabel("time of a fault")
        made.set_ylabel("faults that take longer")
        panels.append(Panel(GUESTS.get(guest, guest), draw.svg(
            made, f"{name}-{guest}", f"Distribution of fault latencies, {guest}: "
            + ", ".join(_in_order(runs)))))
    agers = {ager for runs in lines.values() for ager in runs}
    panels += goals_panel(results, "contention", name, {
        f"{guest}/fast_only{load}/{figure}": f"{guest}: {text}"
        for guest in GUESTS for figure, text in FAULT_FIGURES.items()
        if _has_goal(results, f"contention/{guest}/fast_only{load}/{figure}")})
    return [Picture(
        name=name, group="contention", title=title,
        point=_faults_point(results, by_guest) if load == "/evict" else "",
        reading="Each line is every fault of one ager's windows: at a height of "
        "“1 in 100” it shows the p99, at “1 in 1,000” the p99.9. Further left "
        "is better. Where fast_only has goals, they are strokes on the last "
        "panel: its percentiles, divided by another's.",
        panels=panels, legend=_legend(agers), peers=PEERS,
        measure=f"--filter='contention/.*{load}/'")]


def _translations(results):
    loads = {"/duty5": "aging 5 % of the time", "": "aging all the time"}
    names = {"/duty5": ("throughput", "translations ÷ nobody's"),
             "": ("throughput", "translations ÷ nobody's")}
    panels, agers, left = [], set(), []
    for load, text in loads.items():
        for guest in GUESTS:
            rows = []
            figure, label = names[load]
            goal = None
            for ager in _in_order({row.name for row in results.rows(
                    "contention", guest + load)} | set(AGERS)):
                metric = results.metrics.get(
                    f"contention/{guest}/{ager}{load}/{figure}")
                if metric is None or not metric.measured or ager == "none":
                    continue
                low = metric.low if metric.low is not None else metric.ratio
                high = metric.high if metric.high is not None else metric.ratio
                rows.append((ager, _style(ager), metric.ratio, low, high))
                agers.add(ager)
                if metric.goal is not None:
                    goal = (metric.goal, "x", f"goal {metric.goal:g}")
                if load == "/duty5" and ager == "fast_only":
                    left.append(f"{draw.times(metric.ratio)} ({guest})")
            if not rows:
                continue
            made = draw.dots_axes(len(rows))
            draw.dots(made, rows, lambda value, _: f"{value:g}", goal)
            made.set_xlabel(label)
            lowest = min(row[3] for row in rows)
            made.set_xlim(min(lowest - 0.01, 0.94) if load else 0, None)
            panels.append(Panel(
                f"{GUESTS[guest]}, {text}", draw.svg(
                    made, f"contention-translations-{guest}{load[1:]}",
                    f"Translations that are left, {guest}, {text}")))
    if not panels:
        return []
    return [Picture(
        name="contention-translations", group="contention",
        title="What is left of the guest's translations",
        point=f"At 5 % of the time fast_only leaves {_and(left)} of them."
        if left else "",
        reading="Translations a second, divided by the better of none's and "
        "read_only's in the same round. Dots are medians over rounds, bars "
        "their 95 % intervals. Further right is better. All of the time, "
        "what is cleared has to be marked again by the next walk, whoever "
        "cleared it.",
        panels=panels, legend=[], peers=PEERS,
        measure="--filter='contention/.*/throughput'")]


def _sizes(results):
    cells = {}
    for metric in results.sizes.values():
        parts = metric.id.split("/")
        if len(parts) < 5 or not parts[-2].isdigit() or not metric.measured:
            continue
        load = "/" + "/".join(parts[3:-2])
        cells.setdefault((parts[-1], load, parts[1]), {}).setdefault(
            parts[2], []).append((int(parts[-2]), metric))
    labels = {"fault_p99": "p99 of a fault ÷ nobody's",
              "translations": "translations ÷ nobody's"}
    loads = {"/evict": "all the time", "/evict/duty5": "5 % of the time",
             "/evict/splits": "all the time, with splits",
             "/evict/splits/duty5": "5 % of the time, with splits"}
    guests = list(GUESTS)
    order = sorted(cells, key=lambda key: (
        list(labels).index(key[0]) if key[0] in labels else 9, key[1],
        guests.index(key[2]) if key[2] in guests else 9))
    sizes = sorted({pages for points in cells.values()
                    for of_ager in points.values() for pages, _ in of_ager})
    panels, agers, worst = [], set(), {}
    for figure, load, guest in order:
        if figure not in labels:
            continue
        made = draw.axes()
        low, high = math.inf, 0
        for ager in reversed(_in_order(cells[figure, load, guest])):
            points = sorted(cells[figure, load, guest][ager],
                            key=lambda point: point[0])
            style = _style(ager)
            xs = [pages for pages, _ in points]
            ys = [metric.ratio for _, metric in points]
            made.fill_between(
                xs, [m.low if m.low is not None else m.ratio for _, m in points],
                [m.high if m.high is not None else m.ratio for _, m in points],
                color=style.shade, alpha=0.15, linewidth=0)
            made.plot(xs, ys, color=style.shade, linestyle=style.line,
                      linewidth=style.width, marker=style.marker, markersize=4)
            low, high = min([low, *ys]), max([high, *ys])
            agers.add(ager)
            if figure == "fault_p99":
                worst.setdefault(ager, []).extend(ys)
        made.axhline(1, color=draw.SHADES["ink"], linewidth=0.9,
                     linestyle=(0, (1, 1.4)))
        made.set_xscale("log")
        draw.nice_log_axis(made.xaxis, 1, 1e9,
                           lambda pages, _: _pages(pages))
        made.set_xticks(sizes)
        made.set_xlim(sizes[0] / 1.3, sizes[-1] * 1.3)
        if figure == "fault_p99":
            made.set_yscale("log")
            made.set_ylim(min(low, 0.7) / 1.2, max(high, 3) * 1.2)
            draw.nice_log_axis(made.yaxis, min(low, 0.7), max(high, 3),
                               lambda value, _: f"{value:g}")
        else:
            made.set_ylim(0, 1.1)
        made.set_xlabel("pages of the guest")
        made.set_ylabel(labels[figure])
        name = f"contention-sizes-{figure}-{guest}" + load.replace("/", "-")
        panels.append(Panel(f"{guest}, {loads.get(load, load)}",
                            draw.svg(made, name, f"{labels[figure]} over the "
                                     f"size of the guest, {guest}, {load}")))
    if not panels:
        return []
    point = ""
    if "fast_only" in worst:
        point = ("Over all sizes and loads, fast_only's p99 lies between "
                 f"{draw.times(min(worst['fast_only']))} and "
                 f"{draw.times(max(worst['fast_only']))} times nobody's")
        point += (f"; slow's goes up to {draw.times(max(worst['slow']))}."
                  if "slow" in worst else ".")
    pages = ",".join(str(size) for size in sizes)
    return [Picture(
        name="contention-sizes", group="contention",
        title="Cost against the guest's size", point=point,
        reading="With eviction. The dotted line is a guest that nobody ages; "
        "bands are 95 % intervals of the median. Where a line has no point, "
        "there were too few faults to tell a p99, or too few windows in which "
        "every thread kept its CPU.",
        panels=panels, legend=_legend(agers), peers=PEERS,
        measure=f"--sizes={pages}{_splits(results)}")]


def _splits(results):
    rates = {context.get("splits_per_ms", 0) for context in results.contexts}
    return f" --splits={max(rates):g}" if max(rates, default=0) else ""


def _pages(pages):
    for unit, size in (("M", 1 << 20), ("K", 1 << 10)):
        if pages >= size:
            return f"{pages / size:g}{unit}"
    return f"{pages:g}"


def pictures(results):
    return (_faults(results, "/evict", "contention-faults",
                    "How long a vCPU's fault takes while its guest is aged")
            + _faults(results, "/evict/duty5", "contention-faults-duty5",
                      "The same, aging 5 % of the time")
            + _translations(results) + _sizes(results))
