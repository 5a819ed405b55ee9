"""Attacks by a malicious server, which trains the client for an objective of its own."""

from unsplit.attacks.hijack.feature_space import HijackConfig, Hijacker, hijack_feature_space

__all__ = ["HijackConfig", "Hijacker", "hijack_feature_space"]
