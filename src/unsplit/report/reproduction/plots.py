"""The paper's figures, from rows."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from unsplit.experiment.reproduce.plan import RESNET_CUTS
from unsplit.experiment.reproduce.rows import HIJACKING, ResultRow
from unsplit.report.reproduction.select import ATTACKS_OF_3A, compared, distinct, epoch_of, only, select, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#a8481e", "#1c5a99", "#4b7a1f", "#7a3f95", "#7d6608")


def plots(rows: Sequence[ResultRow]) -> dict[str, bytes]:
    """PNGs by file name, of the figures that have numbers."""
    drawn = {"figure2.png": _figure2(rows), "figure3a.png": _figure3a(rows), "figure3b.png": _figure3b(rows)}
    drawn["labels.png"] = _labels(rows)
    return {name: picture for name, picture in drawn.items() if picture is not None}


def _figure2(rows: Sequence[ResultRow]) -> bytes | None:
    chosen = [row for row in select(rows, table="figure2") if row.value is not None]
    if not chosen:
        return None
    figure, axes = _axes("training epochs", "mean squared error, mean over depths")
    for number, dataset in enumerate(distinct(chosen, "dataset")):
        for dashes, preset in (("-", "joint"), ("--", "paper")):
            curve = sorted((epoch_of(row), row.value or 0) for row in select(chosen, dataset=dataset, preset=preset))
            if curve:
                label = f"{title(str(dataset))}, {preset}"
                axes.plot(*zip(*curve, strict=True), dashes, color=_COLOURS[number], marker="o", label=label)
        guess = only(chosen, dataset=dataset)
        if guess is not None and guess.trivial is not None:
            label = f"{title(str(dataset))}, best guess"
            axes.axhline(guess.trivial, color=_COLOURS[number], linewidth=0.9, linestyle=":", label=label)
    axes.set_ylim(bottom=0)
    return _png(figure, axes)


def _figure3a(rows: Sequence[ResultRow]) -> bytes | None:
    """Means over depths, with the upper and lower quartiles, as the paper draws them."""
    chosen = {str(dataset): compared(rows, str(dataset)) for dataset in distinct(rows, "dataset")}
    chosen = {dataset: found for dataset, found in chosen.items() if any(found.values())}
    if not any(row.table == "figure3a" for found in chosen.values() for errors in found.values() for row in errors):
        return None
    figure, axes = _axes("", "mean squared error, mean over depths")
    for number, (table, attack) in enumerate(ATTACKS_OF_3A):
        label: str | None = attack if table == "figure3a" else f"UnSplit, {attack}"
        for place, found in enumerate(chosen.values()):
            values = sorted(row.value or 0 for row in found.get(attack, []))
            if values:
                at = place + (number - 2) * 0.16
                axes.bar(at, sum(values) / len(values), 0.14, color=_COLOURS[number], label=label)
                axes.plot([at, at], np.quantile(values, [0.25, 0.75]), color="#1d2126", linewidth=1)
                label = None
    for place, found in enumerate(chosen.values()):
        guess = next(row.trivial for errors in found.values() for row in errors)
        axes.plot(
            [place - 0.45, place + 0.45], [guess or 0] * 2, ":", color="#1d2126", label=None if place else "best guess"
        )
    depths = [sorted({row.depth or 0 for errors in found.values() for row in errors}) for found in chosen.values()]
    names = [f"{title(dataset)}\ndepths {_span(shared)}" for dataset, shared in zip(chosen, depths, strict=True)]
    axes.set_xticks(range(len(chosen)), names)
    return _png(figure, axes)


def _span(depths: Sequence[int]) -> str:
    """Depths in words: "1 to 6", or a list where some are missing."""
    whole = len(depths) > 1 and list(depths) == list(range(depths[0], depths[-1] + 1))
    return f"{depths[0]} to {depths[-1]}" if whole else ", ".join(map(str, depths))


def _figure3b(rows: Sequence[ResultRow]) -> bytes | None:
    chosen = [row for row in select(rows, table="figure3b", metric="mse") if row.value is not None]
    chosen = select(chosen, dataset=chosen[0].dataset) if chosen else []
    curve = sorted((epoch_of(row), row.value or 0) for row in select(chosen, preset=HIJACKING))
    if not curve:
        return None
    figure, axes = _axes("iterations of the hijacking attack", "mean squared error")
    axes.plot(*zip(*curve, strict=True), color=_COLOURS[0], label="feature-space hijacking")
    for number, row in enumerate(select(chosen, preset="joint")):
        block = (row.depth or 0) - RESNET_CUTS[0] + 1
        axes.axhline(row.value or 0, color=_COLOURS[number + 1], label=f"UnSplit, joint, cut after block {block}")
    if chosen[0].trivial is not None:
        axes.axhline(chosen[0].trivial, color="#1d2126", linewidth=0.9, linestyle=":", label="best guess")
    axes.set_ylim(bottom=0)
    return _png(figure, axes)


def _labels(rows: Sequence[ResultRow]) -> bytes | None:
    """Accuracy with names in each stretch of the first epoch: heads by colour, attacks by line, data by panel."""
    chosen = [row for row in select(rows, table="labels") if row.state.startswith("from step ")]
    if not chosen:
        return None
    datasets = distinct(chosen, "dataset")
    figure = _figure(4.2 * len(datasets), 3.8)
    every = figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0]
    for axes, dataset in zip(every, datasets, strict=True):
        _plain(axes, "training step", "labels right, names included" if axes is every[0] else "")
        axes.set_title(title(str(dataset)), fontsize=10)
        for number, head in enumerate(distinct(select(chosen, dataset=dataset), "depth")):
            for dashes, attack in (("-", "surrogate"), (":", "nearest known sample")):
                here = select(chosen, dataset=dataset, depth=head, preset=f"{attack}, 1 known")
                curve = sorted((epoch_of(row), row.value or 0) for row in here)
                label = f"head of {head}, {attack}"
                axes.plot(*zip(*curve, strict=True), dashes, color=_COLOURS[number], label=label)
        axes.axhline(chosen[0].trivial or 0, color="#1d2126", linewidth=0.9, linestyle="--", label="commonest class")
        axes.set_ylim(0, 1.02)
    return _png(figure, every[len(every) // 2])


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100)
    FigureCanvasAgg(figure)
    return figure


def _axes(x_label: str, y_label: str) -> "tuple[Figure, Axes]":
    figure = _figure(7, 4.2)
    axes = figure.add_subplot()
    _plain(axes, x_label, y_label)
    return figure, axes


def _plain(axes: "Axes", x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(visible=True, axis="y", color="#d5d1c8", linewidth=0.6)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))


def _png(figure: "Figure", axes: "Axes") -> bytes:
    legend = axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", bbox_extra_artists=(legend,), metadata={"Software": None})
    return buffer.getvalue()
