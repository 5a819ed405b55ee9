"""Everything at once in the U-shape: the inputs, the client's both parts and its hidden labels, from one training."""

from typing import Any

import torch
from torch import Tensor, nn

from unsplit.attacks import Progress, silent
from unsplit.attacks.labels import SurrogateConfig, infer_by_surrogate, name_groups
from unsplit.attacks.unsplit import invert, preset
from unsplit.data import Splits
from unsplit.errors import InputError
from unsplit.experiment.config import AuditConfig
from unsplit.experiment.inversion import Evaluation, more_for, picture_scores
from unsplit.experiment.label_parts import first_of_each_class, stolen_head, true_labels, unknown_to
from unsplit.experiment.results import WholeRow
from unsplit.knowledge import ClientArchitecture, ClientLoss, HeadArchitecture, LabelSpace
from unsplit.losses import LossSpec
from unsplit.metrics import accuracy, agreement, chance, label_accuracy
from unsplit.models import depth_of
from unsplit.protocol import SERVER, Recorder, SplitConfig, SplitTraining, predicted, split_training
from unsplit.randomness import generator
from unsplit.types import Kind, Setup


def run_whole(
    model: nn.Sequential,
    splits: Splits,
    evaluation: Evaluation,
    config: AuditConfig,
    *,
    seed: int,
    device: torch.device,
    progress: Progress = silent,
) -> tuple[WholeRow, Tensor]:
    """Train in setup (c) and take everything from what the server sees, with one known label of each class.

    Args:
        model: the whole network with its first weights.
        splits: the client's data, and the test set.
        evaluation: the truth, and more of the client's inputs.
        config: of the audit: the U-shape, the training, and the first of its presets.
        seed: of everything.
        device: where it computes.
        progress: told the steps of the training.

    Returns:
        The scores, and the reconstructions of the targets.

    Raises:
        InputError: no U-shape, or a class without a sample.
    """
    if config.u_shape is None or not config.presets:
        raise InputError(
            "The attack on the U-shape needs a cut and a head, for example (1, 1), and a preset; name them."
        )
    (cut, head), (preset_name, *_), train = config.u_shape, config.presets, splits.train
    loss = config.loss or LossSpec()
    split = SplitConfig(
        setup=Setup.C,
        cut=cut,
        head=head,
        batch_size=config.batch_size,
        client_optimizer=config.optimizer,
        server_optimizer=config.optimizer,
        loss=loss,
    )
    training = split_training(model, train.images, train.labels, split, generator=generator(seed), device=device)
    recorder = training.record(Recorder(observer=SERVER, kinds=(Kind.FEATURES, Kind.FEATURE_GRAD)))
    training.run(config.epochs * -(-len(train) // config.batch_size), progress=progress)
    truth = true_labels(training, range(training.steps_done))
    parts, space = training.active().segments(), LabelSpace(classes=len(train.classes))
    known = first_of_each_class(truth, space.classes)
    if known is None:
        raise InputError("The client's data have no sample of some class; every class needs one, for its name.")
    head_architecture, view = HeadArchitecture.of(parts["head"].module), recorder.transcript()
    groups = infer_by_surrogate(
        view, head_architecture, space, ClientLoss(spec=loss), SurrogateConfig(), generator=generator(seed)
    )
    labels = name_groups(groups, known, space).labels
    last_part = stolen_head(view, labels, head_architecture, space, seed)
    depth = depth_of(model, cut)
    chosen = preset(preset_name, depth)
    targets, others = evaluation.targets.images, more_for(chosen, evaluation)
    smashed = training.infer((targets if others is None else torch.cat([targets, others])).to(device))
    architecture = ClientArchitecture.of(parts["bottom"].module, train.input_shape)
    rebuilt = invert(smashed, architecture, chosen, generator=generator(seed))
    pictures, unknown = rebuilt.inputs[: len(targets)].cpu(), unknown_to(known, len(truth))
    row = WholeRow(
        depth=depth,
        cut=[name for name, _ in model.named_children()][depth],
        head=head,
        preset=preset_name,
        steps=training.steps_done,
        known_samples=1,
        label_accuracy=label_accuracy(labels[unknown], truth[unknown]).value,
        label_chance=chance(truth),
        **picture_scores(pictures, evaluation),
        **_networks(training, rebuilt.clones[0], last_part, evaluation, device),
        pictures="pictures/whole.png",
    )
    return row, pictures


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
