"""Networks and the places where they can be cut."""

from .cuts import Cut, Parts, cuts, depth_of, head_start, split, split_head, split_u
from .paper import cifar_net, mnist_net
from .registry import MODELS, build, build_for, check_fits, default_for
from .resnet import resnet

__all__ = [
    "MODELS",
    "Cut",
    "Parts",
    "build",
    "build_for",
    "check_fits",
    "cifar_net",
    "cuts",
    "default_for",
    "depth_of",
    "head_start",
    "mnist_net",
    "resnet",
    "split",
    "split_head",
    "split_u",
]
