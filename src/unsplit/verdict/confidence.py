"""How sure the attacker may be of its success, and we of its failure, by rules that are printed beside the words.

The first is told without the truth: what the attacker would see of its own success. The second is about the scores.
"""

from typing import Literal, NamedTuple

from unsplit.attacks.inversion import AGREEMENT, SURE_AGREEMENT, SURE_RESIDUAL

Sureness = Literal["high", "medium", "low", "not said"]

RESIDUAL = 0.1
"""An attack that leaves more of the smashed data unexplained than this has not converged."""
EXPLAINED = 0.05
"""One that leaves no more than this explains them."""
AGREE, AGREE_WELL = AGREEMENT, SURE_AGREEMENT
MARGIN, WIDE_MARGIN = 0.3, 0.5
UNDECIDED = 0.1
MANY, SOME = 100, 10
RECOVERED, WELL = 0.1, 0.5

SELF_RULES = {
    "high": f"restarts agree by {AGREE_WELL} or more, residual up to {SURE_RESIDUAL}, sign not ambiguous; labels: "
    f"margin of {WIDE_MARGIN:g} or more",
    "medium": f"restarts agree by {AGREE} or more, or there were none, and residual up to {RESIDUAL}, sign not "
    f"ambiguous; labels: margin of {MARGIN} or more",
    "low": f"restarts agree by less than {AGREE}, residual above {RESIDUAL}, or the sign is ambiguous; labels: a "
    f"smaller margin, or more than {UNDECIDED:.0%} undecided",
    "not said": "the attack makes no estimate of its own success",
}
SURE_RULES = {
    "high": f"recovered: measured on {MANY} samples or more; not recovered: on so many, and every attack explained "
    f"the messages to {EXPLAINED} (labels: two attacks or more)",
    "medium": f"recovered: on {SOME} samples or more; not recovered: on so many, and some attack explained the "
    f"messages to {EXPLAINED} (labels: one attack)",
    "low": "all else: few samples, attacks that did not explain the messages, so that their failure says little, or a "
    "clone that does far worse than chance",
}


class Estimate(NamedTuple):
    """What an attack tells of its own success, without the truth; None for what it does not tell."""

    residual: float | None = None
    sign: str | None = None
    agreement: float | None = None
    margin: float | None = None
    undecided: float = 0.0


SILENT = Estimate()
"""The estimate of an attack that tells nothing."""


class Sure(NamedTuple):
    """A word, and what it rests on."""

    word: Sureness
    why: str


def of_itself(estimate: Estimate) -> Sure:
    """Would the attacker know that it succeeded?"""
    if estimate.margin is not None:
        return _by_margin(estimate.margin, estimate.undecided)
    if estimate.residual is None:
        return Sure("not said", SELF_RULES["not said"])
    agreement = estimate.agreement
    told = [f"residual {estimate.residual:.2g}", f"sign {estimate.sign}"]
    told.append("no restarts to compare" if agreement is None else f"restarts agree by {agreement:.2f}")
    why = ", ".join(told)
    if (
        not estimate.residual <= RESIDUAL
        or estimate.sign == "ambiguous"
        or (agreement is not None and agreement < AGREE)
    ):
        return Sure("low", why)
    if agreement is not None and agreement >= AGREE_WELL and estimate.residual <= SURE_RESIDUAL:
        return Sure("high", why)
    return Sure("medium", why)


def of_the_score(
    score: float,
    samples: int | None,
    residuals: list[float],
    attacks: int,
    *,
    width: float | None = None,
    doubt: str | None = None,
) -> Sure:
    """How sure is the score, and above all "not recovered"?

    Args:
        score: score of the asset, from 0 to 1.
        samples: number of samples that it was measured on; None if it is not known.
        residuals: residuals of all attacks on the asset; empty where attacks have none (labels).
        attacks: number of attacks on the asset.
        width: width of the score's 95 % interval, where there is one; it is named in the reason.
        doubt: what speaks against "not recovered", if something does, in words.
    """
    number = samples or 0
    counted = f"{number:,} samples" if samples is not None else "an unknown number of samples"
    why = counted if width is None else f"{counted}, interval {width:.2f} wide"
    if score >= RECOVERED:
        return Sure("high" if number >= MANY else "medium" if number >= SOME else "low", why)
    if doubt is not None:
        return Sure("low", f"{why}; {doubt}")
    if residuals:
        explained = sum(residual <= EXPLAINED for residual in residuals)
        why += f"; {explained} of {len(residuals)} attacks explained the messages"
        every, some = explained == len(residuals), explained > 0
    else:
        why += f"; {attacks} attack{'s' if attacks != 1 else ''}"
        every, some = attacks > 1, attacks > 0
    if every and number >= MANY:
        return Sure("high", why)
    return Sure("medium" if some and number >= SOME else "low", why)


def disagreement(own: Sureness, score: float) -> str | None:
    """Says when the self-estimate and the truth disagree."""
    if own == "high" and score < RECOVERED:
        return "The attack would believe that it succeeded, and by the truth it did not."
    if own == "low" and score >= WELL:
        return "The attack would doubt its success, and by the truth it succeeded."
    return None


def _by_margin(margin: float, undecided: float) -> Sure:
    why = f"mean margin {margin:.2f}, {undecided:.0%} undecided"
    if undecided > UNDECIDED or not margin >= MARGIN:
        return Sure("low", why)
    return Sure("high" if margin >= WIDE_MARGIN else "medium", why)
