"""UnSplit's inversion and model stealing: the paper's coordinate descent, the joint attack on many targets, and the
amortised inversion (presets `strong` and `strong-quick`), which trains a decoder on all smashed data.
"""

from unsplit.attacks.inversion._candidate import LearningConfig
from unsplit.attacks.inversion._ensemble import AGREEMENT
from unsplit.attacks.inversion._finalists import SURE_AGREEMENT, SURE_RESIDUAL, surely
from unsplit.attacks.inversion._informed import ExamplesConfig
from unsplit.attacks.inversion.amortised import AmortisedConfig, invert_by_decoder, invert_through_defense
from unsplit.attacks.inversion.coordinate import CoordinateConfig, invert_by_coordinates
from unsplit.attacks.inversion.examples import (
    ExamplesInversionConfig,
    invert_from_known_pictures,
    invert_from_similar_pictures,
)
from unsplit.attacks.inversion.joint import JointConfig, invert_jointly, invert_jointly_through_defense
from unsplit.attacks.inversion.photographs import Photographs
from unsplit.attacks.inversion.presets import PRESETS, adaptive_attack_of, attack_of, invert, preset
from unsplit.attacks.inversion.replay import invert_with_replay
from unsplit.attacks.objectives import OBJECTIVES, total_variation
from unsplit.attacks.settings import InversionConfig

__all__ = [
    "AGREEMENT",
    "OBJECTIVES",
    "PRESETS",
    "SURE_AGREEMENT",
    "SURE_RESIDUAL",
    "AmortisedConfig",
    "CoordinateConfig",
    "ExamplesConfig",
    "ExamplesInversionConfig",
    "InversionConfig",
    "JointConfig",
    "LearningConfig",
    "Photographs",
    "adaptive_attack_of",
    "attack_of",
    "invert",
    "invert_by_coordinates",
    "invert_by_decoder",
    "invert_from_known_pictures",
    "invert_from_similar_pictures",
    "invert_jointly",
    "invert_jointly_through_defense",
    "invert_through_defense",
    "invert_with_replay",
    "preset",
    "surely",
    "total_variation",
]
