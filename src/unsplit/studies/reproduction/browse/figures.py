"""The figures of the page: the numbers of Table 2 and the paper's figures, with their intervals."""

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from unsplit.report.charts import Curve, interval_chart
from unsplit.report.page import within_page
from unsplit.studies.grid.rows import ACCURACIES, ResultRow, began_as_the_client, smaller_budget
from unsplit.studies.grid.select import distinct, select
from unsplit.studies.reproduction.select import HIJACKING, epoch_of, title

_MSE = "mean squared error"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart with its caption."""

    caption: str
    svg: Markup


def figures(rows: Sequence[ResultRow]) -> list[Figure]:
    """All figures that there are numbers for.

    Args:
        rows: rows of clients without a defence.
    """
    measured = [row for row in rows if row.value is not None]
    return [*_table2(measured), *_figure2(measured), *_figure3a(measured), *_figure3b(measured)]


def _colours(rows: Sequence[ResultRow]) -> dict[str, int]:
    """A colour for each attack, the same in all figures of a table."""
    return {preset: number for number, preset in enumerate(distinct(rows, "preset"))}


def _table2(rows: Sequence[ResultRow]) -> Iterator[Figure]:
    colours = _colours(select(rows, table="table2"))
    for dataset in distinct(select(rows, table="table2"), "dataset"):
        for state, metric, words in (
            ("after", "mse", "Table 2, errors on trained clients"),
            ("before", "mse", "Table 2, errors on untrained clients"),
            ("after", "clone_accuracy", "Table 2, accuracy of the clone"),
        ):
            chosen = select(rows, table="table2", dataset=dataset, state=state, metric=metric)
            unit = 100 if metric in ACCURACIES else 1
            printed = {row.depth: row.paper for row in chosen if row.depth is not None and row.paper is not None}
            quoted = [(float(depth), unit * value, None, None) for depth, value in printed.items()]
            curves = [
                _curve(preset, select(chosen, preset=preset), colours[preset], unit)
                for preset in distinct(chosen, "preset")
            ]
            curves += [Curve(label="the paper's", points=quoted, colour=None)] if quoted else []
            y_label = _MSE if unit == 1 else "test accuracy (%)"
            yield from _drawn(f"{title(dataset)}: {words}", curves, "depth of the cut", y_label, chosen, unit)


def _figure2(rows: Sequence[ResultRow]) -> Iterator[Figure]:
    colours = _colours(select(rows, table="figure2"))
    for dataset in distinct(select(rows, table="figure2"), "dataset"):
        chosen = select(rows, table="figure2", dataset=dataset, metric="mse")
        curves = [
            _curve(preset, select(chosen, preset=preset), colours[preset], over=epoch_of)
            for preset in distinct(chosen, "preset")
        ]
        words = f"{title(dataset)}: Figure 2, error while the client trains, mean over depths"
        yield from _drawn(words, curves, "training epochs", _MSE, chosen)


def _figure3a(rows: Sequence[ResultRow]) -> Iterator[Figure]:
    colours = _colours(select(rows, table="figure3a"))
    for dataset in distinct(select(rows, table="figure3a"), "dataset"):
        here = select(rows, dataset=dataset, state="after", metric="mse")
        theirs = select(here, table="figure3a")
        curves = [
            _curve(attack, select(theirs, preset=attack), colours[attack]) for attack in distinct(theirs, "preset")
        ]
        ours = select(here, table="table2", preset="joint")
        curves += [_curve("UnSplit, joint", ours, len(colours))] if ours else []
        words = f"{title(dataset)}: Figure 3a, UnSplit and the attacks of He et al. on trained clients"
        yield from _drawn(words, curves, "depth of the cut", _MSE, theirs)


def _figure3b(rows: Sequence[ResultRow]) -> Iterator[Figure]:
    for dataset in distinct(select(rows, table="figure3b"), "dataset"):
        chosen = select(rows, table="figure3b", dataset=dataset, metric="mse")
        hijacked = select(chosen, preset=HIJACKING)
        if hijacked:
            levels = {f"UnSplit, {row.preset}, depth {row.depth}": row for row in chosen if row.preset != HIJACKING}
            words = f"{title(dataset)}: Figure 3b, UnSplit and feature-space hijacking"
            curves = [_curve(HIJACKING, hijacked, 0, over=epoch_of)]
            more = {_marked(name, [row]): _value(row)[0] for name, row in levels.items()}
            yield from _drawn(words, curves, "iterations of the hijacking attack", _MSE, chosen, levels=more)


def _drawn(
    caption: str,
    curves: Sequence[Curve],
    x_label: str,
    y_label: str,
    rows: Sequence[ResultRow],
    unit: int = 1,
    levels: dict[str, float] | None = None,
) -> Iterator[Figure]:
    """The figure with the best guess drawn across; none without a curve."""
    if curves:
        guess = next((unit * row.trivial for row in rows if row.trivial is not None), None)
        across = {**(levels or {}), **({} if guess is None else {"best guess": guess})}
        svg = interval_chart(curves, x_label, y_label, levels=across, log=unit == 1)
        yield Figure(caption=caption, svg=within_page(svg))


def _curve(
    label: str,
    rows: Sequence[ResultRow],
    colour: int,
    unit: int = 1,
    over: Callable[[ResultRow], int | None] = operator.attrgetter("depth"),
) -> Curve:
    places = [(over(row), row) for row in rows]
    points = [(float(x), *_value(row, unit)) for x, row in places if x is not None]
    return Curve(label=_marked(label, rows), points=points, colour=colour)


def _marked(label: str, rows: Sequence[ResultRow]) -> str:
    """A label with the mark ‡ and with what its numbers lack, where any of them does."""
    small = sum(map(smaller_budget, rows))
    lack = "" if not small else " (smaller budget)" if small == len(rows) else " (partly smaller budget)"
    return label + (" ‡" if any(map(began_as_the_client, rows)) else "") + lack


def _value(row: ResultRow, unit: int = 1) -> tuple[float, float | None, float | None]:
    value, low, high = (None if number is None else unit * number for number in (row.value, row.low, row.high))
    return value or 0.0, low, high
