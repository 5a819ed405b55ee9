"""Label inference on the server's transcript of one training whose weights pass through it, and its scores."""

import tempfile
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from unsplit.attacks.labels import CloneHeadConfig, MatchingConfig, correct_labels
from unsplit.data import Splits
from unsplit.experiment.auditing.label_watch import (
    HandOffs,
    first_of_each_class,
    head_of,
    outputs_with,
    true_labels,
    unknown_to,
    watch_hand_offs,
)
from unsplit.experiment.label_attacker import LabelAttacker
from unsplit.metrics import Share, accuracy, accuracy_up_to_names, chance, label_accuracy
from unsplit.results import LabelRow
from unsplit.types import InferredLabels, Kind


def run_labels(model: nn.Sequential, splits: Splits, how: HandOffs, *, aware: bool = False) -> list[LabelRow]:
    """Train `model` from its present weights, and read the labels from what the server saw.

    Args:
        model: the whole network.
        splits: the clients' data, and the test set.
        how: the training; where its steps are of one sample, weight gradients are read too.
        aware: correct the labels as well, as an attacker does who knows that labels or gradients are changed.
    """
    with _for_messages() as folder:
        return _LabelAudit(model, splits, how, Path(folder)).rows(aware=aware)


def run_handed_over(model: nn.Sequential, splits: Splits, how: HandOffs) -> dict[str, object]:
    """Train `model`, and read the labels with their names from what the server saw."""
    with _for_messages() as folder:
        return _LabelAudit(model, splits, how, Path(folder), weights=True).with_names()


def _for_messages() -> tempfile.TemporaryDirectory[str]:
    """A folder for what a server saw while it is attacked."""
    return tempfile.TemporaryDirectory(prefix="unsplit-labels-")


class _LabelAudit:
    """The attacks on the transcript of one training, their truth kept apart."""

    def __init__(
        self, model: nn.Sequential, splits: Splits, how: HandOffs, folder: Path, *, weights: bool = False
    ) -> None:
        training, view = watch_hand_offs(model, splits, how, folder, weights=weights)
        self._training, self._test, self._how, classes = training, splits.test, how, len(splits.train.classes)
        self._attacker = LabelAttacker(
            view=view.to(how.device),
            head=lambda: head_of(training),
            classes=classes,
            optimizer=how.optimizer,
            seed=how.seed,
        )

    def rows(self, *, aware: bool) -> list[LabelRow]:
        """Every attack's row: of weight gradients too where steps are of one sample, and corrected too if `aware`."""
        rows = self._from_weight_gradients(aware=aware) if self._how.batch_size == 1 else []
        return [*rows, *self._from_cut_gradients(aware=aware)]

    def with_names(self) -> dict[str, object]:
        """The share of labels right for each attack that reads their names, and that of the commonest class."""
        attacker, steps = self._attacker, self._attacker.steps("sign")
        truth = true_labels(self._training, steps)
        chosen = {"sign rule": "sign", "matching": "matching"} if self._how.batch_size == 1 else {}
        chosen |= {"least squares": "least-squares"} if self._how.head == 1 else {}
        found = {words: attacker.infer(name).labels for words, name in chosen.items()}
        within = replace(attacker, view=attacker.view.between(0, steps[-1]))
        found["weights handed over"] = within.infer("handed-weights").labels[self._how.batch_size :]
        attacks = [{"attack": name, "accuracy": label_accuracy(labels, truth).value} for name, labels in found.items()]
        return {"chance": chance(truth), "attacks": attacks}

    def _from_weight_gradients(self, *, aware: bool) -> list[LabelRow]:
        attacker, steps = self._attacker, self._attacker.steps("matching")
        truth = true_labels(self._training, steps)
        rows = []
        for trained, clone_head in ((False, "untrained"), (True, "trained")):
            config = MatchingConfig(train_clone=trained, clone_optimizer=self._how.optimizer)
            found = attacker.infer("matching", config)
            rows.append(self._row(found, truth, observed="weight_grad", clone_head=clone_head))
        seen = attacker.view.where(lambda header: header.kind is Kind.FEATURES and header.step in steps)
        judged = replace(attacker, view=seen)
        scores = {
            "head_accuracy": self._head_accuracy(judged.trained_head(found.labels, CloneHeadConfig())),
            "head_reference": self._head_accuracy(head_of(self._training)),
        }
        rows[1] = rows[1].model_copy(update=scores)
        if aware:
            corrected = _corrected(judged, found)
            rows.append(self._row(corrected, truth, observed="weight_grad", clone_head="trained", aware=True))
        return rows

    def _from_cut_gradients(self, *, aware: bool) -> list[LabelRow]:
        attacker = replace(self._attacker, view=self._attacker.view.between(0, self._how.steps - 1))
        truth = true_labels(self._training, attacker.view.steps)
        groups = attacker.infer("k-means")
        rows = [self._row(groups, truth, observed="cut_grad")]
        corrected = _corrected(attacker, groups) if aware else None
        if corrected is not None:
            rows.append(self._row(corrected, truth, observed="cut_grad", aware=True))
        known = first_of_each_class(truth, attacker.classes)
        if known is not None:
            tried = {False: replace(attacker, known=known).infer("nearest")}
            if corrected is not None:
                tried[True] = attacker.named(corrected, known)
            unknown = unknown_to(known, len(truth))
            for knowing, found in tried.items():
                judged = InferredLabels(labels=found.labels[unknown], named=True)
                rows.append(self._row(judged, truth[unknown], observed="cut_grad", known_samples=1, aware=knowing))
        return rows

    def _row(self, found: InferredLabels, truth: Tensor, **fields: object) -> LabelRow:
        renamed = accuracy_up_to_names(found.labels, truth, self._attacker.classes)
        named: Share | None = label_accuracy(found.labels, truth) if found.named else None
        shown = named or renamed
        return LabelRow.model_validate(
            {
                "setup": self._training.setup.value,
                "batch_size": self._training.active().batch_at(0),
                "depth": self._how.head,
                "optimizer": str(self._how.optimizer),
                "samples": len(truth),
                "accuracy": named.value if named else None,
                "low": shown.low,
                "high": shown.high,
                "accuracy_up_to_names": renamed.value,
                "chance": chance(truth),
                "known_samples": 0,
                "clone_head": "none",
                "head_accuracy": None,
                "head_reference": None,
                **fields,
            }
        )

    def _head_accuracy(self, head: nn.Module) -> float:
        return accuracy(outputs_with(self._training, head, self._test.images), self._test.labels)


def _corrected(attacker: LabelAttacker, found: InferredLabels) -> InferredLabels:
    """The labels, weighed against what a head learns that is trained on all of them together."""
    if not bool((found.labels >= 0).any()):
        return found
    trained = replace(found, clone=attacker.trained_head(found.labels))
    return correct_labels(attacker.view, trained, last=len(attacker.view.steps), calibrated=True)
