"""Inversion of tables by a server that knows how the columns are distributed."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unsplit.attacks._threat_model import attack
from unsplit.attacks.progress import Progress, silent
from unsplit.attacks.rows.latent import Latents, RowsConfig, first_weights, latent_rows, reconstruction
from unsplit.errors import InputError
from unsplit.knowledge import ClientArchitecture, ColumnStatistics
from unsplit.types import Kind, Reconstruction, Transcript

_ROWS = 500
"""The search looks at so many rows, which is enough for their distribution."""
_RANK = 1e-6
_WEIGHTS = 0.1
"""How much the first layer's weights count beside the columns' distributions."""
_MAPS = 16
"""So many of the best maps are kept."""
_NEAR = 0.1
"""Maps that fit worse than the best by this share of its misfit have 1 / e of its weight in the mean."""


@attack(goal="inputs and a clone of the client's first layers", reads=(Kind.SMASHED,))
def invert_from_statistics(
    view: Transcript,
    architecture: ClientArchitecture,
    statistics: ColumnStatistics,
    config: RowsConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Reconstruction:
    """Recover all observed rows, of which none is known, from what is published of the table's columns.

    Threat model:
        An honest-but-curious server that keeps the smashed data of rows that passed through the same weights, knows the
        client's architecture, and has read how the columns are distributed and correlated. As part of the architecture
        it knows that layers start as torch starts them.

    Objective:
        min over decoder G and clone weights w of h(f(w; G(s)), s) / Var(s), as `invert_from_known_rows`; then, with y
        the whitened G(s), over rotations R of the sum over columns of W2(y R C^(1/2), column)^2 / Var(column)
        + b |R C R' - M|^2, with W2 the distance of two distributions, C the covariance that is known and M the one that
        weights drawn alike would have given.

    Args:
        view: transcript whose smashed data [n, ...] are the targets; they should be as many as a distribution needs.
        architecture: the client's layers, the shape of a row [columns] and its range.
        statistics: how the client's columns are distributed, in the architecture's range.
        config: settings of the attack.
        generator: draws first weights, batches and first rotations.
        progress: called every 50 steps.

    Returns:
        The rows [n, columns] in the architecture's range: the mean over the maps that fit nearly as well as the best.
        One clone, and `agreement`, the correlation of the two best maps' rows.

    Raises:
        InputError: no smashed data in the view, of a shape that the architecture cannot produce, inputs that are not
            rows, or statistics of another number of columns.

    Reference:
        Ours. Each round replaces the columns by what their ranks are known to be, and takes the rotation that comes
        closest (as in iterative closest points), so that the objective falls from round to round.

    Departures:
        None.
    """
    columns = statistics.quantiles.shape[1]
    if architecture.input_shape != (columns,):
        raise InputError(
            f"The statistics are of {columns} columns and the client's inputs have shape {architecture.input_shape}; "
            "give the statistics of the client's columns."
        )
    latents = latent_rows(view, architecture, config, generator=generator, progress=progress)
    search = _Search.of(latents, statistics)
    misfits, rotations = search.run(config.restarts, config.rounds, generator)
    order = misfits.argsort()[:_MAPS]
    maps = torch.stack([search.rows(latents, rotations[place]) for place in order])
    maps = maps.clamp(architecture.low, architecture.high)
    weight = torch.softmax((misfits.min() - misfits[order]) / (_NEAR * misfits.min().clamp_min(1e-12)), 0)
    mean = torch.einsum("m,mnc->nc", weight, maps)
    error = float(torch.einsum("m,mnc->", weight, (maps - mean).square()) / mean.numel())
    pair = maps[:2].flatten(1)
    agreement = float(torch.nan_to_num(torch.corrcoef(pair)[0, 1])) if len(pair) > 1 else None
    return reconstruction(latents, mean.to(latents.values), config, error=error, agreement=agreement)


class _Search(NamedTuple):
    """The search for the rotation that gives rows whose columns are distributed as is known.

    Args:
        rows_seen: the whitened latents of some rows, shape [n, directions].
        whitening: from centred latents to whitened ones, shape [columns, directions].
        centre: mean of the latents, shape [columns].
        half: from rotated latents to rows, shape [directions, columns].
        spectrum: the variances of the rows' directions, on a diagonal.
        wanted: the covariance that the first layer's weights ask for; None without a dense first layer.
        sorted_columns: what each column's values are in order, shape [n, columns].
        mean: mean of each column, shape [columns].
        deviation: standard deviation of each column, shape [columns]; infinite where one does not vary.
    """

    rows_seen: Tensor
    whitening: Tensor
    centre: Tensor
    half: Tensor
    spectrum: Tensor
    wanted: Tensor | None
    sorted_columns: Tensor
    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, latents: Latents, statistics: ColumnStatistics) -> "_Search":
        """From what was learned and what is known; all in double precision."""
        values = latents.values.double()
        centre = values.mean(0)
        variances, axes = torch.linalg.eigh(torch.cov(values.T).reshape(values.shape[1], -1))
        kept = variances > _RANK * variances.max()
        whitening = axes[:, kept] / variances[kept].sqrt()
        directions = whitening.shape[1]
        seen = (values - centre) @ whitening
        seen = seen[torch.linspace(0, len(seen) - 1, min(len(seen), _ROWS)).round().long()]
        covariance = statistics.covariance.double()
        spread, principal = torch.linalg.eigh(covariance)
        spread, principal = spread[-directions:].clamp_min(1e-12), principal[:, -directions:]
        deviation = covariance.diagonal().sqrt()
        columns = _at(statistics.quantiles.double(), len(seen))
        weights = first_weights(latents)
        wanted = None
        if weights is not None:
            seen_by_weights = weights.double() @ torch.linalg.pinv(whitening).T
            wanted = seen_by_weights.T @ seen_by_weights
            wanted = wanted * (spread.sum() / wanted.trace())
        return cls(
            rows_seen=seen,
            whitening=whitening,
            centre=centre,
            half=(principal * spread.sqrt()).T,
            spectrum=torch.diag(spread),
            wanted=wanted,
            sorted_columns=columns,
            mean=columns.mean(0),
            deviation=torch.where(deviation > 1e-3 * deviation.max(), deviation, torch.inf),
        )

    def run(
        self, restarts: int, rounds: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, " restarts"], Float[Tensor, "restarts directions directions"]]:
        """The misfit and the rotation at the end of each restart."""
        rotations = self._starts(restarts, generator)
        for _ in range(rounds):
            ranked = self._ranked(self._rows_of(rotations))
            pull = self.rows_seen.T @ ((ranked - self.mean) / self.deviation.square())
            pull = pull @ self.half.T / self.sorted_columns.numel()
            if self.wanted is not None:
                pull = pull + _WEIGHTS * self.wanted @ rotations @ self.spectrum / self.wanted.square().sum()
            rotations = _nearest_rotation(pull)
        rows = self._rows_of(rotations)
        misfits = ((rows.sort(1).values - self.sorted_columns) / self.deviation).square().mean((1, 2))
        if self.wanted is not None:
            given = rotations @ self.spectrum @ rotations.transpose(1, 2)
            misfits = misfits + _WEIGHTS * (given - self.wanted).square().sum((1, 2)) / self.wanted.square().sum()
        return misfits, rotations

    def rows(self, latents: Latents, rotation: Float[Tensor, "directions directions"]) -> Float[Tensor, "n columns"]:
        """All rows, as this rotation has them."""
        whitened: Tensor = (latents.values.double() - self.centre) @ self.whitening
        return whitened @ rotation @ self.half + self.mean

    def _starts(self, restarts: int, generator: torch.Generator) -> Tensor:
        """Principal axes matched by their variances as the weights tell them, with signs and some turns at random."""
        size = len(self.spectrum)
        axes = torch.eye(size).double() if self.wanted is None else torch.linalg.eigh(self.wanted).eigenvectors.cpu()
        signs = torch.randint(2, (restarts, 1, size), generator=generator).double() * 2 - 1
        turns = torch.randn((restarts, size, size), generator=generator).double() / (2 * size**0.5)
        turns[::2] = 0
        return _nearest_rotation((axes * signs + turns).to(self.spectrum))

    def _rows_of(self, rotations: Tensor) -> Tensor:
        return self.rows_seen @ (rotations @ self.half) + self.mean

    def _ranked(self, rows: Tensor) -> Tensor:
        """For each value, what is known of the value with its rank in its column."""
        order = rows.argsort(1)
        return torch.empty_like(rows).scatter_(1, order, self.sorted_columns.expand(len(rows), -1, -1))


def _at(quantiles: Tensor, number: int) -> Tensor:
    """So many values of each column in order, by its quantiles."""
    places = (torch.arange(number).to(quantiles) + 0.5) / number * (len(quantiles) - 1)
    below = places.long().clamp(max=len(quantiles) - 2)
    share = (places - below)[:, None]
    return quantiles[below] * (1 - share) + quantiles[below + 1] * share


def _nearest_rotation(matrices: Tensor) -> Tensor:
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    rotations: Tensor = left @ right
    return rotations
