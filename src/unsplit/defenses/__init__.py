"""What a client may do on its side of the border: to its labels, to a message before it leaves, or to its training."""

from unsplit.defenses.defense import Defense, Privacy
from unsplit.defenses.family import DEFENSES, Together, members, parse_defense, parse_defenses, together
from unsplit.defenses.gradient_noise import GradientNoise
from unsplit.defenses.gradients import Marvell, MaxNorm, SignGradients
from unsplit.defenses.randomised_response import randomised_response
from unsplit.defenses.smashed import (
    Clip,
    Dropout,
    GaussianNoise,
    LaplaceNoise,
    Quantise,
    RandomReLU,
    Sparsify,
    TopK,
)
from unsplit.defenses.training import DeeperCut, LabelDP, NoPeek, PrivateTraining, distance_correlation

__all__ = [
    "DEFENSES",
    "Clip",
    "DeeperCut",
    "Defense",
    "Dropout",
    "GaussianNoise",
    "GradientNoise",
    "LabelDP",
    "LaplaceNoise",
    "Marvell",
    "MaxNorm",
    "NoPeek",
    "Privacy",
    "PrivateTraining",
    "Quantise",
    "RandomReLU",
    "SignGradients",
    "Sparsify",
    "Together",
    "TopK",
    "distance_correlation",
    "members",
    "parse_defense",
    "parse_defenses",
    "randomised_response",
    "together",
]
