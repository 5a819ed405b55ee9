"""Attacks by a malicious server, which trains the client for an objective of its own, and their passive rivals: an
honest-but-curious server with data of its own.
"""

from unsplit.attacks.auxiliary._sdar_attacker import SDAR_PRESETS, SdarAttacker, SdarConfig, sdar_preset
from unsplit.attacks.auxiliary.feature_space import HijackConfig, Hijacker, hijack_feature_space
from unsplit.attacks.auxiliary.fora import FORA_PRESETS, ForaConfig, fora_preset, invert_by_feature_matching
from unsplit.attacks.auxiliary.sdar import invert_by_simulation, invert_by_simulation_without_labels

__all__ = [
    "FORA_PRESETS",
    "SDAR_PRESETS",
    "ForaConfig",
    "HijackConfig",
    "Hijacker",
    "SdarAttacker",
    "SdarConfig",
    "fora_preset",
    "hijack_feature_space",
    "invert_by_feature_matching",
    "invert_by_simulation",
    "invert_by_simulation_without_labels",
    "sdar_preset",
]
