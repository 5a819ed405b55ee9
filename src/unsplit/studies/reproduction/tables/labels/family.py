"""Every label attack that reads cut gradients, on one training of whole batches."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unsplit.attacks.labels import (
    GroupingConfig,
    SurrogateConfig,
    group_by_cut_gradient,
    group_by_features,
    infer_by_surrogate,
    infer_from_known_samples,
    name_groups,
)
from unsplit.data import Splits
from unsplit.defenses import Defense, GradientNoise, LabelDP
from unsplit.errors import InputError, check_at_least_one
from unsplit.experiment.auditing.label_watch import first_of_each_class, stolen_head, true_labels, unknown_to
from unsplit.knowledge import ClientLoss, HeadArchitecture, LabelSpace
from unsplit.losses import LossSpec
from unsplit.metrics import accuracy, accuracy_up_to_names, agreement, chance, label_accuracy
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SERVER, Recorder, SplitConfig, SplitTraining, predicted, split_training
from unsplit.randomness import generator
from unsplit.studies.grid.cell import Values
from unsplit.types import InferredLabels, Kind, Setup, Transcript

KNOWN = (0, 1, 5)
"""How many samples of each class the server knows the labels of."""
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
    family = _Family(training, recorder.transcript(), truth, setting, splits, seed)
    return family.scores(rivals=rivals)


class _Family:
    """The attacks on one transcript of cut gradients, their truth kept apart."""

    def __init__(
        self,
        training: SplitTraining,
        view: Transcript,
        truth: Tensor,
        setting: LabelSetting,
        splits: Splits,
        seed: int,
    ) -> None:
        self._training, self._view, self._truth = training, view, truth
        self._setting, self._test, self._seed = setting, splits.test, seed
        self._space = LabelSpace(classes=len(splits.train.classes))
        self._head = training.active().segments()["head"].module
        self._architecture = HeadArchitecture.of(self._head)
        self._known = {k: first_of_each_class(truth, self._space.classes, k) for k in KNOWN if k}

    def scores(self, *, rivals: bool) -> Values:
        """All attacks' accuracies, and what the labels are good for."""
        found = self._surrogate(self._view)
        attacks = [self._score("surrogate", found)]
        named = {k: name_groups(found, known, self._space) for k, known in self._known.items() if known is not None}
        attacks += [self._score("surrogate", labels, k) for k, labels in named.items()]
        nearest = {
            k: infer_from_known_samples(self._view, known) for k, known in self._known.items() if known is not None
        }
        attacks += [self._score("nearest known sample", labels, k) for k, labels in nearest.items()]
        scores: Values = {
            "chance": chance(self._truth),
            "task_accuracy": self._accuracy(self._head),
        }
        if rivals:
            attacks += self._groups()
            scores["prefixes"] = [[n, self._prefix(n)] for n in PREFIXES if n < len(self._view.of(Kind.FEATURES))]
        elif 1 in named:
            scores["curve"] = self._curve(named[1], nearest[1])
            scores |= self._clone(named[1])
        return scores | {"attacks": attacks}

    def _surrogate(self, view: Transcript) -> InferredLabels:
        loss = ClientLoss(spec=self._setting.loss)
        return infer_by_surrogate(
            view, self._architecture, self._space, loss, SurrogateConfig(), generator=generator(self._seed)
        )

    def _groups(self) -> list[Values]:
        made = {}
        for method in ("k-means", "spectral"):
            config = GroupingConfig(method=method)
            made[f"{method} of gradients"] = group_by_cut_gradient(
                self._view, self._space, config, generator=generator(self._seed)
            )
        made["k-means of features"] = group_by_features(
            self._view, self._space, GroupingConfig(), generator=generator(self._seed)
        )
        rows = [self._score(name, groups) for name, groups in made.items()]
        known = self._known[1]
        if known is not None:
            rows += [self._score(name, name_groups(groups, known, self._space), 1) for name, groups in made.items()]
        return rows

    def _prefix(self, steps: int) -> float:
        """Accuracy up to names of a server that sees the first steps only."""
        samples = steps * self._setting.batch_size
        if samples < self._space.classes:
            return 0.0
        found = self._surrogate(self._view.between(0, steps - 1))
        return accuracy_up_to_names(found.labels, self._truth[:samples], self._space.classes).value

    def _curve(self, surrogate: InferredLabels, nearest: InferredLabels) -> list[list[float]]:
        """Accuracy with names in each stretch of steps: its first step, the surrogate's, that of the nearest."""
        size = STRETCH * self._setting.batch_size
        return [
            [
                start / self._setting.batch_size,
                *(
                    label_accuracy(found.labels[start : start + size], self._truth[start : start + size]).value
                    for found in (surrogate, nearest)
                ),
            ]
            for start in range(0, len(self._truth) - size + 1, size)
        ]

    def _clone(self, named: InferredLabels) -> Values:
        """A head trained on the labels of the last steps, whose features are the least out of date."""
        clone = stolen_head(self._view, named.labels, self._architecture, self._space, self._seed)
        own = self._outputs(self._head)
        stolen = self._outputs(clone)
        return {
            "clone_accuracy": accuracy(stolen, self._test.labels),
            "clone_agreement": agreement(stolen, own),
        }

    def _score(self, attack: str, found: InferredLabels, known: int = 0) -> Values:
        """Accuracy over the samples whose labels the server did not know."""
        unknown = unknown_to(self._known.get(known), len(self._truth))
        labels, truth = found.labels[unknown], self._truth[unknown]
        return {
            "attack": attack,
            "known": known,
            "accuracy": label_accuracy(labels, truth).value if found.named else None,
            "up_to_names": accuracy_up_to_names(labels, truth, self._space.classes).value,
        }

    def _outputs(self, head: nn.Module) -> Tensor:
        device = next(head.parameters()).device
        return predicted(self._test.images, self._training.server.body.module, head, device=device)

    def _accuracy(self, head: nn.Module) -> float:
        return accuracy(self._outputs(head), self._test.labels)
