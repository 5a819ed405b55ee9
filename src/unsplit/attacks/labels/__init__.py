"""Label inference: what a server reads about labels that a client keeps to itself."""

from unsplit.attacks.labels._observed import UNDECIDED
from unsplit.attacks.labels.cut_gradient import (
    GroupingConfig,
    group_by_cut_gradient,
    group_by_features,
    infer_from_known_samples,
)
from unsplit.attacks.labels.handed_weights import infer_from_handed_weights
from unsplit.attacks.labels.inferred import CloneHeadConfig, correct_labels, name_groups, train_clone_head
from unsplit.attacks.labels.last_layer import infer_by_sign, infer_from_batch_gradients
from unsplit.attacks.labels.surrogate import SurrogateConfig, infer_by_surrogate
from unsplit.attacks.labels.targets import TargetsConfig, infer_targets
from unsplit.attacks.labels.two_classes import infer_from_gradient_direction, infer_from_gradient_norm
from unsplit.attacks.labels.weight_gradient import MatchingConfig, head_weight_gradients, infer_from_weight_gradients

__all__ = [
    "UNDECIDED",
    "CloneHeadConfig",
    "GroupingConfig",
    "MatchingConfig",
    "SurrogateConfig",
    "TargetsConfig",
    "correct_labels",
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
