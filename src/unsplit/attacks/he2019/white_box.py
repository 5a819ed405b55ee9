"""Inversion by somebody who has the client's weights (He et al. 2019, "white box")."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unsplit.attacks._threat_model import attack
from unsplit.attacks.objectives import relative_residual, total_variation
from unsplit.attacks.observed import check_finite
from unsplit.attacks.progress import Progress, silent
from unsplit.attacks.settings import AttackSettings
from unsplit.errors import InputError, check_at_least_one, check_not_negative
from unsplit.knowledge import ClientWeights
from unsplit.optim import OptimizerSpec
from unsplit.types import Kind, Reconstruction, Transcript


@dataclass(frozen=True, kw_only=True)
class WhiteBoxConfig(AttackSettings):
    """Settings of the white-box inversion; see `white_box_reference` for those of its authors.

    Args:
        steps: number of steps of gradient descent on the inputs.
        optimizer: optimiser of the inputs, on a scale where the range of inputs is -1 to 1.
        variation_weight: weight of the mean squared total variation on that scale, at least 0.
        clip: clip the result to the range of inputs.
        relative: measure the distance of smashed data in their own variance, so that a weight of total variation means
            the same at every cut.
        falling: let the learning rate fall to 0 as a half cosine.

    Raises:
        InputError: a number out of its range.
    """

    steps: int = 5000
    optimizer: OptimizerSpec = field(
        default_factory=lambda: OptimizerSpec(lr=1e-2, options={"amsgrad": True, "eps": 2.5e-4})
    )
    variation_weight: float = 0.0
    clip: bool = True
    relative: bool = False
    falling: bool = False

    def __post_init__(self) -> None:
        check_at_least_one(self, "steps")
        check_not_negative(self, "variation_weight")


def white_box_reference(weighted_layers: int, *, colour: bool) -> WhiteBoxConfig:
    """The authors' settings, who print them for three layers of CIFAR-10 and three of MNIST.

    Args:
        weighted_layers: layers with weights before the cut.
        colour: the CIFAR-10 net (True) or the MNIST net.

    Departures:
        - They give the weight of total variation for the CIFAR-10 net's first convolution (0), the fourth (10) and the
          sixth (1,000), and for the MNIST net's second convolution (1) and last dense layer (1,000). A cut between
          takes the weight of the nearest of these that is not deeper; one before them all takes 0.
        - Their nets take inputs normalised to -1 to 1, ours take 0 to 1, which divides the objective's curvature by
          four on the scale where the search runs. Their optimiser's eps of 0.001 is large beside most gradients, so a
          quarter of it here gives the search that they had.
        - All targets are searched for at once; with an optimiser that treats every number by itself, and a loss summed
          over targets, that is the same as one by one.
    """
    known = {1: 0.0, 4: 10.0, 6: 1000.0} if colour else {1: 0.0, 2: 1.0, 5: 1000.0}
    return WhiteBoxConfig(
        variation_weight=next((known[layers] for layers in sorted(known, reverse=True) if layers <= weighted_layers), 0)
    )


def white_box_quick(weighted_layers: int, *, colour: bool) -> WhiteBoxConfig:  # noqa: ARG001
    """Ours, for audits: a tenth of the authors' steps, each ten times as long and falling, on a distance in units of
    the smashed data's own variance, with the same small weight of total variation at all cuts.
    """
    return WhiteBoxConfig(
        steps=500, optimizer=OptimizerSpec(lr=0.1), variation_weight=0.001, relative=True, falling=True
    )


WHITE_BOX: dict[str, Callable[..., WhiteBoxConfig]] = {
    "white-box": white_box_reference,
    "white-box-quick": white_box_quick,
}
"""The presets by name; each gives the settings for a number of layers with weights, of colour pictures or not."""


@attack(goal="the private inputs", reads=(Kind.SMASHED,))
def invert_white_box(
    view: Transcript,
    weights: ClientWeights,
    config: WhiteBoxConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Reconstruction:
    """Recover each input by gradient descent on the distance of its smashed data, the weights being known.

    Threat model:
        A server that has the client's weights, as where they are handed over through it, or where another client
        sides with it. It only reads.

    Objective:
        x = argmin MSE(f(w; x), s) + lambda TV(x), with the mean squared total variation.

    Args:
        view: transcript whose smashed data [n, ...] are the targets.
        weights: weights and architecture of the client's bottom.
        config: settings of the attack; see `white_box_reference`.
        generator: unused: every search starts from the middle of the range.
        progress: called every 50 steps.

    Returns:
        The inputs [n, *input shape] and the client's own bottom as the clone.

    Raises:
        InputError: no smashed data in the view, or of a shape that these weights do not produce.

    Reference:
        He, Zhang, Lee: Model inversion attacks against collaborative inference, ACSAC 2019, section 4.

    Departures:
        See `white_box_reference`.
    """
    del generator
    targets = view.tensor(Kind.SMASHED)
    check_finite("smashed data", targets)
    return inverted(targets, weights.bottom, weights.input_shape, (weights.low, weights.high), config, progress)


def inverted(
    targets: Tensor,
    bottom: nn.Module,
    input_shape: tuple[int, ...],
    bounds: tuple[float, float],
    config: WhiteBoxConfig,
    progress: Progress,
) -> Reconstruction:
    """Inputs [n, *input shape] within the bounds whose smashed data come close to the targets, and the bottom as the
    clone.
    """
    low, high = bounds
    z = torch.zeros(len(targets), *input_shape, device=targets.device, requires_grad=True)
    optimizer = config.optimizer.build([z])
    rate = optimizer.param_groups[0]["lr"]
    scale = float(targets.var(unbiased=False)) or 1.0 if config.relative else 1.0
    for step in range(config.steps):
        if config.falling:
            optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / config.steps))
        output = bottom(low + (high - low) * (z + 1) / 2)
        if output.shape != targets.shape:
            raise InputError(
                f"These weights turn an input into shape {tuple(output.shape[1:])} but the smashed data have "
                f"{tuple(targets.shape[1:])}; give the bottom of the cut that was recorded."
            )
        # Means over one target's numbers, summed over targets: each is searched for as if it were alone.
        loss = (output - targets).square().flatten(1).mean(1).sum() / scale
        if config.variation_weight:
            loss = loss + config.variation_weight * len(targets) * total_variation(z, "squared")
        z.grad = torch.autograd.grad(loss, z)[0]
        optimizer.step()
        if step % 50 == 0 or step == config.steps - 1:
            progress(step + 1, config.steps, float(loss.detach()) / len(targets))
    found = low + (high - low) * (z.detach() + 1) / 2
    found = found.clamp(low, high) if config.clip else found
    with torch.no_grad():
        residual = relative_residual(bottom(found), targets)
    return Reconstruction(inputs=found, clones=(bottom,), residual=residual, rounds=(config.steps,) * len(found))
