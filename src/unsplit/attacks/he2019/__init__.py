"""The attacks that UnSplit is compared with (He et al. 2019): white box, black box, and query-free by a shadow."""

from unsplit.attacks.he2019._inverse_net import mirrored
from unsplit.attacks.he2019.black_box import BlackBoxConfig, StreamConfig, invert_black_box, stream_black_box
from unsplit.attacks.he2019.shadow import ShadowConfig, invert_by_shadow, invert_by_shadow_without_data
from unsplit.attacks.he2019.white_box import (
    WHITE_BOX,
    WhiteBoxConfig,
    invert_white_box,
    white_box_quick,
    white_box_reference,
)

__all__ = [
    "WHITE_BOX",
    "BlackBoxConfig",
    "ShadowConfig",
    "StreamConfig",
    "WhiteBoxConfig",
    "invert_black_box",
    "invert_by_shadow",
    "invert_by_shadow_without_data",
    "invert_white_box",
    "mirrored",
    "stream_black_box",
    "white_box_quick",
    "white_box_reference",
]
