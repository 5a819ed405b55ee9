"""What the inversion attacks minimise."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from unsplit.errors import unknown_name

Objective = Callable[[Tensor, Tensor], Tensor]
"""Distance of the clone's output from the smashed data, a mean over samples."""

VARIATIONS = ("isotropic", "isotropic-sum", "squared", "signal", "none")
"""The kinds of total variation; see `total_variation`."""

# Keeps the root's gradient finite where a picture is flat; adds at most 1e-6 to each pixel's variation.
_ROOT_FLOOR = 1e-12

OBJECTIVES: dict[str, Objective] = {
    "mse": functional.mse_loss,
    "l1": functional.l1_loss,
    "cosine": lambda output, target: 1 - functional.cosine_similarity(output.flatten(1), target.flatten(1)).mean(),
}


def objective(name: str) -> Objective:
    """An objective by name.

    Raises:
        InputError: no such objective.
    """
    if name not in OBJECTIVES:
        raise unknown_name("objective", name, OBJECTIVES)
    return OBJECTIVES[name]


def total_variation(images: Float[Tensor, "n ..."], kind: str = "isotropic") -> Float[Tensor, ""]:
    """Total variation of pictures (Rudin, Osher, Fatemi 1992), and of whatever else has neighbours.

    Args:
        images: pictures [n, c, h, w]; signals [n, c, length], which have one direction; volumes [n, c, d, h, w], which
            have three; or rows of a table [n, features], which have none and a variation of 0.
        kind: "isotropic-sum": the paper's formula, the root of the squared differences to the next row and column,
            summed over pixels and channels and averaged over pictures (differences across the border count as 0);
            "isotropic": the same divided by the number of pixels and channels;
            "squared": mean of the squared differences along rows plus along columns, without the root, as the
            released code has it;
            "signal": mean of the absolute differences along the last axis alone, for channels whose order means nothing
            although they lie side by side, such as [n, 1, sensors, length];
            "none": 0.

    Raises:
        InputError: no such kind.
    """
    if kind not in VARIATIONS:
        raise unknown_name("variation", kind, VARIATIONS)
    if kind == "none" or images.ndim < 3:
        return (images * 0).sum()
    first = images.ndim - 1 if kind == "signal" else 2
    steps = [images.diff(dim=axis) for axis in range(first, images.ndim)]
    if kind == "squared":
        return sum((step.square().mean() for step in steps), torch.zeros((), device=images.device))
    total = torch.zeros((), device=images.device)
    for axis, step in enumerate(steps, start=first):
        # `pad` names the last axis first.
        border = [0] * (2 * (images.ndim - axis))
        border[-1] = 1
        total = total + functional.pad(step.square(), border)
    variation = (total + _ROOT_FLOOR).sqrt()
    return variation.sum() / len(images) if kind == "isotropic-sum" else variation.mean()


def variation_gradient(images: Float[Tensor, "n ..."], kind: str = "isotropic") -> Float[Tensor, "n ..."]:
    """The gradient of a total variation; of "squared", and of "isotropic" for pictures, in closed form, several times
    faster than by a graph.
    """
    if images.ndim < 3 or kind == "none":
        return torch.zeros_like(images)
    if kind == "squared":
        gradient = torch.zeros_like(images)
        for axis in range(2, images.ndim):
            step = images.diff(dim=axis)
            _spread(gradient, step.mul_(2 / step.numel()), axis)
        return gradient
    if images.ndim != 4 or kind != "isotropic":
        with torch.enable_grad():
            values = images.detach().requires_grad_()
            (slope,) = torch.autograd.grad(total_variation(values, kind), values)
        return slope
    down, right = torch.zeros_like(images), torch.zeros_like(images)
    torch.sub(images[:, :, 1:, :], images[:, :, :-1, :], out=down[:, :, :-1, :])
    torch.sub(images[:, :, :, 1:], images[:, :, :, :-1], out=right[:, :, :, :-1])
    inverse = torch.addcmul(down.square(), right, right).add_(_ROOT_FLOOR).rsqrt_().div_(images.numel())
    down.mul_(inverse)
    right.mul_(inverse)
    gradient = torch.add(down, right).neg_()
    gradient[:, :, 1:, :].add_(down[:, :, :-1, :])
    gradient[:, :, :, 1:].add_(right[:, :, :, :-1])
    return gradient


def _spread(gradient: Tensor, slope: Tensor, axis: int) -> None:
    """Add the slopes of differences along an axis to those of the numbers that they are between."""
    length = slope.shape[axis]
    gradient.narrow(axis, 1, length).add_(slope)
    gradient.narrow(axis, 0, length).sub_(slope)


def misfit_gradient(
    fit: Objective, output: Float[Tensor, "n ..."], target: Float[Tensor, "n ..."]
) -> Float[Tensor, "n ..."]:
    """The gradient, at the output, of the sum of each sample's objective; of the squared error in closed form."""
    if fit is functional.mse_loss:
        return torch.sub(output, target).mul_(2 / output[0].numel())
    with torch.enable_grad():
        values = output.detach().requires_grad_()
        (slope,) = torch.autograd.grad(len(output) * fit(values, target), values)
    return slope


def relative_residual(output: Tensor, target: Tensor) -> Float[Tensor, " n"]:
    """Squared error of each sample relative to the variance of the whole target: 0 fits, 1 is as good as the mean."""
    variance = target.var(unbiased=False).clamp_min(torch.finfo(target.dtype).tiny)
    return (output - target).square().flatten(1).mean(1) / variance
