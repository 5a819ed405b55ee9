"""Inversion of a client that changes its smashed data before they leave, by a server that knows how."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from unsplit.attacks.inversion._candidate import Leak, leaky
from unsplit.attacks.inversion.amortised import AmortisedConfig, search
from unsplit.attacks.inversion.joint import JointConfig
from unsplit.attacks.objectives import relative_residual, variation_gradient
from unsplit.attacks.progress import Progress, silent
from unsplit.attacks.symmetry import resolve_sign, stretch
from unsplit.attacks.targets import matched_targets
from unsplit.attacks.threat_model import attack
from unsplit.knowledge import ClientArchitecture, KnownDefense
from unsplit.randomness import generator as seeded_generator
from unsplit.types import Kind, Reconstruction, Sign, Transcript

_LEAK = 0.3
_SMOOTHER = 0.5
"""Weight of total variation at the end, over the power of the noise relative to that of the smashed data."""


@attack(goal="inputs and a clone of the client's first layers", reads=(Kind.SMASHED,))
def invert_through_defense(
    view: Transcript,
    architecture: ClientArchitecture,
    defense: KnownDefense,
    config: AmortisedConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Reconstruction:
    """Recover all observed pictures as `invert_by_decoder` does, with the defence in the objective.

    What the client's layers put out is compared with what was observed by how likely the defence makes the one of the
    other: a number that dropout may have taken says little, one that top-k left out is known to be small, one at the
    limit of clipping is known to be at least that. An audit that tries unaware attacks only says how well a defence
    hides that it is there.

    Threat model:
        An honest-but-curious server that keeps the smashed data of many samples that passed through the same weights
        and knows the client's architecture and its defence: kind and strength, not what it drew.

    Objective:
        That of `invert_by_decoder` with the defence's misfit m(f(w; G(s)), s) for the squared error or the hinge.

    Args:
        view: transcript whose smashed data [n, ...] are the targets.
        architecture: the client's layers, the shape of an input and its range.
        defense: what it does.
        config: the settings.
        generator: draws first weights and batches.
        progress: told as the work goes on.

    Returns:
        As `invert_by_decoder`; the residual is that of the undefended output.

    Raises:
        InputError: no smashed data in the view, of a shape that the architecture cannot produce, or not pictures.

    Reference:
        Ours; adaptive evaluation in the sense of Tramèr, Carlini, Brendel, Madry, "On adaptive attacks to adversarial
        example defenses", 2020.
    """
    targets, _ = matched_targets(view, architecture, seeded_generator(0))
    return search(targets, architecture, config, generator=generator, progress=progress, misfit=defense.misfit)


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
        defense: what it does.
        config: the settings.
        generator: draws the clone's first weights and the first inputs.
        progress: told as the work goes on.

    Returns:
        As `invert_jointly`; the residual is that of the undefended output.

    Raises:
        InputError: no smashed data in the view, or of a shape that the architecture cannot produce.

    Reference:
        Ours, see `invert_through_defense`.
    """
    targets, clone = matched_targets(view, architecture, generator)
    low, high = architecture.low, architecture.high
    noise = torch.rand((len(targets), *architecture.input_shape), generator=generator)
    x = (low + (high - low) * (0.45 + 0.1 * noise)).to(targets.device).requires_grad_()
    _descend(x, clone, targets, (low, high), defense, _smoother(config, defense.noise), progress)
    inputs, sign = x.detach(), Sign.UNTESTED
    if config.stretch:
        inputs = stretch(inputs, clone, architecture)
    if config.resolve_sign:
        inputs, sign = resolve_sign(inputs, clone, architecture)
    with torch.no_grad():
        residual = relative_residual(clone(inputs), targets)
    rounds = (config.steps,) * len(inputs)
    return Reconstruction(inputs=inputs, clones=(clone,), residual=residual, sign=sign, rounds=rounds)


def adaptive_attack_of(config: object) -> Callable[..., Reconstruction] | None:
    """The form of an attack with these settings that knows a defence; None where it has none."""
    if isinstance(config, AmortisedConfig):
        return invert_through_defense
    return invert_jointly_through_defense if isinstance(config, JointConfig) else None


def _smoother(config: JointConfig, noise: float) -> JointConfig:
    """The settings with as much total variation as pictures behind so much noise want."""
    end = max(config.variation_end, _SMOOTHER * noise**2)
    return replace(config, variation_start=max(config.variation_start, end), variation_end=end)


def _descend(
    x: Tensor,
    clone: nn.Module,
    targets: Tensor,
    bounds: tuple[float, float],
    defense: KnownDefense,
    config: JointConfig,
    progress: Progress,
) -> None:
    """Move `x` and the clone's weights down the objective, in place. What stands in for the hinge, which keeps units of
    the clone alive, is a leak in its ReLUs that closes by and by.
    """
    optimizer = torch.optim.Adam(
        [
            {"params": [x], "lr": config.input_rate},
            {"params": list(clone.parameters()), "lr": config.weight_rate},
        ],
        betas=config.betas,
        fused=x.device.type in ("cpu", "cuda"),
    )
    rates = [group["lr"] for group in optimizer.param_groups]
    leak = Leak()
    fitted, scale = leaky(clone, leak), targets.var(unbiased=False).clamp_min(torch.finfo(targets.dtype).tiny)
    for step in range(config.steps):
        done = step / config.steps
        leak.slope = max(0.0, _LEAK * (1 - 2 * done))
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * done))
        loss = defense.misfit(fitted(x), targets).mean() / scale
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        with torch.no_grad():
            alpha = config.variation_weight(done)
            if alpha and x.grad is not None:
                x.grad.add_(variation_gradient(x), alpha=alpha)
            optimizer.step()
            x.clamp_(*bounds)
        if step % 50 == 0 or step == config.steps - 1:
            progress(step + 1, config.steps, float(loss.detach()))
