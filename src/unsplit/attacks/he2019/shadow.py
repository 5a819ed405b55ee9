"""Inversion of a shadow of the client, trained through the server's own top (He et al. 2019, "query-free")."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from unsplit.attacks._threat_model import attack
from unsplit.attacks.he2019.white_box import WhiteBoxConfig, inverted
from unsplit.attacks.observed import batches
from unsplit.attacks.progress import Progress, silent
from unsplit.attacks.targets import matched_targets
from unsplit.errors import InputError, check_at_least_one
from unsplit.knowledge import AuxiliaryData, ClientArchitecture, OwnTop
from unsplit.optim import OptimizerSpec
from unsplit.types import Kind, Reconstruction, Transcript


@dataclass(frozen=True, kw_only=True)
class ShadowConfig:
    """Settings of the query-free inversion. The defaults are the preset `reference`.

    Args:
        epochs: passes over the data that the shadow is trained on.
        batch_size: number of samples in each training step of the shadow.
        optimizer: optimiser that trains the shadow.
        inversion: settings of the shadow's inversion, once it is trained.
        noise_samples: how many inputs are made up where the attacker has none.

    Raises:
        InputError: a number out of its range.
    """

    epochs: int = 50
    batch_size: int = 32
    optimizer: OptimizerSpec = field(default_factory=lambda: OptimizerSpec(options={"amsgrad": True, "eps": 1e-3}))
    inversion: WhiteBoxConfig = field(
        default_factory=lambda: WhiteBoxConfig(
            steps=500,
            optimizer=OptimizerSpec(lr=0.1, options={"amsgrad": True, "eps": 1e-3}),
            variation_weight=2.0,
        )
    )
    noise_samples: int = 5000

    def __post_init__(self) -> None:
        check_at_least_one(self, "epochs", "batch_size", "noise_samples")


@attack(goal="inputs and a clone of the client's first layers", reads=(Kind.SMASHED,))
def invert_by_shadow(
    view: Transcript,
    architecture: ClientArchitecture,
    top: OwnTop,
    data: AuxiliaryData,
    config: ShadowConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Reconstruction:
    """Train a shadow of the client's bottom so that it serves the server's own top, then invert the shadow.

    Threat model:
        An honest-but-curious server that knows the client's architecture and has labelled data like the client's.

    Objective:
        w = argmin cross-entropy(top(f(w; x')), y') over its own data, the top frozen; then the white-box objective
        with the shadow's weights.

    Args:
        view: transcript whose smashed data [n, ...] are the targets.
        architecture: the client's layers and the range of inputs.
        top: the server's own layers.
        data: the attacker's own inputs, with labels.
        config: settings of the attack.
        generator: draws the shadow's first weights and the batches.
        progress: called in the shadow's training and in its inversion.

    Returns:
        The inputs [n, *input shape] and the shadow as the clone.

    Raises:
        InputError: no smashed data, an architecture that does not produce them, or data without labels.

    Reference:
        He, Zhang, Lee: Model inversion attacks against collaborative inference, ACSAC 2019, section 6.

    Departures:
        - The authors halve the shadow's learning rate every five epochs in one script and not in another; here it is
          constant.
    """
    if data.labels is None:
        raise InputError(
            "The shadow is trained on labelled data, and the attacker's own data have no labels; give one label for "
            "each input."
        )
    targets, shadow = matched_targets(view, architecture, generator)
    inputs, labels = data.inputs.to(targets.device), data.labels.to(targets.device)
    _train(shadow, top.top, inputs, labels, config, generator, progress)
    bounds = (architecture.low, architecture.high)
    return inverted(targets, shadow, architecture.input_shape, bounds, config.inversion, progress)


@attack(goal="inputs and a clone of the client's first layers", reads=(Kind.SMASHED,))
def invert_by_shadow_without_data(
    view: Transcript,
    architecture: ClientArchitecture,
    top: OwnTop,
    config: ShadowConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Reconstruction:
    """`invert_by_shadow` for a server without any data: inputs are uniform noise and their labels are drawn.

    Threat model:
        An honest-but-curious server that knows the client's architecture.

    Objective:
        As `invert_by_shadow`, with x' uniform in the range of inputs and y' uniform over the classes.

    Args:
        view: transcript whose smashed data [n, ...] are the targets.
        architecture: the client's layers and the range of inputs.
        top: the server's own layers.
        config: settings of the attack.
        generator: draws the shadow's first weights, the noise, its labels and the batches.
        progress: called in the shadow's training and in its inversion.

    Returns:
        The inputs [n, *input shape] and the shadow as the clone.

    Raises:
        InputError: no smashed data, or an architecture that does not produce them.

    Reference:
        He et al. 2019, section 6, as UnSplit's section 5.2 runs it: "the attacker does not have access to any
        specific dataset".

    Departures:
        - UnSplit does not say what the shadow is trained on then. We read it as data that anybody can make up.
    """
    targets, shadow = matched_targets(view, architecture, generator)
    low, high = architecture.low, architecture.high
    noise = torch.rand(config.noise_samples, *architecture.input_shape, generator=generator)
    labels = torch.randint(top.classes, (config.noise_samples,), generator=generator)
    inputs = (low + (high - low) * noise).to(targets.device)
    _train(shadow, top.top, inputs, labels.to(targets.device), config, generator, progress)
    bounds = (architecture.low, architecture.high)
    return inverted(targets, shadow, architecture.input_shape, bounds, config.inversion, progress)


def _train(
    shadow: nn.Module,
    top: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    config: ShadowConfig,
    generator: torch.Generator,
    progress: Progress,
) -> None:
    optimizer = config.optimizer.build(shadow.parameters())
    weights = list(shadow.parameters())
    for epoch in range(config.epochs):
        for batch in batches(len(inputs), config.batch_size, nn.Sequential(shadow, top), generator):
            loss = functional.cross_entropy(top(shadow(inputs[batch])), labels[batch])
            # Only the shadow learns: the top's own gradients are neither made nor kept.
            for value, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                value.grad = gradient
            optimizer.step()
        progress(epoch + 1, config.epochs, float(loss.detach()))
