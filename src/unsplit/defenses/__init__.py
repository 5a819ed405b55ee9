"""What a client may do to its labels, or to a message before it leaves."""

from unsplit.defenses.gradient_noise import GradientNoise
from unsplit.defenses.randomised_response import randomised_response

__all__ = ["GradientNoise", "randomised_response"]
