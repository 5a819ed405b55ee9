"""The rounds of coordinate descent, for some inputs and a clone for each, side by side."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from unsplit.attacks.inversion._copies import Copies
from unsplit.attacks.inversion._rows import Rows, elementwise
from unsplit.attacks.objectives import (
    Objective,
    misfit_gradient,
    objective,
    relative_residual,
    total_variation,
    variation_gradient,
)
from unsplit.stepping import Repeated, Work, perform, repeated

if TYPE_CHECKING:
    from unsplit.attacks.inversion.coordinate import CoordinateConfig

_INPUT = ""
"""The input's name among the weights' names."""


def separable(clone: nn.Module, config: "CoordinateConfig") -> bool:
    """Whether searches can run side by side and stay apart: no layer that changes itself as it runs, and optimisers
    that treat every number by itself.
    """
    optimizers = (config.input_optimizer, config.weight_optimizer)
    return next(clone.buffers(), None) is None and all(map(elementwise, optimizers))


class Descent:
    """The search for some inputs and a clone for each, side by side.

    A step is the same operations on the same memory until a search has converged and leaves the others, so that a
    device runs the steps of a block as it does best (`stepping`).

    Args:
        first: first inputs, shape [n, *input shape].
        targets: the smashed data, shape [n, ...].
        clones: a clone for each, trained in place.
        config: settings of the attack.
    """

    def __init__(self, first: Tensor, targets: Tensor, clones: Sequence[nn.Module], config: "CoordinateConfig") -> None:
        # In the memory order of what is compared with them, not in that of whoever made them.
        self._config, self._targets, self._clones = config, targets.contiguous(), clones
        self._fit_input: Objective = objective(config.input_objective)
        self._fit_weights: Objective = objective(config.weight_objective)
        self._copies = Copies(clones[0])
        named = [dict(clone.named_parameters()) for clone in clones]
        weights = {name: torch.stack([each[name].detach() for each in named]) for name in named[0]}
        self._fixed = {name: value for name, value in weights.items() if not named[0][name].requires_grad}
        self._where = list(range(len(targets)))
        moving = {name: value for name, value in weights.items() if name not in self._fixed}
        self._blocks = [_Block(rows, steps, self._copies) for rows, steps in _partition(first, moving, config)]
        self._inputs, self._residual = torch.empty_like(first), first.new_empty(len(first))
        self._lay_out()

    def run(self, tell: Callable[[float, float], None]) -> tuple[Tensor, Tensor, list[int]]:
        """Rounds until everything has converged, or the last; returns inputs, residuals, and rounds of each."""
        config, total = self._config, len(self._where)
        rounds = [config.rounds] * total
        best, since = [float("inf")] * total, [0] * total
        for done in range(1, config.rounds + 1):
            losses = self._round()
            share = done / config.rounds
            tell(total - len(self._where) * (1 - share), sum(losses) / len(losses))
            if config.tolerance is None:
                continue
            for loss, index in zip(losses, self._where, strict=True):
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

    def _lay_out(self) -> None:
        """Find everything in the blocks' memory, and let their steps begin anew there."""
        self._values = dict(self._fixed)
        for block in self._blocks:
            self._values |= block.rows.values
        self._x = self._values[_INPUT]
        self._losses = self._x.new_zeros(len(self._x))
        for block in self._blocks:
            if block.first:
                block.before = self._copies.before(block.first, self._x, self._values)
            # Where it cannot be part of a graph, a step is an eager one, as on the processor.
            device = self._x.device if block.rows.in_a_graph else torch.device("cpu")
            block.step = repeated(partial(self._step, block), device)
            block.told_step = repeated(partial(self._step, block, told=True), device)

    def _round(self) -> list[float]:
        """Move one block after the other; returns each search's objective before the last step."""
        for block in self._blocks:
            if block.before is not None:
                block.before.copy_(self._copies.before(block.first, self._x, self._values))
            last = block is self._blocks[-1]
            perform([Work(step=block.step, times=block.steps - last)])
            if last:
                perform([Work(step=block.told_step, times=1)])
        losses: list[float] = self._losses.tolist()
        return losses

    @torch.no_grad()
    def _step(self, block: "_Block", *, told: bool = False) -> None:
        """Move a block once; `told` keeps the objectives before. Nothing here comes from the host."""
        fit, inputs = (self._fit_input, True) if block.on_input else (self._fit_weights, False)
        values = self._x if block.before is None else block.before
        trace = self._copies.run(values, self._values, block.first)
        if told:
            self._losses.copy_(self._objectives(fit, trace.output, inputs=inputs))
        gradient = misfit_gradient(fit, trace.output, self._targets)
        into = block.rows.gradients
        passed = self._copies.gradients(trace, gradient, self._values, into, inputs=inputs)
        if passed is not None:
            self._add_priors(into[_INPUT].copy_(passed))
        block.rows.step()

    def _add_priors(self, gradient: Tensor) -> None:
        """Add those of total variation and of the inputs' norms to the gradient at the inputs."""
        config, x = self._config, self._x
        if config.variation_weight:
            gradient.add_(variation_gradient(x, config.variation), alpha=config.variation_weight * len(x))
        if config.norm_weight:
            gradient.add_(x, alpha=2 * config.norm_weight / x[0].numel())

    def _objectives(self, fit: Objective, output: Tensor, *, inputs: bool) -> Tensor:
        """Each search's objective, shape [n]."""
        config, losses = self._config, []
        for made, target, x in zip(*(torch.split(each, 1) for each in (output, self._targets, self._x)), strict=True):
            loss = fit(made, target)
            if inputs and config.variation_weight:
                loss = loss + config.variation_weight * total_variation(x, config.variation)
            if inputs and config.norm_weight:
                loss = loss + config.norm_weight * x.square().mean()
            losses.append(loss)
        return torch.stack(losses)

    @torch.no_grad()
    def _keep(self, going: Tensor) -> None:
        """Note down the searches that have ended, in the clones too, and go on with the others."""
        output = self._copies.run(self._x, self._values).output
        for place in (~going).nonzero().flatten().tolist():
            index, one = self._where[place], slice(place, place + 1)
            self._inputs[index] = self._x[place]
            self._residual[index] = relative_residual(output[one], self._targets[one])[0]
            for name, value in self._clones[index if len(self._clones) > 1 else 0].named_parameters():
                value.copy_(self._values[name][place])
        self._where = [index for index, goes in zip(self._where, going.tolist(), strict=True) if goes]
        if not self._where:
            return
        going = going.to(self._targets.device)
        self._targets = self._targets[going]
        self._fixed = {name: value[going] for name, value in self._fixed.items()}
        for block in self._blocks:
            block.rows.keep(going)
        self._lay_out()


class _Block:
    """What moves together, for so many steps of a round.

    Attributes:
        on_input: whether the input is part of it.
        first: number of the first part of the network that it changes; what reaches that part is computed once a round,
            into `before`, unless that is the input itself.
        step, told_step: a step, and one that keeps the objectives before it.
    """

    step: Repeated
    told_step: Repeated

    def __init__(self, rows: Rows, steps: int, copies: Copies) -> None:
        self.rows, self.steps = rows, steps
        self.on_input = _INPUT in rows.values
        self.first = 0 if self.on_input else copies.first_with(rows.values)
        self.before: Tensor | None = None


def _partition(first: Tensor, weights: Mapping[str, Tensor], config: "CoordinateConfig") -> Iterator[tuple[Rows, int]]:
    """What moves together, and how many steps a round, in the order of the blocks."""
    if config.partition == "merged":
        yield Rows({_INPUT: first, **weights}, config.input_optimizer), config.input_steps
        return
    yield Rows({_INPUT: first}, config.input_optimizer), config.input_steps
    layers: dict[str, dict[str, Tensor]] = {}
    for name, value in weights.items():
        layer = name.rpartition(".")[0] if config.partition == "layers" else ""
        layers.setdefault(layer, {})[name] = value
    for group in layers.values():
        yield Rows(group, config.weight_optimizer), config.weight_steps
