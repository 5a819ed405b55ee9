"""Attacks: each sees a transcript and the knowledge in its signature, and nothing else."""

from unsplit.attacks.progress import Progress, silent
from unsplit.attacks.threat_model import ThreatModel, attack, threat_model

__all__ = ["Progress", "ThreatModel", "attack", "silent", "threat_model"]
