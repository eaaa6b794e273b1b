# SPDX-License-Identifier: MIT OR Apache-2.0
"""How panels look: matplotlib's axes, as SVG that takes the page's colours.

Colours are drawn as the light page has them, each in a shade of its own, and
then named, so that the page can give them others when it is dark. Text stays
text, in the reader's own font.
"""

import dataclasses
import io
import re

# Shade in the drawing → the page's name for it. Okabe and Ito's colours (2008),
# which the colour-blind can tell apart, darkened where white is behind them.
COLOURS = {
    "#16181d": "ink",
    "#5b6069": "soft",
    "#8d939c": "axis",
    "#d9dce1": "grid",
    "#0069a6": "ours",
    "#c94f00": "red",
    "#a3437e": "pink",
    "#9a6d00": "amber",
    "#007d58": "green",
    "#9aa0a9": "faint",
    "#3c6e3f": "goal",
    "#fffefd": "paper",
}
SHADES = {name: shade for shade, name in COLOURS.items()}


@dataclasses.dataclass(frozen=True)
class Style:
    """How one contender is drawn, wherever it is; printers keep the dashes."""
    colour: str
    dashes: tuple = ()
    width: float = 1.6
    marker: str = "o"

    @property
    def shade(self):
        return SHADES[self.colour]

    @property
    def line(self):
        return (0, self.dashes) if self.dashes else "-"


@dataclasses.dataclass(frozen=True)
class Panel:
    title: str
    svg: str


@dataclasses.dataclass(frozen=True)
class Picture:
    """Panels that belong together, and what they show."""
    name: str      # unique; `tools/report --only=NAME` draws it alone
    group: str
    title: str
    point: str     # what is seen, from the figures themselves
    reading: str   # how it is to be read
    panels: list
    legend: list   # (Style, text)
    peers: str = ""
    measure: str = ""  # the arguments of tools/bench that measure it again


def axes(width=4.1, height=3.1):
    """Axes of a panel; sizes in inches, of which a phone is nearly five wide."""
    import logging

    import matplotlib

    matplotlib.use("agg")
    # Its first run looks for fonts, and says so.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib import pyplot

    pyplot.rcParams.update({
        "font.family": "DejaVu Sans",  # wider than what readers have
        "font.size": 8.5,
        "svg.fonttype": "none",
        "svg.hashsalt": "ptage",  # the same picture for the same results
        "text.color": SHADES["ink"],
        "axes.labelcolor": SHADES["soft"],
        "axes.edgecolor": SHADES["axis"],
        "axes.linewidth": 0.7,
        "xtick.color": SHADES["axis"],
        "ytick.color": SHADES["axis"],
        "xtick.labelcolor": SHADES["soft"],
        "ytick.labelcolor": SHADES["soft"],
        "grid.color": SHADES["grid"],
        "grid.linewidth": 0.6,
        "lines.solid_capstyle": "round",
    })
    figure, made = pyplot.subplots(figsize=(width, height))
    made.grid(which="major")
    made.set_axisbelow(True)
    for side in ("top", "right"):
        made.spines[side].set_visible(False)
    return made


def svg(made, name, description):
    """The panel as an SVG element; ids begin with `name`."""
    from matplotlib import pyplot

    figure = made.figure
    figure.tight_layout(pad=0.4)
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={
        key: None for key in ("Date", "Creator", "Format", "Type")})
    pyplot.close(figure)
    return embeddable(text.getvalue(), name, description)


def embeddable(text, name, description):
    """matplotlib's document as an element of a page."""
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.S)
    # The page decides how wide it is; its own text belongs in an attribute.
    head, body = re.match(r"(<svg[^>]*>)(.*)", text, re.S).groups()
    box = re.search(r'viewBox="[^"]*"', head)[0]
    description = _attribute(description)
    head = f'<svg {box} role="img" aria-label="{description}">'
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    body = re.sub(r'xlink:href="#', f'href="#{name}-', body)
    body = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>\s*", "", body,
                  flags=re.S)
    # The font's size alone; its family is the page's.
    body = re.sub(r"font: (\d+(?:\.\d+)?)px [^;\"]*", r"font-size: \1px", body)
    body = re.sub(r"#[0-9a-f]{6}\b", lambda shade: (
        f"var(--{COLOURS[shade[0]]})" if shade[0] in COLOURS else shade[0]),
        body)
    # Hundredths of a point are enough, and half as many bytes.
    body = re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", body)
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.S)
    body = re.sub(r"\n\s+", "\n", body)
    return head + body.strip()


def _attribute(text):
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), ('"', "&quot;")):
        text = text.replace(character, entity)
    return text


def duration(ns, _=None):
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"


def one_in(part, _=None):
    if part >= 0.999:
        return "all"
    return "1 in " + f"{round(1 / part):,}"


def times(ratio):
    """A ratio in words' length: 0.0023, 0.98, 1.03, 12, 340."""
    if ratio == 0:
        return "0"
    digits = 0 if ratio >= 99.5 else 1 if ratio >= 9.95 else 2
    return f"{ratio:.{digits}f}" if ratio >= 0.095 else f"{ratio:.2g}"


def log_axis(axis, formatter=None, ticks=7):
    """Decades, and nothing between them."""
    import matplotlib.ticker as ticker

    axis.set_major_locator(ticker.LogLocator(numticks=ticks))
    axis.set_minor_locator(ticker.NullLocator())
    if formatter:
        axis.set_major_formatter(formatter)


def nice_log_axis(axis, low, high, formatter):
    """Ticks at 1, 2, 5 where there are few decades."""
    import math

    import matplotlib.ticker as ticker

    decades = math.log10(high / low) if low > 0 else 9
    steps = (1, 2, 5) if decades < 1.6 else (1, 3) if decades < 2.6 else (1,)
    axis.set_major_locator(ticker.LogLocator(subs=steps, numticks=12))
    axis.set_minor_locator(ticker.NullLocator())
    axis.set_major_formatter(formatter)


def goal_line(made, value, across, text):
    """A goal, with its name: `across` the y axis or the x axis."""
    line = dict(color=SHADES["goal"], linestyle=(0, (4, 2)), linewidth=1.1,
                zorder=1.5)
    if across == "x":
        made.axvline(value, **line)
        made.annotate(text, (value, 1), xycoords=("data", "axes fraction"),
                      xytext=(3, -1), textcoords="offset points", ha="left",
                      va="top", color=SHADES["goal"], fontsize=7.5)
    else:
        made.axhline(value, **line)
        made.annotate(text, (1, value), xycoords=("axes fraction", "data"),
                      xytext=(-1, 2), textcoords="offset points", ha="right",
                      va="bottom", color=SHADES["goal"], fontsize=7.5)


def dots_axes(rows):
    """Axes for so many rows of `dots`."""
    return axes(height=0.6 + 0.42 * rows)


def dots(made, rows, unit_formatter, goal=None):
    """Rows of a dot with its interval: (label, Style, median, low, high).

    The label stands above its dot, so that phones have room for both. A sixth
    member is the row's own goal.
    """
    for place, (label, style, median, low, high, *own) in enumerate(rows):
        if own and own[0] is not None:
            made.plot([own[0]] * 2, [place - 0.12, place + 0.3],
                      color=SHADES["goal"], linewidth=1.3,
                      linestyle=(0, (2.4, 1.2)), zorder=1.5)
        made.plot([low, high], [place, place], color=style.shade,
                  linewidth=style.width + 0.8, alpha=0.55, zorder=2)
        made.plot([median], [place], color=style.shade, marker=style.marker,
                  markersize=5, linestyle="none", zorder=3)
        made.annotate(label, (0, place), xycoords=("axes fraction", "data"),
                      xytext=(2, 5), textcoords="offset points", ha="left",
                      va="bottom", color=style.shade, fontsize=8,
                      bbox=dict(facecolor=SHADES["paper"], edgecolor="none",
                                pad=0.6))
    made.set_ylim(len(rows) - 0.6, -0.8)
    made.set_yticks([])
    made.spines["left"].set_visible(False)
    made.xaxis.set_major_formatter(unit_formatter)
    if goal:
        goal_line(made, *goal)


def metric_row(metric, label, style):
    """A row of `dots` of a metric."""
    low = metric.ratio if metric.low is None else metric.low
    high = metric.ratio if metric.high is None else metric.high
    return label, style, metric.ratio, low, high, metric.goal


def measured_row(row, label, style):
    return label, style, row.median, row.low, row.high


def dots_panel(rows, name, title, xlabel, description, formatter=None,
               log=False, from_zero=True, goal=None):
    """A panel of `dots`."""
    made = dots_axes(len(rows))
    dots(made, rows, formatter or (lambda value, _: f"{value:g}"), goal)
    made.set_xlabel(xlabel)
    if log:
        made.set_xscale("log")
        goals = [row[5] for row in rows if len(row) > 5 and row[5]]
        low = min([row[3] for row in rows] + goals) / 1.25
        high = max([row[4] for row in rows] + goals) * 1.25
        made.set_xlim(low, high)
        nice_log_axis(made.xaxis, low, high,
                      formatter or (lambda value, _: f"{value:g}"))
    elif from_zero:
        ends = [row[4] for row in rows] + [row[5] for row in rows
                                           if len(row) > 5 and row[5]]
        made.set_xlim(0, max(ends) * 1.06)
        made.xaxis.set_major_locator(_few_ticks())
    return Panel(title, svg(made, name, description))


def _few_ticks():
    import matplotlib.ticker as ticker

    return ticker.MaxNLocator(nbins=5)


def longer(latencies, fewest):
    """Corners of a line: (ns, share that took as long or longer).

    It ends where fewer than `fewest` are left: their share is noise.
    """
    total = left = sum(latencies.count)
    corners = [(max(latencies.below_ns[0] / 1.05, 1), 1.0)]
    for bound, some in zip(latencies.below_ns, latencies.count):
        left -= some
        if left < fewest:
            break
        corners.append((bound, left / total))
    return corners


def percentile(latencies, share):
    """The bound below which a share of all lies."""
    total, below = sum(latencies.count), 0
    for bound, some in zip(latencies.below_ns, latencies.count):
        below += some
        if below >= share * total:
            return bound
    return latencies.below_ns[-1]
