"""Feature-space hijacking (Pasquini et al. 2021): a server that answers smashed data with gradients of its own."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from unsplit.attacks._threat_model import attack
from unsplit.attacks.auxiliary._hijack_networks import hijacking_networks
from unsplit.attacks.auxiliary._learning import Part, Resumable, gradient_penalty, step
from unsplit.attacks.observed import check_finite
from unsplit.attacks.settings import AttackSettings
from unsplit.errors import InputError, check_at_least_one, check_not_negative
from unsplit.knowledge import AuxiliaryData
from unsplit.optim import OptimizerSpec
from unsplit.types import Kind, Transcript


@dataclass(frozen=True, kw_only=True)
class HijackConfig(AttackSettings):
    """Settings of the feature-space hijacking attack. The defaults are the preset `reference`.

    Args:
        autoencoder: optimiser of the pilot and the decoder.
        critic: optimiser of the critic network.
        penalty: weight of the critic's gradient penalty, at least 0.
        penalty_by_channel: take the norm in the penalty over the pixels of each channel, as the authors' code does;
            otherwise over all features of a sample, as the Wasserstein GAN with gradient penalty does.
        batch_size: number of the attacker's own samples in each iteration.
        width: number of channels of the critic, at least 2.
        low, high: range of the inputs' values.

    Raises:
        InputError: a number out of its range.
    """

    autoencoder: OptimizerSpec = field(default_factory=lambda: OptimizerSpec(lr=1e-5))
    critic: OptimizerSpec = field(default_factory=lambda: OptimizerSpec(lr=1e-4))
    penalty: float = 500.0
    penalty_by_channel: bool = True
    batch_size: int = 64
    width: int = 256
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_at_least_one(self, "batch_size")
        if self.width < 2:
            raise InputError(f"width is {self.width}; a critic needs at least 2 channels.")
        check_not_negative(self, "penalty")


class Hijacker(Resumable):
    """What sits at the server in place of the rest of the network: `answer` is its gradient, `invert` its harvest.

    Its attributes are the three networks and the losses of the last iteration.
    """

    def __init__(
        self,
        networks: tuple[nn.Module, nn.Module, nn.Module],
        data: Float[Tensor, "n ..."],
        config: HijackConfig,
        generator: torch.Generator,
    ) -> None:
        self.pilot, self.decoder, self.critic = networks
        self.losses: dict[str, float] = {}
        self._data = data
        self._config = config
        self._generator = generator
        self._autoencoder_step = config.autoencoder.build([*self.pilot.parameters(), *self.decoder.parameters()])
        self._critic_step = config.critic.build(self.critic.parameters())

    def answer(self, smashed: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """The gradient to send for a batch of smashed data; trains the three networks by one iteration.

        As in the authors' code, all three take their gradients at the weights from before the iteration.
        """
        private = smashed.detach().clone().requires_grad_()
        client_loss = self.critic(private).mean()
        (gradient,) = torch.autograd.grad(client_loss, private)
        private = private.detach()

        number = torch.randint(len(self._data), (self._config.batch_size,), generator=self._generator)
        public = self._data[number.to(self._data.device)]
        features = self.pilot(public)
        own_loss = functional.mse_loss(self.decoder(features), public)
        features = features.detach()
        critic_loss = self.critic(features).mean() - self.critic(private).mean()
        if self._config.penalty:
            steepness = gradient_penalty(
                self.critic, private, features, self._generator, by_channel=self._config.penalty_by_channel
            )
            critic_loss = critic_loss + self._config.penalty * steepness
        step(self._autoencoder_step, own_loss)
        step(self._critic_step, critic_loss)
        self.losses = {
            "client": float(client_loss.detach()),
            "own": float(own_loss.detach()),
            "critic": float(critic_loss.detach()),
        }
        return gradient

    @torch.no_grad()
    def invert(self, smashed: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """The inputs that the decoder sees in smashed data, in the range of inputs."""
        low, high = self._config.low, self._config.high
        decoded: Tensor = self.decoder(smashed)
        return low + (high - low) * (decoded + 1) / 2

    def parts(self) -> dict[str, Part]:
        """The pilot with the decoder behind it, and the critic."""
        autoencoder = nn.Sequential(self.pilot, self.decoder)
        return {"autoencoder": (autoencoder, self._autoencoder_step), "critic": (self.critic, self._critic_step)}


@attack(goal="the private inputs", reads=(Kind.SMASHED,), forges=(Kind.CUT_GRAD,))
def hijack_feature_space(
    view: Transcript, data: AuxiliaryData, config: HijackConfig, *, generator: torch.Generator
) -> Hijacker:
    """Make the client an encoder into a feature space that the server can decode.

    Threat model:
        A malicious server with data like the client's. It sends gradients of an objective of its own instead of the
        task's, so the client never learns the task. It needs no knowledge of the client's layers.

    Objective:
        Pilot and decoder: min MSE(decoder(pilot(x')), x'), on -1 to 1. Critic: min mean c(pilot(x')) - mean c(s) +
        penalty * mean (|dc| - 1)^2. Client: min mean c(s).

    Args:
        view: transcript with at least one batch of smashed data, whose shape sizes the networks.
        data: the attacker's own inputs [n, *input shape].
        config: settings of the attack.
        generator: draws the first weights, the batches and the penalty's mixtures.

    Returns:
        The hijacker, which has not begun: give its `answer` to the server, train, then give smashed data to `invert`.

    Raises:
        InputError: no smashed data in the view, or data and smashed data that are not pictures and feature maps.

    Reference:
        Pasquini, Ateniese, Bernaschi: Unleashing the tiger: inference attacks on split learning, CCS 2021, and the
        authors' code.

    Departures:
        - The authors enlarge MNIST to 32 x 32 pixels of three equal channels; here the networks take it as it is.
        - They use Keras, whose first weights and Adam's epsilon (1e-7) differ a little from torch's.
        - They deal their own data out in epochs; here each batch is drawn anew.
    """
    smashed = view.tensor(Kind.SMASHED)
    check_finite("smashed data", smashed)
    inputs = data.inputs.to(smashed.device)
    networks = hijacking_networks(_shape(inputs), _shape(smashed), generator=generator, width=config.width)
    pilot, decoder, critic = (network.to(smashed.device) for network in networks)
    scaled = (inputs - config.low) / (config.high - config.low) * 2 - 1
    return Hijacker((pilot, decoder, critic), scaled, config, generator)


def _shape(values: Tensor) -> tuple[int, int, int]:
    if values.dim() != 4:
        raise InputError(
            f"The hijacking attack maps pictures [n, channels, h, w] to feature maps, and these have the shape "
            f"{list(values.shape)}; cut the network where it still has feature maps."
        )
    return values.shape[1], values.shape[2], values.shape[3]
