"""Defences of the inputs: what a client may do to smashed data before they leave.

All of them are applied in training and when the network is used, so that the server never sees undefended values.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from unsplit.defenses.defense import Defense, register_defense
from unsplit.errors import InputError, check_at_least_one, check_not_negative, check_positive

_PULL = 0.1


@dataclass(frozen=True, kw_only=True)
class _Noise(Defense, ABC):
    """Base of noise that is added to smashed data, in proportion to their root mean square."""

    protects: ClassVar[str] = "inputs: each message says less about its sample"
    knob: ClassVar[str] = "scale: more noise hides more"
    scale: float = 0.5

    def __post_init__(self) -> None:
        check_not_negative(self, "scale")

    @property
    def noise(self) -> float:
        return self.scale

    def smashed(self, values: Tensor, *, generator: torch.Generator) -> Tensor:
        return values + self.scale * _size(values) * self._unit(values, generator)

    @abstractmethod
    def _unit(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """Noise of standard deviation 1, of the shape of `values`."""


@register_defense("gaussian", strengths=("scale=0.5", "scale=1", "scale=2"), usual=True)
@dataclass(frozen=True, kw_only=True)
class GaussianNoise(_Noise):
    """Gaussian noise on smashed data.

    Args:
        scale: standard deviation of the noise divided by the root mean square of the batch; 0 or more.

    Reference:
        Titcombe, Hall, Papadopoulos, Romanini, "Practical defences against model inversion attacks for split neural
        networks", 2021. The noise is relative here: weights can grow until fixed noise no longer hides anything.
    """

    def _unit(self, values: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randn(values.shape, generator=generator).to(values)


@register_defense("laplace", strengths=("scale=0.5", "scale=1", "scale=2"))
@dataclass(frozen=True, kw_only=True)
class LaplaceNoise(_Noise):
    """Laplace noise on smashed data.

    Args:
        scale: standard deviation of the noise divided by the root mean square of the batch; 0 or more.

    Reference:
        Titcombe et al. 2021, as `GaussianNoise`. It is local differential privacy only together with clipping.
    """

    def _unit(self, values: Tensor, generator: torch.Generator) -> Tensor:
        return _laplace(values, generator)

    def misfit(self, values: Tensor, observed: Tensor) -> Tensor:
        return (values - observed).abs() * _size(observed)


@register_defense("clip", strengths=("limit=0.5", "limit=0.2", "limit=0.1"), usual=True)
@dataclass(frozen=True, kw_only=True)
class Clip(Defense):
    """Smashed data are clipped to a range.

    Args:
        limit: the largest magnitude that leaves, above 0.

    Reference:
        The bounding step of Abadi et al. 2016 and of every local mechanism; by itself it claims little.
    """

    protects: ClassVar[str] = "inputs: strong activations are cut off"
    knob: ClassVar[str] = "limit: a lower one hides more"
    limit: float = 1.0

    def __post_init__(self) -> None:
        check_positive(self, "limit")

    def smashed(self, values: Tensor, *, generator: torch.Generator) -> Tensor:
        return self.expected(values)

    def expected(self, values: Tensor) -> Tensor:
        return values.clamp(-self.limit, self.limit)

    def misfit(self, values: Tensor, observed: Tensor) -> Tensor:
        # At the limit, only what falls short of it is wrong; below it, the value is known. So no gradient dies.
        short = functional.relu(observed.abs() - values * observed.sign()).square()
        return torch.where(observed.abs() >= self.limit * (1 - 1e-6), short, (values - observed).square())


@register_defense("quantise", strengths=("bits=4", "bits=2", "bits=1"), usual=True)
@dataclass(frozen=True, kw_only=True)
class Quantise(Defense):
    """Smashed data are rounded to a few levels between the smallest and the largest of the batch. The client trains as
    if it had not rounded (straight-through).

    Args:
        bits: number of bits for each value, 1 to 16.

    Reference:
        Bengio, Léonard, Courville 2013 for the gradient; a common way to send less.
    """

    protects: ClassVar[str] = "inputs: small differences are lost, and fewer bytes are sent"
    knob: ClassVar[str] = "bits: fewer hide more"
    bits: int = 4

    def __post_init__(self) -> None:
        check_at_least_one(self, "bits")
        if self.bits > 16:
            raise InputError(f"bits is {self.bits}; it must be from 1 to 16.")

    def smashed(self, values: Tensor, *, generator: torch.Generator) -> Tensor:
        low, step = self._levels(values.detach())
        rounded = (values.detach() - low).div(step).round().mul(step).add(low)
        return values + (rounded - values.detach())

    def misfit(self, values: Tensor, observed: Tensor) -> Tensor:
        _, step = self._levels(observed)
        off = (values - observed).abs()
        # Within a level all values explain it alike; a slight pull to its middle keeps what fits it from wandering.
        return functional.relu(off - step / 2).square() + _PULL * off.square()

    def packed_bytes(self, sent: Tensor) -> float:
        return self.bits * sent.numel() / 8

    def _levels(self, values: Tensor) -> tuple[Tensor, Tensor]:
        low, high = values.min(), values.max()
        return low, ((high - low) / (2**self.bits - 1)).clamp_min(torch.finfo(values.dtype).tiny)


class _Sparse(Defense):
    """Base of defences after which many numbers are 0; by default those smaller than all that was sent of a sample."""

    def packed_bytes(self, sent: Tensor) -> float:
        # A bit for each number that says whether it is there, and four bytes for each that is.
        return sent.numel() / 8 + 4.0 * float((sent != 0).sum())

    def misfit(self, values: Tensor, observed: Tensor) -> Tensor:
        flat = observed.flatten(1).abs()
        least = torch.where(flat > 0, flat, math.inf).min(1).values
        # A sample of which nothing was sent says nothing.
        limit = least.reshape(-1, *[1] * (observed.ndim - 1))
        return torch.where(observed != 0, (values - observed).square(), functional.relu(values.abs() - limit).square())


@register_defense("sparsify", strengths=("threshold=0.5", "threshold=1", "threshold=2"))
@dataclass(frozen=True, kw_only=True)
class Sparsify(_Sparse):
    """Numbers of small magnitude are not sent: they become 0.

    Args:
        threshold: numbers whose magnitude is below this multiple of the batch's root mean square are dropped; 0 or
            more.

    Reference:
        As magnitude pruning of messages in distributed training (Strom 2015).
    """

    protects: ClassVar[str] = "inputs: weak activations are not sent"
    knob: ClassVar[str] = "threshold: a higher one hides more"
    threshold: float = 1.0

    def __post_init__(self) -> None:
        check_not_negative(self, "threshold")

    def smashed(self, values: Tensor, *, generator: torch.Generator) -> Tensor:
        return values * (values.detach().abs() >= self.threshold * _size(values))


@register_defense("top-k", strengths=("keep=0.2", "keep=0.1", "keep=0.05"), usual=True)
@dataclass(frozen=True, kw_only=True)
class TopK(_Sparse):
    """Of each sample only the numbers of largest magnitude are sent; the others become 0.

    Args:
        keep: share of the numbers that is kept, above 0 and at most 1.

    Reference:
        Zheng et al., "Reducing communication for split learning by randomized top-k sparsification", IJCAI 2023 (whose
        baseline this is); proposed there to send less.
    """

    protects: ClassVar[str] = "inputs: weak activations are not sent, and fewer bytes are"
    knob: ClassVar[str] = "keep: less hides more"
    keep: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise InputError(f"keep is {self.keep}; it must be above 0 and at most 1, for example 0.1.")

    def smashed(self, values: Tensor, *, generator: torch.Generator) -> Tensor:
        sizes = values.detach().flatten(1).abs()
        kept = sizes.topk(max(1, round(self.keep * sizes.shape[1])), 1).indices
        mask = torch.zeros_like(sizes).scatter_(1, kept, 1.0)
        return values * mask.reshape(values.shape)


@dataclass(frozen=True, kw_only=True)
class _Dropping(_Sparse):
    """Base of defences that set each number to 0 with a probability of `rate`."""

    rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise InputError(f"rate is {self.rate}; it must be from 0 to below 1.")

    def _kept(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """1 where a number is kept, and 0 where it is dropped, of the shape of `values`."""
        return (torch.rand(values.shape, generator=generator) >= self.rate).to(values)


@register_defense("dropout", strengths=("rate=0.3", "rate=0.6", "rate=0.9"), usual=True)
@dataclass(frozen=True, kw_only=True)
class Dropout(_Dropping):
    """Dropout at the cut, when the network is used too: numbers become 0 at random, the others grow in proportion.

    Args:
        rate: share of the numbers that is dropped, 0 or more and below 1.

    Reference:
        He, Zhang, Lee, "Attacking and protecting data privacy in edge-cloud collaborative inference systems", IEEE
        Internet of Things Journal 2020, which proposes it against inversion.
    """

    protects: ClassVar[str] = "inputs: a random part of each message is missing"
    knob: ClassVar[str] = "rate: a higher one hides more"
    rate: float = 0.5

    @property
    def noise(self) -> float:
        # That of a value beside its mean, where nothing is known of which are dropped.
        return float((self.rate / (1 - self.rate)) ** 0.5) / 2

    def smashed(self, values: Tensor, *, generator: torch.Generator) -> Tensor:
        return values * self._kept(values, generator) / (1 - self.rate)

    def misfit(self, values: Tensor, observed: Tensor) -> Tensor:
        seen = (values / (1 - self.rate) - observed).square()
        return torch.where(observed != 0, seen, (1 - self.rate) * _bounded(values, observed))


@register_defense("random-relu", strengths=("rate=0.3,scale=0.3", "rate=0.6,scale=0.6", "rate=0.8,scale=1"), usual=True)
@dataclass(frozen=True, kw_only=True)
class RandomReLU(_Dropping):
    """A random ReLU at the cut: each number passes the ReLU with Laplace noise with some chance, and is 0 otherwise.

    Args:
        rate: probability that a number becomes 0, 0 or more and below 1.
        scale: standard deviation of the noise divided by the root mean square of the batch; 0 or more.

    Reference:
        After Mao, Xin, Li, Yang, Li, "Secure split learning against property inference, data reconstruction, and
        feature space hijacking attacks", 2023 (R3eLU: randomised response and Laplace noise in a ReLU).

    Departures:
        Their budget is shared out between both parts and adapted as training goes on; here both are fixed.
    """

    protects: ClassVar[str] = "inputs: a random part of each message is missing, the rest is noisy"
    knob: ClassVar[str] = "rate, scale: higher ones hide more"
    rate: float = 0.3
    scale: float = 0.3

    def __post_init__(self) -> None:
        check_not_negative(self, "scale")
        super().__post_init__()

    @property
    def noise(self) -> float:
        return self.scale

    def smashed(self, values: Tensor, *, generator: torch.Generator) -> Tensor:
        kept = self._kept(values, generator)
        noisy = values + self.scale * _size(values) * _laplace(values, generator)
        return functional.relu(noisy) * kept

    def misfit(self, values: Tensor, observed: Tensor) -> Tensor:
        return torch.where(
            observed > 0, (values - observed).square(), (1 - self.rate) * _bounded(functional.relu(values), observed)
        )


def _size(values: Tensor) -> Tensor:
    """The root mean square, as a number that no gradient passes through."""
    return values.detach().square().mean().sqrt().clamp_min(torch.finfo(values.dtype).tiny)


def _laplace(values: Tensor, generator: torch.Generator) -> Tensor:
    """Laplace noise of standard deviation 1, of the shape of `values`."""
    unit = (torch.rand(values.shape, generator=generator) - 0.5).clamp(-0.4999999, 0.4999999)
    return (-unit.sign() * torch.log1p(-2 * unit.abs()) / math.sqrt(2)).to(values)


def _bounded(values: Tensor, observed: Tensor) -> Tensor:
    """The square of what should have been seen and was not, up to a limit: it may have been dropped."""
    size = observed.square().mean().clamp_min(torch.finfo(observed.dtype).tiny)
    squares = values.square()
    return squares * size / (squares + size)
