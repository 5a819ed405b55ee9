"""Scores. They need the truth, which no attack sees, and stand beside trivial guesses and chance."""

from unsplit.metrics.classification import Share, accuracy, accuracy_up_to_names, agreement, chance, label_accuracy
from unsplit.metrics.guesses import skill, trivial_guesses
from unsplit.metrics.network import Score, baseline, likeness, performance, r2, score_of
from unsplit.metrics.reconstruction import (
    eight_orientations,
    mse,
    mse_best_of_eight,
    mse_scale_free,
    mse_scale_free_each,
    psnr,
    ssim,
)

__all__ = [
    "Score",
    "Share",
    "accuracy",
    "accuracy_up_to_names",
    "agreement",
    "baseline",
    "chance",
    "eight_orientations",
    "label_accuracy",
    "likeness",
    "mse",
    "mse_best_of_eight",
    "mse_scale_free",
    "mse_scale_free_each",
    "performance",
    "psnr",
    "r2",
    "score_of",
    "skill",
    "ssim",
    "trivial_guesses",
]
