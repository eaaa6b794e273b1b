# SPDX-License-Identifier: MIT OR Apache-2.0
"""The report's page: one file, which needs nothing from anywhere."""

import html
import math
import os

TITLES = {
    "contention": "Contention: what aging does to a running guest",
    "walk": "Walks: against the speed of memory",
    "rmap": "Rmaps: from a frame to its entries",
    "reclaim": "Reclamation: sections and grace periods",
    "mmu": "MMUs: faults and zaps",
    "memory": "Memory that it takes",
    "policy": "Policy: what is evicted",
}
# Of a run's context, in this order; others are shown after these.
FACTS = (("cpu", "Processor"), ("num_cpus", "CPUs used"), ("kernel", "Kernel"),
         ("compiler", "Compiler"), ("flags", "Built"), ("peers", "Peers"),
         ("commit", "Commit"), ("date", "Begun"), ("command", "Command"),
         ("priority", "Priority"), ("seed", "Seed"), ("pages", "Guest, pages"),
         ("rounds", "Rounds"), ("window_ms", "Window, ms"),
         ("windows_dropped", "Windows dropped"),
         ("zaps_per_ms", "Evictions a ms"))
# Not the reader's concern, or shown by other names.
HIDDEN = {"host_name", "executable", "splits_per_ms"}
VERDICTS = (("met", "goals met"), ("missed", "goals missed"),
            ("unmeasured", "not resolved"))


def escape(text):
    return html.escape(str(text), quote=True)


def number(value):
    """Three or four digits that matter."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e5:
        return f"{value:.3g}"
    if size >= 100:
        return f"{value:.0f}"
    return f"{value:.3f}" if size >= 0.1 else f"{value:.2g}"


def _id(text):
    return "".join(letter if letter.isalnum() else "-" for letter in text)


def _breakable(text):
    return escape(text).replace("/", "/<wbr>")


def _swatch(style):
    dashes = " ".join(str(dash * style.width) for dash in style.dashes)
    dashes = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (f'<svg viewBox="0 0 34 12" aria-hidden="true"><line x1="1" y1="6" '
            f'x2="33" y2="6" stroke="var(--{style.colour})" '
            f'stroke-width="{max(style.width, 1.5) * 1.3:.1f}"{dashes}/></svg>')


def _legend(items):
    if not items:
        return ""
    return ('<ul class="legend">' + "".join(
        f"<li>{_swatch(style)}<span>{escape(text)}</span></li>"
        for style, text in items) + "</ul>")


def _command(picture, results, sources):
    quick = " --quick" if results.quick() and not picture.measure.startswith(
        "policy") else ""
    return (
        '<div class="command"><div>Measured again, alone: '
        f"<code>tools/bench {escape(picture.measure)}{quick}</code></div>"
        "<div>Drawn again, alone: <code>tools/report "
        f"{escape(' '.join(sources))} --only={escape(picture.name)} "
        f"--out={escape(picture.name)}.html</code></div></div>")


def _picture(picture, results, sources):
    parts = [f'<section id="{_id(picture.name)}">',
             f"<h3>{escape(picture.title)}</h3>"]
    if picture.point:
        parts.append(f'<p class="point">{escape(picture.point)}</p>')
    parts.append(_legend(picture.legend))
    four = " panels-2" if len(picture.panels) == 2 else ""
    parts.append(f'<div class="panels{four}">')
    for panel in picture.panels:
        caption = (f"<figcaption>{escape(panel.title)}</figcaption>"
                   if panel.title else "")
        parts.append(f'<figure class="panel">{caption}{panel.svg}</figure>')
    parts.append("</div>")
    if picture.reading:
        parts.append(f'<p class="reading">{escape(picture.reading)}</p>')
    if picture.peers:
        parts.append(f'<p class="peers">Peers: {escape(picture.peers)}.</p>')
    parts.append(_command(picture, results, sources))
    parts.append("</section>")
    return "\n".join(part for part in parts if part)


def _bar(metric):
    """A goal as a line, and the figure beside it: right is better."""
    if not metric.measured or not metric.goal or metric.ratio <= 0 or \
            metric.goal_kind in ("exactly", "within a factor"):
        return ""

    def place(value):
        near = value / metric.goal if value > 0 else 1e-9
        near = math.log2(near if metric.higher_is_better else 1 / near)
        # A tenth away is seen, and ten times away still in sight.
        return 60 + 52 * math.tanh(near * 1.2)
    low = metric.low if metric.low is not None else metric.ratio
    high = metric.high if metric.high is not None else metric.ratio
    ends = sorted((place(low), place(high)))
    colour = "missed" if metric.verdict == "missed" else "ours"
    return (
        '<svg viewBox="0 0 120 16" aria-hidden="true">'
        '<line x1="60" x2="60" y1="1" y2="15" stroke="var(--goal)" '
        'stroke-dasharray="3 1.5"/>'
        f'<line x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="8" y2="8" '
        f'stroke="var(--{colour})" stroke-width="3" opacity=".5"/>'
        f'<circle cx="{place(metric.ratio):.1f}" cy="8" r="3.5" '
        f'fill="var(--{colour})"/></svg>')


def _goal(metric):
    if metric.goal is None:
        return "–"
    if metric.goal_kind == "within a factor":
        return f"1 ± {metric.goal - 1:.2g}"
    sign = {"exactly": "=", "at least": "≥", "at most": "≤"}.get(
        metric.goal_kind, "≥" if metric.higher_is_better else "≤")
    return f"{sign} {metric.goal:.4g}"


def _row(metric, with_bar):
    verdict = metric.verdict or "–"
    kind = f' class="{verdict}"' if verdict in ("met", "missed") else ""
    if metric.measured:
        figure = number(metric.ratio)
    else:
        figure = escape(metric.missing or "–")
    interval = (f"{number(metric.low)} … {number(metric.high)}"
                if metric.low is not None else "–")
    cells = [f'<td class="id">{_breakable(metric.id)}</td>',
             f"<td>{figure}</td>",
             f'<td class="spread">{number(metric.spread)}</td>',
             f'<td class="interval">{interval}</td>']
    if with_bar:
        cells += [f"<td>{_goal(metric)}</td>",
                  f'<td class="bar">{_bar(metric)}</td>']
    cells.append(f"<td{kind}>{escape(verdict)}</td>")
    return "<tr>" + "".join(cells) + "</tr>"


def _table(caption, metrics, with_bar):
    head = ["<th>id</th>", "<th>median</th>", '<th class="spread">spread</th>',
            '<th class="interval">95 % interval</th>']
    if with_bar:
        head += ["<th>goal</th>", "<th>figure, goal at the line</th>"]
    head.append("<th>verdict</th>")
    return (f'<div class="wide"><table><caption>{escape(caption)}</caption>'
            f"<thead><tr>{''.join(head)}</tr></thead><tbody>" +
            "".join(_row(metric, with_bar) for metric in metrics) +
            "</tbody></table></div>")


def _tables(results, group):
    metrics = results.of_group(group)
    goals = [metric for metric in metrics if metric.goal is not None and
             metric.verdict not in ("elsewhere",)]
    rest = [metric for metric in metrics if metric.goal is None and
            metric.measured]
    if group == "contention":
        rest += [metric for metric in results.sizes.values() if metric.measured]
    parts = []
    if goals:
        # What was missed is read first.
        order = {"missed": 0, "unmeasured": 1, "met": 2}
        goals.sort(key=lambda metric: order.get(metric.verdict, 3))
        parts.append(_table("Figures that have goals", goals, True))
    if rest:
        parts.append(f"<details><summary>{len(rest)} figures without goals"
                     "</summary>" + _table("Figures without goals", rest, False)
                     + "</details>")
    return "\n".join(parts)


def _machines(results):
    """What all runs have in common, and what each has of its own."""
    contexts = [dict(context) for context in results.contexts]
    every = {}
    for context in contexts:
        for key, value in context.items():
            every.setdefault(key, []).append(value)
    common = {key: values[0] for key, values in every.items()
              if all(value == values[0] for value in values)}
    parts = [_machine(common)]
    for name, context in zip(results.names, contexts):
        own = {key: value for key, value in context.items()
               if key not in common and key not in HIDDEN}
        if own:
            parts += [f"<h3>{escape(name)}</h3>", _machine(own)]
    return parts


def _machine(context):
    rows = []
    seen = set(HIDDEN)
    known = dict(FACTS)
    checksums = []
    for key in list(known) + [key for key in context if key not in known]:
        seen_before = key in seen or key not in context
        seen.add(key)
        if seen_before:
            continue
        value = context[key]
        if key.startswith("trace_") and key.endswith("_crc32"):
            checksums.append(f"{key[len('trace_'):-len('_crc32')]} {value}")
            continue
        if isinstance(value, float):
            value = f"{value:g}"
        title = known.get(key, key.replace("_", " "))
        whole = ' class="whole"' if key == "command" else ""
        rows.append(f"<div{whole}><dt>{escape(title)}</dt>"
                    f"<dd>{escape(value)}</dd></div>")
    if checksums:
        rows.append('<div class="whole"><dt>Traces, CRC-32</dt><dd>'
                    f"{escape(', '.join(checksums))}</dd></div>")
    return f'<dl class="machine">{"".join(rows)}</dl>'


def _tiles(results):
    measured = list(results.metrics.values())
    tiles = []
    for verdict, text in VERDICTS:
        count = sum(metric.verdict == verdict and metric.goal is not None
                    for metric in measured)
        kind = f' class="{verdict}"' if verdict in ("met", "missed") else ""
        tiles.append(f"<li><strong{kind}>{count}</strong>{text}</li>")
    count = sum(metric.goal is None and metric.measured for metric in measured)
    tiles.append(f"<li><strong>{count}</strong>without goal</li>")
    return '<ul class="tiles">' + "".join(tiles) + "</ul>"


def _absent(results, groups):
    wanted = {"policy": "tools/bench policy",
              "contention": "tools/bench --filter=^contention/"}
    texts = [f"{TITLES[group].split(':')[0].lower()} "
             f"(<code>{escape(command)}</code>)"
             for group, command in wanted.items() if group not in groups]
    if "contention" in groups and not results.sizes:
        texts.append("guests of several sizes "
                     "(<code>tools/bench --sizes=8192,65536,262144</code>)")
    if not texts:
        return ""
    return (f'<p class="note">Not in this run: {"; ".join(texts)}. Reports of '
            "several runs are joined by <code>tools/report A.json B.json"
            "</code>.</p>")


def page(results, pictures, sources, only=None):
    """The document. `sources` are the files as commands name them."""
    with open(os.path.join(os.path.dirname(__file__), "page.css"),
              encoding="utf-8") as file:
        css = file.read()
    groups = [group for group in results.groups()
              if only is None or any(p.group == group for p in pictures)]
    title = "ptage: what was measured"
    parts = [
        "<!DOCTYPE html>", '<html lang="en">', "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{escape(title)}</title>", f"<style>\n{css}</style>", "</head>",
        "<body>", "<header>", f"<h1>{escape(title)}</h1>"]
    if only is None:
        parts.append(
            "<p>Ratios of figures that were measured in turn, in one process, on "
            "the machine below: ours ÷ a peer’s, or ÷ what the machine can do. "
            "How each was measured and what its goal means is in the project’s "
            "<code>docs/report.md</code>.</p>")
        if results.quick():
            parts.append(
                '<p class="note"><strong>A quick run</strong> (<code>--quick'
                "</code>): good for the size of an effect, not for its second "
                "digit.</p>")
        parts.append(_tiles(results))
    parts += _machines(results)
    if only is None:
        parts.append("<nav><ul>" + "".join(
            f'<li><a href="#group-{_id(group)}">{escape(group)}</a></li>'
            for group in groups) + "</ul></nav>")
        parts.append(_absent(results, groups))
    parts += ["</header>", "<main>"]
    for group in groups:
        parts.append(f'<h2 id="group-{_id(group)}">'
                     f"{escape(TITLES.get(group, group))}</h2>")
        parts += [_picture(picture, results, sources) for picture in pictures
                  if picture.group == group]
        if only is None:
            parts.append(_tables(results, group))
    parts += ["</main>", "</body>", "</html>", ""]
    return "\n".join(part for part in parts if part is not None)
