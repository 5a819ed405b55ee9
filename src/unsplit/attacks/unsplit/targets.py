"""The smashed data of a view, checked against the architecture that is said to have made them."""

import torch
from torch import Tensor, nn

from unsplit.attacks.observed import check_finite
from unsplit.errors import InputError
from unsplit.knowledge import ClientArchitecture
from unsplit.types import Kind, Transcript


def matched_targets(
    view: Transcript, architecture: ClientArchitecture, generator: torch.Generator
) -> tuple[Tensor, nn.Module]:
    """The targets [n, ...] of an inversion, and a first clone whose output has their shape.

    Raises:
        InputError: no smashed data, a value that is not finite, one value everywhere, or a shape that the architecture
            cannot produce.
    """
    targets = view.tensor(Kind.SMASHED)
    check_finite("smashed data", targets)
    clone = architecture.blueprint.instantiate(generator=generator, device=targets.device)
    try:
        with torch.no_grad():
            made = clone(torch.zeros(1, *architecture.input_shape, device=targets.device)).shape[1:]
    except RuntimeError as error:
        raise InputError(
            f"The architecture does not take inputs of shape {architecture.input_shape} "
            f"({str(error).splitlines()[0]}); name the shape of the client's inputs."
        ) from error
    if made != targets.shape[1:]:
        raise InputError(
            f"The architecture turns an input into shape {tuple(made)} but the smashed data have "
            f"{tuple(targets.shape[1:])}; name the model and the cut that the transcript was recorded with."
        )
    if bool((targets == targets.flatten()[0]).all()):
        raise InputError(
            "The smashed data are one value everywhere, so there is nothing to invert: the client's units are dead; "
            "record another run."
        )
    return targets, clone
