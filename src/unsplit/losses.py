"""The client's loss as a plain value, so that it can be agreed on, written down and known to an attacker."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional

from .choices import LOSSES, REDUCTIONS
from .errors import InputError, unknown_name


@dataclass(frozen=True, kw_only=True)
class LossSpec:
    """A loss of outputs [n, outputs] and labels [n]; of regression targets [n] or [n, outputs] with "mse".

    Args:
        name: "cross_entropy" of softmax; "bce", a sigmoid for each output against the label's one-hot code, or against
            the label itself where there is one output; "mse" against the one-hot code, or against real targets.
        label_smoothing: share of the target that is spread evenly over the classes, from 0 to below 1.
        reduction: "mean" over the batch (weighted, where there are weights) or "sum".
        weights: weight of each class, above 0; empty for equal ones. Not with "mse".

    Raises:
        InputError: an unknown name, or a number out of its range.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str = "cross_entropy"
    label_smoothing: float = 0.0
    reduction: str = "mean"
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for what, name, known in (
            ("loss", self.name, LOSSES),
            ("reduction", self.reduction, REDUCTIONS),
        ):
            if name not in known:
                raise unknown_name(what, name, known)
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"label_smoothing is {self.label_smoothing}; it must be from 0 to below 1.")
        if any(not weight > 0 for weight in self.weights):
            raise InputError(f"The class weights are {self.weights}; each must be above 0.")
        if self.weights and self.name == "mse":
            raise InputError("The loss mse takes no class weights; leave them out, or use cross_entropy or bce.")

    def __call__(self, outputs: Float[Tensor, "n outputs"], labels: Shaped[Tensor, "n ..."]) -> Float[Tensor, ""]:
        """The loss of a batch."""
        if labels.is_floating_point():
            if self.name != "mse":
                raise InputError(f"The loss {self.name} takes classes, not real targets; use mse for regression.")
            return functional.mse_loss(outputs, labels.reshape(outputs.shape), reduction=self.reduction)
        weights = torch.tensor(self.weights, dtype=outputs.dtype, device=outputs.device) if self.weights else None
        if self.name == "cross_entropy":
            return functional.cross_entropy(
                outputs, labels, weight=weights, label_smoothing=self.label_smoothing, reduction=self.reduction
            )
        targets = self._targets(outputs, labels)
        if self.name == "mse":
            return functional.mse_loss(outputs, targets, reduction=self.reduction)
        each = functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none").mean(1)
        scale = torch.ones_like(each) if weights is None else weights[labels]
        return (each * scale).sum() / (scale.sum() if self.reduction == "mean" else 1.0)

    def residual(self, outputs: Float[Tensor, "n outputs"], labels: Int[Tensor, " n"]) -> Float[Tensor, "n outputs"]:
        """The gradient of each sample's loss at its outputs, up to a positive factor of the sample's own.

        That factor is what reduction and weights make of it, and it is taken so that the residual neither vanishes nor
        overflows where outputs are sure: for cross-entropy it is the softmax over the *other* classes less the label's
        one-hot code, p - y divided by 1 - p_y.
        """
        targets = self._targets(outputs, labels)
        if self.name == "mse":
            return outputs - targets
        if self.label_smoothing:
            return (outputs.softmax(1) if self.name == "cross_entropy" else outputs.sigmoid()) - targets
        own = targets > 0.5
        if self.name == "cross_entropy":
            return outputs.masked_fill(own, float("-inf")).softmax(1) - targets
        sizes = functional.logsigmoid(torch.where(own, -outputs, outputs))
        return torch.where(own, -1.0, 1.0) * (sizes - sizes.amax(1, keepdim=True).detach()).exp()

    def _targets(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """What the outputs are compared with: one-hot codes, smoothed; the label itself where there is one output."""
        if outputs.shape[1] == 1 and self.name != "cross_entropy":
            exact, classes = labels[:, None].to(outputs.dtype), 2
        else:
            classes = outputs.shape[1]
            exact = functional.one_hot(labels, classes).to(outputs.dtype)
        return exact * (1 - self.label_smoothing) + self.label_smoothing / classes

    def __str__(self) -> str:
        parts = [self.name, self.reduction]
        if self.label_smoothing:
            parts.append(f"label smoothing {self.label_smoothing:g}")
        if self.weights:
            parts.append(f"weights {', '.join(f'{weight:g}' for weight in self.weights)}")
        return ", ".join(parts)
