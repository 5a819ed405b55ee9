"""Attacks on recorded traffic that take next to no time."""

from unsplit.attacks.inversion import AmortisedConfig, JointConfig, LearningConfig, presets
from unsplit.attacks.labels import LABEL_ATTACKS, LabelAttack, SurrogateConfig, infer_by_surrogate


def shorten(monkeypatch):
    """Give attacks next to no steps, in tests of everything around them."""
    quick = AmortisedConfig(
        candidates=2, finalists=2, steps=8, refit_steps=2, learning=LearningConfig(batch=8, width=8, blocks=1)
    )
    monkeypatch.setitem(presets.PRESETS, "joint", lambda _: JointConfig(steps=20))
    monkeypatch.setitem(presets.PRESETS, "strong-quick", lambda _: quick)
    hasty = SurrogateConfig(starts=1, rounds=1, passes=2)
    monkeypatch.setitem(LABEL_ATTACKS, "surrogate", LabelAttack(infer_by_surrogate, lambda _: hasty))
