"""A plain recommendation, with its uncertainty."""

from collections.abc import Sequence
from dataclasses import dataclass

from unsplit.studies.tradeoff._points import Measure, Point

AFFORDABLE = 0.03
"""How much task accuracy a defence may cost to be recommended."""

_MUCH = 0.5

LEAKS = {"inputs": "skill", "labels": "label_accuracy_up_to_names"}
"""By asset, the metric that says how much of it leaks."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What to do about one asset on one data set.

    Args:
        asset: what is protected, "inputs" or "labels".
        chosen: the defence, or None where none is to be recommended.
        text: the recommendation in words.
    """

    asset: str
    chosen: Point | None
    text: str


def pareto(points: Sequence[Point], metric: str) -> list[Point]:
    """The points of which no other is at least as accurate and leaks at most as much (and is not the same)."""
    known = [(point, *values) for point in points if (values := _pair(point, metric)) is not None]
    return [
        point
        for point, accuracy, leak in known
        if not any(other >= accuracy and less <= leak and (other, less) != (accuracy, leak) for _, other, less in known)
    ]


def advise(points: Sequence[Point], asset: str, *, affordable: float = AFFORDABLE) -> Advice:
    """Of the defences that cost at most `affordable` of task accuracy, the one under which the stronger of both attacks
    gets least; and how sure that is. By the upper end of the interval: an attack that fails with one seed and succeeds
    with the next is no defence's merit.

    Args:
        points: the points of one data set, one of them without a defence.
        asset: what is protected, a key of `LEAKS`.
        affordable: the accuracy that may be given up, as a share of all test samples.
    """
    metric = LEAKS[asset]
    plain = next((point for point in points if point.defense == "none"), None)
    without = None if plain is None else _pair(plain, metric)
    if plain is None or without is None:
        return Advice(asset=asset, chosen=None, text=f"{_name(asset)}: no training without a defence to compare with.")
    accuracy, leak = without
    choices = [
        (point, *values)
        for point in points
        if point is not plain and (values := _pair(point, metric)) is not None and values[0] >= accuracy - affordable
    ]
    start = f"{_name(asset)}: without a defence, {_words(asset, leak)}, at an accuracy of {accuracy:.1%}."
    better = sorted((one for one in choices if one[2] < leak), key=lambda one: _at_most(one[0], metric))
    if not better:
        return Advice(
            asset=asset,
            chosen=None,
            text=f"{start} No defence that was tried lowers that at a price of at most {100 * affordable:g} points.",
        )
    best, kept, left = better[0]
    chosen = best.leak(metric)
    before = plain.leak(metric)
    text = (
        f"{start} Of those that cost at most {100 * affordable:g} points, `{best.defense}` leaves least: "
        f"{_words(asset, left)}{_range(chosen)}, at {kept:.1%}. {_certainty(chosen, before)}{_alike(better, metric)}"
    )
    if left >= _MUCH:
        text += f" That is still much: it hides little of the {asset}."
    unaware, aware = best.get(metric, "unaware"), best.get(metric, "aware")
    if unaware is not None and aware is not None and aware.value > unaware.value + 0.05:
        text += (
            f" An attacker who does not know the defence gets {_value(asset, unaware.value)}, one who does "
            f"{_value(asset, aware.value)}."
        )
    return Advice(asset=asset, chosen=best, text=text)


def _at_most(point: Point, metric: str) -> float:
    """The upper end of the interval of what leaks."""
    measure = point.leak(metric)
    return 1.0 if measure is None else measure.value if measure.high is None else measure.high


def _pair(point: Point, metric: str) -> tuple[float, float] | None:
    accuracy, leak = point.get("task_accuracy"), point.leak(metric)
    return None if accuracy is None or leak is None else (accuracy.value, leak.value)


def _certainty(chosen: Measure | None, before: Measure | None) -> str:
    if chosen is None or before is None or chosen.high is None or before.low is None:
        return "With one seed there is no telling how sure that is."
    if chosen.high < before.low:
        return f"Over {chosen.seeds} seeds the intervals (95 %) of both lie apart."
    return f"Over {chosen.seeds} seeds the intervals (95 %) of both overlap: that it helps at all is not sure."


def _alike(better: Sequence[tuple[Point, float, float]], metric: str) -> str:
    """Other defences that may do as well."""
    best = better[0][0].leak(metric)
    if best is None or best.high is None:
        return ""
    others = []
    for point, _, _ in better[1:]:
        measure = point.leak(metric)
        if measure is not None and measure.low is not None and measure.low <= best.high:
            others.append(f"`{point.defense}`")
    return f" Not to be told from it: {', '.join(others[:4])}." if others else ""


def _name(asset: str) -> str:
    return asset.capitalize()


def _range(measure: Measure | None) -> str:
    if measure is None or measure.low is None or measure.high is None:
        return ""
    return f" [{measure.low:.0%}, {measure.high:.0%}]"


def _words(asset: str, leak: float) -> str:
    if asset == "inputs":
        return f"the stronger attack removes {leak:.0%} of the error of the best guess"
    return f"the stronger attack reads {leak:.1%} of the labels, up to their names"


def _value(asset: str, leak: float) -> str:
    return f"{max(leak, 0.0):.0%}" if asset == "inputs" else f"{leak:.1%}"
