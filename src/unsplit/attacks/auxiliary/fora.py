"""FORA (Xu et al. 2024): a substitute for the client is matched to the distribution of its smashed data, and undone."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from unsplit.attacks._threat_model import attack
from unsplit.attacks.auxiliary._learning import gradient_penalty, step
from unsplit.attacks.auxiliary._networks import WINDOW, make_critic, make_decoder, make_substitute
from unsplit.attacks.objectives import relative_residual
from unsplit.attacks.observed import check_finite
from unsplit.attacks.progress import Progress, silent
from unsplit.attacks.settings import AttackSettings
from unsplit.errors import InputError, check_at_least_one, check_not_negative, unknown_name
from unsplit.knowledge import AuxiliaryData
from unsplit.optim import OptimizerSpec
from unsplit.randomness import draw_seed, seeded
from unsplit.types import Kind, Reconstruction, Transcript

_PIECE = 256
_KERNELS = tuple(2.0**power for power in range(-3, 2))


@dataclass(frozen=True, kw_only=True)
class ForaConfig(AttackSettings):
    """Settings of FORA. The defaults are the preset `paper`.

    Args:
        iterations: steps of the substitute and the critic.
        inverse_iterations: steps of the inverse network, afterwards.
        batch_size: number of smashed samples, and of own pictures, in each iteration; at least 2.
        substitute, critic, inverse: optimisers of the three networks.
        matching: share of the kernel discrepancy in the substitute's objective, 0 to 1; the rest is the critic's, which
            is left out at 1.
        penalty: weight of the critic's gradient penalty, at least 0.
        substitute_width: channels of the substitute's first layers.
        inverse_width: channels of the inverse network at full size.
        critic_width, critic_blocks: channels and residual blocks of the critic.
        low, high: range of the inputs' values.

    Raises:
        InputError: a number out of its range.
    """

    iterations: int = 40_000
    inverse_iterations: int = 40_000
    batch_size: int = 64
    substitute: OptimizerSpec = field(default_factory=lambda: OptimizerSpec(lr=1e-4))
    critic: OptimizerSpec = field(default_factory=lambda: OptimizerSpec(lr=3e-4))
    inverse: OptimizerSpec = field(default_factory=lambda: OptimizerSpec(lr=1e-4))
    matching: float = 0.8
    penalty: float = 1000.0
    substitute_width: int = 64
    inverse_width: int = 64
    critic_width: int = 256
    critic_blocks: int = 6
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_at_least_one(
            self, "iterations", "inverse_iterations", "substitute_width", "inverse_width", "critic_width"
        )
        check_not_negative(self, "penalty", "critic_blocks")
        if self.batch_size < 2:
            raise InputError(f"batch_size is {self.batch_size}; batch norm needs at least 2.")
        if not 0 <= self.matching <= 1:
            raise InputError(f"matching is {self.matching}; it is a share, from 0 to 1.")

    @property
    def samples_wanted(self) -> int:
        return WINDOW


FORA_PRESETS = {
    "paper": ForaConfig(),
    "quick": ForaConfig(
        iterations=600,
        inverse_iterations=400,
        batch_size=32,
        substitute=OptimizerSpec(lr=1e-3),
        inverse=OptimizerSpec(lr=2e-3),
        matching=1.0,
        substitute_width=16,
        inverse_width=16,
    ),
}
"""The settings by name: the authors', and less of everything and no critic for a first look on a CPU."""


def fora_preset(name: str) -> ForaConfig:
    """The settings of a preset of FORA.

    Raises:
        InputError: no such preset.
    """
    if name not in FORA_PRESETS:
        raise unknown_name("preset of FORA", name, FORA_PRESETS)
    return FORA_PRESETS[name]


@attack(goal="the private inputs", reads=(Kind.SMASHED,))
def invert_by_feature_matching(
    view: Transcript,
    data: AuxiliaryData,
    config: ForaConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Reconstruction:
    """FORA: train a substitute whose outputs have the smashed data's distribution, then undo it by an inverse network.

    Threat model:
        An honest-but-curious server with pictures that resemble the client's. It needs neither their labels, nor the
        client's architecture, nor its own layers: only smashed data, in any setup where they reach it.

    Objective:
        Substitute f: min a MMD^2(f(x'), s) + (1 - a) mean c(f(x')), over five Gaussian kernels. Critic c:
        min mean c(s) - mean c(f(x')) + penalty * mean (|dc| - 1)^2. Then the inverse network i:
        min |i(f(x')) - x'|^2; the pictures are i(s).

    Args:
        view: transcript whose smashed data [n, ...] are matched and inverted; a few hundred or more make the match.
        data: the attacker's own pictures [m, c, h, w]; labels are not used.
        config: settings of the attack.
        generator: draws first weights, batches and the penalty's mixtures.
        progress: told of each iteration of both parts, with the discrepancy and then the inverse network's error.

    Returns:
        The pictures [n, c, h, w], and the substitute as the clone (of another architecture than the client's).

    Raises:
        InputError: no smashed data, values that are not finite, or shapes that no substitute is made for.

    Reference:
        Xu, Yang, Yi, Li, Wang, Hu, Zhuang, Liu: A stealthy wrongdoer: feature-oriented reconstruction attack against
        split learning, CVPR 2024, and the authors' code (its demo, CIFAR-10 at level 2).

    Departures:
        - The authors match the substitute to each step's smashed data while the client trains, and train the inverse
          network along with it; here both learn from a recorded window, one after the other as in their figure 3.
        - Their substitute is a VGG cut where the client is cut, the inverse network one transposed convolution 256
          wide for each halving. Here both are sized from the shapes alone, so that any cut has them; the inverse
          network has the layers of SDAR's decoder.
        - Smashed data are divided by their standard deviation, so that rates and penalty mean the same at every cut.
        - A substitute for smashed data that are nowhere negative ends in ReLU.
        - They scale pictures to -1 to 1 and end in tanh; here to 0 to 1, and in a sigmoid.
    """
    smashed = view.tensor(Kind.SMASHED)
    check_finite("smashed data", smashed)
    scale = float(smashed.std())
    if not scale > 0:
        raise InputError("The smashed data are one value everywhere, so there is nothing to match; record another run.")
    targets, pictures = smashed / scale, data.inputs.to(smashed.device)
    wanted = (pictures - config.low) / (config.high - config.low)
    shape, picture = tuple(targets.shape[1:]), tuple(pictures.shape[1:])
    rectified = bool((targets >= 0).all() and (targets == 0).any())
    with seeded(draw_seed(generator)):
        width = config.substitute_width
        substitute = make_substitute(picture, shape, rectified=rectified, width=width).to(targets.device)
        inverse = make_decoder(shape, picture, None, width=config.inverse_width).to(targets.device)
        critic = make_critic(shape, width=config.critic_width, blocks=config.critic_blocks).to(targets.device)
    _match(substitute, critic, pictures, targets, config, generator, progress)
    _undo(substitute, inverse, pictures, wanted, config, generator, progress)
    inverse.eval()
    with torch.no_grad():
        pieces = torch.split(targets, _PIECE)
        found = config.low + (config.high - config.low) * torch.cat([inverse(piece, None) for piece in pieces])
        matched = torch.cat([substitute(piece) for piece in torch.split(found, _PIECE)])
    total = config.iterations + config.inverse_iterations
    return Reconstruction(
        inputs=found,
        clones=(substitute,),
        residual=relative_residual(matched, targets),
        rounds=(total,) * len(found),
    )


def kernel_discrepancy(first: Float[Tensor, "n d"], second: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """The unbiased estimate of the squared maximum mean discrepancy of two samples, summed over five Gaussian kernels.

    Their squared bandwidths are 1/8 to 2 times the mean squared distance between any two of the samples.

    Args:
        first, second: two samples or more each.
    """
    joined, count = torch.cat([first, second]), len(first)
    norms = joined.square().sum(1)
    distances = (norms[:, None] + norms[None, :] - 2 * joined @ joined.T).clamp_min(0)
    mean = distances.detach().mean().clamp_min(torch.finfo(distances.dtype).tiny)
    kernel = torch.stack([(-distances / (2 * factor * mean)).exp() for factor in _KERNELS]).sum(0)
    within = [_mean_off_diagonal(kernel[:count, :count]), _mean_off_diagonal(kernel[count:, count:])]
    return within[0] + within[1] - 2 * kernel[:count, count:].mean()


def _mean_off_diagonal(kernel: Tensor) -> Tensor:
    size = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (size * (size - 1))


def _match(
    substitute: nn.Module,
    critic: nn.Module,
    pictures: Tensor,
    targets: Tensor,
    config: ForaConfig,
    generator: torch.Generator,
    progress: Progress,
) -> None:
    own_step = config.substitute.build(substitute.parameters())
    critic_step = config.critic.build(critic.parameters())
    total = config.iterations + config.inverse_iterations
    for number in range(config.iterations):
        made = substitute(_batch(pictures, config, generator))
        real = _batch(targets, config, generator)
        discrepancy = kernel_discrepancy(made.flatten(1), real.flatten(1))
        loss = config.matching * discrepancy
        if config.matching < 1:
            loss = loss + (1 - config.matching) * critic(made).mean()
        step(own_step, loss)
        if config.matching < 1:
            made = made.detach()
            loss = critic(real).mean() - critic(made).mean()
            if config.penalty:
                loss = loss + config.penalty * gradient_penalty(critic, real, made, generator)
            step(critic_step, loss)
        progress(number + 1, total, float(discrepancy.detach()))


def _undo(
    substitute: nn.Module,
    inverse: nn.Module,
    pictures: Tensor,
    wanted: Tensor,
    config: ForaConfig,
    generator: torch.Generator,
    progress: Progress,
) -> None:
    optimizer = config.inverse.build(inverse.parameters())
    total = config.iterations + config.inverse_iterations
    for number in range(config.inverse_iterations):
        drawn = _drawn(pictures, config, generator)
        with torch.no_grad():
            made = substitute(pictures[drawn])
        loss = functional.mse_loss(inverse(made, None), wanted[drawn])
        step(optimizer, loss)
        progress(config.iterations + number + 1, total, float(loss.detach()))


def _drawn(values: Tensor, config: ForaConfig, generator: torch.Generator) -> Tensor:
    return torch.randint(len(values), (config.batch_size,), generator=generator).to(values.device)


def _batch(values: Tensor, config: ForaConfig, generator: torch.Generator) -> Tensor:
    return values[_drawn(values, config, generator)]
