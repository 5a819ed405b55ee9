"""Scores. They need the truth, which no attack sees, and stand beside trivial guesses and chance."""

from unsplit.metrics.classification import (
    Share,
    accuracy,
    accuracy_up_to_names,
    agreement,
    chance,
    label_accuracy,
)
from unsplit.metrics.guesses import skill, trivial_guesses
from unsplit.metrics.reconstruction import mse, mse_scale_free, mse_scale_free_each, psnr, ssim

__all__ = [
    "Share",
    "accuracy",
    "accuracy_up_to_names",
    "agreement",
    "chance",
    "label_accuracy",
    "mse",
    "mse_scale_free",
    "mse_scale_free_each",
    "psnr",
    "skill",
    "ssim",
    "trivial_guesses",
]
