"""What leaked, in plain words, from the rows of a result. A failed attack is "not recovered", never "safe"."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from unsplit.report.numbers import error, percent
from unsplit.results import (
    AuditResult,
    InversionRow,
    LabelRow,
    LabelScores,
    RecordedInversionRow,
    RecordedLabelRow,
    RecordedRow,
    UShapeRow,
)
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
    """What the server recovered of one thing, in a sentence or two.

    Args:
        level: how serious that is; "unknown" where nothing is scored.
        about: the thing, as a title.
        text: the sentences.
    """

    level: Level
    about: str
    text: str


def findings(result: AuditResult) -> tuple[Finding, ...]:
    """All findings, the inputs first, then the model, then the labels."""
    found = [
        *(_inputs(result, state) for state in ("after", "before")),
        _model(result),
        *map(_u_shape, result.u_shapes),
        *(
            _labels(result, observed, known)
            for observed, known in (("weight_grad", 0), ("cut_grad", 1), ("cut_grad", 0))
        ),
        *(() if result.recorded is None else _of_traffic(result.recorded)),
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
    text += f" {_best_guess(guess)}"
    doubtful = [row for row in rows if row.sign == "ambiguous" and row.skill < ALMOST_EXACTLY]
    if doubtful:
        text += f" Whether pictures or their negatives were found could not be told at {_depths(doubtful)}."
    best = min((grade(row) for row in rows), key=GRADES.index)
    return Finding(level=_graded(best), about="Inputs" if state == "after" else "Inputs, before training", text=text)


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
    about, what = _NAMED[named]
    parts = []
    for depth in sorted({row.depth for row in rows}):
        values = [_accuracy(row) for row in rows if row.depth == depth]
        parts.append(f"{_range(values, percent)} with a head of {depth} layer{'s' if depth > 1 else ''}")
    seen = {
        ("weight_grad", 0): "From the gradient of the head's weights, where weights are handed over through the server",
        ("cut_grad", 0): "From cut gradients alone, which every server has",
        ("cut_grad", 1): "From cut gradients and one known sample of each class",
    }.get((observed, known), f"From {observed} with {known} known samples of each class")
    text = f"{seen}, {what}: {'; '.join(parts)} right (always naming the commonest class: {rows[0].chance:.1%})."
    taken = max(share(_accuracy(row), row.chance, 1.0) for row in rows)
    return Finding(level=_level(taken), about=about, text=text)


def _u_shape(row: UShapeRow) -> Finding:
    taken = share(row.whole_accuracy, row.chance, row.reference_accuracy)
    text = (
        f"From one training in the U-shape the server took inputs (error {error(row.mse)}, best guess "
        f"{error(row.mse_best_trivial)}), {row.label_accuracy:.1%} of the hidden labels (commonest class "
        f"{row.label_chance:.1%}) and both of the client's parts: without the client, its network classifies "
        f"{row.whole_accuracy:.1%} of the test inputs; with it, {row.reference_accuracy:.1%}."
    )
    about = "Everything at once, by attacks that know the defences" if row.aware else "Everything at once"
    return Finding(level=_level(taken), about=about, text=text)


def _of_traffic(recorded: RecordedRow) -> list[Finding]:
    """What recorded traffic gave away; nothing is judged where the truth is not known."""
    inputs = [_recorded_inputs(recorded.inversion)] if recorded.inversion else []
    return [*inputs, *(finding for row in recorded.labels for finding in _recorded_labels(row))]


def _recorded_inputs(rows: Sequence[RecordedInversionRow]) -> Finding:
    step, samples = rows[0].step, rows[0].samples
    text = f"From what was sent in step {step}, these attacks redrew the {samples} inputs of its batch"
    scored = [(row, row.scores) for row in rows if row.scores is not None]
    if not scored:
        own = "; ".join(map(_own_words, rows))
        text += f". How close they come cannot be said without the truth. The attacks' own estimates: {own}."
        return Finding(level="unknown", about="Inputs", text=text)
    row, scores = max(scored, key=lambda pair: (taken(pair[1]), pair[1].skill))
    word = grade(scores)
    forgiven = f"; {error(scores.mse_scale_free)} if these are forgiven" if word == SHAPE_ONLY else ""
    text += f": {word} (error {error(scores.mse)}{forgiven}, preset {row.preset}). "
    text += _best_guess(scores.mse_best_trivial)
    if row.sign == "ambiguous":
        text += " Whether pictures or their negatives were found could not be told."
    return Finding(level=_graded(word), about="Inputs", text=text)


def _own_words(row: RecordedInversionRow) -> str:
    agreement = "" if row.agreement is None else f", restarts agree by {row.agreement:.2f}"
    decided = "" if row.decided_by is None else f" (decided by {row.decided_by})"
    sure = ", sure of its pictures" if row.sure else ""
    told = f"preset {row.preset} has a relative residual of {error(row.residual)}"
    return f"{told}, sign {row.sign}{decided}{agreement}{sure}"


_SEEN = {
    "sent": "The client sends its labels, so that no attack is needed",
    "infer_by_surrogate": "From cut gradients alone",
    "infer_from_handed_weights": "From cut gradients and the weights of heads that were handed over",
}
_NAMED = {
    True: ("Labels", "labels were read"),
    False: ("Labels, unnamed", "samples were grouped by class, the classes' names unknown"),
}


def _recorded_labels(row: RecordedLabelRow) -> list[Finding]:
    """One finding without scores, or one for each score."""
    about, what = _NAMED[row.named]
    text = f"{_SEEN[row.attack]}: {row.samples - row.undecided:,} of {row.samples:,} {what}."
    if row.scores:
        return [_scored_labels(score, text) for score in row.scores]
    if row.attack == "sent":
        return [Finding(level="high", about=about, text=text)]
    return [Finding(level="unknown", about=about, text=f"{text} How many are right cannot be said without the truth.")]


def _scored_labels(score: LabelScores, begin: str) -> Finding:
    value = _accuracy(score)
    known = f", with {score.known_samples} known sample of each class" if score.known_samples else ""
    names = " up to the classes' names" if score.accuracy is None else ""
    text = (
        f"{begin} Of {score.samples:,} whose truth is known, {value:.1%} are right{names}{known} (always naming the "
        f"commonest class: {score.chance:.1%})."
    )
    about, _ = _NAMED[score.accuracy is not None]
    return Finding(level=_level(share(value, score.chance, 1.0)), about=about, text=text)


def _accuracy(row: LabelRow | LabelScores) -> float:
    return row.accuracy_up_to_names if row.accuracy is None else row.accuracy


def _best_guess(error_of_it: float) -> str:
    return f"The best guess that has seen no message makes an error of {error(error_of_it)}."


def _graded(word: str) -> Level:
    """How serious it is that inputs were recovered so well."""
    place = GRADES.index(word)
    return "high" if place <= 1 else "some" if place <= 3 else "none"


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
