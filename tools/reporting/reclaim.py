# SPDX-License-Identifier: MIT OR Apache-2.0
"""The group `reclaim`: sections, grace periods and retiring, beside peers."""

from reporting import draw
from reporting.draw import Picture, Style
from reporting.walk import goals_panel

MEASURES = {
    "grace": ("A grace period, beside a busy reader", "time of a grace period"),
    "section 2T": ("A section with a look at an rmap, 2 threads",
                   "time of a section"),
    "pair 1T": ("An empty section, 1 thread", "time of a section"),
    "retire 2T": ("A node retired and freed, 2 threads", "time of a node"),
}
GOALS = {
    "section/vs_urcu_memb/2": "sections ÷ liburcu's: more",
    "section/vs_xenium/2": "sections ÷ xenium's best: more",
    "grace/vs_urcu_memb": "grace period ÷ liburcu's: less",
    "retire/vs_xenium": "nodes retired ÷ xenium's best: more",
}


def _style(name):
    if name.startswith("ptage"):
        return Style("ours") if "batch" not in name else Style("ours", marker="D")
    if name.startswith("urcu"):
        return Style("red", marker="v")
    if name.startswith("xenium"):
        return Style("green", marker="s")
    return Style("soft", marker="P")


LEGEND = [(Style("ours"), "ptage: epochs"),
          (Style("red"), "liburcu"), (Style("green"), "xenium"),
          (Style("soft"), "locks")]


def pictures(results):
    panels = []
    for heading, (title, label) in MEASURES.items():
        rows = sorted(results.rows("reclaim", heading),
                      key=lambda row: row.median)
        if not rows:
            continue
        panels.append(draw.dots_panel(
            [draw.measured_row(row, row.name, _style(row.name))
             for row in rows],
            "reclaim-times-" + heading.replace(" ", "-"), title, label,
            f"{title}, by scheme", formatter=draw.duration, log=True))
    if not panels:
        return []
    panels += goals_panel(results, "reclaim", "reclaim-times", GOALS)
    parts = []
    for metric_id, text in (
            ("reclaim/section/vs_urcu_memb/2", "{} times as many sections as "
             "liburcu's memb flavour"),
            ("reclaim/section/vs_xenium/2", "{} times as many as xenium's best"),
            ("reclaim/grace/vs_urcu_memb", "grace periods of {} times the "
             "length of liburcu's")):
        metric = results.metrics.get(metric_id)
        if metric and metric.measured:
            parts.append(text.format(draw.times(metric.ratio)))
    point = "; ".join(parts) + "." if parts else ""
    return [Picture(
        name="reclaim-times", group="reclaim",
        title="Sections, grace periods, retiring",
        point=point[:1].upper() + point[1:],
        reading="Nanoseconds of one thread; dots are medians, bars 95 % "
        "intervals of the median. Further left is better, but on the last "
        "panel, where the dashed stroke in a row is its goal; the axes are "
        "logarithmic.",
        panels=panels, legend=LEGEND, peers=_peers(results),
        measure="--filter='^reclaim/'")]


def _peers(results):
    versions = [str(context.get("peers", "unknown"))
                for context in results.contexts]
    known = next((text for text in versions if text != "unknown"), None)
    return known or "liburcu and xenium (versions not recorded)"
