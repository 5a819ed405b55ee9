"""What a client may do on its side of the border: to its labels, to a message before it leaves, or to its training.

A defence registers itself where its class is defined, so the modules are imported in the order of the lists of names.
"""

from unsplit.defenses.defense import DEFENSES, Defense, Privacy, register_defense
from unsplit.defenses.smashed import Clip, Dropout, GaussianNoise, LaplaceNoise, Quantise, RandomReLU, Sparsify, TopK

# isort: split
from unsplit.defenses.nopeek import NoPeek, distance_correlation

# isort: split
from unsplit.defenses.labels import LabelDP, randomised_response

# isort: split
from unsplit.defenses.family import Together, members, parse_defense, parse_defenses, together
from unsplit.defenses.gradients import GradientNoise, Marvell, MaxNorm, SignGradients
from unsplit.defenses.training import DeeperCut, PrivateTraining

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
    "register_defense",
    "together",
]
