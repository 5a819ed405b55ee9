"""The scale from "no better than a guess that saw nothing" to "exact", and its words: one for all reports."""

from unsplit.experiment.results import PictureScores

GRADES = ("almost exactly", "recognisably", "in shape, with the wrong contrast or sign", "in part", "not recovered")
ALMOST_EXACTLY, RECOGNISABLY, IN_PART = 0.9, 0.5, 0.1

BANDS = ((GRADES[0], ALMOST_EXACTLY), (GRADES[1], RECOGNISABLY), (GRADES[3], IN_PART), (GRADES[4], 0.0))
"""Word and lowest score of each band. GRADES[2] has no band: it is for pictures below 0.5 that would rise above it if
contrast, brightness and sign were forgiven.
"""


def word_for(score: float) -> str:
    """The word of the band in which a score from 0 to 1 lies."""
    return next(word for word, limit in BANDS if score >= limit)


def grade(row: PictureScores) -> str:
    """How well inputs were recovered: from the skill over the best trivial guess, and where that is low, from the
    error that is left when contrast, brightness and sign are forgiven.
    """
    if row.skill >= RECOGNISABLY:
        return word_for(row.skill)
    constant = row.guesses.get("best constant")
    if constant is not None and row.mse_scale_free <= (1 - RECOGNISABLY) * constant:
        return GRADES[2]
    return word_for(max(row.skill, 0.0))


def share(value: float, chance: float, best: float) -> float:
    """Where a value lies between chance and the best that there can be; 0 if that is no better than chance."""
    return (value - chance) / (best - chance) if best > chance else 0.0


def clipped(score: float) -> float:
    """Within 0 to 1."""
    return min(max(score, 0.0), 1.0)
