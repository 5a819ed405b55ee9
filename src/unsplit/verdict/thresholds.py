"""Conditions under which an audit fails a build, such as `label_accuracy>0.5`.

A condition is judged by the worst case over the rows: the largest value of a measure of leakage, the smallest value of
an error. A condition on what the audit does not measure neither holds nor fails, and is reported as such.
"""

import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from unsplit.errors import InputError, unknown_name
from unsplit.experiment.auditing.config import AuditConfig
from unsplit.results import AuditResult
from unsplit.verdict._verdict import Outcome, Verdict
from unsplit.verdict.assets import label_scores, named, pictures
from unsplit.verdict.scale import shape

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(r"\s*([^<>=!\s]+)\s*(>=|<=|>|<)\s*([^<>=!\s]+)\s*")

METRICS = {
    "inversion_skill": "1 - error / best trivial guess, of all inversions (largest)",
    "inversion_shape": "the same if contrast, brightness and sign were forgiven (largest)",
    "inversion_mse": "mean squared error of all inversions (smallest)",
    "inversion_ssim": "structural similarity of all inversions of pictures (largest)",
    "clone_accuracy": "test accuracy (R² for a regression) of the stolen layers, of a trained client (largest); with "
    "negatives of the inputs where these were found",
    "clone_agreement": "share of test inputs on which clone and client agree (R² of the one at the other for a "
    "regression), of a trained client (largest)",
    "label_accuracy": "share of labels right, names included (largest)",
    "label_accuracy_up_to_names": "share right after the best renaming of the groups (largest)",
    "whole_accuracy": "test accuracy without the client, both of its parts stolen; needs a U-shape",
    "leakage": "the largest of the verdict's scores",
}
_SMALLEST = ("inversion_mse",)

_Values = list[tuple[float | None, str]]


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """One condition.

    Args:
        metric: name of the measure, one of `METRICS`.
        operator: one of ">", ">=", "<" and "<=".
        limit: number that the measure is compared with; finite.

    Raises:
        InputError: an unknown metric or operator, or a limit that is not finite.
    """

    metric: str
    operator: str
    limit: float

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise unknown_name("metric", self.metric, METRICS)
        if self.operator not in _OPERATORS:
            raise unknown_name("operator", self.operator, _OPERATORS)
        if not math.isfinite(self.limit):
            raise InputError(f"The limit of {self.metric} is {self.limit}; it must be a finite number.")

    def __str__(self) -> str:
        return f"{self.metric}{self.operator}{self.limit:g}"


def parse_threshold(text: str) -> Threshold:
    """A condition written as metric, operator, number.

    Raises:
        InputError: not of this form.
    """
    parts = _FORM.fullmatch(text)
    if parts is None:
        raise InputError(
            f"The condition '{text}' is not of the form metric, one of > >= < <=, number; write for example "
            "label_accuracy>0.5."
        )
    try:
        limit = float(parts[3])
    except ValueError as error:
        raise InputError(
            f"The condition '{text}' ends with '{parts[3]}', which is not a number; write for example "
            "label_accuracy>0.5."
        ) from error
    return Threshold(metric=parts[1], operator=parts[2], limit=limit)


def judge(thresholds: Iterable[Threshold], result: AuditResult, verdict: Verdict) -> tuple[Outcome, ...]:
    """What each condition comes to."""
    return tuple(_judge(threshold, _values(threshold.metric, result, verdict)) for threshold in thresholds)


def refuse_unmeasured(outcomes: Sequence[Outcome]) -> None:
    """Refuse to pass over conditions that the audit does not measure.

    Raises:
        InputError: there is one.
    """
    for outcome in outcomes:
        if outcome.holds is None:
            raise InputError(outcome.words)


def check_measurable(thresholds: Iterable[Threshold], config: AuditConfig) -> None:
    """Refuse, before anything is trained, conditions on what an audit with these settings cannot measure.

    Raises:
        InputError: there is one.
    """
    inverts = bool(config.cuts and config.presets and config.states)
    reads = bool(config.label_setups and config.label_heads and config.label_optimizers)
    whole = config.u_shape is not None
    measured = {
        "inversion": (inverts or whole, "name cuts and presets"),
        "clone": (inverts and "after" in config.states, "name cuts and attack the client after training"),
        "label": (reads or whole, "name setups with `label_setups`"),
        "whole": (whole, "name a U-shape with `u_shape`"),
        "leakage": (inverts or reads or whole, "name cuts or label setups"),
    }
    for threshold in thresholds:
        possible, remedy = measured[threshold.metric.partition("_")[0]]
        if not possible:
            raise InputError(f"'{threshold}' cannot be judged: this audit does not measure it; {remedy}.")


def _judge(threshold: Threshold, values: _Values) -> Outcome:
    known = [(value, by) for value, by in values if value is not None]
    broken = next((by for value, by in known if math.isnan(value)), None)
    if not known or broken is not None:
        reason = "this audit does not measure it" if broken is None else f"its value at {broken} is not a number"
        words = f"'{threshold}' cannot be judged: {reason}; leave it out, or audit what it is about."
        return Outcome(condition=str(threshold), holds=None, value=None, by=broken, words=words)
    pick = min if threshold.metric in _SMALLEST else max
    value, by = pick(known, key=lambda entry: entry[0])
    holds = _OPERATORS[threshold.operator](value, threshold.limit)
    said = "holds" if holds else "does not hold"
    words = f"{threshold} {said}: {threshold.metric} is {value:.4g} ({by})"
    return Outcome(condition=str(threshold), holds=holds, value=value, by=by, words=words)


def _values(metric: str, result: AuditResult, verdict: Verdict) -> _Values:
    if metric == "leakage":
        return [(score.score, f"{score.asset}: {score.by}") for score in verdict.scores]
    if metric == "whole_accuracy":
        return [(row.whole_accuracy, "U-shape, aware" if row.aware else "U-shape") for row in result.u_shapes]
    if metric.startswith("inversion_"):
        if metric == "inversion_shape":
            return [(shape(scores), by) for by, scores, _ in pictures(result)]
        name = metric.removeprefix("inversion_")
        return [(getattr(scores, name), by) for by, scores, _ in pictures(result)]
    if metric.startswith("clone_"):
        name = "stolen_accuracy" if metric == "clone_accuracy" else metric
        return [
            (getattr(row, name), named(row)) for row in result.inversion if row.state == "after" and row.drift is None
        ]
    rows = label_scores(result)
    return [(row.accuracy if metric == "label_accuracy" else row.up_to_names, row.name) for row in rows]
