"""Networks and the places where they can be cut."""

from ._cuts import Cut, Parts, cuts, depth_of, head_start, split, split_head, split_u
from ._resnet import resnet
from .bring import sequential_of
from .crossing import check_crossing
from .named import NamedInputs
from .norm import batch_norm_note, dense_note, refuses_single_samples
from .paper import cifar_net, mnist_net
from .registry import MODELS, build, build_for, check_fits, default_for
from .stages import Stages
from .weights import distance, read_weights, start_from

__all__ = [
    "MODELS",
    "Cut",
    "NamedInputs",
    "Parts",
    "Stages",
    "batch_norm_note",
    "build",
    "build_for",
    "check_crossing",
    "check_fits",
    "cifar_net",
    "cuts",
    "default_for",
    "dense_note",
    "depth_of",
    "distance",
    "head_start",
    "mnist_net",
    "read_weights",
    "refuses_single_samples",
    "resnet",
    "sequential_of",
    "split",
    "split_head",
    "split_u",
    "start_from",
]
