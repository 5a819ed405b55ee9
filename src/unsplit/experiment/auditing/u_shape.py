"""Everything at once in the U-shape: the inputs, the client's both parts and its hidden labels, from one training."""

import time
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unsplit.attacks import Progress, silent
from unsplit.attacks.inversion import preset
from unsplit.attacks.labels import correct_labels
from unsplit.attacks.settings import Assumptions
from unsplit.data import Splits
from unsplit.defenses import Defense
from unsplit.errors import InputError
from unsplit.experiment.auditing.config import AuditConfig
from unsplit.experiment.auditing.defended import corrects_labels, cost_row, known_defense
from unsplit.experiment.auditing.label_watch import first_of_each_class, head_of, true_labels, unknown_to
from unsplit.experiment.inversion import Evaluation, cut_name, more_for, picture_scores
from unsplit.experiment.label_attacker import LabelAttacker
from unsplit.experiment.threats import taken_for_granted
from unsplit.knowledge import ClientArchitecture, KnownDefense
from unsplit.losses import LossSpec
from unsplit.metrics import accuracy, agreement, chance, label_accuracy
from unsplit.protocol import SERVER, Recorder, SplitConfig, SplitTraining, predicted, split_training
from unsplit.randomness import generator
from unsplit.results import CostRow, UShapeRow
from unsplit.types import Kind, Setup, Transcript


class UShapeAttack(NamedTuple):
    """What the attack on the U-shape gave, without and with knowing the client's defences, and what these cost."""

    row: UShapeRow
    pictures: Tensor
    row_aware: UShapeRow | None
    pictures_aware: Tensor | None
    costs: tuple[CostRow, ...]


def attack_u_shape(
    model: nn.Sequential,
    splits: Splits,
    evaluation: Evaluation,
    config: AuditConfig,
    *,
    seed: int,
    device: torch.device,
    progress: Progress = silent,
) -> UShapeAttack:
    """Train in setup (c) and take everything from what the server sees, with one known label of each class.

    Args:
        model: the whole network with its first weights.
        splits: the client's data, and the test set.
        evaluation: the truth, and more of the client's inputs.
        config: settings of the audit: the U-shape, the training, the defences, and the first of its presets.
        seed: seed of the training and of the attacks.
        device: the device on which training and attack compute.
        progress: told the steps of the training.

    Raises:
        InputError: no U-shape, or a class without a sample.
    """
    if config.u_shape is None or not config.presets:
        raise InputError(
            "The attack on the U-shape needs a cut and a head, for example (1, 1), and a preset; name them."
        )
    (cut, head), train, loss = config.u_shape, splits.train, config.loss or LossSpec()
    split = SplitConfig(
        setup=Setup.C,
        cut=cut,
        head=head,
        batch_size=config.batch_size,
        client_optimizer=config.optimizer,
        server_optimizer=config.optimizer,
        loss=loss,
        defenses=config.defenses,
    )
    started = time.perf_counter()
    training = split_training(model, train.images, train.labels, split, generator=generator(seed), device=device)
    recorder = training.record(Recorder(observer=SERVER, kinds=(Kind.FEATURES, Kind.FEATURE_GRAD)))
    training.run(config.epochs * -(-len(train) // config.batch_size), progress=progress)
    seconds = time.perf_counter() - started
    name, assumptions = config.presets[0], taken_for_granted(config)
    attack = _Attack(training, recorder.transcript(), splits, evaluation, split, loss, name, seed, device, assumptions)
    row, pictures = attack.run(known=None, corrected=False)
    known, corrects = known_defense(config), corrects_labels(config)
    aware: tuple[UShapeRow | None, Tensor | None] = (None, None)
    if known is not None or corrects:
        aware = attack.run(known=known, corrected=corrects)
    costs = () if config.defense is None else (attack.cost(config.defense, seconds),)
    return UShapeAttack(row, pictures, aware[0], aware[1], costs)


class _Attack:
    """The attacks on one training in the U-shape, and their scores."""

    def __init__(
        self,
        training: SplitTraining,
        view: Transcript,
        splits: Splits,
        evaluation: Evaluation,
        split: SplitConfig,
        loss: LossSpec,
        preset: str,
        seed: int,
        device: torch.device,
        assumptions: Assumptions,
    ) -> None:
        self._assumptions = assumptions
        self._training, self._evaluation, self._device = training, evaluation, device
        self._head, self._preset, self._seed = split.head, preset, seed
        self._network = training.model()
        self._depth = split.depth(self._network)
        self._shape, classes = splits.train.input_shape, len(splits.train.classes)
        self._truth = true_labels(training, range(training.steps_done))
        known = first_of_each_class(self._truth, classes)
        if known is None:
            raise InputError(
                "The client's data lack samples of at least one class; each class needs one, by which the attack names "
                "it."
            )
        self._known = known
        self._attacker = LabelAttacker(view=view, head=lambda: head_of(training), classes=classes, loss=loss, seed=seed)
        self._groups = self._attacker.infer("surrogate")

    def run(self, *, known: KnownDefense | None, corrected: bool) -> tuple[UShapeRow, Tensor]:
        """Take everything, by an attacker who knows of the defences what `known` says, and corrects labels."""
        labels = self._attacker.named(self._groups, self._known).labels
        if corrected and self._groups.clone is not None:
            groups = correct_labels(self._attacker.view, self._groups, last=self._training.steps_done, calibrated=True)
            labels = self._attacker.named(groups, self._known).labels
        last_part = self._attacker.stolen_head(labels)
        chosen = preset(self._preset, self._depth).assuming(self._assumptions)
        targets, others = self._evaluation.targets.images, more_for(chosen, self._evaluation)
        smashed = self._training.infer((targets if others is None else torch.cat([targets, others])).to(self._device))
        bottom = ClientArchitecture.of(self._training.active().segments()["bottom"].module, self._shape)
        if known is not None and chosen.adaptive_attack is not None:
            rebuilt = chosen.adaptive_attack(smashed, bottom, known, chosen, generator=generator(self._seed))
        else:
            rebuilt = chosen.attack(smashed, bottom, chosen, generator=generator(self._seed))
        pictures, unknown = rebuilt.inputs[: len(targets)].cpu(), unknown_to(self._known, len(self._truth))
        aware = known is not None or corrected
        row = UShapeRow(
            depth=self._depth,
            cut=cut_name(self._network, self._depth),
            head=self._head,
            preset=self._preset,
            aware=aware,
            steps=self._training.steps_done,
            known_samples=1,
            label_accuracy=label_accuracy(labels[unknown], self._truth[unknown]).value,
            label_chance=chance(self._truth),
            **picture_scores(pictures, self._evaluation),
            **_networks(self._training, rebuilt.clones[0], last_part, self._evaluation, self._device),
            pictures=f"pictures/whole{'-aware' if aware else ''}.png",
        )
        return row, pictures

    def cost(self, defense: Defense, seconds: float) -> CostRow:
        """What the defences cost this training."""
        targets, test = self._evaluation.targets.images, self._evaluation.test
        sent = self._training.infer(targets.to(self._device)).tensor(Kind.SMASHED)
        outputs = self._training.predict(test.images.to(self._device)).cpu()
        score = accuracy(outputs, test.labels)
        return cost_row("c", self._network, self._depth, score, sent, defense, seconds)


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
