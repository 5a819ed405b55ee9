"""UnSplit's inversion and model stealing by coordinate descent: the paper's Algorithm 1."""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from unsplit.attacks.progress import Progress, silent
from unsplit.attacks.threat_model import attack
from unsplit.attacks.unsplit.objectives import Objective, Variation, objective, relative_residual, total_variation
from unsplit.attacks.unsplit.targets import matched_targets
from unsplit.errors import InputError, check_at_least_one, unknown_name
from unsplit.knowledge import ClientArchitecture
from unsplit.optim import OptimizerSpec
from unsplit.types import Kind, Reconstruction, Transcript

_WORDS = {
    "partition": ("inputs-weights", "layers", "merged"),
    "variation": get_args(Variation),
    "start": ("half", "uniform"),
}


@dataclass(frozen=True, kw_only=True)
class CoordinateConfig:
    """All that section 4.2 of the paper says may be tuned. The defaults are the preset `paper` at depths 1 to 3.

    Args:
        rounds: most rounds for each input.
        input_steps: gradient steps on the input in each round.
        weight_steps: gradient steps on each block of weights in each round.
        input_optimizer, weight_optimizer: one optimiser for inputs, one for weights.
        input_objective, weight_objective: names in `OBJECTIVES`.
        partition: the blocks that are updated in turn: "inputs-weights" as in the paper, "layers" for inputs and
            then each layer's weights, "merged" for one block of everything (one step on all a round's step).
        variation_weight: alpha of Equation 1, at least 0.
        variation: which total variation.
        norm_weight: weight of the input's mean square, at least 0; not in the paper.
        start: first input: "half" the range everywhere, or "uniform" noise over it.
        new_clone: draw a new clone for each input instead of going on with the last one.
        tolerance: end an input when the objective has not improved by this share of itself for `patience` rounds;
            None never ends early.
        patience: see `tolerance`.

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
    variation: Variation = "isotropic"
    norm_weight: float = 0.0
    start: Literal["half", "uniform"] = "half"
    new_clone: bool = True
    tolerance: float | None = 1e-3
    patience: int = 50

    def __post_init__(self) -> None:
        check_at_least_one(self, "rounds", "input_steps", "weight_steps", "patience")
        for name in ("variation_weight", "norm_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)}; it must be 0 or more, and finite.")
        if self.tolerance is not None and not 0 <= self.tolerance < 1:
            raise InputError(f"tolerance is {self.tolerance}; it must be from 0 up to 1, or None never to end early.")
        for name, known in _WORDS.items():
            if getattr(self, name) not in known:
                raise unknown_name(name, getattr(self, name), known)
        objective(self.input_objective)
        objective(self.weight_objective)


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
        config: the settings; see the presets.
        generator: draws the clones' first weights (and the first input, if so configured).
        progress: told after every round.

    Returns:
        The inputs [n, *input shape], not clipped, and a clone each (or one for all if `new_clone` is off).

    Raises:
        InputError: no smashed data in the view, or of a shape that the architecture cannot produce.

    Reference:
        Erdoğan, Küpçü, Çiçek: UnSplit, section 4.2, Equations 1 and 2, Algorithm 1.

    Departures:
        See the presets, which list those of each.
    """
    targets, clone = matched_targets(view, architecture, generator)
    inputs, residuals, rounds = [], [], []
    clones: list[nn.Module] = []
    for index, target in enumerate(torch.split(targets, 1)):
        if index and config.new_clone:
            clone = architecture.blueprint.instantiate(generator=generator, device=targets.device)
        search = _Search(target, clone, architecture, config, generator)
        done = search.run(progress, index, len(targets))
        inputs.append(search.x.detach())
        residuals.append(search.residual())
        rounds.append(done)
        if config.new_clone or not clones:
            clones.append(clone)
    return Reconstruction(
        inputs=torch.cat(inputs), clones=tuple(clones), residual=torch.cat(residuals), rounds=tuple(rounds)
    )


class _Search:
    """The search for one input and its clone."""

    def __init__(
        self,
        target: Tensor,
        clone: nn.Module,
        architecture: ClientArchitecture,
        config: CoordinateConfig,
        generator: torch.Generator,
    ) -> None:
        shape = (1, *architecture.input_shape)
        unit = torch.full(shape, 0.5) if config.start == "half" else torch.rand(shape, generator=generator)
        first = architecture.low + (architecture.high - architecture.low) * unit
        self.x = first.to(target.device).requires_grad_()
        self._target = target
        self._clone = clone
        self._config = config
        self._fit_input: Objective = objective(config.input_objective)
        self._fit_weights: Objective = objective(config.weight_objective)
        self._blocks = self._partition()

    def run(self, progress: Progress, index: int, total: int) -> int:
        """Rounds until convergence or the last; returns how many."""
        config, best, since = self._config, float("inf"), 0
        for done in range(1, config.rounds + 1):
            for block, optimizer, steps in self._blocks:
                loss = self._descend(block, optimizer, steps)
            progress(index + done / config.rounds, total, loss)
            if config.tolerance is not None:
                improved = loss < best * (1 - config.tolerance)
                best, since = (loss, 0) if improved else (best, since + 1)
                if since >= config.patience:
                    return done
        return config.rounds

    def residual(self) -> Tensor:
        """How well the clone's output fits the target, shape [1]."""
        with torch.no_grad():
            return relative_residual(self._clone(self.x), self._target)

    def _partition(self) -> list[tuple[list[Tensor], torch.optim.Optimizer, int]]:
        config = self._config
        weights = [parameter for parameter in self._clone.parameters() if parameter.requires_grad]
        if config.partition == "merged":
            return [([self.x, *weights], config.input_optimizer.build([self.x, *weights]), config.input_steps)]
        layers = [list(layer.parameters(recurse=False)) for layer in self._clone.modules()]
        groups = [group for group in layers if group] if config.partition == "layers" else [weights]
        blocks: list[tuple[list[Tensor], torch.optim.Optimizer, int]] = [
            ([self.x], config.input_optimizer.build([self.x]), config.input_steps)
        ]
        blocks += [([*group], config.weight_optimizer.build(group), config.weight_steps) for group in groups if group]
        return blocks

    def _descend(self, block: list[Tensor], optimizer: torch.optim.Optimizer, steps: int) -> float:
        config, on_input = self._config, block[0] is self.x
        loss = torch.zeros(())
        for _ in range(steps):
            output = self._clone(self.x)
            if on_input:
                loss = self._fit_input(output, self._target)
                if config.variation_weight:
                    loss = loss + config.variation_weight * total_variation(self.x, config.variation)
                if config.norm_weight:
                    loss = loss + config.norm_weight * self.x.square().mean()
            else:
                loss = self._fit_weights(output, self._target)
            # Gradients of this block only: the others are held fixed.
            for value, gradient in zip(block, torch.autograd.grad(loss, block), strict=True):
                value.grad = gradient
            optimizer.step()
        return float(loss.detach())
