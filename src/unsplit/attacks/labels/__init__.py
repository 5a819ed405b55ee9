"""Label inference: what a server reads about labels that a client keeps to itself."""

from unsplit.attacks.labels.clone_head import CloneHeadConfig, train_clone_head
from unsplit.attacks.labels.cut_gradient import GroupingConfig, group_by_cut_gradient, infer_from_known_samples
from unsplit.attacks.labels.observed import UNDECIDED
from unsplit.attacks.labels.weight_gradient import MatchingConfig, head_weight_gradients, infer_from_weight_gradients

__all__ = [
    "UNDECIDED",
    "CloneHeadConfig",
    "GroupingConfig",
    "MatchingConfig",
    "group_by_cut_gradient",
    "head_weight_gradients",
    "infer_from_known_samples",
    "infer_from_weight_gradients",
    "train_clone_head",
]
