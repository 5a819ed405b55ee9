"""Inversion and stealing for many targets at once: all pictures share one clone, and both are updated together.

The paper found simultaneous updates to fail, for one picture at a time. Tied to one clone, a few pictures determine
it: what one picture leaves open in the weights, the others decide.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from unsplit.attacks._threat_model import attack
from unsplit.attacks.hinge import HingeMisfit, without_last_relu
from unsplit.attacks.inversion._leak import Leak, leaky
from unsplit.attacks.objectives import relative_residual, variation_gradient
from unsplit.attacks.progress import Progress, silent
from unsplit.attacks.settings import InversionConfig, Limits, at_most
from unsplit.attacks.symmetry import resolve_sign, stretch
from unsplit.attacks.targets import matched_targets
from unsplit.errors import InputError, check_at_least_one, check_positive, unknown_name
from unsplit.knowledge import ClientArchitecture, KnownDefense
from unsplit.optim import check_betas
from unsplit.types import Kind, Reconstruction, Sign, Transcript

_VARIATIONS = ("isotropic", "signal", "none")
_LEAK = 0.3
_SMOOTHER = 0.5
"""Weight of total variation at the end, over the power of the noise relative to that of the smashed data."""

_Fit = Callable[[Tensor, float], Callable[[], float]]
"""Called with the inputs and the share of the steps that is done: adds the gradients of what is fitted to the inputs
and to the clone's weights, and gives what tells the objective."""


@dataclass(frozen=True, kw_only=True)
class JointConfig(InversionConfig):
    """Settings of the joint attack. The defaults are the preset `joint` at depths 0 to 2.

    Args:
        steps: simultaneous updates of all pictures and the clone.
        input_rate, weight_rate: Adam's learning rates, falling to 0 as a half cosine.
        betas: Adam's decay rates of the two moments, each from 0 to below 1.
        variation_start, variation_end: weight of the isotropic total variation, falling geometrically between them. It
            is 0 for inputs without neighbours, such as rows of a table.
        variation: "isotropic", along every axis that an input's shape has (rows and columns of pictures, the length of
            signals); "signal", along the last one only; or "none" for inputs whose order means nothing.
        hinge: where the cut ends in ReLU, fit what comes before it (see `hinge`).
        stretch: fill the range of inputs by one scale and offset over the set.
        resolve_sign: choose between pictures and negatives by the first layer's biases.

    Raises:
        InputError: a number out of its range.
    """

    steps: int = 2500
    input_rate: float = 0.02
    weight_rate: float = 0.004
    betas: tuple[float, float] = (0.9, 0.99)
    variation_start: float = 1.0
    variation_end: float = 0.01
    variation: str = "isotropic"
    hinge: bool = True
    stretch: bool = True
    resolve_sign: bool = True

    def __post_init__(self) -> None:
        check_at_least_one(self, "steps")
        check_positive(self, "input_rate", "weight_rate")
        check_betas(self.betas)
        if self.variation not in _VARIATIONS:
            raise unknown_name("variation", self.variation, _VARIATIONS)
        if not math.inf > self.variation_start >= self.variation_end >= 0:
            raise InputError(
                f"variation_start is {self.variation_start} and variation_end is {self.variation_end}; the weight of "
                "total variation must not rise, and must end at 0 or more."
            )

    @property
    def attack(self) -> Callable[..., Reconstruction]:
        return invert_jointly

    @property
    def adaptive_attack(self) -> Callable[..., Reconstruction]:
        return invert_jointly_through_defense

    def within(self, limits: Limits) -> "JointConfig":
        return replace(self, steps=at_most(self.steps, limits.steps))

    def variation_weight(self, done: float) -> float:
        """The weight of total variation when a share `done` (0 to 1) of the steps is done."""
        if self.variation == "none":
            return 0.0
        if self.variation_end == 0:
            return self.variation_start * (1 - done)
        return float(self.variation_start * (self.variation_end / self.variation_start) ** done)


@attack(goal="inputs and a clone of the client's first layers", reads=(Kind.SMASHED,))
def invert_jointly(
    view: Transcript,
    architecture: ClientArchitecture,
    config: JointConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Reconstruction:
    """Recover all observed inputs together with one clone of the client's bottom.

    Threat model:
        An honest-but-curious server that keeps the smashed data of samples that passed through the same weights (one
        training step's batch, or any number of inferences) and knows the client's architecture. As part of it, it
        knows that layers start as torch starts them, which is what decides the sign.

    Objective:
        min over x in the inputs' range and w of MSE(f(w; x), s) / Var(s) + a(t) TV(x), with a(t) falling.

    Args:
        view: transcript whose smashed data [n, ...] are the targets.
        architecture: the client's layers, the shape of an input and its range.
        config: settings of the attack.
        generator: draws the clone's first weights and the first pictures (near the middle of the range).
        progress: called after every step.

    Returns:
        The inputs [n, *input shape] in the architecture's range, one clone, and whether the sign could be resolved.

    Raises:
        InputError: no smashed data in the view, or of a shape that the architecture cannot produce.

    Reference:
        Ours, after Erdoğan et al.'s section 4.2, which names merged updates as a choice.

    Departures:
        Simultaneous updates, one clone for all targets, a feature loss relative to the smashed data's variance,
        other rates and betas, falling rates and TV weight, inputs kept in range, and the stretch and sign at the end.
    """
    return _search(view, architecture, config, None, generator, progress)


@attack(goal="inputs and a clone of the client's first layers", reads=(Kind.SMASHED,))
def invert_jointly_through_defense(
    view: Transcript,
    architecture: ClientArchitecture,
    defense: KnownDefense,
    config: JointConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Reconstruction:
    """Recover all observed inputs together with one clone, as `invert_jointly` does, with the defence in the objective.

    Threat model:
        An honest-but-curious server that keeps the smashed data of samples that passed through the same weights and
        knows the client's architecture and its defence: kind and strength, not what it drew.

    Objective:
        That of `invert_jointly` with the defence's misfit m(f(w; x), s) for the squared error or the hinge, and total
        variation that ends the higher, the more noise there is.

    Args:
        view: transcript whose smashed data [n, ...] are the targets.
        architecture: the client's layers, the shape of an input and its range.
        defense: what the client does to its smashed data, and how strongly.
        config: settings of the attack.
        generator: draws the clone's first weights and the first inputs.
        progress: told as the work goes on.

    Returns:
        As `invert_jointly`; the residual is that of the undefended output.

    Raises:
        InputError: no smashed data in the view, or of a shape that the architecture cannot produce.

    Reference:
        Ours, see `invert_through_defense`.
    """
    return _search(view, architecture, _smoother(config, defense.noise), defense, generator, progress)


def _smoother(config: JointConfig, noise: float) -> JointConfig:
    """The settings with as much total variation as pictures behind so much noise want."""
    end = max(config.variation_end, _SMOOTHER * noise**2)
    return replace(config, variation_start=max(config.variation_start, end), variation_end=end)


def _search(
    view: Transcript,
    architecture: ClientArchitecture,
    config: JointConfig,
    defense: KnownDefense | None,
    generator: torch.Generator,
    progress: Progress,
) -> Reconstruction:
    targets, clone = matched_targets(view, architecture, generator)
    low, high = architecture.low, architecture.high
    noise = torch.rand((len(targets), *architecture.input_shape), generator=generator)
    x = (low + (high - low) * (0.45 + 0.1 * noise)).to(targets.device).requires_grad_()
    fit = _observed(clone, targets, config) if defense is None else _defended(clone, targets, defense)
    _descend(x, clone, fit, (low, high), config, progress)
    inputs, sign = x.detach(), Sign.UNTESTED
    if config.stretch:
        inputs = stretch(inputs, clone, architecture)
    if config.resolve_sign:
        inputs, sign = resolve_sign(inputs, clone, architecture)
    with torch.no_grad():
        residual = relative_residual(clone(inputs), targets)
    rounds = (config.steps,) * len(inputs)
    return Reconstruction(inputs=inputs, clones=(clone,), residual=residual, sign=sign, rounds=rounds)


def _observed(clone: nn.Module, targets: Tensor, config: JointConfig) -> _Fit:
    """Fit smashed data that left as the client's layers made them."""
    before = without_last_relu(clone) if config.hinge else None
    fitted = clone if before is None else before
    misfit = HingeMisfit(targets, hinge=before is not None)

    def fit(x: Tensor, done: float) -> Callable[[], float]:  # noqa: ARG001
        output = fitted(x)
        excess = misfit.excess(output.detach())
        torch.autograd.backward(output, misfit.gradient(excess))
        return lambda: misfit.value(excess)

    return fit


def _defended(clone: nn.Module, targets: Tensor, defense: KnownDefense) -> _Fit:
    """Fit smashed data that the defence changed. What stands in for the hinge, which keeps units of the clone alive, is
    a leak in its ReLUs that closes by and by.
    """
    leak = Leak(targets.device)
    fitted, scale = leaky(clone, leak), targets.var(unbiased=False).clamp_min(torch.finfo(targets.dtype).tiny)

    def fit(x: Tensor, done: float) -> Callable[[], float]:
        leak.slope.fill_(max(0.0, _LEAK * (1 - 2 * done)))
        loss = defense.misfit(fitted(x), targets).mean() / scale
        torch.autograd.backward(loss)
        return lambda: float(loss.detach())

    return fit


def _descend(
    x: Tensor, clone: nn.Module, fit: _Fit, bounds: tuple[float, float], config: JointConfig, progress: Progress
) -> None:
    """Move `x` and the clone's weights down the objective, in place."""
    optimizer = torch.optim.Adam(
        [{"params": [x], "lr": config.input_rate}, {"params": list(clone.parameters()), "lr": config.weight_rate}],
        betas=config.betas,
        fused=x.device.type in ("cpu", "cuda"),
    )
    rates = [group["lr"] for group in optimizer.param_groups]
    for step in range(config.steps):
        done = step / config.steps
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * done))
        optimizer.zero_grad()
        objective = fit(x, done)
        with torch.no_grad():
            alpha = config.variation_weight(done)
            if alpha and x.grad is not None:
                x.grad.add_(variation_gradient(x, config.variation), alpha=alpha)
            optimizer.step()
            x.clamp_(*bounds)
        if step % 50 == 0 or step == config.steps - 1:
            progress(step + 1, config.steps, objective())
