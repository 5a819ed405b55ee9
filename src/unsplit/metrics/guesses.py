"""Guesses that have seen no message. An error means something only beside theirs."""

import torch
from jaxtyping import Float
from torch import Tensor


def trivial_guesses(
    truth: Float[Tensor, "n ..."], mean_input: Float[Tensor, "..."], *, low: float = 0.0, high: float = 1.0
) -> dict[str, float]:
    """The mean squared error of each trivial guess at the targets.

    Args:
        truth: true inputs, shape [n, *input shape].
        mean_input: mean of the training inputs, shape [*input shape].
        low: smallest value that inputs can have.
        high: largest value that inputs can have.

    Returns:
        By name: "half" the range everywhere, the "best constant" (chosen with the truth), "black" (the lowest
        value), and the "mean picture" of the training data. The last two know more than the attacker does.
    """
    guesses = {
        "half": torch.tensor((low + high) / 2),
        "best constant": truth.mean(),
        "black": torch.tensor(low),
        "mean picture": mean_input,
    }
    return {name: float((truth - guess.to(truth)).square().mean()) for name, guess in guesses.items()}


def skill(error: float, guesses: dict[str, float]) -> float:
    """1 - error / the best guess's error: 1 is perfect, 0 no better than guessing, below 0 worse."""
    best = min(guesses.values())
    return 1 - error / best if best > 0 else float("-inf") if error > 0 else 1.0
