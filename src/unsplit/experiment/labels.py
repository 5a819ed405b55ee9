"""Label inference on the server's transcript of one training whose weights pass through it, and its scores."""

import torch
from torch import Tensor, nn

from unsplit.attacks.labels import (
    CloneHeadConfig,
    GroupingConfig,
    MatchingConfig,
    group_by_cut_gradient,
    head_weight_gradients,
    infer_by_sign,
    infer_from_batch_gradients,
    infer_from_handed_weights,
    infer_from_known_samples,
    infer_from_weight_gradients,
    train_clone_head,
)
from unsplit.data import Splits
from unsplit.experiment.label_parts import first_of_each_class, true_labels, unknown_to, watch_hand_offs
from unsplit.experiment.results import LabelRow
from unsplit.knowledge import ClientLoss, ClientOptimizer, HeadArchitecture, LabelSpace
from unsplit.metrics import Share, accuracy, accuracy_up_to_names, chance, label_accuracy
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SplitTraining, predicted
from unsplit.randomness import generator
from unsplit.types import InferredLabels, Kind, Transcript


def run_labels(
    model: nn.Sequential,
    splits: Splits,
    *,
    setup: str,
    head: int,
    steps: int,
    optimizer: OptimizerSpec,
    seed: int,
    device: torch.device,
) -> list[LabelRow]:
    """Train `model` from its present weights in single-sample steps, two clients in turns of one step whose weights
    pass through the server, and read the labels from what the server saw.
    """
    training, view = watch_hand_offs(
        model, splits, setup=setup, head=head, steps=steps, batch_size=1, optimizer=optimizer, seed=seed, device=device
    )
    return _LabelAudit(training, view, splits, head, steps, optimizer, seed).rows()


def run_handed_over(
    model: nn.Sequential,
    splits: Splits,
    *,
    head: int,
    steps: int,
    batch_size: int,
    optimizer: OptimizerSpec,
    seed: int,
    device: torch.device,
) -> dict[str, object]:
    """Train `model` with two clients in turns of one step, whose weights pass through the server, and read the labels
    with their names.
    """
    training, view = watch_hand_offs(
        model,
        splits,
        setup="b",
        head=head,
        steps=steps,
        batch_size=batch_size,
        optimizer=optimizer,
        seed=seed,
        device=device,
    )
    space = LabelSpace(classes=len(splits.train.classes))
    architecture = HeadArchitecture.of(training.active().segments()["head"].module)
    gradients = head_weight_gradients(view, ClientOptimizer(spec=optimizer))
    truth = true_labels(training, gradients.steps)
    found = {}
    if batch_size == 1:
        found["sign rule"] = infer_by_sign(view, gradients, space).labels
        matching = MatchingConfig(clone_optimizer=optimizer)
        found["matching"] = infer_from_weight_gradients(
            view, gradients, architecture, space, matching, generator=generator(seed)
        ).labels
    if head == 1:
        found["least squares"] = infer_from_batch_gradients(view, gradients, space).labels
    within = view.between(0, gradients.steps[-1])
    found["weights handed over"] = infer_from_handed_weights(within, architecture, space, ClientLoss()).labels[
        batch_size:
    ]
    attacks = [{"attack": name, "accuracy": label_accuracy(labels, truth).value} for name, labels in found.items()]
    return {"chance": chance(truth), "attacks": attacks}


class _LabelAudit:
    """The attacks on one transcript, their truth kept apart."""

    def __init__(
        self,
        training: SplitTraining,
        view: Transcript,
        splits: Splits,
        head: int,
        steps: int,
        optimizer: OptimizerSpec,
        seed: int,
    ) -> None:
        self._training = training
        self._transcript = view
        self._seen = self._transcript.between(0, steps - 1)
        self._test = splits.test
        self._depth = head
        self._optimizer = optimizer
        self._seed = seed
        self._space = LabelSpace(classes=len(splits.train.classes))
        self._head = training.active().segments()["head"].module

    def rows(self) -> list[LabelRow]:
        """Every attack's row."""
        return [*self._from_weight_gradients(), *self._from_cut_gradients()]

    def _from_weight_gradients(self) -> list[LabelRow]:
        view, architecture = self._transcript, HeadArchitecture.of(self._head)
        gradients = head_weight_gradients(view, ClientOptimizer(spec=self._optimizer))
        truth = true_labels(self._training, gradients.steps)
        rows = []
        for trained in (False, True):
            config = MatchingConfig(train_clone=trained, clone_optimizer=self._optimizer)
            found = infer_from_weight_gradients(
                view, gradients, architecture, self._space, config, generator=generator(self._seed)
            )
            rows.append(
                self._row(found, truth, observed="weight_grad", clone_head="trained" if trained else "untrained")
            )
        seen = view.where(lambda header: header.kind is Kind.FEATURES and header.step in gradients.steps)
        clone = train_clone_head(
            seen, found.labels, architecture, self._space, CloneHeadConfig(), generator=generator(self._seed)
        )
        scores = {"head_accuracy": self._head_accuracy(clone), "head_reference": self._head_accuracy(self._head)}
        return [rows[0], rows[1].model_copy(update=scores)]

    def _from_cut_gradients(self) -> list[LabelRow]:
        truth = true_labels(self._training, self._seen.steps)
        groups = group_by_cut_gradient(self._seen, self._space, GroupingConfig(), generator=generator(self._seed))
        rows = [self._row(groups, truth, observed="cut_grad")]
        known = first_of_each_class(truth, self._space.classes)
        if known is not None:
            found = infer_from_known_samples(self._seen, known)
            unknown = unknown_to(known, len(truth))
            judged = InferredLabels(labels=found.labels[unknown], named=True)
            rows.append(self._row(judged, truth[unknown], observed="cut_grad", known_samples=1))
        return rows

    def _row(self, found: InferredLabels, truth: Tensor, **fields: object) -> LabelRow:
        renamed = accuracy_up_to_names(found.labels, truth, self._space.classes)
        named: Share | None = label_accuracy(found.labels, truth) if found.named else None
        shown = named or renamed
        details = {"known_samples": 0, "clone_head": "none", "head_accuracy": None, "head_reference": None} | fields
        return LabelRow.model_validate(
            {
                "setup": self._training.setup.value,
                "depth": self._depth,
                "optimizer": str(self._optimizer),
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
