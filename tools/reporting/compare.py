# SPDX-License-Identifier: MIT OR Apache-2.0
"""What changed from one run to another, beyond noise.

A figure that has an interval changed if the two runs' 95 % intervals do not
meet even when each is half as wide again, and the medians are at least 1 %
apart. Were rounds all that differs between runs, a figure that did not change
would be called changed once in 30,000 comparisons; two intervals that merely do
not meet would call it so once in 180, which is about one figure of each run.
Counts that are the same in every run changed if they differ at all. A figure
without an interval is not compared, but for its verdict.
"""

import dataclasses

WIDENED = 1.5
LEAST = 0.01
# Counts: of references that are replayed, and of bytes.
EXACT = ("policy", "memory")
# Members of the context that make runs incomparable.
SAME = (("cpu", "processor"), ("num_cpus", "CPUs"), ("kernel", "kernel"),
        ("compiler", "compiler"), ("flags", "build"), ("peers", "peers"),
        ("pages", "pages of the guest"), ("window_ms", "window, ms"),
        ("zaps_per_ms", "evictions a ms"), ("priority", "priority"),
        ("seed", "seed"))


@dataclasses.dataclass(frozen=True)
class Change:
    before: object
    after: object
    better: bool

    @property
    def factor(self):
        return self.after.ratio / self.before.ratio if self.before.ratio else None


def _widened(metric):
    return (metric.ratio - WIDENED * (metric.ratio - metric.low),
            metric.ratio + WIDENED * (metric.high - metric.ratio))


def differs(before, after):
    """Whether a figure changed; None if nothing says how noisy it is."""
    if before.low is None or after.low is None:
        if before.group in EXACT and before.low is None and after.low is None:
            return before.ratio != after.ratio
        return None
    (low_a, high_a), (low_b, high_b) = _widened(before), _widened(after)
    apart = low_a > high_b or low_b > high_a
    least = LEAST * max(abs(before.ratio), abs(after.ratio))
    return apart and abs(before.ratio - after.ratio) >= least


def changes(before, after):
    """(changed, compared, without an interval), of what both measured."""
    changed, compared, unknown = [], 0, []
    for one, other in ((before.metrics, after.metrics),
                       (before.sizes, after.sizes)):
        for metric_id, metric in one.items():
            later = other.get(metric_id)
            if later is None or not metric.measured or not later.measured:
                continue
            answer = differs(metric, later)
            if answer is None:
                unknown.append((metric, later))
                continue
            compared += 1
            if answer:
                changed.append(Change(metric, later, (
                    later.ratio > metric.ratio) == metric.higher_is_better))
    # The largest first, worse before better.
    changed.sort(key=lambda change: (change.better, -_size(change)))
    return changed, compared, unknown


def _size(change):
    factor = change.factor
    if not factor or factor <= 0:
        return float("inf")
    return max(factor, 1 / factor)


def _number(value):
    return f"{value:.4g}"


def _line(change):
    factor = change.factor
    by = f"{(factor - 1) * 100:+.1f} %" if factor is not None else "from 0"
    text = (f"  {'better' if change.better else 'worse ':6}  {change.before.id}  "
            f"{_number(change.before.ratio)} → {_number(change.after.ratio)}  "
            f"({by})")
    if change.before.low is not None:
        text += "  [{} … {}] → [{} … {}]".format(*map(_number, (
            change.before.low, change.before.high, change.after.low,
            change.after.high)))
    return text


def _name(letter, run):
    context = run.contexts[0]
    told = [str(context[key]) for key in ("commit", "date") if context.get(key)]
    return f"{letter}: {run.names[0]}" + (f" ({', '.join(told)})" if told else "")


def _unlike(before, after):
    a, b = before.contexts[0], after.contexts[0]
    lines = []
    for key, name in SAME:
        if key in a and key in b and a[key] != b[key]:
            lines.append(f"  {name}: {a[key]} → {b[key]}")
    traces = sorted(key for key in set(a) | set(b) if key.startswith("trace_")
                    and a.get(key) != b.get(key))
    if traces:
        lines.append("  traces: " + ", ".join(
            key[len("trace_"):].removesuffix("_crc32") for key in traces))
    return lines


def _some(title, ids):
    if not ids:
        return []
    shown = ", ".join(ids[:5]) + (", …" if len(ids) > 5 else "")
    return [f"{title} ({len(ids)}): {shown}"]


def text(before, after):
    """The comparison, in lines."""
    changed, compared, unknown = changes(before, after)
    lines = [_name("A", before), _name("B", after)]
    unlike = _unlike(before, after)
    if unlike:
        lines += ["Not made alike, so that a change may be theirs:", *unlike]
    lines.append(f"Changed beyond noise: {len(changed)} of {compared} figures"
                 + (":" if changed else "."))
    lines += [_line(change) for change in changed]
    verdicts = [
        f"  {metric.verdict} → {after.metrics[metric.id].verdict}  {metric.id}  "
        f"{_number(metric.ratio)} → {_number(after.metrics[metric.id].ratio)}"
        for metric in before.metrics.values()
        if metric.measured and metric.id in after.metrics and
        after.metrics[metric.id].measured and
        after.metrics[metric.id].verdict != metric.verdict]
    if verdicts:
        lines += ["Verdicts that are others, whether beyond noise or not:",
                  *verdicts]
    moved = [metric.id for metric, later in unknown
             if metric.ratio != later.ratio]
    lines += _some("No interval, so not compared, and not equal", moved)
    have_a = {metric.id for metric in before.metrics.values() if metric.measured}
    have_b = {metric.id for metric in after.metrics.values() if metric.measured}
    lines += _some("Only in A", sorted(have_a - have_b))
    lines += _some("Only in B", sorted(have_b - have_a))
    lines.append("The rule: 95 % intervals, each half as wide again, do not "
                 "meet, and medians are 1 % apart (docs/report.md).")
    return "\n".join(lines)
