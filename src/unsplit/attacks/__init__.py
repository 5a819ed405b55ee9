"""Attacks: each sees a transcript and the knowledge in its signature, and nothing else."""

from unsplit.attacks._threat_model import ThreatModel, attack, threat_model
from unsplit.attacks.observed import class_numbers, readable
from unsplit.attacks.progress import Progress, silent

__all__ = ["Progress", "ThreatModel", "attack", "class_numbers", "readable", "silent", "threat_model"]
