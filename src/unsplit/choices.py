"""What options can be, in a module that loads nothing, so that the command line offers it without loading torch.

Where a name stands for a thing (a preset, a defence, a table), the table of things is beside the things, and a test
holds the names here against it.
"""

from enum import Enum
from typing import Literal


class Setup(str, Enum):
    """Who holds what: the three panels of the paper's Figure 1."""

    A = "a"
    """The client has the inputs and sends the labels; the server has the top of the network."""
    B = "b"
    """The server has the inputs and the body; the client has the labels and the head."""
    C = "c"
    """U-shape: the client has inputs, labels, bottom and head; the server has the body between."""


Precision = Literal["auto", "on", "off"]
"""Whether to compute convolutions in bfloat16: where the device has instructions for it, always, or never."""

DEPTH = "depth (from 0: 1 keeps two modules at the client)"
"""How a cut is named in the help of options."""

LOSSES = ("cross_entropy", "bce", "mse")
REDUCTIONS = ("mean", "sum")
GUARDS = ("scrutiny", "splitguard")
PRESETS = ("joint", "joint-quick", "paper", "paper-literal", "released", "strong", "strong-quick")
WHITE_BOX = ("white-box", "white-box-quick")
LABEL_ATTACKS = (
    "surrogate", "k-means", "spectral", "features", "nearest", "norm", "direction", "sign", "matching",
    "least-squares", "handed-weights",
)  # fmt: skip
METRICS = (
    "inversion_skill", "inversion_shape", "inversion_mse", "inversion_ssim", "clone_accuracy", "clone_agreement",
    "label_accuracy", "label_accuracy_up_to_names", "whole_accuracy", "leakage",
)  # fmt: skip
DEFENSES = (
    "gaussian", "laplace", "clip", "quantise", "sparsify", "top-k", "dropout", "random-relu", "nopeek", "label-dp",
    "gradient-noise", "marvell", "max-norm", "sign", "dp-sgd", "deeper-cut",
)  # fmt: skip
STRENGTHS = tuple(name for name in DEFENSES if name not in ("marvell", "sign"))
"""The defences that the trade-off tries at several strengths."""
TABLES = ("table2", "table3", "table4", "table5", "table6", "figure2", "figure3a", "figure3b", "white-box", "labels")
