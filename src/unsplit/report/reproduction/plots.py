"""The paper's figures, from rows."""

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from unsplit.experiment.reproduce.rows import HIJACKING, ResultRow
from unsplit.report.reproduction.select import distinct, epoch_of, only, select, title

_COLOURS = ("#a8481e", "#1c5a99", "#4b7a1f", "#7a3f95", "#7d6608")
_ATTACKS = (
    ("figure3a", "white box"),
    ("table2", "joint"),
    ("table2", "paper"),
    ("figure3a", "query-free, own data"),
    ("figure3a", "query-free, no data"),
)


def plots(rows: Sequence[ResultRow]) -> dict[str, bytes]:
    """PNGs by file name, of the figures that have numbers."""
    drawn = {"figure2.png": _figure2(rows), "figure3a.png": _figure3a(rows), "figure3b.png": _figure3b(rows)}
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
    chosen = [row for row in rows if (row.table, row.preset) in _ATTACKS and row.state == "after"]
    chosen = [row for row in chosen if row.metric == "mse" and row.value is not None]
    if not any(row.table == "figure3a" for row in chosen):
        return None
    figure, axes = _axes("", "mean squared error")
    sets = distinct(chosen, "dataset")
    for number, (table, attack) in enumerate(_ATTACKS):
        for place, dataset in enumerate(sets):
            values = sorted(row.value or 0 for row in select(chosen, table=table, preset=attack, dataset=dataset))
            if not values:
                continue
            mean = sum(values) / len(values)
            at = place + (number - 2) * 0.16
            label = (attack if table == "figure3a" else f"UnSplit, {attack}") if place == 0 else None
            axes.bar(at, mean, 0.14, color=_COLOURS[number], label=label)
            low, high = values[len(values) // 4], values[-1 - len(values) // 4]
            axes.plot([at, at], [low, high], color="#1d2126", linewidth=1)
    for place, dataset in enumerate(sets):
        guess = only(chosen, dataset=dataset)
        if guess is not None and guess.trivial is not None:
            label = "best guess" if place == 0 else None
            axes.plot([place - 0.45, place + 0.45], [guess.trivial] * 2, ":", color="#1d2126", label=label)
    axes.set_xticks(range(len(sets)), [title(str(dataset)) for dataset in sets])
    return _png(figure, axes)


def _figure3b(rows: Sequence[ResultRow]) -> bytes | None:
    chosen = [row for row in select(rows, table="figure3b", metric="mse") if row.value is not None]
    chosen = select(chosen, dataset=chosen[0].dataset) if chosen else []
    curve = sorted((epoch_of(row), row.value or 0) for row in select(chosen, preset=HIJACKING))
    if not curve:
        return None
    figure, axes = _axes("iterations of the hijacking attack", "mean squared error")
    axes.plot(*zip(*curve, strict=True), color=_COLOURS[0], label="feature-space hijacking")
    for number, state in ((1, "after"), (2, "before")):
        row = only(chosen, preset="joint", state=state)
        if row is not None and row.value is not None:
            axes.axhline(row.value, color=_COLOURS[number], label=f"UnSplit, joint, {state} training")
    if chosen[0].trivial is not None:
        axes.axhline(chosen[0].trivial, color="#1d2126", linewidth=0.9, linestyle=":", label="best guess")
    axes.set_ylim(bottom=0)
    return _png(figure, axes)


def _axes(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, 4.2), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(visible=True, axis="y", color="#d5d1c8", linewidth=0.6)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
    return figure, axes


def _png(figure: Figure, axes: Axes) -> bytes:
    legend = axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", bbox_extra_artists=(legend,), metadata={"Software": None})
    return buffer.getvalue()
