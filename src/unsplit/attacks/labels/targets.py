"""Regression: the real targets behind the cut gradients of a squared error."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from unsplit.attacks._threat_model import attack
from unsplit.attacks.labels._observed import features_with_gradients
from unsplit.attacks.labels._simulated import directions
from unsplit.errors import InputError, check_at_least_one
from unsplit.knowledge import HeadArchitecture, KnownTargets
from unsplit.optim import OptimizerSpec
from unsplit.types import Kind, Transcript

_UNKNOWNS = 3
"""Slope, offset and the gradient's scale: so many known targets it takes."""


@dataclass(frozen=True, kw_only=True)
class TargetsConfig:
    """Settings of the fit.

    Args:
        passes: number of passes over the observed samples, at least 1.
        batch_size: number of samples in a step, at least 1.
        optimizer: optimiser of the clone head's weights.

    Raises:
        InputError: a number below 1.
    """

    passes: int = 60
    batch_size: int = 64
    optimizer: OptimizerSpec = field(default_factory=lambda: OptimizerSpec(lr=5e-3))

    def __post_init__(self) -> None:
        check_at_least_one(self, "passes", "batch_size")


@attack(goal="the client's targets", reads=(Kind.FEATURES, Kind.FEATURE_GRAD))
def infer_targets(
    view: Transcript,
    known: KnownTargets,
    architecture: HeadArchitecture,
    config: TargetsConfig,
    *,
    generator: torch.Generator,
) -> Float[Tensor, " n"]:
    """Read real targets off cut gradients: a clone head F whose input gradients point along the observed ones says how
    far each output is from its target, and what the output is, up to three numbers that known targets give.

    For programs in Python: no command runs it, since audits and `unsplit attack` infer classes.

    Threat model:
        An honest-but-curious server of setup (b) or (c) that knows the head's architecture, that the loss is the
        squared error of one output, and the targets of three of the samples or more. Without any, targets are known up
        to these three numbers.

    Objective:
        min over the clone's weights of mean(1 - cos^2(dF/dh, g)); then y = a F(h) + b - c <g, dF/dh> / |dF/dh|^2 with
        a, b, c by least squares on the known targets, since g is proportional to (f(h) - y) df/dh.

    Args:
        view: transcript with features and cut gradients of steps so few that the head hardly moves between them, some
            tens; batches of one size.
        known: true targets of three or more of the samples.
        architecture: layers of the client's head, which has one output.
        config: settings of the fit.
        generator: draws the clone's first weights and the order of the samples.

    Returns:
        The targets of all samples in transcript order; NaN where a gradient is zero and so says nothing but that the
        output is right, and everywhere where all gradients are zero.

    Raises:
        InputError: messages that are missing, do not fit or are not finite, a head with other than one output, fewer
            known targets than three, or one outside the transcript.

    Reference:
        None: the regression counterpart of label inference by surrogate.
    """
    pairs = list(features_with_gradients(view))
    features, gradients = (torch.cat(values) for values in zip(*pairs, strict=True))
    indices = torch.tensor(known.indices)
    if len(indices) < _UNKNOWNS or int(indices.max()) >= len(features):
        raise InputError(
            f"Known targets must be {_UNKNOWNS} or more, each at a position among the {len(features)} observed samples "
            "(counted from 0)."
        )
    clone = architecture.blueprint.instantiate(generator=generator, device=features.device).eval()
    if clone(features[:1]).shape != (1, 1):
        raise InputError("The head's architecture has more than one output; for classes use infer_by_surrogate.")
    observed = directions(gradients)
    usable = observed.any(1).nonzero().flatten()
    optimizer = config.optimizer.build(list(clone.parameters()))
    for _ in range(config.passes if len(usable) else 0):
        for batch in torch.split(usable[torch.randperm(len(usable), generator=generator)], config.batch_size):
            slope, _ = _slopes(clone, features[batch])
            optimizer.zero_grad()
            torch.autograd.backward(1 - (directions(slope) * observed[batch]).sum(1).square().mean())
            optimizer.step()
    slope, outputs = (value.detach() for value in _slopes(clone, features))
    off = (gradients.flatten(1) * slope).sum(1) / slope.square().sum(1).clamp_min(torch.finfo(slope.dtype).tiny)
    # Scaled, so that a small gradient is no less of an unknown than the output.
    off = off / off.abs().amax().clamp_min(torch.finfo(off.dtype).tiny)
    columns = torch.stack([outputs[:, 0], off, torch.ones_like(off)], 1).double()
    told = torch.tensor(known.values, dtype=columns.dtype, device=columns.device)
    values = columns @ (torch.linalg.pinv(columns[indices]) @ told)
    values[~observed.any(1)] = float("nan")
    found: Tensor = values.float().cpu()
    return found


def _slopes(clone: torch.nn.Module, features: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of the clone's output at each sample, flat, and the output."""
    features = features.detach().requires_grad_()
    outputs = clone(features)
    (slope,) = torch.autograd.grad(outputs.sum(), features, create_graph=True)
    return slope.flatten(1), outputs
