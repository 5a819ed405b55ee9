"""Attacks by a server that has data of its own: how much does that change?"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from unsplit.attacks import Progress, silent
from unsplit.attacks.auxiliary import (
    fora_preset,
    invert_by_feature_matching,
    invert_by_simulation_without_labels,
    sdar_preset,
)
from unsplit.data import Dataset, Splits, load
from unsplit.defenses import Defense
from unsplit.devices import Precision
from unsplit.errors import InputError
from unsplit.experiment.inversion import Evaluation, observe_inference, scored
from unsplit.knowledge import AuxiliaryData, ClientArchitecture, OwnTop
from unsplit.models import split
from unsplit.randomness import generator
from unsplit.results import InversionRow
from unsplit.types import Reconstruction

ATTACKS: dict[str, Callable[..., Reconstruction]] = {
    "sdar": invert_by_simulation_without_labels,
    "fora": invert_by_feature_matching,
}
"""The attacks by the name that stands for a preset in reports."""

TEST = "test"
"""What stands for the test part of the data themselves, without the targets."""
_SAMPLES = 1000


def auxiliary_data(name: str, splits: Splits, targets: Dataset, image_size: tuple[int, ...] | None) -> Dataset:
    """The server's own data: at most a thousand samples, none of them a target.

    Args:
        name: of a data set, a path, or "test".
        splits: the client's data.
        targets: what is attacked.
        image_size: height and width that a folder's pictures are brought to.

    Raises:
        InputError: data of another shape or with other classes.
    """
    data = splits.test if name == TEST else load(name, image_size=image_size).train
    if data.input_shape != targets.input_shape or len(data.classes) != len(targets.classes) or data.regression:
        raise InputError(
            f"The auxiliary data '{name}' have inputs of shape {data.input_shape} in {len(data.classes)} classes, the "
            f"client's {targets.input_shape} in {len(targets.classes)}; name data of the same form, or 'test'."
        )
    flat = targets.images.flatten(1)
    foreign = [not bool((flat == image).all(1).any()) for image in data.images.flatten(1)]
    return data.subset(torch.tensor(foreign).nonzero().flatten()[:_SAMPLES])


def run_with_auxiliary(
    model: nn.Sequential,
    depth: int,
    name: str,
    own: Dataset,
    evaluation: Evaluation,
    *,
    state: Literal["before", "after"],
    seed: int,
    device: torch.device,
    defenses: Sequence[Defense] = (),
    precision: Precision = "auto",
    progress: Progress = silent,
) -> tuple[InversionRow, Tensor]:
    """Attack `model` cut at `depth` with data of one's own; returns the scores and the pictures [n, *input shape].

    SDAR simulates the client through the server's own top; FORA needs no labels and no architecture, so its clone is a
    network of another form.
    """
    bottom, top = split(model, depth)
    others = None if evaluation.others is None else evaluation.others[:_SAMPLES]
    view = observe_inference(model, depth, evaluation.targets, device, others, defenses=defenses, seed=seed)
    data = AuxiliaryData(inputs=own.images, labels=own.labels)
    started = time.perf_counter()
    if name == "fora":
        found = invert_by_feature_matching(
            view, data, fora_preset("quick"), generator=generator(seed), progress=progress
        )
    else:
        found = invert_by_simulation_without_labels(
            view,
            ClientArchitecture.of(bottom, evaluation.targets.input_shape),
            OwnTop(top=top.to(device), classes=len(own.classes)),
            data,
            dataclasses.replace(sdar_preset("quick"), reduced_precision=precision),
            generator=generator(seed),
            progress=progress,
        )
    seconds = time.perf_counter() - started
    return scored(found, model, depth, name, evaluation, state=state, seconds=seconds, device=device)
