# SPDX-License-Identifier: MIT OR Apache-2.0
"""A group's figures against their goals: for groups with no picture of theirs."""

from reporting import draw
from reporting.draw import Picture, Panel, Style

VERDICTS = {"met": Style("ours"), "missed": Style("red", marker="X")}


def nearness(metric):
    """How many times better than its goal a figure is; None if none can be."""
    if not metric.measured or not metric.goal or not metric.ratio or \
            metric.goal_kind in ("exactly", "within a factor"):
        return None
    better = metric.ratio / metric.goal
    return better if metric.higher_is_better else 1 / better


def pictures(results, group):
    rows = []
    for metric in results.of_group(group):
        near = nearness(metric)
        if near is None:
            continue
        ends = [near]
        if metric.low and metric.high:
            ends = [metric.low / metric.goal, metric.high / metric.goal]
            if not metric.higher_is_better:
                ends = [1 / end for end in ends]
        rows.append((metric.id.split("/", 1)[-1],
                     VERDICTS.get(metric.verdict, Style("soft")), near,
                     min(ends), max(ends)))
    if not rows:
        for metric in results.of_group(group):
            if metric.measured:
                low = metric.ratio if metric.low is None else metric.low
                high = metric.ratio if metric.high is None else metric.high
                rows.append((metric.id.split("/", 1)[-1], Style("soft"),
                             metric.ratio, low, high))
        goal, label = None, "figure"
    else:
        goal, label = (1, "x", "goal"), "times better than the goal"
    if not rows:
        return []
    made = draw.dots_axes(len(rows))
    draw.dots(made, rows, lambda value, _: f"{value:g}", goal)
    made.set_xlabel(label)
    values = [row[2] for row in rows] + ([1] if goal else [])
    if min(values) > 0 and max(values) / min(values) > 20:
        made.set_xscale("log")
        draw.log_axis(made.xaxis, lambda value, _: f"{value:g}")
    else:
        made.set_xlim(0, max(row[4] for row in rows + [(0, 0, 0, 0, 1.0)]) * 1.15)
    return [Picture(
        name=f"{group}-goals", group=group, title="Figures against their goals",
        point="", reading="Right of the line a goal is met." if goal else "",
        panels=[Panel("", draw.svg(made, f"{group}-goals",
                                   f"Figures of {group} against their goals"))],
        legend=[], measure=f"--filter='^{group}/'")]
