# SPDX-License-Identifier: MIT OR Apache-2.0
"""The group `mmu`: faults and zaps, beside page tables behind one lock."""

from reporting import draw
from reporting.draw import Picture, Style
from reporting.walk import goals_panel

TITLES = {
    "a fault, tdp, 1 vCPUs": "A fault, direct tables, 1 vCPU",
    "a fault, tdp, 2 vCPUs": "A fault, direct tables, 2 vCPUs",
    "a fault, nested, 1 vCPUs": "A fault, nested guest, 1 vCPU",
    "a fault, nested, 2 vCPUs": "A fault, nested guest, 2 vCPUs",
    "a fault, tdp, memory for two vCPUs": "A fault, by one vCPU and by two",
    "a zap of a page, tdp": "A zap of a page, direct tables",
    "a guest's write to an entry of its table":
        "A guest's write to its own table",
}
GOALS = {
    "fault/tdp/2": "faults, direct, 2 vCPUs ÷ the best lock's: more",
    "fault/nested/2": "faults, nested, 2 vCPUs ÷ the best lock's: more",
    "fault/scaling": "faults, 2 vCPUs ÷ 1: more",
    "zap_under_aging": "zaps beside an ager ÷ without: more",
}


def _style(name):
    if "lock" in name or "utex" in name:
        return Style("red", marker="v")
    return Style("ours")


def pictures(results):
    panels = []
    rows = results.rows("mmu")
    for number, heading in enumerate(dict.fromkeys(row.heading for row in rows)):
        title = TITLES.get(heading, heading[:1].upper() + heading[1:])
        panels.append(draw.dots_panel(
            [draw.measured_row(row, row.name, _style(row.name))
             for row in rows if row.heading == heading],
            f"mmu-times-{number}", title, "time of each, in all",
            f"{title}, by way", formatter=draw.duration))
    if not panels:
        return []
    panels += goals_panel(results, "mmu", "mmu-times", GOALS)
    parts = []
    for guest in ("tdp", "nested"):
        metric = results.metrics.get(f"mmu/fault/{guest}/2")
        if metric and metric.measured:
            parts.append(f"{draw.times(metric.ratio)} ({guest})")
    point = ""
    if parts:
        point = (f"Two vCPUs get {' and '.join(parts)} times as many faults "
                 "done as behind the best lock.")
    return [Picture(
        name="mmu-times", group="mmu", title="Faults and zaps", point=point,
        reading="Time divided by what all vCPUs did in it; dots are medians, "
        "bars 95 % intervals of the median. Further left is better, but on the "
        "last panel, where the dashed stroke in a row is its goal.",
        panels=panels, legend=[(Style("ours"), "ptage"),
                               (Style("red"), "a page table behind one lock")],
        peers=_peers(results),
        measure="--filter='^mmu/'")]


def _peers(results):
    known = (one for context in results.contexts
             for one in str(context.get("peers", "")).split(", ")
             if "absl" in one)
    abseil = next(known, "its version is not recorded")
    return (f"std::mutex, absl::Mutex ({abseil}) and a spin lock around a page "
            "table")
