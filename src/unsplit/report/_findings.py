"""What leaked, in plain words, from the rows of a result. A failed attack is "not recovered", never "safe"."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from unsplit.report.numbers import error, percent
from unsplit.results import AuditResult, InversionRow, LabelRow, UShapeRow
from unsplit.verdict.assets import after
from unsplit.verdict.scale import (
    ALMOST_EXACTLY,
    GRADES,
    IN_PART,
    RECOGNISABLY,
    SHAPE_ONLY,
    grade,
    network_score,
    share,
    taken,
)

Level = Literal["high", "some", "none", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One sentence or two about one thing that the server was after, and how much of it it got."""

    level: Level
    about: str
    text: str


def findings(result: AuditResult) -> tuple[Finding, ...]:
    """All findings, the inputs first, then the model, then the labels."""
    found = [
        *(_inputs(result, state) for state in ("after", "before")),
        _model(result),
        *map(_whole, result.u_shapes),
        *(
            _labels(result, observed, known)
            for observed, known in (("weight_grad", 0), ("cut_grad", 1), ("cut_grad", 0))
        ),
    ]
    return tuple(finding for finding in found if finding is not None)


def _inputs(result: AuditResult, state: str) -> Finding | None:
    rows = _best_by_depth([row for row in result.inversion if row.state == state])
    if not rows:
        return None
    parts = []
    for name in GRADES:
        group = [row for row in rows if grade(row) == name]
        if group:
            errors = _range([row.mse for row in group], error)
            if name == SHAPE_ONLY:
                errors += f"; {_range([row.mse_scale_free for row in group], error)} if these are forgiven"
            parts.append(f"{_depths(group)} {name} (error {errors})")
    guess = rows[0].mse_best_trivial
    who = "a trained client" if state == "after" else "an untrained client"
    text = f"From what {who} sends, these attacks redrew its inputs: {'; '.join(parts)}."
    text += f" The best guess that has seen no message makes an error of {error(guess)}."
    doubtful = [row for row in rows if row.sign == "ambiguous" and row.skill < ALMOST_EXACTLY]
    if doubtful:
        text += f" Whether pictures or their negatives were found could not be told at {_depths(doubtful)}."
    best = min(GRADES.index(grade(row)) for row in rows)
    seriousness: Level = "high" if best <= 1 else "some" if best <= 3 else "none"
    return Finding(level=seriousness, about="Inputs" if state == "after" else "Inputs, before training", text=text)


def _model(result: AuditResult) -> Finding | None:
    rows = [max(group, key=lambda row: row.stolen_accuracy) for group in _by_depth(after(result))]
    if not rows:
        return None
    kind = "accuracy" if result.training is None else result.training.score
    negatives = {True: " with their negatives", False: ""}
    parts = "; ".join(
        f"{network_score(row.stolen_accuracy, kind)}{negatives[row.mirrored]} at depth {row.depth}" for row in rows
    )
    own = network_score(rows[0].reference_accuracy, kind)
    best = max(share(row.stolen_accuracy, row.clone_chance, row.reference_accuracy) for row in rows)
    copy = "The server's copy of the client's layers, with the server's own,"
    if kind == "r2":
        text = f"{copy} predicts the test inputs' values with {parts}. The client's own layers reach {own}; always "
        text += "naming the mean would be R² 0."
    else:
        text = f"{copy} classifies {parts} of the test inputs. The client's own layers reach {own}, naming the "
        text += f"commonest class {network_score(rows[0].clone_chance)}."
    return Finding(level=_level(best), about="Model", text=text)


def _labels(result: AuditResult, observed: str, known: int) -> Finding | None:
    rows = [
        row
        for row in result.labels
        if row.observed == observed and row.known_samples == known and row.clone_head != "untrained"
    ]
    if not rows:
        return None
    named = observed == "weight_grad" or known > 0
    parts = []
    for depth in sorted({row.depth for row in rows}):
        values = [_accuracy(row) for row in rows if row.depth == depth]
        parts.append(f"{_range(values, percent)} with a head of {depth} layer{'s' if depth > 1 else ''}")
    seen = {
        ("weight_grad", 0): "From the gradient of the head's weights, where weights are handed over through the server",
        ("cut_grad", 0): "From cut gradients alone, which every server has",
        ("cut_grad", 1): "From cut gradients and one known sample of each class",
    }.get((observed, known), f"From {observed} with {known} known samples of each class")
    what = "labels were read" if named else "samples were grouped by class, the classes' names unknown"
    text = f"{seen}, {what}: {'; '.join(parts)} right (always naming the commonest class: {rows[0].chance:.1%})."
    taken = max(share(_accuracy(row), row.chance, 1.0) for row in rows)
    return Finding(level=_level(taken), about="Labels" if named else "Labels, unnamed", text=text)


def _whole(row: UShapeRow) -> Finding:
    seriousness = level(row.whole_accuracy, row.chance, row.reference_accuracy)
    text = (
        f"From one training in the U-shape the server took inputs (error {error(row.mse)}, best guess "
        f"{error(row.mse_best_trivial)}), {row.label_accuracy:.1%} of the hidden labels (commonest class "
        f"{row.label_chance:.1%}) and both of the client's parts: without the client, its network classifies "
        f"{row.whole_accuracy:.1%} of the test inputs; with it, {row.reference_accuracy:.1%}."
    )
    about = "Everything at once, by attacks that know the defences" if row.aware else "Everything at once"
    return Finding(level=seriousness, about=about, text=text)


def _accuracy(row: LabelRow) -> float:
    return row.accuracy_up_to_names if row.accuracy is None else row.accuracy


def level(value: float, chance: float, best: float) -> Level:
    """How serious an accuracy is, between chance and the best that there can be."""
    return _level(share(value, chance, best))


def _level(share: float) -> Level:
    return "high" if share >= RECOGNISABLY else "some" if share >= IN_PART else "none"


def _by_depth(rows: Sequence[InversionRow]) -> list[list[InversionRow]]:
    return [[row for row in rows if row.depth == depth] for depth in sorted({row.depth for row in rows})]


def _best_by_depth(rows: Sequence[InversionRow]) -> list[InversionRow]:
    return [max(group, key=lambda row: (taken(row), row.skill)) for group in _by_depth(rows)]


def _depths(rows: Sequence[InversionRow]) -> str:
    names = [str(row.depth) for row in rows]
    return f"depth{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _range(values: Sequence[float], form: Callable[[float], str]) -> str:
    low, high = form(min(values)), form(max(values))
    return low if low == high else f"{low} to {high}"


__all__ = ["GRADES", "Finding", "Level", "findings", "grade", "level"]
