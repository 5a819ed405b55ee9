"""What the strongest attack took of each asset, from the rows of a result; or one sentence why nothing can be said.

The strongest is the one with the largest score: an attacker picks its attack by what it sees, and may be lucky.
"""

import math
from dataclasses import dataclass, field

from unsplit.metrics import Score, Share
from unsplit.results import AuditResult, InversionRow, LabelRow, PictureScores, UShapeRow
from unsplit.verdict.confidence import SILENT, Estimate
from unsplit.verdict.scale import SHAPE_ONLY, clipped, grade, network_score, share, taken


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the strongest attack on one asset achieved; the fields that `verdict.Score` has too mean the same."""

    score: float
    by: str
    measured: str
    guess: float
    low: float | None = None
    high: float | None = None
    word: str | None = None
    samples: int | None = None
    estimate: Estimate = SILENT
    residuals: list[float] = field(default_factory=list)
    attacks: int = 1
    doubt: str | None = None


_BELOW = "a clone does far worse than chance, so it knows something"


def pictures(result: AuditResult) -> list[tuple[str, PictureScores, Estimate]]:
    """All scored inversions: name, scores, and what the attack says of itself."""
    found: list[tuple[str, PictureScores, Estimate]] = [
        (named(row), row, Estimate(row.residual, row.sign, row.agreement)) for row in result.inversion
    ]
    found += [(f"U-shape at depth {row.depth}, {row.preset}{knowing(row)}", row, SILENT) for row in result.u_shapes]
    if result.recorded is not None:
        found += [
            (f"step {row.step}, {row.preset}", row.scores, Estimate(row.residual, row.sign, row.agreement))
            for row in result.recorded.inversion
            if row.scores is not None
        ]
    return found


def inputs(result: AuditResult, targets: int | None = None) -> Evidence | str:
    """The inputs, of a client before or after training."""
    rows = [row for row in pictures(result) if not math.isnan(row[1].skill)]
    recorded = result.recorded
    if not rows:
        unscored = recorded is not None and bool(recorded.inversion)
        return "The truth is not known, so nothing is scored." if unscored else "No inversion was run."
    by, scores, estimate = max(rows, key=lambda row: (taken(row[1]), row[1].skill))
    measured = f"error {scores.mse:.2g}, best trivial guess {scores.mse_best_trivial:.2g}"
    if grade(scores) == SHAPE_ONLY:
        measured += f", error {scores.mse_scale_free:.2g} if contrast, brightness and sign are forgiven"
    return Evidence(
        score=taken(scores),
        by=by,
        measured=measured,
        guess=scores.mse_best_trivial,
        word=grade(scores),
        samples=targets if recorded is None or not recorded.inversion else recorded.inversion[0].samples,
        estimate=estimate,
        residuals=[own.residual for _, _, own in rows if own.residual is not None],
        attacks=len(rows),
    )


def model(result: AuditResult) -> Evidence | str:
    """The client's layers after training; one that has not learned anything has nothing to steal."""
    rows = after(result)
    training = result.training
    kind: Score = "accuracy" if training is None else training.score
    samples = None if training is None or kind == "r2" else training.test_samples
    tried: list[tuple[float, float, float, str, InversionRow | None]] = [
        (row.stolen_accuracy, row.clone_chance, row.reference_accuracy, named(row), row) for row in rows
    ]
    found = [entry for entry in tried if learned(entry[2], entry[1], samples)]
    for whole in result.u_shapes:
        if learned(whole.reference_accuracy, whole.chance, samples):
            name = f"U-shape, both parts, {whole.preset}{knowing(whole)}"
            found.append((whole.whole_accuracy, whole.chance, whole.reference_accuracy, name, None))
    if not found:
        if tried or result.u_shapes:
            does = "predicts no better than the mean" if kind == "r2" else "classifies no better than chance"
            return f"The client's own network {does}, so there is nothing to steal."
        return "No attack on a trained model was scored."
    value, chance, own, by, row = max(found, key=lambda entry: share(*entry[:3]))
    negatives = " with negatives" if row is not None and row.mirrored else ""
    return Evidence(
        score=clipped(share(value, chance, own)),
        by=by,
        measured=f"clone {network_score(value, kind)}{negatives}, client's own {network_score(own, kind)}, "
        + ("always naming the mean R² 0" if kind == "r2" else f"chance {network_score(chance)}"),
        guess=chance,
        samples=None if training is None else training.test_samples,
        estimate=SILENT if row is None else Estimate(row.residual, row.sign, row.agreement),
        residuals=[row.residual for *_, row in found if row is not None],
        attacks=len(found),
        doubt=_BELOW if any(row is not None and row.below_chance and not row.mirrored for *_, row in found) else None,
    )


def after(result: AuditResult) -> list[InversionRow]:
    """The inversions of a trained client whose clone was scored; weights that were known before are no clone."""
    rows = [row for row in result.inversion if row.state == "after" and row.drift is None]
    return [row for row in rows if not math.isnan(row.clone_accuracy)]


def learned(own: float, chance: float, samples: int | None) -> bool:
    """Whether a network's accuracy is above chance by more than the 95 % interval of so many samples."""
    if not 0 <= own <= 1 or samples is None:
        return own > chance
    return Share.of(round(own * samples), samples).low > chance


@dataclass(frozen=True, kw_only=True)
class LabelEvidence:
    """One label inference with its truth, of any kind of audit."""

    name: str
    accuracy: float | None
    up_to_names: float
    low: float | None
    high: float | None
    chance: float
    samples: int | None
    estimate: Estimate = SILENT

    @property
    def value(self) -> float:
        """The accuracy that applies."""
        return self.up_to_names if self.accuracy is None else self.accuracy

    @property
    def score(self) -> float:
        """On the scale; 0 where the interval reaches chance."""
        if self.low is not None and self.low <= self.chance:
            return 0.0
        return clipped(share(self.value, self.chance, 1.0))


def label_scores(result: AuditResult) -> list[LabelEvidence]:
    """All scored label inferences."""
    found = [
        LabelEvidence(
            name=named_label(row), accuracy=row.accuracy, up_to_names=row.accuracy_up_to_names, low=row.low,
            high=row.high, chance=row.chance, samples=row.samples,
        )
        for row in result.labels
    ]  # fmt: skip
    found += [
        LabelEvidence(
            name=f"U-shape, head of {row.head}{knowing(row)}", accuracy=row.label_accuracy,
            up_to_names=row.label_accuracy, low=None, high=None, chance=row.label_chance, samples=None,
        )
        for row in result.u_shapes
    ]  # fmt: skip
    for recorded in result.recorded.labels if result.recorded is not None else ():
        own = Estimate(margin=recorded.margin, undecided=recorded.undecided / max(recorded.samples, 1))
        found += [
            LabelEvidence(
                name=f"{recorded.attack}, {score.known_samples} known of each class", accuracy=score.accuracy,
                up_to_names=score.accuracy_up_to_names, low=score.low, high=score.high, chance=score.chance,
                samples=score.samples, estimate=own,
            )
            for score in recorded.scores
        ]  # fmt: skip
    return found


def labels(result: AuditResult) -> Evidence | str:
    """The labels with their names; up to their names where no attack could know these."""
    rows = [row for row in label_scores(result) if not math.isnan(row.value)]
    if not rows:
        unscored = result.recorded is not None and bool(result.recorded.labels)
        if not unscored:
            return "No label inference was run."
        if result.recorded is not None and any(row.attack == "sent" for row in result.recorded.labels):
            return "The client sends its labels; the truth to compare with is not known."
        return "The truth is not known, so nothing is scored."
    with_names = [row for row in rows if row.accuracy is not None]
    best = max(with_names or rows, key=lambda row: (row.score, row.value))
    ends = [None if end is None else clipped(share(end, best.chance, 1.0)) for end in (best.low, best.high)]
    names = "" if with_names else " up to the classes' names"
    return Evidence(
        score=best.score,
        low=ends[0],
        high=ends[1],
        by=best.name,
        measured=f"{best.value:.1%} right{names}, commonest class {best.chance:.1%}",
        guess=best.chance,
        samples=best.samples,
        estimate=best.estimate,
        attacks=len(rows),
    )


def named(row: InversionRow) -> str:
    """An inversion in words."""
    return f"depth {row.depth} ({row.cut}), {row.state} training, {row.attack}"


def named_label(row: LabelRow) -> str:
    """A label inference in words."""
    seen = row.observed.replace("weight_grad", "weight gradient").replace("cut_grad", "cut gradient")
    clone = "" if row.clone_head == "none" else f", {row.clone_head} clone"
    known = f", {row.known_samples} known of each class" if row.known_samples else ""
    batches = "" if row.batch_size == 1 else f" in batches of {row.batch_size}"
    return f"setup ({row.setup}), head of {row.depth}, {seen}{batches}{known}{clone}, {row.optimizer}{knowing(row)}"


def knowing(row: LabelRow | UShapeRow) -> str:
    """What is added to the name of an attack that knows the client's defences."""
    return ", aware" if row.aware else ""
