"""Rows of a table up to one affine map of their columns, by a decoder and a clone that learn together.

Where the client begins with a dense layer, rows x A + c and weights W A^-T give the same smashed data for every
invertible A and every c. So smashed data alone leave columns * (columns + 1) numbers open for the whole table, however
many rows there are; everything else of it can be found. The attacks of this package find those numbers by what else a
server may know.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unsplit.attacks.hinge import without_last_relu
from unsplit.attacks.objectives import relative_residual
from unsplit.attacks.progress import Progress
from unsplit.attacks.settings import AttackSettings
from unsplit.attacks.symmetry import first_layer
from unsplit.attacks.targets import matched_targets
from unsplit.errors import InputError, check_at_least_one, check_positive
from unsplit.knowledge import ClientArchitecture
from unsplit.optim import check_betas
from unsplit.randomness import draw_seed, seeded
from unsplit.types import Reconstruction, Transcript

_SLOPE = 0.1
# Units that hardly vary are not blown up to the size of the others.
_LEAST_DEVIATION = 0.05
# Rows are never taken to be closer than this, as a mean square.
_LEAST_ERROR = 1e-8


@dataclass(frozen=True, kw_only=True)
class RowsConfig(AttackSettings):
    """Settings of the attacks on tables.

    Args:
        samples: how many smashed rows an audit lets the attack see beside the targets.
        steps: simultaneous updates of the decoder and the clone.
        batch: number of smashed rows in each step.
        width: number of units of the decoder's two hidden layers.
        decoder_rate, clone_rate: Adam's learning rates, falling to 0 as a half cosine.
        betas: Adam's decay rates of the two moments, each from 0 to below 1.
        restarts: first maps from which the one that fits the columns' statistics is searched.
        rounds: number of rounds of each of these searches.

    Raises:
        InputError: a number out of its range.
    """

    samples: int = 2000
    steps: int = 1500
    batch: int = 128
    width: int = 128
    decoder_rate: float = 0.003
    clone_rate: float = 0.005
    betas: tuple[float, float] = (0.9, 0.99)
    restarts: int = 48
    rounds: int = 60

    def __post_init__(self) -> None:
        check_at_least_one(self, "samples", "steps", "batch", "width", "restarts", "rounds")
        check_positive(self, "decoder_rate", "clone_rate")
        check_betas(self.betas)

    @property
    def samples_wanted(self) -> int:
        return self.samples


class Latents(NamedTuple):
    """What the smashed data tell of the rows.

    Args:
        values: the rows up to one affine map, shape [n, columns].
        targets: the smashed data that they explain, shape [n, ...].
        clone: the client's bottom for rows in that form.
    """

    values: Float[Tensor, "n columns"]
    targets: Float[Tensor, "n ..."]
    clone: nn.Module


class RowDecoder(nn.Module):
    """From smashed data [n, ...] to rows [n, columns]: a linear map, and two hidden layers for what is not linear.

    Args:
        samples: smashed data, whose mean and deviation it is normalised by.
        columns: number of columns of a row.
        width: number of units of each hidden layer.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, samples: Float[Tensor, "n ..."], columns: int, width: int) -> None:
        super().__init__()
        flat = samples.flatten(1)
        self.register_buffer("mean", flat.mean(0))
        self.register_buffer("deviation", flat.std(0).clamp_min(_LEAST_DEVIATION * float(flat.std())))
        numbers = flat.shape[1]
        self.linear = nn.Linear(numbers, columns)
        self.hidden = nn.Sequential(
            nn.Linear(numbers, width), nn.LeakyReLU(_SLOPE), nn.Linear(width, width), nn.LeakyReLU(_SLOPE),
            nn.Linear(width, columns),
        )  # fmt: skip
        self.to(samples.device)

    def forward(self, smashed: Float[Tensor, "n ..."]) -> Float[Tensor, "n columns"]:
        normalised = (smashed.flatten(1) - self.mean) / self.deviation
        rows: Tensor = self.linear(normalised) + self.hidden(normalised)
        return rows


def latent_rows(
    view: Transcript,
    architecture: ClientArchitecture,
    config: RowsConfig,
    *,
    generator: torch.Generator,
    progress: Progress,
) -> Latents:
    """Learn a decoder and a clone that explain the smashed data; nothing says which of the maps they settle on.

    Raises:
        InputError: no smashed data in the view, of a shape that the architecture cannot produce, or inputs that are no
            rows.
    """
    if len(architecture.input_shape) != 1:
        raise InputError(
            f"This attack makes rows of tables, and inputs here have shape {architecture.input_shape}; use the preset "
            "'joint' or 'strong' for them."
        )
    targets, clone = matched_targets(view, architecture, generator)
    with seeded(draw_seed(generator)):
        decoder = RowDecoder(targets, architecture.input_shape[0], config.width)
    before = without_last_relu(clone)
    fitted = clone if before is None else before
    scale = (targets - targets.mean(0)).square().mean().clamp_min(torch.finfo(targets.dtype).tiny)
    rates = (config.decoder_rate, config.clone_rate)
    groups = [
        {"params": list(part.parameters()), "lr": rate} for part, rate in zip((decoder, clone), rates, strict=True)
    ]
    optimizer = torch.optim.Adam(groups, betas=config.betas, fused=targets.device.type in ("cpu", "cuda"))
    for step in range(config.steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / config.steps))
        chosen = torch.randint(len(targets), (config.batch,), generator=generator).to(targets.device)
        target = targets[chosen]
        output = fitted(decoder(target))
        if before is not None:
            output = torch.where(target > 0, output, output.clamp_min(0))
        loss = (output - target).square().mean() / scale
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        if step % 50 == 0 or step == config.steps - 1:
            progress(step + 1, config.steps, float(loss.detach()))
    with torch.no_grad():
        return Latents(decoder(targets), targets, clone)


def first_weights(latents: Latents) -> Float[Tensor, "units columns"] | None:
    """The weights of the clone's first layer, if it is a dense one, to which the map of the rows belongs."""
    layer = first_layer(latents.clone)
    return layer.weight.detach() if layer is not None and layer.weight.ndim == 2 else None


@torch.no_grad()
def reconstruction(
    latents: Latents,
    rows: Float[Tensor, "n columns"],
    config: RowsConfig,
    *,
    error: float,
    agreement: float | None = None,
) -> Reconstruction:
    """The result with these rows, and the clone with its first layer changed to take them: by ridge regression with the
    penalty that an error of the regressors' (`error`, a mean square) asks for.
    """
    layer = first_layer(latents.clone)
    if layer is not None and layer.weight.ndim == 2 and layer.bias is not None:
        wanted = latents.values.double() @ layer.weight.double().T + layer.bias.double()
        centred, centre, level = (rows - rows.mean(0)).double(), rows.mean(0).double(), wanted.mean(0)
        square = centred.T @ centred / len(rows)
        square += max(error, _LEAST_ERROR) * torch.eye(len(square)).to(square)
        weight = torch.linalg.solve(square, centred.T @ (wanted - level) / len(rows)).T
        layer.weight.copy_(weight)
        layer.bias.copy_(level - weight @ centre)
    return Reconstruction(
        inputs=rows,
        clones=(latents.clone,),
        residual=relative_residual(latents.clone(rows), latents.targets),
        rounds=(config.steps,) * len(rows),
        agreement=agreement,
    )
