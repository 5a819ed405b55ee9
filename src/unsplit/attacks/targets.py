"""The smashed data of a view, checked against the architecture that is said to have made them."""

import copy
from collections import OrderedDict
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from unsplit.attacks.hinge import form_only
from unsplit.attacks.observed import check_finite
from unsplit.errors import InputError
from unsplit.knowledge import ClientArchitecture
from unsplit.types import Kind, Transcript


def matched_targets(
    view: Transcript, architecture: ClientArchitecture, generator: torch.Generator, *, alone: bool = False
) -> tuple[Tensor, nn.Module]:
    """The targets [n, ...] of an inversion, and a first clone of their shape (`alone`: see `fresh_clone`).

    Raises:
        InputError: no smashed data, a value that is not finite, one value everywhere, or a shape that the architecture
            cannot produce.
    """
    targets = view.tensor(Kind.SMASHED)
    check_finite("smashed data", targets)
    clone = fresh_clone(architecture, generator, targets.device, alone=alone or len(targets) == 1)
    try:
        made = _output_shape(clone, architecture)
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:
        raise InputError(
            f"The architecture does not take inputs of shape {architecture.input_shape} "
            f"({(str(error).splitlines() or [''])[0]}); name the shape of the client's inputs."
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


def fresh_clone(
    architecture: ClientArchitecture, generator: torch.Generator, device: torch.device, *, alone: bool = False
) -> nn.Module:
    """A clone with weights of its own. Its dropout is off: what the client's dropped cannot be known.

    Args:
        architecture: architecture of the client's layers.
        generator: draws the weights.
        device: the device on which the weights are.
        alone: whether inputs will pass one by one, so that nothing can be normalised over a batch of dense outputs:
            such layers use their running statistics (0 and 1) and are affine.
    """
    clone = architecture.blueprint.instantiate(generator=generator, device=device)
    for layer in clone.modules():
        if isinstance(layer, _DropoutNd) or (alone and isinstance(layer, nn.BatchNorm1d)):
            layer.eval()
    return clone


def as_maps(targets: Tensor, architecture: ClientArchitecture) -> tuple[Tensor, ClientArchitecture, nn.Sequential]:
    """Smashed data in the form that they had before the last layers only flattened them, the architecture up to there,
    and those last layers (none, if there is nothing to undo).
    """
    clone = fresh_clone(architecture, torch.Generator(), targets.device)
    kept = len(clone) if isinstance(clone, nn.Sequential) else 0
    while kept > 1 and isinstance(clone, nn.Sequential) and form_only(clone[kept - 1]):
        kept -= 1
    if not isinstance(clone, nn.Sequential) or kept == len(clone):
        return targets, architecture, nn.Sequential()
    before = replace(architecture, blueprint=architecture.blueprint.first(kept))
    maps = targets.reshape(-1, *_output_shape(clone[:kept], before))
    return maps, before, nn.Sequential(OrderedDict(list(clone.named_children())[kept:]))


def _output_shape(clone: nn.Module, architecture: ClientArchitecture) -> torch.Size:
    """The shape of one sample's smashed data. A layer that normalises by its batch refuses a batch of one in training,
    so a copy is asked that is not.
    """
    device = next((value.device for value in clone.parameters()), torch.device("cpu"))
    with torch.no_grad():
        made: Tensor = copy.deepcopy(clone).eval()(torch.zeros(1, *architecture.input_shape, device=device))
    return made.shape[1:]
