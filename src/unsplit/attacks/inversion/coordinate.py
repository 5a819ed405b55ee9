"""UnSplit's inversion and model stealing by coordinate descent: the paper's Algorithm 1."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from unsplit.attacks._threat_model import attack
from unsplit.attacks.objectives import VARIATIONS, Objective, objective, relative_residual, total_variation
from unsplit.attacks.progress import Progress, silent
from unsplit.attacks.settings import InversionConfig, Limits, at_most
from unsplit.attacks.targets import fresh_clone, matched_targets
from unsplit.errors import InputError, check_at_least_one, check_not_negative, unknown_name
from unsplit.knowledge import ClientArchitecture
from unsplit.optim import OptimizerSpec
from unsplit.types import Kind, Reconstruction, Transcript

_Block = tuple[list[Tensor], torch.optim.Optimizer, int]

# Optimisers that treat every number by itself, so that stacked searches stay independent.
_ELEMENTWISE = {"adam", "adamw", "adamax", "nadam", "radam", "sgd", "rmsprop", "adagrad", "adadelta", "rprop"}

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
    size = config.at_once if config.new_clone and _separable(clone, config) else 1
    found = []
    for first in range(0, len(targets), size):
        group = slice(first, first + size)
        search = _Search(
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


def _separable(clone: nn.Module, config: CoordinateConfig) -> bool:
    """Whether searches can run side by side and stay apart: no layer that changes itself as it runs, and optimisers
    that treat every number by itself.
    """
    names = {config.input_optimizer.name.lower(), config.weight_optimizer.name.lower()}
    return next(clone.buffers(), None) is None and names <= _ELEMENTWISE


class _Search:
    """The search for some inputs and a clone for each, side by side.

    The clones' weights are stacked, so that one pass serves all of them; what has converged leaves the stack.
    """

    def __init__(self, first: Tensor, targets: Tensor, clones: Sequence[nn.Module], config: CoordinateConfig) -> None:
        self._config = config
        self._targets = targets
        self._clones = clones
        self._fit_input: Objective = objective(config.input_objective)
        self._fit_weights: Objective = objective(config.weight_objective)
        self._x = first.clone().requires_grad_()
        self._weights: dict[str, Tensor] = dict(clones[0].named_parameters())
        if len(clones) > 1:
            stacked, _ = stack_module_state(list(clones))
            self._weights = {name: value.detach().requires_grad_() for name, value in stacked.items()}
        self._where = list(range(len(targets)))
        self._blocks = self._partition()
        self._inputs = torch.empty_like(first)
        self._residual = first.new_empty(len(first))

    def run(self, tell: Callable[[float, float], None]) -> tuple[Tensor, Tensor, list[int]]:
        """Rounds until everything has converged, or the last; returns inputs, residuals, and rounds of each."""
        config, total = self._config, len(self._where)
        rounds = [config.rounds] * total
        best, since = [float("inf")] * total, [0] * total
        for done in range(1, config.rounds + 1):
            for block, optimizer, steps in self._blocks:
                losses = self._descend(block, optimizer, steps)
            share = done / config.rounds
            tell(total - len(self._where) * (1 - share), float(losses.mean()))
            if config.tolerance is None:
                continue
            for loss, index in zip(losses.tolist(), self._where, strict=True):
                improved = loss < best[index] * (1 - config.tolerance)
                best[index], since[index] = (loss, 0) if improved else (best[index], since[index] + 1)
            going = [since[index] < config.patience for index in self._where]
            for index, goes in zip(self._where, going, strict=True):
                rounds[index] = rounds[index] if goes else done
            if not all(going):
                self._keep(torch.tensor(going))
            if not self._where:
                break
        if self._where:
            self._keep(torch.zeros(len(self._where), dtype=torch.bool))
        return self._inputs, self._residual, rounds

    def _partition(self) -> list[_Block]:
        config = self._config
        weights = {name: value for name, value in self._weights.items() if value.requires_grad}
        if config.partition == "merged":
            merged = [self._x, *weights.values()]
            return [(merged, config.input_optimizer.build(merged), config.input_steps)]
        groups = [list(weights.values())]
        if config.partition == "layers":
            layers: dict[str, list[Tensor]] = {}
            for name, value in weights.items():
                layers.setdefault(name.rpartition(".")[0], []).append(value)
            groups = list(layers.values())
        blocks: list[_Block] = [([self._x], config.input_optimizer.build([self._x]), config.input_steps)]
        blocks += [(group, config.weight_optimizer.build(group), config.weight_steps) for group in groups if group]
        return blocks

    def _descend(self, block: list[Tensor], optimizer: torch.optim.Optimizer, steps: int) -> Tensor:
        """Move one block; returns each search's objective before the last step, shape [n]."""
        config, on_input = self._config, block[0] is self._x
        losses = torch.zeros(len(self._where))
        for _ in range(steps):
            output = self._output()
            if on_input:
                losses = self._each(self._fit_input, output, self._targets)
                if config.variation_weight:
                    losses = losses + config.variation_weight * self._each(self._variation, self._x)
                if config.norm_weight:
                    losses = losses + config.norm_weight * self._x.square().flatten(1).mean(1)
            else:
                losses = self._each(self._fit_weights, output, self._targets)
            # Gradients of this block only: the others are held fixed.
            for value, gradient in zip(block, torch.autograd.grad(losses.sum(), block), strict=True):
                value.grad = gradient
            optimizer.step()
        return losses.detach()

    def _output(self) -> Tensor:
        """What each clone makes of its own input, shape [n, ...]."""
        if len(self._clones) == 1:
            alone: Tensor = self._clones[0](self._x)
            return alone
        together: Tensor = vmap(self._one)(self._weights, self._x)
        return together

    def _one(self, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        output: Tensor = functional_call(self._clones[0], weights, (x[None],))
        return output[0]

    def _variation(self, images: Tensor) -> Tensor:
        return total_variation(images, self._config.variation)

    def _each(self, term: Callable[..., Tensor], *values: Tensor) -> Tensor:
        """A term of the objective for each search by itself, shape [n]."""
        if len(self._where) == 1:
            return term(*values)[None]
        apart: Tensor = vmap(lambda *one: term(*(value[None] for value in one)))(*values)
        return apart

    @torch.no_grad()
    def _keep(self, going: Tensor) -> None:
        """Note down the searches that have ended, in the clones too, and go on with the others."""
        residual = self._each(relative_residual, self._output(), self._targets).flatten()
        for place in (~going).nonzero().flatten().tolist():
            index = self._where[place]
            self._inputs[index], self._residual[index] = self._x[place], residual[place]
            if len(self._clones) > 1:
                for name, value in self._clones[index].named_parameters():
                    value.copy_(self._weights[name][place])
        self._where = [index for index, goes in zip(self._where, going.tolist(), strict=True) if goes]
        self._targets = self._targets[going]
        if not self._where or len(self._clones) == 1:
            return
        for block, optimizer, _ in self._blocks:
            for value in block:
                for key, state in optimizer.state[value].items():
                    if state.shape == value.shape:
                        optimizer.state[value][key] = state[going]
        for value in (self._x, *self._weights.values()):
            value.grad = None
            value.data = value.data[going]
