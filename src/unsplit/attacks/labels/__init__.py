"""Label inference: what a server reads about labels that a client keeps to itself.

A new label attack is a module of its own, and a row of `LABEL_ATTACKS` here. Audits, studies and commands give it what
its signature says that it knows.
"""

from collections.abc import Callable
from typing import NamedTuple

from unsplit.attacks._threat_model import ThreatModel, threat_model
from unsplit.attacks.labels._observed import UNDECIDED
from unsplit.attacks.labels.cut_gradient import (
    GroupingConfig,
    group_by_cut_gradient,
    group_by_features,
    infer_from_known_samples,
)
from unsplit.attacks.labels.hand_off_gradients import gives_gradient, head_weight_gradients
from unsplit.attacks.labels.handed_weights import infer_from_handed_weights
from unsplit.attacks.labels.inferred import CloneHeadConfig, correct_labels, name_groups, train_clone_head
from unsplit.attacks.labels.last_layer import infer_by_sign, infer_from_batch_gradients
from unsplit.attacks.labels.surrogate import SurrogateConfig, infer_by_surrogate
from unsplit.attacks.labels.targets import TargetsConfig, infer_targets
from unsplit.attacks.labels.two_classes import infer_from_gradient_direction, infer_from_gradient_norm
from unsplit.attacks.labels.weight_gradient import MatchingConfig, infer_from_weight_gradients
from unsplit.optim import OptimizerSpec
from unsplit.types import InferredLabels

__all__ = [
    "LABEL_ATTACKS",
    "UNDECIDED",
    "CloneHeadConfig",
    "GroupingConfig",
    "LabelAttack",
    "MatchingConfig",
    "SurrogateConfig",
    "TargetsConfig",
    "correct_labels",
    "gives_gradient",
    "group_by_cut_gradient",
    "group_by_features",
    "head_weight_gradients",
    "infer_by_sign",
    "infer_by_surrogate",
    "infer_from_batch_gradients",
    "infer_from_gradient_direction",
    "infer_from_gradient_norm",
    "infer_from_handed_weights",
    "infer_from_known_samples",
    "infer_from_weight_gradients",
    "infer_targets",
    "name_groups",
    "train_clone_head",
]


class LabelAttack(NamedTuple):
    """A label attack, and the settings that suit a client with this optimiser; None for an attack without settings."""

    attack: Callable[..., InferredLabels]
    settings: Callable[[OptimizerSpec], object] | None = None

    @property
    def threat_model(self) -> ThreatModel:
        """What the attack reads and knows."""
        return threat_model(self.attack)


LABEL_ATTACKS = {
    "surrogate": LabelAttack(infer_by_surrogate, lambda _: SurrogateConfig()),
    "k-means": LabelAttack(group_by_cut_gradient, lambda _: GroupingConfig(method="k-means")),
    "spectral": LabelAttack(group_by_cut_gradient, lambda _: GroupingConfig(method="spectral")),
    "features": LabelAttack(group_by_features, lambda _: GroupingConfig()),
    "nearest": LabelAttack(infer_from_known_samples),
    "norm": LabelAttack(infer_from_gradient_norm),
    "direction": LabelAttack(infer_from_gradient_direction),
    "sign": LabelAttack(infer_by_sign),
    "matching": LabelAttack(infer_from_weight_gradients, lambda optimizer: MatchingConfig(clone_optimizer=optimizer)),
    "least-squares": LabelAttack(infer_from_batch_gradients),
    "handed-weights": LabelAttack(infer_from_handed_weights),
}
"""The label attacks by name, in the order in which commands offer them."""
