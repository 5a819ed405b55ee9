"""Inversion of tables by a server that knows a few of the rows that it sees smashed."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from unsplit.attacks._threat_model import attack
from unsplit.attacks.observed import check_positions
from unsplit.attacks.progress import Progress, silent
from unsplit.attacks.rows.latent import Latents, RowsConfig, first_weights, latent_rows, reconstruction
from unsplit.errors import InputError
from unsplit.knowledge import ClientArchitecture, KnownRows
from unsplit.types import Kind, Reconstruction, Transcript

_PENALTIES = np.logspace(-8, 1, 19)


@attack(goal="inputs and a clone of the client's first layers", reads=(Kind.SMASHED,))
def invert_from_known_rows(
    view: Transcript,
    architecture: ClientArchitecture,
    known: KnownRows,
    config: RowsConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Reconstruction:
    """Recover all observed rows from a few of them that are known.

    Threat model:
        An honest-but-curious server that keeps the smashed data of rows that passed through the same weights, knows the
        client's architecture, and knows some of the rows: its own, or those of customers that it shares with the
        client.

    Objective:
        min over decoder G and clone weights w of h(f(w; G(s)), s) / Var(s), with h the squared error (before a last
        ReLU a hinge where s is 0); then ridge regression of the known rows on G(s), or on s itself, whichever predicts
        each known row better from the others.

    Args:
        view: transcript whose smashed data [n, ...] are the targets.
        architecture: the client's layers, the shape of a row [columns] and its range.
        known: two rows or more, and where among the observed ones they are.
        config: settings of the attack.
        generator: draws first weights and batches.
        progress: called every 50 steps.

    Returns:
        The rows [n, columns] in the architecture's range, the known ones as they are known, and one clone.

    Raises:
        InputError: no smashed data in the view, of a shape that the architecture cannot produce, inputs that are not
            rows, fewer than two known rows, or known rows of another length or beyond what was observed.

    Reference:
        Ours. Behind a dense first layer and its ReLU, as many known rows as there are columns and one more determine
        all others; fewer determine them along the directions that the known ones span.

    Departures:
        None.
    """
    observed = view.tensor(Kind.SMASHED)
    _check(known, len(observed), architecture.input_shape)
    latents = latent_rows(view, architecture, config, generator=generator, progress=progress)
    places = torch.tensor(known.indices)
    truth = known.rows.to(latents.values)
    rows, error = _regressed(latents, places, truth)
    rows = rows.clamp(architecture.low, architecture.high)
    rows[places] = truth
    return reconstruction(latents, rows, config, error=error)


def _check(known: KnownRows, observed: int, shape: tuple[int, ...]) -> None:
    if len(known.indices) < 2:
        raise InputError("One known row says nothing of how rows differ; give two or more.")
    check_positions("row", known.indices, observed)
    if tuple(known.rows.shape[1:]) != shape:
        raise InputError(
            f"The known rows have shape {tuple(known.rows.shape[1:])} and the client's inputs {shape}; give rows of "
            "the client's columns."
        )


def _regressed(latents: Latents, places: Tensor, truth: Tensor) -> tuple[Tensor, float]:
    """All rows, by the regression whose error over known rows that are left out in turn is the smallest, and that
    error.
    """
    from sklearn.linear_model import RidgeCV

    fits: list[tuple[float, int, Any]] = []
    for feature in _features(latents):
        values = feature.double().cpu().numpy()
        fit = RidgeCV(alphas=_PENALTIES).fit(values[places.numpy()], truth.double().cpu().numpy())
        fits.append((-fit.best_score_, len(fits), fit.predict(values)))
    error, _, rows = min(fits)
    return torch.as_tensor(rows).to(latents.values), float(error)


def _features(latents: Latents) -> list[Tensor]:
    """What rows are regressed on, each scaled as a whole: differences between its directions count."""
    centred = latents.values - latents.values.mean(0)
    weights = first_weights(latents)
    if weights is not None:
        # In whatever form the rows are, these have the angles that the client's own first layer sees.
        centred = centred @ weights.T
    return [centred / centred.std(), latents.targets.flatten(1) / latents.targets.std()]
