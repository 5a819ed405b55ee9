"""UnSplit's inversion and model stealing: the paper's coordinate descent, and the joint attack on many targets."""

from unsplit.attacks.unsplit.coordinate import CoordinateConfig, invert_by_coordinates
from unsplit.attacks.unsplit.joint import JointConfig, invert_jointly
from unsplit.attacks.unsplit.objectives import OBJECTIVES, total_variation
from unsplit.attacks.unsplit.presets import PRESETS, attack_of, invert, preset

__all__ = [
    "OBJECTIVES",
    "PRESETS",
    "CoordinateConfig",
    "JointConfig",
    "attack_of",
    "invert",
    "invert_by_coordinates",
    "invert_jointly",
    "preset",
    "total_variation",
]
