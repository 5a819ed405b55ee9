"""Everything at once in the U-shape: the inputs, the client's both parts and its hidden labels, from one training."""

from typing import Any

import torch
from torch import Tensor, nn

from unsplit.attacks import Progress, silent
from unsplit.attacks.labels import (
    CloneHeadConfig,
    SurrogateConfig,
    infer_by_surrogate,
    name_groups,
    train_clone_head,
)
from unsplit.attacks.unsplit import invert, preset
from unsplit.errors import InputError
from unsplit.experiment.inversion import Evaluation, more_for, picture_scores
from unsplit.experiment.results import WholeRow
from unsplit.knowledge import ClientArchitecture, ClientLoss, HeadArchitecture, KnownSamples, LabelSpace
from unsplit.metrics import accuracy, agreement, chance, label_accuracy
from unsplit.models import depth_of
from unsplit.protocol import SERVER, Recorder, SplitConfig, SplitTraining, predicted, split_training
from unsplit.randomness import generator
from unsplit.types import InferredLabels, Kind, Setup, Transcript

_LAST = 300
"""Steps at the end whose features train the clone head: those of earlier ones come from a body of the past."""


def run_whole(
    model: nn.Sequential,
    inputs: Tensor,
    labels: Tensor,
    config: SplitConfig,
    preset_name: str,
    evaluation: Evaluation,
    *,
    epochs: int,
    seed: int,
    device: torch.device,
    progress: Progress = silent,
) -> tuple[WholeRow, Tensor]:
    """Train in setup (c) and take everything from what the server sees, with one known label of each class.

    Args:
        model: the whole network with its first weights.
        inputs, labels: of the client.
        config: of setup (c).
        preset_name: of the inversion.
        evaluation: the truth, and more of the client's inputs.
        epochs: of the training.
        seed: of everything.
        device: where it computes.
        progress: told the steps of the training.

    Returns:
        The scores, and the reconstructions of the targets.

    Raises:
        InputError: another setup than (c), or a class without a sample.
    """
    if config.setup is not Setup.C:
        raise InputError(f"The whole attack is on the U-shape, setup (c), not ({config.setup.value}).")
    training = split_training(model, inputs, labels, config, generator=generator(seed), device=device)
    recorder = training.record(Recorder(observer=SERVER, kinds=(Kind.FEATURES, Kind.FEATURE_GRAD)))
    training.run(epochs * -(-len(inputs) // config.batch_size), progress=progress)
    truth = torch.cat([training.truth(step).labels for step in range(training.steps_done)]).cpu()
    space = LabelSpace(classes=int(labels.max()) + 1)
    parts = training.active().segments()
    found, known, stolen_head = _labels(recorder.transcript(), parts["head"].module, truth, space, seed)
    depth = depth_of(model, config.cut)
    chosen = preset(preset_name, depth)
    targets, others = evaluation.targets.images, more_for(chosen, evaluation)
    view = training.infer((targets if others is None else torch.cat([targets, others])).to(device))
    architecture = ClientArchitecture.of(parts["bottom"].module, tuple(inputs.shape[1:]))
    rebuilt = invert(view, architecture, chosen, generator=generator(seed))
    pictures = rebuilt.inputs[: len(targets)].cpu()
    unknown = torch.ones(len(truth), dtype=torch.bool)
    unknown[list(known.indices)] = False
    row = WholeRow(
        depth=depth,
        cut=[name for name, _ in model.named_children()][depth],
        head=config.head,
        preset=preset_name,
        steps=training.steps_done,
        known_samples=1,
        label_accuracy=label_accuracy(found.labels[unknown], truth[unknown]).value,
        label_chance=chance(truth),
        **picture_scores(pictures, evaluation),
        **_networks(training, rebuilt.clones[0], stolen_head, evaluation, device),
        pictures="pictures/whole.png",
    )
    return row, pictures


def _labels(
    view: Transcript, head: nn.Module, truth: Tensor, space: LabelSpace, seed: int
) -> tuple[InferredLabels, KnownSamples, nn.Module]:
    """The labels by their names, the samples that gave the names, and a head trained on the last of the labels."""
    places = [(truth == label).nonzero().flatten()[:1].tolist() for label in range(space.classes)]
    if not all(places):
        raise InputError(f"The client's data have no sample of class {places.index([])}; every class needs one.")
    known = KnownSamples(indices=tuple(place[0] for place in places), labels=tuple(range(space.classes)))
    architecture = HeadArchitecture.of(head)
    groups = infer_by_surrogate(view, architecture, space, ClientLoss(), SurrogateConfig(), generator=generator(seed))
    named = name_groups(groups, known, space)
    last = view.of(Kind.FEATURES).last(_LAST)
    labels = named.labels[-len(last.tensor(Kind.FEATURES)) :]
    config = CloneHeadConfig(epochs=5)
    stolen = train_clone_head(last, labels, architecture, space, config, generator=generator(seed))
    return named, known, stolen


def _networks(
    training: SplitTraining, bottom: nn.Module, head: nn.Module, evaluation: Evaluation, device: torch.device
) -> dict[str, Any]:
    """Test accuracies of the client's own network, with either part stolen, and with both."""
    own, test = training.active().segments(), evaluation.test
    body = training.server.body.module

    def outputs(first: nn.Module, last: nn.Module) -> Tensor:
        return predicted(test.images, first, body, last, device=device).cpu()

    reference, both = outputs(own["bottom"].module, own["head"].module), outputs(bottom, head)
    return {
        "reference_accuracy": accuracy(reference, test.labels),
        "bottom_accuracy": accuracy(outputs(bottom, own["head"].module), test.labels),
        "head_accuracy": accuracy(outputs(own["bottom"].module, head), test.labels),
        "whole_accuracy": accuracy(both, test.labels),
        "whole_agreement": agreement(both, reference),
        "chance": chance(test.labels),
    }
