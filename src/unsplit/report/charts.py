"""Charts as inline SVG that take their ink from the page, so that they are legible in light and dark."""

import io
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from unsplit.metrics import Score
from unsplit.results import InversionRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# matplotlib writes these colours; the page's own take their place.
_INK, _RULE = "#010203", "#040506"
_SERIES = ("#070809", "#0a0b0c", "#0d0e0f", "#101112")
_PAGE = {
    _INK: "var(--ink)",
    _RULE: "var(--rule)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(_SERIES)},
}
_DASHES = ((1, 1), (4, 2), (4, 1, 1, 1), (8, 2))
_GUESS_DASHES = {"half": (1, 1), "best constant": (4, 2), "black": (4, 1, 1, 1), "mean picture": (8, 2)}


def error_chart(rows: Sequence[InversionRow]) -> str:
    """Mean squared error against depth, a line for each state and preset, the trivial guesses drawn across."""
    figure, axes = _axes("mean squared error")
    for number, (label, series) in enumerate(_series(rows)):
        _line(axes, number, label, [row.depth for row in series], [max(row.mse, 1e-7) for row in series])
    for name, value in rows[0].guesses.items() if rows else ():
        axes.axhline(value, color=_INK, linewidth=0.9, dashes=_GUESS_DASHES.get(name, (2, 2)), label=f"guess: {name}")
    axes.set_yscale("log")
    return _svg(figure, axes)


def accuracy_chart(rows: Sequence[InversionRow], score: Score = "accuracy") -> str:
    """The clone's test accuracy (or R²) against depth, with the client's own and chance drawn across."""
    regression = score == "r2"
    unit = 1 if regression else 100
    figure, axes = _axes("R² on test inputs" if regression else "test accuracy (%)")
    for number, (label, series) in enumerate(_series(rows)):
        _line(axes, number, label, [row.depth for row in series], [unit * row.clone_accuracy for row in series])
    if rows:
        own, chance = max(row.reference_accuracy for row in rows), rows[0].clone_chance
        axes.axhline(unit * own, color=_INK, linewidth=0.9, dashes=(8, 2), label="client's own, trained")
        axes.axhline(unit * chance, color=_INK, linewidth=0.9, dashes=(1, 1), label="mean" if regression else "chance")
    axes.set_ylim(-1.02 if regression else 0, 1.02 * unit)
    return _svg(figure, axes)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line of a chart.

    Args:
        label: its name in the legend.
        points: (x, value, lower end, upper end) of each point; None for the ends of a point without an interval.
        colour: which of the page's colours it has; None for that of text, of points without a line between them.
    """

    label: str
    points: Sequence[tuple[float, float, float | None, float | None]]
    colour: int | None


def interval_chart(
    curves: Sequence[Curve], x_label: str, y_label: str, *, levels: Mapping[str, float], log: bool = False
) -> str:
    """Curves with bars for their intervals.

    Args:
        curves: what is drawn.
        x_label: what the horizontal axis shows.
        y_label: what the vertical axis shows.
        levels: values by name that are drawn across, such as what a guess gets.
        log: whether the vertical axis is logarithmic; ends of intervals at or below 0 then lie on its lower edge.
    """
    # Small, so that its words can be read on a phone.
    figure, axes = _axes(y_label, x_label, (4.8, 3.4))
    values = [value for curve in curves for _, value, _, _ in curve.points if value > 0]
    floor = min([*values, *levels.values()], default=1.0) / 3 if log else 0.0
    for curve in curves:
        points = sorted(curve.points, key=lambda point: point[0])
        heights = [max(value, floor) for _, value, _, _ in points]
        # What is not a number is not drawn: a single seed has no bar.
        below = [math.nan if low is None else value - max(low, floor) for _, value, low, _ in points]
        above = [math.nan if high is None else high - value for _, value, _, high in points]
        look: dict[str, Any] = {"color": _INK, "marker": "x", "linestyle": "none"}
        if curve.colour is not None:
            look = {"color": _SERIES[curve.colour % len(_SERIES)], "marker": "osD^v"[curve.colour % 5]}
        across = [x for x, *_ in points]
        axes.plot(across, heights, label=curve.label, markersize=5, linewidth=1.8, **look)
        bars = [np.clip(below, 0, None), np.clip(above, 0, None)]
        axes.errorbar(across, heights, yerr=bars, fmt="none", ecolor=look["color"], elinewidth=1, capsize=3)
    for (name, level), dashes in zip(levels.items(), itertools.cycle(_DASHES)):
        axes.axhline(level, color=_INK, linewidth=0.9, dashes=dashes, label=name)
    if log:
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.set_ylim(bottom=floor)
    return _compact(_svg(figure, axes))


def _compact(svg: str) -> str:
    """A chart in half the letters: a page that has many would be mostly digits behind the point and names of fonts."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r'="[^"]*"', lambda value: re.sub(r"\d+\.\d+", lambda n: f"{float(n[0]):.1f}", value[0]), svg)
    return re.sub(r"\n\s*", "\n", svg)


def _series(rows: Sequence[InversionRow]) -> list[tuple[str, list[InversionRow]]]:
    keys = list(dict.fromkeys((row.state, row.attack) for row in rows))
    return [
        (
            f"{preset}, {state} training",
            sorted((row for row in rows if (row.state, row.attack) == (state, preset)), key=lambda row: row.depth),
        )
        for state, preset in keys
    ]


def _line(axes: "Axes", number: int, label: str, depths: Sequence[int], values: Sequence[float]) -> None:
    colour = _SERIES[number % len(_SERIES)]
    marker = "osD^v"[number % 5]
    axes.plot(depths, values, color=colour, marker=marker, markersize=5, linewidth=1.8, label=label)


def _axes(
    y_label: str, x_label: str = "depth of the cut", size: tuple[float, float] = (6.4, 3.9)
) -> "tuple[Figure, Axes]":
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=size)
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.set_xlabel(x_label, color=_INK)
    axes.set_ylabel(y_label, color=_INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(colors=_INK, which="both")
    axes.grid(visible=True, color=_RULE, linewidth=0.6)
    for name, spine in axes.spines.items():
        spine.set_color(_RULE)
        spine.set_visible(name in ("left", "bottom"))
    return figure, axes


def _svg(figure: "Figure", axes: "Axes") -> str:
    from matplotlib import rc_context

    legend = axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False, labelcolor=_INK, fontsize=9
    )
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "unsplit", "font.family": "sans-serif"}):
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            bbox_inches="tight",
            bbox_extra_artists=(legend,),
            metadata={"Date": None, "Creator": None},
        )
    text = buffer.getvalue()
    for colour, variable in _PAGE.items():
        text = text.replace(colour, variable)
    return text[text.index("<svg") :]
