"""The Pareto chart: task accuracy against what leaks."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from unsplit.studies.tradeoff import Measure, Point, pareto

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABELS = {
    "skill": "inputs: error of the best guess removed (%)",
    "label_accuracy_up_to_names": "labels read, up to their names (%)",
}
# Colour-blind safe (Okabe and Ito), with a shape of its own for each defence.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#000000")
_SHAPES = "osD^vP*X<>dph8"


def pareto_chart(points: Sequence[Point], metric: str, title: str) -> bytes:
    """A PNG: each defence at each strength, what the stronger of both attacks gets, and the points that no other beats.

    Args:
        points: the points of one data set.
        metric: what the vertical axis shows, a key of the labels here.
        title: the text above the chart.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.2, 5.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    families = list(dict.fromkeys(point.family for point in points))
    for number, family in enumerate(families):
        _family(axes, number, [point for point in points if point.family == family], metric)
    best = sorted(
        (accuracy.value, leak.value)
        for point in pareto(points, metric)
        if (accuracy := point.get("task_accuracy")) is not None and (leak := point.leak(metric)) is not None
    )
    axes.plot(
        [100 * accuracy for accuracy, _ in best],
        [100 * max(leak, 0.0) for _, leak in best],
        color="#444444",
        linewidth=1,
        linestyle="--",
        zorder=1,
        label="not beaten by another",
    )
    guess = _guess(points, metric)
    if guess is not None:
        axes.axhline(100 * guess, color="#444444", linewidth=0.9, linestyle=":", label="a guess that has seen nothing")
    axes.set_xlabel("task accuracy with the defence (%)  →  better for the client")
    axes.set_ylabel(_LABELS[metric] + "  ↓  better for the client")
    axes.set_ylim(-4, 104)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_title(title, loc="left", fontsize=11)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _family(axes: "Axes", number: int, points: Sequence[Point], metric: str) -> None:
    """One defence: its strengths joined by a line, larger marks for stronger ones, intervals as whiskers."""
    colour, shape = _COLOURS[number % len(_COLOURS)], _SHAPES[number % len(_SHAPES)]
    shown = [(point.get("task_accuracy"), point.leak(metric)) for point in points]
    known = [(accuracy, leak) for accuracy, leak in shown if accuracy is not None and leak is not None]
    across = [100 * accuracy.value for accuracy, _ in known]
    up = [100 * max(leak.value, 0.0) for _, leak in known]
    axes.plot(across, up, color=colour, linewidth=1.1, alpha=0.6, zorder=2)
    for place, (accuracy, leak) in enumerate(known):
        x, y = across[place], up[place]
        axes.errorbar(
            [x], [y], xerr=_whisker(accuracy), yerr=_whisker(leak), color=colour, linewidth=0.8, alpha=0.5, zorder=2
        )
        label = points[0].family if place == 0 else None
        axes.scatter([x], [y], s=34 + 38 * place, color=colour, marker=shape, zorder=3, label=label)


def _whisker(measure: Measure) -> list[list[float]] | None:
    if measure.low is None or measure.high is None:
        return None
    return [[100 * (measure.value - measure.low)], [100 * (measure.high - measure.value)]]


def _guess(points: Sequence[Point], metric: str) -> float | None:
    return 0.0 if metric == "skill" else next((point.guess for point in points if point.guess is not None), None)
