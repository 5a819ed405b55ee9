"""The attacker of SDAR: four networks that learn from each step of a training that they watch."""

import copy
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from unsplit.attacks.auxiliary._learning import Part, Resumable
from unsplit.attacks.auxiliary._networks import (
    WINDOW,
    make_decoder,
    make_feature_discriminator,
    make_picture_discriminator,
)
from unsplit.attacks.observed import check_finite, class_numbers, readable
from unsplit.attacks.settings import AttackSettings
from unsplit.devices import Precision, check_precision, reduces_precision
from unsplit.errors import InputError, check_at_least_one, check_not_negative, unknown_name
from unsplit.knowledge import AuxiliaryData, ClientArchitecture, OwnTop
from unsplit.optim import OptimizerSpec
from unsplit.randomness import draw_seed, own_stream, seeded
from unsplit.types import Kind, Transcript

PIECE = 256
"""Samples that pass through a network at a time."""


@dataclass(frozen=True, kw_only=True)
class SdarConfig(AttackSettings):
    """Settings of SDAR. The defaults are the preset `paper` for the vanilla setup.

    Args:
        iterations: learning steps on a recorded window; a server that watches a training takes one at each step.
        batch_size: samples of the attacker's own, and of a recorded window, each iteration; at least 2.
        simulator, decoder: optimisers of the two networks.
        feature_judge, picture_judge: optimisers of the two discriminators.
        feature_weight: weight of the simulator's adversarial term, at least 0; 0 leaves its discriminator out.
        picture_weight: weight of the decoder's adversarial term, at least 0; 0 leaves its discriminator out.
        width: channels of the decoder at full size.
        feature_width, picture_width: the feature discriminator's last channels, the picture discriminator's first.
        reduced_precision: convolutions in bfloat16: "on", "off" (as the authors'), or "auto", where the device has
            instructions for it.

    Raises:
        InputError: a number out of its range.
    """

    iterations: int = 20_000
    batch_size: int = 128
    simulator: OptimizerSpec = field(default_factory=lambda: OptimizerSpec(lr=1e-3))
    decoder: OptimizerSpec = field(default_factory=lambda: OptimizerSpec(lr=5e-4))
    feature_judge: OptimizerSpec = field(default_factory=lambda: OptimizerSpec(lr=2e-5))
    picture_judge: OptimizerSpec = field(default_factory=lambda: OptimizerSpec(lr=5e-9))
    feature_weight: float = 0.02
    picture_weight: float = 1e-5
    width: int = 16
    feature_width: int = 256
    picture_width: int = 64
    reduced_precision: Precision = "off"

    def __post_init__(self) -> None:
        check_at_least_one(self, "iterations", "width", "feature_width", "picture_width")
        check_not_negative(self, "feature_weight", "picture_weight")
        if self.batch_size < 2:
            raise InputError(f"batch_size is {self.batch_size}; batch norm needs at least 2.")
        check_precision(self.reduced_precision)

    @property
    def samples_wanted(self) -> int:
        return WINDOW

    def computing(self, precision: Precision) -> "SdarConfig":
        return replace(self, reduced_precision=precision)


SDAR_PRESETS = {
    "paper": SdarConfig(),
    "quick": SdarConfig(
        iterations=600,
        batch_size=32,
        decoder=OptimizerSpec(lr=2e-3),
        feature_judge=OptimizerSpec(lr=2e-4),
        feature_width=64,
        picture_width=16,
    ),
}
"""The settings by name: the paper's, and less of everything for a first look on a CPU."""


def sdar_preset(name: str) -> SdarConfig:
    """The settings of a preset of SDAR.

    Raises:
        InputError: no such preset.
    """
    if name not in SDAR_PRESETS:
        raise unknown_name("preset of SDAR", name, SDAR_PRESETS)
    return SDAR_PRESETS[name]


class SdarAttacker(Resumable):
    """What a passive server runs beside a training: `observe` tells it of a step, `invert` is its harvest.

    It computes with copies and draws from its own generator, so a training that is watched is the training that is
    not, bit for bit. Its attributes are its networks and the losses of the last step.

    Args:
        architecture: the client's layers, and the shape and range of a picture.
        top: the server's own layers, for their form; `observe` brings their weights up to date.
        data: the attacker's own pictures, with labels.
        config: settings of the attack.
        generator: draws first weights, batches and dropout's masks.
        conditional: tell decoder and discriminators the labels, which the server then must receive.

    Raises:
        InputError: data without labels or of another shape, or a cut that has no decoder.
    """

    def __init__(
        self,
        architecture: ClientArchitecture,
        top: OwnTop,
        data: AuxiliaryData,
        config: SdarConfig,
        *,
        generator: torch.Generator,
        conditional: bool = True,
    ) -> None:
        picture, bounds = architecture.input_shape, (architecture.low, architecture.high)
        self._labels = _checked_labels(data, picture)
        self._top = copy.deepcopy(top.top).requires_grad_(False).eval()
        device = next((weight.device for weight in self._top.parameters()), data.inputs.device)
        self._low, self._range = bounds[0], bounds[1] - bounds[0]
        self._inputs = data.inputs.to(device)
        self._labels = self._labels.to(device)
        self._classes, self._conditional = top.classes, conditional
        self._config = config
        self._generator = generator
        self.losses: dict[str, float] = {}
        # Beside a training no declared attack sees to it that the client's seed does not give the client's weights.
        own = own_stream(generator, "attacker")
        self.simulator = architecture.blueprint.instantiate(generator=own, device=device)
        with torch.no_grad():
            smashed = tuple(self.simulator.eval()(self._inputs[:1]).shape[1:])
        self.simulator.train()
        classes = top.classes if conditional else None
        with seeded(draw_seed(generator)):
            self.decoder = make_decoder(smashed, picture, classes, width=config.width).to(device)
            self.feature_judge = make_feature_discriminator(smashed, classes, width=config.feature_width).to(device)
            self.picture_judge = make_picture_discriminator(picture, classes, width=config.picture_width).to(device)
        self._steps = {
            "simulator": config.simulator.build(self.simulator.parameters()),
            "decoder": config.decoder.build(self.decoder.parameters()),
            "feature_judge": config.feature_judge.build(self.feature_judge.parameters()),
            "picture_judge": config.picture_judge.build(self.picture_judge.parameters()),
        }

    def observe(self, view: Transcript, top: OwnTop) -> None:
        """Learn from the messages of one step, and from the server's own layers as they are after it.

        Args:
            view: the step's smashed data and, where the attacker is conditional, its labels; nothing else is read.
            top: the server's own layers, which are copied and not changed.

        Raises:
            InputError: a message is missing, labels do not match, or values are not finite.
        """
        self._top.load_state_dict(top.top.state_dict())
        self.learn(*self.read(view))

    def read(self, view: Transcript) -> tuple[Tensor, Tensor | None]:
        """The smashed data of a view [n, ...] and, where the attacker is conditional, their labels [n]."""
        view = readable(view)
        smashed = view.tensor(Kind.SMASHED)
        check_finite("smashed data", smashed)
        if not self._conditional:
            return smashed, None
        labels = class_numbers(view.tensor(Kind.LABELS))
        if labels.is_floating_point() or labels.shape != smashed.shape[:1] or int(labels.max()) >= self._classes:
            raise InputError(
                f"The view has {len(smashed)} samples of smashed data and labels of shape {list(labels.shape)}; a "
                f"conditional SDAR needs one of {self._classes} classes for each sample; use SDAR without labels here."
            )
        return smashed, labels

    def learn(self, smashed: Float[Tensor, "n ..."], labels: Int[Tensor, " n"] | None) -> None:
        """One learning step of all four networks."""
        drawn = torch.randint(len(self._inputs), (self._config.batch_size,), generator=self._generator)
        drawn = drawn.to(self._inputs.device)
        inputs = self._inputs[drawn]
        own = self._labels[drawn]
        reduced = reduces_precision(self._config.reduced_precision, smashed.device)
        autocast = torch.autocast(smashed.device.type, torch.bfloat16, enabled=reduced)
        with seeded(draw_seed(self._generator)), autocast:
            self._learn_features(inputs, own, smashed, labels)
            self._learn_pictures(inputs, own, smashed, labels)

    @torch.no_grad()
    def invert(
        self, smashed: Float[Tensor, "n ..."], labels: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n c h w"]:
        """The pictures that the decoder sees in smashed data, in the range of inputs.

        Args:
            smashed: shape [n, ...].
            labels: shape [n], where the attacker is conditional.
        """
        self.decoder.eval()
        pieces = [slice(start, start + PIECE) for start in range(0, len(smashed), PIECE)]
        found = [self.decoder(smashed[piece], None if labels is None else labels[piece]) for piece in pieces]
        self.decoder.train()
        return self._low + self._range * torch.cat(found)

    def parts(self) -> dict[str, Part]:
        """The simulator, the decoder and the two discriminators."""
        return {part: (getattr(self, part), optimizer) for part, optimizer in self._steps.items()}

    def _learn_features(self, inputs: Tensor, own: Tensor, smashed: Tensor, labels: Tensor | None) -> None:
        simulated = self.simulator(inputs)
        loss = task = functional.cross_entropy(self._top(simulated).float(), own)
        judging = self._config.feature_weight > 0
        if judging:
            forged, real = self.feature_judge(simulated, own), self.feature_judge(smashed, labels)
            loss = task + self._config.feature_weight * _error(forged, real=True)
            judged = _error(real, real=True) + _error(forged, real=False)
            self.losses["feature_judge"] = float(judged.detach())
        gradients = _gradients(loss, self.simulator, keep=judging)
        if judging:
            _step(self._steps["feature_judge"], self.feature_judge, _gradients(judged, self.feature_judge))
        _step(self._steps["simulator"], self.simulator, gradients)
        self.losses["task"] = float(task.detach())

    def _learn_pictures(self, inputs: Tensor, own: Tensor, smashed: Tensor, labels: Tensor | None) -> None:
        with torch.no_grad():
            simulated = self.simulator(inputs)
        wanted = (inputs - self._low) / self._range
        loss = error = functional.mse_loss(self.decoder(simulated, own).float(), wanted)
        judging = self._config.picture_weight > 0
        if judging:
            decoded = self.decoder(smashed, labels)
            forged, real = self.picture_judge(decoded, labels), self.picture_judge(wanted, own)
            loss = error + self._config.picture_weight * _error(forged, real=True)
            judged = _error(real, real=True) + _error(forged, real=False)
            self.losses["picture_judge"] = float(judged.detach())
        gradients = _gradients(loss, self.decoder, keep=judging)
        if judging:
            _step(self._steps["picture_judge"], self.picture_judge, _gradients(judged, self.picture_judge))
        _step(self._steps["decoder"], self.decoder, gradients)
        self.losses["decoder"] = float(error.detach())


def _error(logits: Tensor, *, real: bool) -> Tensor:
    """The cross-entropy of a discriminator's logits [n, 1] where all should be real, or all forged."""
    return functional.softplus(-logits.float() if real else logits.float()).mean()


def _gradients(loss: Tensor, network: nn.Module, *, keep: bool = False) -> tuple[Tensor | None, ...]:
    # Only this network's: what else the loss went through, the server's top among it, gets none.
    weights = [value for value in network.parameters() if value.requires_grad]
    return torch.autograd.grad(loss, weights, retain_graph=keep, allow_unused=True)


def _step(optimizer: torch.optim.Optimizer, network: nn.Module, gradients: tuple[Tensor | None, ...]) -> None:
    weights = (value for value in network.parameters() if value.requires_grad)
    for value, gradient in zip(weights, gradients, strict=True):
        value.grad = gradient
    optimizer.step()


def _checked_labels(data: AuxiliaryData, picture: tuple[int, ...]) -> Tensor:
    if data.labels is None:
        raise InputError(
            "SDAR learns from labelled data, and the attacker's own data have no labels; give one label for each input."
        )
    if len(data.labels) != len(data.inputs) or tuple(data.inputs.shape[1:]) != tuple(picture):
        raise InputError(
            f"The attacker's own data have {len(data.labels)} labels and inputs of shape {list(data.inputs.shape)}; "
            f"give inputs of the client's shape {list(picture)}, and one label for each."
        )
    return data.labels
