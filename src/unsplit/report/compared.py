"""Two audits beside each other: what a change to the training did to what leaks, and what it costs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from unsplit.errors import FormatError
from unsplit.files import explained
from unsplit.report.numbers import decimals, error, percent
from unsplit.report.write import read_report
from unsplit.results import AuditResult, CostRow, Row
from unsplit.verdict import ASSETS, Score, Verdict, verdict
from unsplit.verdict.assets import label_scores, named, pictures

Change = Literal["more", "less", "unclear", "same", "not comparable"]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two audits.

    Args:
        folder: the folder of the audit's report, where its pictures are.
        result: the audit's numbers.
        verdict: the verdict on these numbers.
    """

    folder: Path
    result: AuditResult
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class AssetChange:
    """What became of one asset; `change` is of what leaks, so that "less" is good."""

    before: Score
    after: Score
    change: Change


@dataclass(frozen=True, kw_only=True)
class RowChange:
    """One figure of one attack that both audits ran, as text; `guess` is the trivial one, before and after."""

    attack: str
    figure: str
    before: str
    after: str
    guess: str
    same: bool


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What changed.

    Args:
        before: the audit from before the change.
        after: the audit from after the change.
        warnings: why scores may differ for other reasons than the change.
        assets: the change of each of inputs, model and labels.
        rows: the figures of all attacks that both audits ran.
        costs: what the training costs, each as its name, the cost before and the cost after.
        defenses: what the clients did on their side of the border before and after, if that is not the same.
    """

    before: Side
    after: Side
    warnings: tuple[str, ...]
    assets: tuple[AssetChange, ...]
    rows: tuple[RowChange, ...]
    costs: tuple[tuple[str, str, str], ...]
    defenses: tuple[str, str] | None = None

    @property
    def worse(self) -> bool:
        """Whether more of something leaks, beyond doubt and tolerance."""
        return any(asset.change == "more" for asset in self.assets)

    @property
    def unchanged(self) -> bool:
        """Whether no figure differs."""
        same = all(asset.change in ("same", "not comparable") for asset in self.assets)
        return same and all(row.same for row in self.rows)


def read_side(path: Path) -> Side:
    """A report's folder, or its `report.json`.

    Raises:
        FormatError: missing, damaged, or no report.
        StorageError: it cannot be read.
    """
    file = path / "report.json" if path.is_dir() or not path.suffix else path
    if not file.is_file():
        raise FormatError(f"There is no report at {path}; name the folder of an audit, or its report.json.")
    result = read_report(file)
    judged = file.parent / "verdict.json"
    if not judged.is_file():
        return Side(folder=file.parent, result=result, verdict=verdict(result))
    with explained(judged):
        text = judged.read_text(encoding="utf-8")
    try:
        # The scores are computed anew, so that both sides are on this program's scale; only what the result does not
        # hold is taken from the file.
        targets = Verdict.model_validate_json(text).of("inputs").samples
    except (ValidationError, StopIteration) as damage:
        raise FormatError(f"{judged} is damaged or not a verdict of unsplit; run the audit again.") from damage
    return Side(folder=file.parent, result=result, verdict=verdict(result, targets=targets))


def compare(before: Side, after: Side, *, tolerance: float = 0.01) -> Comparison:
    """Compare two audits.

    Args:
        before: the audit from before the change.
        after: the audit from after the change.
        tolerance: the largest difference of two scores, 0 to 1, that is unclear, as differences within overlapping
            95 % intervals are.
    """
    scores = [(before.verdict.of(asset), after.verdict.of(asset)) for asset in ASSETS]
    return Comparison(
        before=before,
        after=after,
        warnings=_warnings(before.result, after.result),
        assets=tuple(AssetChange(before=one, after=two, change=_change(one, two, tolerance)) for one, two in scores),
        rows=_rows(before.result, after.result),
        costs=_costs(before.result, after.result),
        defenses=_defenses(before.result, after.result),
    )


def _change(before: Score, after: Score, tolerance: float) -> Change:
    if before.score is None or after.score is None:
        return "not comparable"
    if before.score == after.score:
        return "same"
    ends = (before.low, before.high, after.low, after.high)
    overlap = None not in ends and max(ends[0] or 0, ends[2] or 0) <= min(ends[1] or 0, ends[3] or 0)
    if overlap or abs(after.score - before.score) <= tolerance:
        return "unclear"
    return "more" if after.score > before.score else "less"


def _warnings(before: AuditResult, after: AuditResult) -> tuple[str, ...]:
    found = [
        f"{what} is not the same: {one} before, {two} after." for what, one, two in _facts(before, after) if one != two
    ]
    for which, result in (("before", before), ("after", after)):
        defended = result.defended
        if defended is not None and not defended.aware and any(row.adapted for row in defended.defenses):
            found.append(
                f"No attack knew the defence {which}, {defended}: scores show what an attacker gets who does not "
                "expect it; run that audit with `aware`."
            )
    for what, one, two in (
        ("inversions", _plain(by for by, *_ in pictures(before)), _plain(by for by, *_ in pictures(after))),
        ("label attacks", _plain(row.name for row in label_scores(before)),
         _plain(row.name for row in label_scores(after))),
    ):  # fmt: skip
        if one != two:
            found.append(
                f"The two audits did not run the same {what}: {len(one & two)} in both, {len(one - two)} only before, "
                f"{len(two - one)} only after; scores are of the strongest that was run."
            )
    return tuple(found)


def _plain(names: Iterable[str]) -> set[str]:
    """The attacks by name, without those that know defences, which an audit without these cannot have."""
    return {name for name in names if not name.endswith(", aware")}


def _defenses(before: AuditResult, after: AuditResult) -> tuple[str, str] | None:
    """The defences of both, where they differ."""
    one, two = (str(result.defended or "none") for result in (before, after))
    return None if one == two else (one, two)


_OF_RUN = {"seed": "The seed", "device": "The device", "precision": "The precision"}
_OF_TRAINING = {
    "dataset": "The data",
    "input_shape": "The input shape",
    "training_samples": "The number of training samples",
    "test_samples": "The number of test samples",
    "model": "The model",
    "setup": "The setup",
    "steps": "The number of training steps",
    "batch_size": "The batch size",
    "optimizer": "The optimiser",
    "loss": "The loss",
}
_OF_TRAFFIC = {
    "model": "The model",
    "setup": "The setup",
    "observer": "The observer",
    "steps": "The number of recorded steps",
    "truth": "Whether the truth is known",
}
"""What should agree for two audits to be comparable: fields of their rows, in words."""


def _facts(before: AuditResult, after: AuditResult) -> list[tuple[str, object, object]]:
    """What should agree, and what it is before and after."""
    facts = _fields(_OF_RUN, before.provenance, after.provenance)
    versions = after.provenance.versions
    facts += [(f"The version of {name}", one, versions.get(name)) for name, one in before.provenance.versions.items()]
    if before.training is not None and after.training is not None:
        return facts + _fields(_OF_TRAINING, before.training, after.training)
    if before.recorded is not None and after.recorded is not None:
        return facts + _fields(_OF_TRAFFIC, before.recorded, after.recorded)
    was, now = ("recorded traffic" if result.recorded is not None else "a training" for result in (before, after))
    return [*facts, ("The kind of audit", was, now)]


def _fields(names: dict[str, str], before: Row, after: Row) -> list[tuple[str, object, object]]:
    return [(words, getattr(before, name), getattr(after, name)) for name, words in names.items()]


def _rows(before: AuditResult, after: AuditResult) -> tuple[RowChange, ...]:
    found: list[RowChange] = []
    was = {by: scores for by, scores, _ in pictures(before)}
    for by, now, _ in pictures(after):
        if by in was:
            old = was[by]
            found.append(_row(by, "error", error, old.mse, now.mse, (old.mse_best_trivial, now.mse_best_trivial)))
            found.append(_row(by, "SSIM", decimals, old.ssim, now.ssim))
    clones = {named(row): row for row in before.inversion if row.state == "after"}
    for row in after.inversion:
        prior = clones.get(named(row))
        if prior is not None:
            chance = (prior.clone_chance, row.clone_chance)
            found.append(_row(named(row), "clone", percent, prior.clone_accuracy, row.clone_accuracy, chance))
    labels = {label.name: label for label in label_scores(before)}
    for label in label_scores(after):
        if label.name in labels:
            earlier = labels[label.name]
            what = "labels up to names" if label.accuracy is None else "labels"
            found.append(_row(label.name, what, percent, earlier.value, label.value, (earlier.chance, label.chance)))
    return tuple(found)


def _row(
    attack: str,
    figure: str,
    form: Callable[[float], str],
    before: float | None,
    after: float | None,
    guess: tuple[float, float] | None = None,
) -> RowChange:
    was, now = ("—" if value is None else form(value) for value in (before, after))
    guesses = "—" if guess is None else " → ".join(dict.fromkeys(map(form, guess)))
    return RowChange(attack=attack, figure=figure, before=was, after=now, guess=guesses, same=before == after)


def _costs(before: AuditResult, after: AuditResult) -> tuple[tuple[str, str, str], ...]:
    one, two = before.training, after.training
    if one is None or two is None:
        return ()
    apart = {cost.depth: cost.cut for side in (before, after) for cost in _costs_at(side)}
    deeper = [
        (f"accuracy of the task, cut at depth {depth} ({cut})", *(_at(side, depth) for side in (before, after)))
        for depth, cut in sorted(apart.items())
    ]
    return (
        ("accuracy of the task", percent(one.accuracy), percent(two.accuracy)),
        *(deeper if len(deeper) > 1 else ()),
        ("last training loss", _last(one.losses), _last(two.losses)),
        ("seconds of training", f"{one.seconds:.1f}", f"{two.seconds:.1f}"),
    )


def _costs_at(result: AuditResult) -> tuple[CostRow, ...]:
    """What defences cost where the network was cut in setup (a); nothing where there are none."""
    return () if result.defended is None else tuple(cost for cost in result.defended.costs if cost.setup == "a")


def _at(result: AuditResult, depth: int) -> str:
    """The accuracy with a cut at this depth, which is the same for every cut where there are no defences."""
    if result.defended is None:
        return percent(result.training.accuracy) if result.training is not None else "—"
    return next((percent(cost.accuracy) for cost in _costs_at(result) if cost.depth == depth), "—")


def _last(losses: tuple[float, ...]) -> str:
    return decimals(losses[-1] if losses else None, 4)
