"""One restart of the amortised inversion: a decoder and a clone that learn together."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from unsplit.attacks.hinge import without_last_relu
from unsplit.attacks.inversion._decoder import Decoder
from unsplit.attacks.inversion._leak import Leak, leaky
from unsplit.attacks.inversion._pieces import in_pieces
from unsplit.attacks.inversion._schedule import Stretch, timetable
from unsplit.attacks.inversion.photographs import Photographs, figure_misfit, phase_misfit
from unsplit.attacks.objectives import total_variation
from unsplit.attacks.targets import fresh_clone
from unsplit.devices import Precision, check_precision, reduces_precision
from unsplit.errors import InputError, check_at_least_one, check_not_negative, check_positive
from unsplit.knowledge import ClientArchitecture
from unsplit.optim import check_betas
from unsplit.randomness import draw_seed, seeded
from unsplit.randomness import generator as seeded_generator
from unsplit.stepping import Timetable, Work, adam, repeated

MisfitFunction = Callable[[Tensor, Tensor], Tensor]
Restart = TypeVar("Restart", bound="Candidate")

_MEMORY = 0.98


@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """How a decoder and a clone learn together. A weight or rate "from" holds at the start, "to" at the end.

    Args:
        batch: number of smashed samples in each step.
        decoder_rate, clone_rate: Adam's learning rates, falling to 0 as a half cosine.
        wide: the clone's rates are lower where a layer has more inputs (fan-in) than this, in proportion.
        decoder_rate_start, clone_rate_start: they rise from these over the first `rise` of the steps. Pictures that
            move too fast at first end as blank ones, and a clone that does follows no pictures.
        rise: share of the steps in which the rates rise, from 0 (exclusive) to 1.
        betas: Adam's decay rates of the two moments, each from 0 to below 1.
        variation_start, variation_end: weight of the isotropic total variation, falling geometrically.
        leak: slope of the clone's inner ReLUs below zero at the start, falling to 0 at half of the steps.
        weight_prior, bias_prior: weights of the mean square of the clone's weights and biases, each relative to its
            expectation where torch starts a layer.
        width, blocks: number of channels and of residual blocks of the decoder.
        photographs: what is taken for granted about the pictures.
        reduced_precision: the decoder's convolutions in bfloat16: "on", "off", or "auto", where the device has
            instructions for it.

    Raises:
        InputError: a number out of its range.
    """

    batch: int = 24
    decoder_rate: float = 0.004
    clone_rate: float = 0.03
    wide: int = 200
    decoder_rate_start: float = 0.0015
    clone_rate_start: float = 0.003
    rise: float = 0.3
    betas: tuple[float, float] = (0.9, 0.99)
    variation_start: float = 0.3
    variation_end: float = 0.005
    leak: float = 0.3
    weight_prior: float = 3e-4
    bias_prior: float = 3e-3
    width: int = 32
    blocks: int = 2
    photographs: Photographs = field(default_factory=Photographs)
    reduced_precision: Precision = "auto"

    def __post_init__(self) -> None:
        check_at_least_one(self, "batch", "width", "wide")
        rates = ("decoder_rate", "clone_rate", "decoder_rate_start", "clone_rate_start")
        check_positive(self, *rates, "variation_start", "variation_end")
        check_not_negative(self, "weight_prior", "bias_prior", "blocks")
        if not 0 < self.rise <= 1 or not 0 <= self.leak < 1:
            raise InputError(
                f"rise is {self.rise} and leak is {self.leak}; rise must be above 0 and at most 1, and leak from 0 to "
                "below 1."
            )
        check_betas(self.betas)
        check_precision(self.reduced_precision)


class Candidate:
    """A decoder and a clone, and the optimiser that moves both.

    Args:
        clone: the copy of the client's layers, trained in place.
        targets: all smashed data to learn from, shape [n, ...].
        decoder: network that makes pictures from smashed data, trained in place.
        bounds: lowest and highest value of a pixel.
        config: settings of the attack.
        generator: draws the batches.
        stretches: of the schedule, in the order in which `learn` goes through them.
        misfit: how badly an output explains what was observed, number by number, where the client is known to change
            it before it leaves; None where it leaves as it is.
    """

    def __init__(
        self,
        clone: nn.Module,
        targets: Tensor,
        decoder: Decoder,
        bounds: tuple[float, float],
        config: LearningConfig,
        generator: torch.Generator,
        stretches: Sequence[Stretch],
        misfit: MisfitFunction | None = None,
    ) -> None:
        self.clone, self.decoder = clone, decoder
        self._targets, self._bounds, self._config, self._misfit = targets, bounds, config, misfit
        # The hinge takes a zero for what a ReLU left; a defence may have made it.
        before = without_last_relu(clone) if misfit is None else None
        self._hinge = before is not None
        self._leak = Leak(targets.device)
        self._fitted = leaky(clone if before is None else before, self._leak)
        # Within channels: where the client is untrained, its channels differ by their biases more than the pictures do.
        over = [0, *range(2, targets.ndim)]
        centred = targets - targets.mean(over, keepdim=True)
        self._variance = centred.square().mean().clamp_min(torch.finfo(targets.dtype).tiny)
        self._priors = _priors(clone, config)
        self._period = decoder.period if config.photographs.phases else 1
        self._on_ground = config.photographs.on_ground(decoder.shape)
        widest = max((value[0].numel() for value in clone.parameters() if value.ndim > 1), default=1)
        narrowness = min(1.0, config.wide / widest)
        self._timetable = timetable(config, stretches, narrowness, len(targets), generator, targets.device)
        groups = (decoder.parameters(), clone.parameters())
        self._optimizer = adam(groups, self._timetable.rates, config.betas)
        self._repeated = repeated(self._step, targets.device)
        self._ahead = [stretch.steps for stretch in reversed(stretches)]
        # In double precision where there is a choice, as a Python float would be.
        self._total, self._norm = torch.zeros((), dtype=self._timetable.rates.dtype, device=targets.device), 0.0

    @classmethod
    def start(
        cls: type[Restart],
        targets: Tensor,
        architecture: ClientArchitecture,
        config: LearningConfig,
        tilt: float,
        source: torch.Generator,
        stretches: Sequence[Stretch],
        misfit: MisfitFunction | None = None,
    ) -> Restart:
        """A candidate with first weights from `source`, whose first pictures have the logit `tilt`."""
        clone = fresh_clone(architecture, source, targets.device, alone=len(targets) == 1)
        with seeded(draw_seed(source)):
            decoder = Decoder(
                clone,
                targets,
                architecture.input_shape,
                width=config.width,
                blocks=config.blocks,
                tilt=tilt,
                reduced_precision=reduces_precision(config.reduced_precision, targets.device),
            )
        bounds = (architecture.low, architecture.high)
        return cls(clone, targets, decoder, bounds, config, seeded_generator(draw_seed(source)), stretches, misfit)

    def learn(self, tell: Callable[[float], None]) -> Work:
        """The next stretch of the schedule; `tell` is called with the objective after it."""
        steps = self._ahead.pop()
        self._total.zero_()

        def after() -> None:
            self._norm = 0.0
            for _ in range(steps):
                self._norm = _MEMORY * self._norm + 1
            self._leak.slope.zero_()
            tell(self.objective)

        return Work(step=self._repeated, times=steps, after=after)

    @property
    def objective(self) -> float:
        """The running mean of what was minimised in the last stretch; infinite where it was not finite."""
        total = float(self._total)
        return total / self._norm if self._norm and math.isfinite(total) else math.inf

    @torch.no_grad()
    def pictures(self, number: int | None = None) -> Tensor:
        """The reconstruction of the first so many targets, or of all, shape [n, c, h, w], in the range."""
        return torch.cat([self._decoded(part) for part in in_pieces(self._targets[:number], self.decoder.shape)])

    def fit(self, pictures: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error of the clone on `pictures`, relative to all smashed data's variance within channels."""
        output = self._fitted(pictures)
        if self._misfit is not None:
            return self._misfit(output, targets).mean() / self._variance
        if self._hinge:
            output = torch.where(targets > 0, output, output.clamp_min(0))
        error: Tensor = (output - targets).square().mean() / self._variance
        return error

    def refit(self, pictures: Tensor, steps: int, highest_rate: float, source: torch.Generator) -> Work:
        """Let the clone follow these pictures of all targets, in so many steps of a falling rate."""
        rates = [(highest_rate * (1 - step / steps),) for step in range(steps)]
        batches = torch.randint(len(self._targets), (steps, self._config.batch), generator=source)
        table = Timetable(rates, {}, batches, self._targets.device)
        optimizer = adam([self.clone.parameters()], table.rates)

        def step() -> None:
            _, batch = table.start_step()
            optimizer.zero_grad(set_to_none=True)
            loss = self.fit(pictures.index_select(0, batch), self._targets.index_select(0, batch)) + self.prior()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            table.end_step()

        return Work(step=repeated(step, self._targets.device), times=steps)

    def prior(self) -> Tensor:
        """What the sizes of the clone's weights and biases cost."""
        cost: Tensor = sum((value.square().mean() * factor for value, factor in self._priors), torch.zeros(()))
        return cost

    def _decoded(self, targets: Tensor) -> Tensor:
        low, high = self._bounds
        pictures: Tensor = self.decoder(targets)
        return pictures * (high - low) + low

    def _step(self) -> None:
        """One step of the decoder and the clone. It reads what it needs on the device, and nothing from the host."""
        now, batch = self._timetable.start_step()
        self._leak.slope.copy_(now["leak"])
        loss = self._loss(self._targets.index_select(0, batch), now)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._total.mul_(_MEMORY).add_(loss.detach())
        self._timetable.end_step()

    def _loss(self, targets: Tensor, now: dict[str, Tensor]) -> Tensor:
        """What is minimised for these smashed data, with the weights that hold in this step."""
        return self._cost(self._decoded(targets), targets, now)

    def _cost(self, pictures: Tensor, targets: Tensor, now: dict[str, Tensor]) -> Tensor:
        """What these pictures of the targets cost."""
        cost = self.fit(pictures, targets) + now["variation"] * total_variation(pictures) + self.prior()
        if self._on_ground:
            cost = cost + now["figures"] * figure_misfit(pictures)
        return cost + now["phases"] * phase_misfit(pictures, self._period) if self._period > 1 else cost


def _priors(clone: nn.Module, config: LearningConfig) -> list[tuple[Tensor, float]]:
    """Weights and biases with the factors that make their mean square 1 times its prior's weight at the start."""
    found: list[tuple[Tensor, float]] = []
    for layer in clone.modules():
        weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
        if isinstance(weight, Tensor) and weight.ndim > 1:
            # torch draws both uniformly within 1 / sqrt(fan-in).
            expected = 1 / (3 * weight[0].numel())
            found.append((weight, config.weight_prior / expected))
            if isinstance(bias, Tensor):
                found.append((bias, config.bias_prior / expected))
    return found
