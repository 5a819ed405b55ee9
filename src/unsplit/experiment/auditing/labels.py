"""Label inference on the server's transcript of one training whose weights pass through it, and its scores."""

from dataclasses import replace

from torch import Tensor, nn

from unsplit.attacks.labels import (
    CloneHeadConfig,
    GroupingConfig,
    MatchingConfig,
    correct_labels,
    group_by_cut_gradient,
    head_weight_gradients,
    infer_by_sign,
    infer_from_batch_gradients,
    infer_from_handed_weights,
    infer_from_known_samples,
    infer_from_weight_gradients,
    name_groups,
    train_clone_head,
)
from unsplit.data import Splits
from unsplit.experiment.auditing.label_watch import (
    HandOffs,
    first_of_each_class,
    true_labels,
    unknown_to,
    watch_hand_offs,
)
from unsplit.knowledge import ClientLoss, ClientOptimizer, HeadArchitecture, LabelSpace
from unsplit.metrics import Share, accuracy, accuracy_up_to_names, chance, label_accuracy
from unsplit.protocol import SplitTraining, predicted
from unsplit.randomness import generator
from unsplit.results import LabelRow
from unsplit.types import InferredLabels, Kind, Transcript

_BRIEFLY = CloneHeadConfig(epochs=5)
"""Training of a head that shall learn what noisy labels have in common, and not each of them by heart."""


def run_labels(model: nn.Sequential, splits: Splits, how: HandOffs, *, aware: bool = False) -> list[LabelRow]:
    """Train `model` from its present weights, and read the labels from what the server saw.

    Args:
        model: the whole network.
        splits: the clients' data, and the test set.
        how: the training; where its steps are of one sample, weight gradients are read too.
        aware: correct the labels as well, as an attacker does who knows that labels or gradients are changed.
    """
    training, view = watch_hand_offs(model, splits, how)
    return _LabelAudit(training, view, splits, how).rows(aware=aware)


def run_handed_over(model: nn.Sequential, splits: Splits, how: HandOffs) -> dict[str, object]:
    """Train `model`, and read the labels with their names from what the server saw."""
    training, view = watch_hand_offs(model, splits, how)
    space = LabelSpace(classes=len(splits.train.classes))
    architecture = HeadArchitecture.of(training.active().segments()["head"].module)
    gradients = head_weight_gradients(view, ClientOptimizer(spec=how.optimizer))
    truth = true_labels(training, gradients.steps)
    found = {}
    if how.batch_size == 1:
        found["sign rule"] = infer_by_sign(view, gradients, space).labels
        matching = MatchingConfig(clone_optimizer=how.optimizer)
        found["matching"] = infer_from_weight_gradients(
            view, gradients, architecture, space, matching, generator=generator(how.seed)
        ).labels
    if how.head == 1:
        found["least squares"] = infer_from_batch_gradients(view, gradients, space).labels
    within = view.between(0, gradients.steps[-1])
    found["weights handed over"] = infer_from_handed_weights(within, architecture, space, ClientLoss()).labels[
        how.batch_size :
    ]
    attacks = [{"attack": name, "accuracy": label_accuracy(labels, truth).value} for name, labels in found.items()]
    return {"chance": chance(truth), "attacks": attacks}


class _LabelAudit:
    """The attacks on one transcript, their truth kept apart."""

    def __init__(self, training: SplitTraining, view: Transcript, splits: Splits, how: HandOffs) -> None:
        self._training, self._transcript, self._test, self._how = training, view, splits.test, how
        self._seen = view.between(0, how.steps - 1)
        self._space = LabelSpace(classes=len(splits.train.classes))
        self._head = training.active().segments()["head"].module

    def rows(self, *, aware: bool) -> list[LabelRow]:
        """Every attack's row: of weight gradients too where steps are of one sample, and corrected too if `aware`."""
        rows = self._from_weight_gradients(aware=aware) if self._how.batch_size == 1 else []
        return [*rows, *self._from_cut_gradients(aware=aware)]

    def _from_weight_gradients(self, *, aware: bool) -> list[LabelRow]:
        view, architecture = self._transcript, HeadArchitecture.of(self._head)
        gradients = head_weight_gradients(view, ClientOptimizer(spec=self._how.optimizer))
        truth = true_labels(self._training, gradients.steps)
        rows = []
        for trained in (False, True):
            config = MatchingConfig(train_clone=trained, clone_optimizer=self._how.optimizer)
            found = infer_from_weight_gradients(
                view, gradients, architecture, self._space, config, generator=generator(self._how.seed)
            )
            rows.append(
                self._row(found, truth, observed="weight_grad", clone_head="trained" if trained else "untrained")
            )
        seen = view.where(lambda header: header.kind is Kind.FEATURES and header.step in gradients.steps)
        clone = train_clone_head(
            seen, found.labels, architecture, self._space, CloneHeadConfig(), generator=generator(self._how.seed)
        )
        scores = {"head_accuracy": self._head_accuracy(clone), "head_reference": self._head_accuracy(self._head)}
        rows[1] = rows[1].model_copy(update=scores)
        if aware:
            corrected = self._corrected(seen, found)
            rows.append(self._row(corrected, truth, observed="weight_grad", clone_head="trained", aware=True))
        return rows

    def _from_cut_gradients(self, *, aware: bool) -> list[LabelRow]:
        truth = true_labels(self._training, self._seen.steps)
        groups = group_by_cut_gradient(self._seen, self._space, GroupingConfig(), generator=generator(self._how.seed))
        rows = [self._row(groups, truth, observed="cut_grad")]
        corrected = self._corrected(self._seen, groups) if aware else None
        if corrected is not None:
            rows.append(self._row(corrected, truth, observed="cut_grad", aware=True))
        known = first_of_each_class(truth, self._space.classes)
        if known is not None:
            tried = {False: infer_from_known_samples(self._seen, known)}
            if corrected is not None:
                tried[True] = name_groups(corrected, known, self._space)
            unknown = unknown_to(known, len(truth))
            for knowing, found in tried.items():
                judged = InferredLabels(labels=found.labels[unknown], named=True)
                rows.append(self._row(judged, truth[unknown], observed="cut_grad", known_samples=1, aware=knowing))
        return rows

    def _corrected(self, view: Transcript, found: InferredLabels) -> InferredLabels:
        """The labels, weighed against what a head learns that is trained on all of them together."""
        if not bool((found.labels >= 0).any()):
            return found
        clone = train_clone_head(
            view,
            found.labels,
            HeadArchitecture.of(self._head),
            self._space,
            _BRIEFLY,
            generator=generator(self._how.seed),
        )
        return correct_labels(view, replace(found, clone=clone), last=len(view.steps), calibrated=True)

    def _row(self, found: InferredLabels, truth: Tensor, **fields: object) -> LabelRow:
        renamed = accuracy_up_to_names(found.labels, truth, self._space.classes)
        named: Share | None = label_accuracy(found.labels, truth) if found.named else None
        shown = named or renamed
        details = {"known_samples": 0, "clone_head": "none", "head_accuracy": None, "head_reference": None} | fields
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
                **details,
            }
        )

    def _head_accuracy(self, head: nn.Module) -> float:
        """Test accuracy with this head behind the parts that it was attacked behind."""
        training, device = self._training, next(head.parameters()).device
        bottom = training.active().bottom
        before = [] if bottom is None else [bottom.module]
        outputs = predicted(self._test.images, *before, training.server.body.module, head, device=device)
        return accuracy(outputs, self._test.labels)
