"""The verdict on an audit: how much of inputs, model and labels leaked, on one scale, and how sure that is.

It is computed from a result, never stored in it, and written as `verdict.json` beside `report.json`. A score of 0 is no
better than the best guess that has seen no message; it says that these attacks failed, not that none can succeed.
"""

from typing import Literal

from pydantic import Field

from unsplit.results import AuditResult, DefendedRow, Row
from unsplit.verdict.assets import Evidence, inputs, labels, model
from unsplit.verdict.confidence import (
    RECOVERED,
    SELF_RULES,
    SURE_RULES,
    Sureness,
    disagreement,
    of_itself,
    of_the_score,
)
from unsplit.verdict.scale import BANDS, word_for

Asset = Literal["inputs", "model", "labels"]
ASSETS: tuple[Asset, ...] = ("inputs", "model", "labels")
VERDICT_VERSION = 1

FORMULAS: dict[str, str] = {
    "inputs": "1 - error / error of the best trivial guess, within 0 to 1; of a shape alone half of what it would "
    "be if contrast, brightness and sign were forgiven, if that is more",
    "model": "(clone's accuracy - chance) / (client's own - chance), within 0 to 1; R² in place of accuracy, and 0 in "
    "place of chance, for a regression",
    "labels": "(accuracy - chance) / (1 - chance), within 0 to 1; 0 where the interval reaches chance",
}


class Band(Row):
    """One step of the scale."""

    word: str
    at_least: float = Field(description="lowest score of this band; the next better band begins above")


class Score(Row):
    """How much of one asset the strongest attack took."""

    asset: Asset
    score: float | None = Field(description="0 no better than a guess that saw nothing, 1 exact; null if not measured")
    low: float | None = Field(default=None, description="lower end of the score's 95 % interval, where known")
    high: float | None = Field(default=None, description="upper end of it")
    grade: str = Field(description="word of the scale, or `not measured`")
    by: str | None = Field(default=None, description="the row that made the score")
    measured: str = Field(description="the figures behind the score, or why there is none")
    guess: float | None = Field(default=None, description="the trivial guess: its error, or chance")
    samples: int | None = Field(default=None, description="samples that it was measured on, where known")
    self_estimate: Sureness = Field(description="would the attacker know that it succeeded, without the truth")
    self_estimate_why: str
    sure: Sureness = Field(description="how sure the score is, above all `not recovered`")
    sure_why: str
    disagreement: str | None = Field(default=None, description="where self-estimate and truth disagree")


class Outcome(Row):
    """One condition of `--fail-if`."""

    condition: str
    holds: bool | None = Field(description="null if the audit does not measure it")
    value: float | None = Field(description="the worst case over the rows")
    by: str | None = Field(description="the row that made it")
    words: str = Field(description="one line that says so")


class Verdict(Row):
    """The whole of `verdict.json`."""

    verdict_version: int = VERDICT_VERSION
    scale: tuple[Band, ...]
    formulas: dict[str, str]
    self_estimate_rules: dict[str, str]
    sure_rules: dict[str, str]
    scores: tuple[Score, ...]
    leakage: float | None = Field(description="the largest score; null if none was measured")
    defenses: tuple[str, ...] = Field(default=(), description="what the clients did on their side of the border")
    aware: bool = Field(default=False, description="whether attacks that know these defences were run")
    thresholds: tuple[Outcome, ...] = ()

    def of(self, asset: Asset) -> Score:
        """The score of one asset."""
        return next(score for score in self.scores if score.asset == asset)


def verdict(result: AuditResult, *, targets: int | None = None) -> Verdict:
    """The verdict on a result.

    Args:
        result: result of an audit, or of attacks on recorded traffic.
        targets: number of inputs that were attacked, where the result does not tell it.
    """
    found: dict[Asset, Evidence | str] = {
        "inputs": inputs(result, targets),
        "model": model(result),
        "labels": labels(result),
    }
    scores = tuple(_with_defenses(_score(asset, found[asset]), result.defended) for asset in ASSETS)
    return Verdict(
        scale=tuple(Band(word=word, at_least=limit) for word, limit in BANDS),
        formulas=FORMULAS,
        self_estimate_rules=SELF_RULES,
        sure_rules=SURE_RULES,
        scores=scores,
        leakage=max((score.score for score in scores if score.score is not None), default=None),
        defenses=() if result.defended is None else tuple(row.defense for row in result.defended.defenses),
        aware=result.defended is not None and result.defended.aware,
    )


def _with_defenses(score: Score, defended: DefendedRow | None) -> Score:
    """The score, of which little is sure where something was not recovered by attacks that do not know the defence."""
    if score.score is None or defended is None or defended.aware:
        return score
    unknown = [row.defense for row in defended.defenses if score.asset in row.adapted]
    if not unknown:
        return score
    why = f"{score.sure_why}; no attack knew of {', '.join(unknown)}"
    return score.model_copy(update={"sure": "low" if score.score < RECOVERED else score.sure, "sure_why": why})


def _score(asset: Asset, found: Evidence | str) -> Score:
    if isinstance(found, str):
        return Score(
            asset=asset, score=None, grade="not measured", measured=found,
            self_estimate="not said", self_estimate_why=found, sure="not said", sure_why=found,
        )  # fmt: skip
    own = of_itself(found.estimate)
    width = None if found.low is None or found.high is None else found.high - found.low
    sure = of_the_score(found.score, found.samples, found.residuals, found.attacks, width=width, doubt=found.doubt)
    return Score(
        asset=asset,
        score=found.score,
        low=found.low,
        high=found.high,
        grade=found.word or word_for(found.score),
        by=found.by,
        measured=found.measured,
        guess=found.guess,
        samples=found.samples,
        self_estimate=own.word,
        self_estimate_why=own.why,
        sure=sure.word,
        sure_why=sure.why,
        disagreement=disagreement(own.word, found.score),
    )
