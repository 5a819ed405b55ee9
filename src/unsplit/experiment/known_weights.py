"""First layers whose weights are public: where they come from, and the white box that knows them."""

import copy
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from unsplit.attacks import Progress, silent
from unsplit.attacks.he2019 import WHITE_BOX, WhiteBoxConfig, invert_white_box
from unsplit.defenses import Defense
from unsplit.errors import InputError
from unsplit.experiment.inversion import Evaluation, observe_inference, scored
from unsplit.knowledge import ClientWeights
from unsplit.models import distance, read_weights, split, start_from
from unsplit.randomness import generator
from unsplit.ranges import InputRange
from unsplit.results import InversionRow
from unsplit.types import Kind, Transcript


def white_box_settings(name: str, bottom: nn.Module, input_shape: tuple[int, ...]) -> WhiteBoxConfig:
    """The settings of a preset of the white box for such layers."""
    weighted = sum(bool(list(layer.parameters(recurse=False))) for layer in bottom.modules())
    return WHITE_BOX[name](weighted, colour=len(input_shape) == 3 and input_shape[0] == 3)


def known_network(model: nn.Sequential, cuts: Sequence[int | str], path: str) -> str:
    """Put the weights of a file into a network, in place, and say how many of its tensors they are.

    Args:
        model: the whole network.
        cuts: by depth, ascending, or one by name; all layers up to the last must be in the file.
        path: the file.

    Raises:
        UnsplitError: no cut, a file that cannot be read, or one that does not hold these layers.
    """
    if not cuts:
        raise InputError("Known weights are those of the layers up to a cut; name cuts to invert, for example 1.")
    replaced = start_from(model, cuts[-1], read_weights(Path(path)), path)
    return f"{replaced} of the network's {len(model.state_dict())} tensors start as those of {Path(path).name}."


def client_weights(
    bottom: nn.Module, input_shape: tuple[int, ...], input_range: InputRange | None = None, *, training: bool = False
) -> ClientWeights:
    """The knowledge of these layers' weights, for inputs of this range (0 to 1 if None).

    Args:
        bottom: copied.
        input_shape: of one input.
        input_range: of the inputs' values.
        training: whether what is attacked was sent in training, where batch norm takes the batch's own statistics.
    """
    known = copy.deepcopy(bottom).eval()
    for layer in known.modules():
        if training and isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.train()
    for weight in known.parameters():
        weight.requires_grad_(False)
    bounds = input_range or InputRange()
    return ClientWeights(
        bottom=known,
        input_shape=tuple(input_shape),
        low=bounds.low,
        high=bounds.high,
        channels=bounds.bounds if len(bounds.bounds) > 1 else (),
    )


def sent_in_training(view: Transcript) -> bool:
    """Whether a transcript is of a training, and not of a network in use: something was answered."""
    return any(header.kind in (Kind.LABELS, Kind.CUT_GRAD, Kind.FEATURE_GRAD) for header in view.headers)


def run_white_box(
    model: nn.Sequential,
    published: nn.Sequential,
    depth: int,
    preset: str,
    evaluation: Evaluation,
    *,
    state: Literal["before", "after"],
    seed: int,
    device: torch.device,
    defenses: Sequence[Defense] = (),
    progress: Progress = silent,
) -> tuple[InversionRow, Tensor]:
    """Attack `model` cut at `depth` by somebody who has the `published` weights that it started from; returns the
    scores and the pictures [n, *input shape].

    The client's own may have moved on since: the row says how far they are from what is known.
    """
    bottom, shape = split(published, depth)[0], evaluation.targets.input_shape
    view = observe_inference(model, depth, evaluation.targets, device, defenses=defenses, seed=seed)
    started = time.perf_counter()
    found = invert_white_box(
        view,
        client_weights(bottom.to(device), shape),
        white_box_settings(preset, bottom, shape),
        generator=generator(seed),
        progress=progress,
    )
    seconds = time.perf_counter() - started
    row, pictures = scored(found, model, depth, preset, evaluation, state=state, seconds=seconds, device=device)
    return row.model_copy(update={"drift": distance(bottom, split(model, depth)[0])}), pictures
