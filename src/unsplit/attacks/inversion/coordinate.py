"""UnSplit's inversion and model stealing by coordinate descent: the paper's Algorithm 1."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from unsplit.attacks._threat_model import attack
from unsplit.attacks.inversion._descent import Descent, separable
from unsplit.attacks.objectives import VARIATIONS, objective
from unsplit.attacks.progress import Progress, silent
from unsplit.attacks.settings import InversionConfig, Limits, at_most
from unsplit.attacks.targets import fresh_clone, matched_targets
from unsplit.errors import InputError, check_at_least_one, check_not_negative, unknown_name
from unsplit.knowledge import ClientArchitecture
from unsplit.optim import OptimizerSpec
from unsplit.types import Kind, Reconstruction, Transcript

_WORDS = {
    "partition": ("inputs-weights", "layers", "merged"),
    "variation": VARIATIONS,
    "start": ("half", "uniform"),
}


@dataclass(frozen=True, kw_only=True)
class CoordinateConfig(InversionConfig):
    """All that section 4.2 of the paper says may be tuned. The defaults are the preset `paper` at depths 1 to 3.

    Args:
        rounds: largest number of rounds for each input.
        input_steps: gradient steps on the input in each round.
        weight_steps: gradient steps on each block of weights in each round.
        input_optimizer, weight_optimizer: one optimiser for inputs, one for weights.
        input_objective, weight_objective: what inputs and weights minimise, each by its name in `OBJECTIVES`.
        partition: the blocks that are updated in turn: "inputs-weights" as in the paper, "layers" for inputs and
            then each layer's weights, "merged" for one block of everything (one step on all a round's step).
        variation_weight: alpha of Equation 1, at least 0.
        variation: kind of total variation, by its name in `VARIATIONS`.
        norm_weight: weight of the input's mean square, at least 0; not in the paper.
        start: first input: "half" the range everywhere, or "uniform" noise over it.
        new_clone: draw a new clone for each input instead of going on with the last one.
        tolerance: end an input when the objective has not improved by this share of itself for `patience` rounds;
            None never ends early.
        patience: number of rounds without an improvement after which an input ends, where there is a `tolerance`.
        at_once: how many inputs to search for side by side where each has a clone of its own; they do not touch each
            other, so this changes the time it takes and nothing else (rounding aside).

    Raises:
        InputError: a number out of its range, or an unknown name.
    """

    rounds: int = 1000
    input_steps: int = 100
    weight_steps: int = 100
    input_optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    weight_optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    input_objective: str = "mse"
    weight_objective: str = "mse"
    partition: Literal["inputs-weights", "layers", "merged"] = "inputs-weights"
    variation_weight: float = 0.1
    variation: str = "isotropic"
    norm_weight: float = 0.0
    start: Literal["half", "uniform"] = "half"
    new_clone: bool = True
    tolerance: float | None = 1e-3
    patience: int = 50
    at_once: int = 16

    def __post_init__(self) -> None:
        check_at_least_one(self, "rounds", "input_steps", "weight_steps", "patience", "at_once")
        check_not_negative(self, "variation_weight", "norm_weight")
        if self.tolerance is not None and not 0 <= self.tolerance < 1:
            raise InputError(f"tolerance is {self.tolerance}; it must be from 0 to below 1, or None to run all rounds.")
        for name, known in _WORDS.items():
            if getattr(self, name) not in known:
                raise unknown_name(name, getattr(self, name), known)
        objective(self.input_objective)
        objective(self.weight_objective)

    @property
    def attack(self) -> Callable[..., Reconstruction]:
        return invert_by_coordinates

    def within(self, limits: Limits) -> "CoordinateConfig":
        return replace(self, rounds=at_most(self.rounds, limits.rounds))


@attack(goal="inputs and a clone of the client's first layers", reads=(Kind.SMASHED,))
def invert_by_coordinates(
    view: Transcript,
    architecture: ClientArchitecture,
    config: CoordinateConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Reconstruction:
    """Recover each observed input together with a working copy of the client's bottom, one input at a time.

    Threat model:
        An honest-but-curious server that keeps the smashed data it receives and knows the client's architecture.

    Objective:
        In turn, with s the smashed data and f the clone: x = argmin MSE(f(w; x), s) + alpha TV(x) (Equation 1) and
        w = argmin MSE(f(w; x), s) (Equation 2), each by some gradient steps, until convergence.

    Args:
        view: transcript whose smashed data [n, ...] are the targets.
        architecture: the client's layers, the shape of an input and its range.
        config: settings of the attack; see the presets.
        generator: draws the clones' first weights (and the first input, if so configured).
        progress: called after every round.

    Returns:
        The inputs [n, *input shape], not clipped, and a clone each (or one for all if `new_clone` is off).

    Raises:
        InputError: no smashed data in the view, or of a shape that the architecture cannot produce.

    Reference:
        Erdoğan, Küpçü, Çiçek: UnSplit, section 4.2, Equations 1 and 2, Algorithm 1.

    Departures:
        See the presets, which list those of each.
    """
    targets, clone = matched_targets(view, architecture, generator, alone=True)
    shape = (1, *architecture.input_shape)
    clones, firsts = [clone], []
    for index in range(len(targets)):
        if index and config.new_clone:
            clones.append(fresh_clone(architecture, generator, targets.device, alone=True))
        unit = torch.full(shape, 0.5) if config.start == "half" else torch.rand(shape, generator=generator)
        firsts.append((architecture.low + (architecture.high - architecture.low) * unit).to(targets.device))
    size = config.at_once if config.new_clone and separable(clone, config) else 1
    found = []
    for first in range(0, len(targets), size):
        group = slice(first, first + size)
        search = Descent(
            torch.cat(firsts[group]), targets[group], clones[group] if config.new_clone else clones, config
        )
        found.append(search.run(_shifted(progress, first, len(targets))))
    return Reconstruction(
        inputs=torch.cat([inputs for inputs, _, _ in found]),
        clones=tuple(clones),
        residual=torch.cat([residual for _, residual, _ in found]),
        rounds=tuple(rounds for _, _, counts in found for rounds in counts),
    )


def _shifted(progress: Progress, before: int, total: int) -> Callable[[float, float], None]:
    """Tell `progress` of a group of searches, of which `before` others have been done."""
    return lambda done, loss: progress(before + done, total, loss)
