"""The scale from "no better than a guess that saw nothing" to "exact", and its words: one for all reports."""

import math

from unsplit.metrics import Score, skill
from unsplit.results import PictureScores

GRADES = (
    "almost exactly",
    "recognisably",
    "in shape only, with the wrong contrast or sign",
    "in part",
    "not recovered",
)
ALMOST_EXACTLY, RECOGNISABLY, IN_PART = 0.9, 0.5, 0.1

BANDS = ((GRADES[0], ALMOST_EXACTLY), (GRADES[1], RECOGNISABLY), (GRADES[3], IN_PART), (GRADES[4], 0.0))
"""Word and lowest score of each band. SHAPE_ONLY has no band: it is for inputs of a skill below 0.5 that have half the
error of the best constant or less, and a skill of 0.1 or more, if contrast, brightness and sign are forgiven.
"""
SHAPE_ONLY = GRADES[2]


def word_for(score: float) -> str:
    """The word of the band in which a score from 0 to 1 lies."""
    return next(word for word, limit in BANDS if score >= limit)


def shape(row: PictureScores) -> float:
    """The skill that there would be if contrast, brightness and sign were forgiven: 1 is a perfect shape."""
    return skill(row.mse_scale_free, {"best": row.mse_best_trivial})


def taken(row: PictureScores) -> float:
    """The score of an inversion, 0 to 1: its skill, or half of what its shape alone is worth."""
    return clipped(max(row.skill, shape(row) / 2 if grade(row) == SHAPE_ONLY else 0.0))


def grade(row: PictureScores) -> str:
    """How well inputs were recovered: by the skill over the best trivial guess, and where that is low, by the shape."""
    constant = row.guesses.get("best constant", row.mse_best_trivial)
    half = row.mse_scale_free <= (1 - RECOGNISABLY) * constant
    if row.skill < RECOGNISABLY and half and shape(row) >= IN_PART:
        return SHAPE_ONLY
    return word_for(max(row.skill, 0.0))


def share(value: float, chance: float, best: float) -> float:
    """Where a value lies between chance and the best that there can be; 0 if that is no better than chance."""
    return (value - chance) / (best - chance) if best > chance else 0.0


def clipped(score: float) -> float:
    """Within 0 to 1."""
    return min(max(score, 0.0), 1.0)


def network_score(value: float, score: Score = "accuracy") -> str:
    """How well a network does, in words: a share as a percentage, R² as R²."""
    if math.isnan(value):
        return "not measured"
    return f"R² {value:.2f}" if score == "r2" else f"{value:.1%}"
