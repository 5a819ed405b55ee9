"""Every label attack that reads cut gradients, on one training of whole batches."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from unsplit.data import Splits
from unsplit.defenses import Defense, GradientNoise, LabelDP
from unsplit.errors import InputError, check_at_least_one
from unsplit.experiment.auditing.label_watch import first_of_each_class, head_of, outputs_with, true_labels, unknown_to
from unsplit.experiment.label_attacker import LabelAttacker
from unsplit.losses import LossSpec
from unsplit.metrics import accuracy, accuracy_up_to_names, agreement, chance, label_accuracy
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SERVER, Recorder, SplitConfig, SplitTraining, split_training
from unsplit.randomness import generator
from unsplit.studies.grid.cell import Values
from unsplit.types import InferredLabels, Kind, Setup

KNOWN = (0, 1, 5)
"""How many samples of each class the server knows the labels of."""
RIVALS = {"k-means of gradients": "k-means", "spectral of gradients": "spectral", "k-means of features": "features"}
"""The attacks that group gradients or features, by the report's words for them."""
STRETCH = 50
PREFIXES = (1, 2, 5, 10, 20)


@dataclass(frozen=True, kw_only=True)
class LabelSetting:
    """A training in setup (b) from untrained weights, watched from its first step.

    Args:
        head: layers with weights in the client's head.
        steps: the number of steps that are watched; None for a whole epoch.
        batch_size: samples a step.
        optimizer: the optimiser of both parties.
        loss: the client's loss.
        rarest: share of the last class's samples that is kept; those of the classes before rise in a line to all.
        shuffled: train on labels shuffled among the samples, and judge by the original ones.
        label_epsilon: the epsilon of the client's defence `LabelDP`; None for the true labels.
        gradient_noise: noise on the cut gradients, a defence of the client; None for none.

    Raises:
        InputError: a number out of its range.
    """

    head: int = 1
    steps: int | None = 50
    batch_size: int = 64
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    loss: LossSpec = field(default_factory=LossSpec)
    rarest: float = 1.0
    shuffled: bool = False
    label_epsilon: float | None = None
    gradient_noise: GradientNoise | None = None

    @property
    def defenses(self) -> tuple[Defense, ...]:
        """The defences, as `SplitConfig` takes them."""
        private = () if self.label_epsilon is None else (LabelDP(epsilon=self.label_epsilon),)
        return (*private, *(() if self.gradient_noise is None else (self.gradient_noise,)))

    def __post_init__(self) -> None:
        check_at_least_one(self, "head", "steps", "batch_size")
        if not 0 < self.rarest <= 1:
            raise InputError(f"rarest is {self.rarest}; it must be above 0 and at most 1.")


def run_label_family(
    model: nn.Sequential, splits: Splits, setting: LabelSetting, *, rivals: bool, seed: int, device: torch.device
) -> Values:
    """Train `model` from its present weights and read the labels from cut gradients alone.

    Args:
        model: the whole network.
        splits: the training and the test data.
        setting: the training that is watched.
        rivals: also run the attacks that group gradients or features, and the surrogate on fewer steps.
        seed: the seed of the training and the attacks.
        device: the device on which training and attacks compute.
    """
    images, labels, classes = splits.train.images, splits.train.labels, len(splits.train.classes)
    if setting.rarest < 1:
        shares = torch.linspace(1, setting.rarest, classes)
        kept = torch.rand(len(labels), generator=generator(seed)) < shares[labels]
        images, labels = images[kept], labels[kept]
    taught = labels[torch.randperm(len(labels), generator=generator(seed))] if setting.shuffled else labels
    config = SplitConfig(
        setup=Setup.B,
        head=setting.head,
        batch_size=setting.batch_size,
        client_optimizer=setting.optimizer,
        server_optimizer=setting.optimizer,
        loss=setting.loss,
        defenses=setting.defenses,
    )
    training = split_training(model, images, taught, config, generator=generator(seed), device=device)
    recorder = training.record(Recorder(observer=SERVER, kinds=(Kind.FEATURES, Kind.FEATURE_GRAD)))
    steps = setting.steps or len(labels) // setting.batch_size
    training.run(steps)
    truth = true_labels(training, range(steps))
    if setting.shuffled:
        truth = true_labels(split_training(model, images, labels, config, generator=generator(seed)), range(steps))
    attacker = LabelAttacker(
        view=recorder.transcript(), head=lambda: head_of(training), classes=classes, loss=setting.loss, seed=seed
    )
    return _Family(training, attacker, truth, setting.batch_size, splits).scores(rivals=rivals)


class _Family:
    """The attacks on one transcript of cut gradients, their truth kept apart."""

    def __init__(
        self, training: SplitTraining, attacker: LabelAttacker, truth: Tensor, batch_size: int, splits: Splits
    ) -> None:
        self._training, self._attacker, self._truth = training, attacker, truth
        self._batch_size, self._test = batch_size, splits.test
        known = {k: first_of_each_class(truth, attacker.classes, k) for k in KNOWN if k}
        self._known = {k: samples for k, samples in known.items() if samples is not None}

    def scores(self, *, rivals: bool) -> Values:
        """All attacks' accuracies, and what the labels are good for."""
        attacker, view = self._attacker, self._attacker.view
        found = attacker.infer("surrogate")
        named = {k: attacker.named(found, known) for k, known in self._known.items()}
        nearest = {k: replace(attacker, known=known).infer("nearest") for k, known in self._known.items()}
        attacks = [self._score("surrogate", found)]
        attacks += [self._score("surrogate", labels, k) for k, labels in named.items()]
        attacks += [self._score("nearest known sample", labels, k) for k, labels in nearest.items()]
        own = self._outputs(head_of(self._training))
        scores: Values = {"chance": chance(self._truth), "task_accuracy": accuracy(own, self._test.labels)}
        if rivals:
            attacks += self._groups()
            scores["prefixes"] = [[n, self._prefix(n)] for n in PREFIXES if n < len(view.of(Kind.FEATURES))]
        elif 1 in named:
            scores["curve"] = self._curve(named[1], nearest[1])
            stolen = self._outputs(attacker.stolen_head(named[1].labels))
            scores["clone_accuracy"] = accuracy(stolen, self._test.labels)
            scores["clone_agreement"] = agreement(stolen, own)
        return scores | {"attacks": attacks}

    def _groups(self) -> list[Values]:
        made = {words: self._attacker.infer(name) for words, name in RIVALS.items()}
        rows = [self._score(words, groups) for words, groups in made.items()]
        if 1 in self._known:
            named = {words: self._attacker.named(groups, self._known[1]) for words, groups in made.items()}
            rows += [self._score(words, labels, 1) for words, labels in named.items()]
        return rows

    def _prefix(self, steps: int) -> float:
        """Accuracy up to names of a server that sees the first steps only."""
        samples, classes = steps * self._batch_size, self._attacker.classes
        if samples < classes:
            return 0.0
        found = replace(self._attacker, view=self._attacker.view.between(0, steps - 1)).infer("surrogate")
        return accuracy_up_to_names(found.labels, self._truth[:samples], classes).value

    def _curve(self, surrogate: InferredLabels, nearest: InferredLabels) -> list[list[float]]:
        """Accuracy with names in each stretch of steps: its first step, the surrogate's, that of the nearest."""
        curve, size = [], STRETCH * self._batch_size
        for start in range(0, len(self._truth) - size + 1, size):
            part = slice(start, start + size)
            shares = [label_accuracy(found.labels[part], self._truth[part]).value for found in (surrogate, nearest)]
            curve.append([start / self._batch_size, *shares])
        return curve

    def _score(self, attack: str, found: InferredLabels, known: int = 0) -> Values:
        """Accuracy over the samples whose labels the server did not know."""
        unknown = unknown_to(self._known.get(known), len(self._truth))
        labels, truth = found.labels[unknown], self._truth[unknown]
        return {
            "attack": attack,
            "known": known,
            "accuracy": label_accuracy(labels, truth).value if found.named else None,
            "up_to_names": accuracy_up_to_names(labels, truth, self._attacker.classes).value,
        }

    def _outputs(self, head: nn.Module) -> Tensor:
        return outputs_with(self._training, head, self._test.images)
