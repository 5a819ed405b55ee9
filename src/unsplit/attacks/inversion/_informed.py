"""A restart of the amortised inversion that is held to pictures which the server knows or which are like them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from unsplit.attacks.inversion._candidate import Candidate
from unsplit.errors import InputError, check_at_least_one, check_not_negative

# Pictures that are all alike have no variance to divide by.
_LEAST_VARIANCE = 1e-3
# Sets of directions that are gone through in turn, and how many numbers they may have in all.
_MOST_SETS = 32
_MOST_NUMBERS = 2**22
# Classes that are compared in each step.
_CLASSES = 2


@dataclass(frozen=True, kw_only=True)
class ExamplesConfig:
    """How examples (pictures that the server has) enter the objective. An error is relative to what varies.

    Args:
        batch: number of examples in each step, where there are more.
        decoded: weight of the error of the decoded pictures of known smashed data at the known pictures.
        explained: weight of the clone's error on known pictures, as on all others.
        returned: weight of the error with which variants of examples come back from the clone and the decoder.
        alike: weight of the difference between the distributions of decoded pictures and of variants of examples.
        sent: weight of the difference, class by class, between the distributions of smashed data and of what the clone
            makes of variants of examples.
        class_batch: number of samples of a class of which each of these distributions is made.
        turn, scale, shift: deviation of the variants' rotation (and shear) in radians, of the logarithm of their
            scale, and of their shift in halves of a picture's size.
        directions: number of random directions along which distributions are compared.

    Raises:
        InputError: a number out of its range.
    """

    batch: int = 16
    decoded: float = 1.0
    explained: float = 1.0
    returned: float = 0.5
    alike: float = 1.0
    sent: float = 1.0
    class_batch: int = 32
    turn: float = 0.2
    scale: float = 0.15
    shift: float = 0.1
    directions: int = 64

    def __post_init__(self) -> None:
        check_at_least_one(self, "batch", "class_batch", "directions")
        weights = ("decoded", "explained", "returned", "alike", "sent")
        check_not_negative(self, *weights, "turn", "scale", "shift")
        if not any(getattr(self, name) for name in weights):
            raise InputError("All weights of the examples are 0; at least one of them must be above 0.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Examples:
    """Pictures that the server has.

    Args:
        pictures: the pictures, from 0 to 1, shape [examples, c, h, w].
        places: which of the smashed data each was sent as; None for pictures that were not sent.
        classes: the class of each picture, and of each of all the smashed data; None where they are not known.
    """

    pictures: Float[Tensor, "examples c h w"]
    places: Int[Tensor, " examples"] | None = None
    classes: tuple[Int[Tensor, " examples"], Int[Tensor, " n"]] | None = None


class InformedCandidate(Candidate):
    """A decoder and a clone that also have to suit examples; `know` comes before `learn`."""

    def know(self, examples: Examples, config: ExamplesConfig, generator: torch.Generator) -> None:
        """Tell it the examples.

        Args:
            examples: the pictures that the server has.
            config: how they enter the objective.
            generator: draws which of them are taken in each step, their variants, and directions.
        """
        pictures, device = examples.pictures, examples.pictures.device
        self._examples, self._suits = examples, config
        self._spread = pictures.var(unbiased=False).clamp_min(_LEAST_VARIANCE)
        self._picture_axes = _Axes(pictures, config.directions, generator)
        self._smashed_axes = _Axes(self._targets, config.directions, generator)
        # All that is drawn, in advance and on the device, so that a step needs nothing from the host.
        steps, number = sum(self._ahead), min(config.batch, len(pictures))
        paired = [torch.randperm(len(pictures), generator=generator)[:number] for _ in range(steps)]
        self._paired = torch.stack(paired).to(device)
        some = max(number, self._config.batch)
        self._some = _Variants.draw(torch.randint(len(pictures), (steps, some), generator=generator), config, generator)
        self._some = self._some.to(device)
        self._by_class = None if examples.classes is None else _drawn(*examples.classes, steps, config, generator)
        self._now = torch.zeros(1, dtype=torch.long, device=device)

    def _cost(self, pictures: Tensor, targets: Tensor, now: dict[str, Tensor]) -> Tensor:
        examples, suits = self._examples, self._suits
        cost = super()._cost(pictures, targets, now)
        variants = self._some.of(examples.pictures, self._now)
        if examples.places is not None:
            paired = self._paired.index_select(0, self._now)[0]
            known, smashed = examples.pictures[paired], self._targets[examples.places[paired]]
            cost = cost + suits.decoded * (self._decoded(smashed) - known).square().mean() / self._spread
            cost = cost + suits.explained * self.fit(known, smashed)
        if suits.returned:
            some = variants[: self._paired.shape[1]]
            back = self._decoded(self._sent(some))
            cost = cost + suits.returned * (back - some).square().mean() / self._spread
        if suits.alike:
            cost = cost + suits.alike * self._picture_axes.distance(pictures, variants[: len(pictures)], self._now)
        if suits.sent and self._by_class is not None:
            cost = cost + suits.sent * self._difference_of_classes(*self._by_class)
        self._now.add_(1)
        return cost

    def _difference_of_classes(self, drawn: "_Variants", chosen: Tensor) -> Tensor:
        made = self._sent(drawn.of(self._examples.pictures, self._now))
        seen = self._targets[chosen.index_select(0, self._now)[0]]
        pairs = zip(made.chunk(_CLASSES), seen.chunk(_CLASSES), strict=True)
        distances = [self._smashed_axes.distance(*pair, self._now) for pair in pairs]
        return torch.stack(distances).mean()

    def _sent(self, pictures: Tensor) -> Tensor:
        """What the clone would send for these pictures, its inner ReLUs leaking as they do in this step."""
        output: Tensor = self._fitted(pictures)
        return output.clamp_min(0) if self._hinge else output


class _Axes:
    """Random directions along which sets of samples like these are compared, others in each step, as memory allows."""

    def __init__(self, samples: Float[Tensor, "n ..."], number: int, generator: torch.Generator) -> None:
        size = samples[0].numel()
        sets = max(1, min(_MOST_SETS, _MOST_NUMBERS // (size * number)))
        self._directions = (torch.randn((sets, size, number), generator=generator) / size**0.5).to(samples)
        along = samples.flatten(1) @ self._directions[0]
        self._variance = along.var(0, unbiased=False).mean().clamp_min(_LEAST_VARIANCE * along.square().mean())

    def distance(
        self, ones: Float[Tensor, "n ..."], others: Float[Tensor, "n ..."], now: Int[Tensor, " 1"]
    ) -> Float[Tensor, ""]:
        """The mean squared Wasserstein distance of two sets along the directions of the step `now`, relative to the
        samples' variance.
        """
        directions = self._directions.index_select(0, now % len(self._directions))[0]
        ranked = [(each.flatten(1) @ directions).sort(0).values for each in (ones, others)]
        difference: Tensor = (ranked[0] - ranked[1]).square().mean() / self._variance
        return difference


@dataclass(frozen=True, kw_only=True, eq=False)
class _Variants:
    """Pictures turned, scaled and shifted a little, for each step."""

    chosen: Int[Tensor, "steps k"]
    warps: Float[Tensor, "steps k 2 3"]

    @classmethod
    def draw(cls, chosen: Int[Tensor, "steps k"], config: ExamplesConfig, generator: torch.Generator) -> "_Variants":
        def normal(deviation: float) -> Tensor:
            return torch.randn((2, *chosen.shape), generator=generator) * deviation

        (turn, shear), (wide, high) = normal(config.turn), normal(config.scale).exp()
        across, down = normal(config.shift)
        rows = (turn.cos() * wide, shear - turn.sin() * high, across, turn.sin() * wide, turn.cos() * high, down)
        return cls(chosen=chosen, warps=torch.stack(rows, -1).reshape(*chosen.shape, 2, 3))

    def to(self, device: torch.device) -> "_Variants":
        return _Variants(chosen=self.chosen.to(device), warps=self.warps.to(device))

    def of(self, pictures: Float[Tensor, "n c h w"], now: Int[Tensor, " 1"]) -> Float[Tensor, "k c h w"]:
        """Those of the step `now`."""
        some = pictures[self.chosen.index_select(0, now)[0]]
        grid = functional.affine_grid(self.warps.index_select(0, now)[0], list(some.shape), align_corners=False)
        return functional.grid_sample(some, grid, padding_mode="border", align_corners=False)


def _drawn(
    own: Int[Tensor, " examples"],
    seen: Int[Tensor, " n"],
    steps: int,
    config: ExamplesConfig,
    generator: torch.Generator,
) -> tuple[_Variants, Int[Tensor, "steps k"]] | None:
    """For each step examples and smashed data of the same classes; None where no class has both."""
    places = [(own == label).nonzero().flatten().cpu() for label in range(int(seen.max()) + 1)]
    sent = [(seen == label).nonzero().flatten().cpu() for label in range(len(places))]
    both = [label for label in range(len(places)) if len(places[label]) and len(sent[label])]
    if not both:
        return None
    chosen: tuple[list[Tensor], list[Tensor]] = ([], [])
    for label in torch.randint(len(both), (steps * _CLASSES,), generator=generator).tolist():
        for kept, pool in zip(chosen, (places[both[label]], sent[both[label]]), strict=True):
            kept.append(pool[torch.randint(len(pool), (config.class_batch,), generator=generator)])
    examples, targets = (torch.cat(kept).reshape(steps, -1) for kept in chosen)
    return _Variants.draw(examples, config, generator).to(own.device), targets.to(own.device)
