"""Defences in how a client's weights are trained, and in how much of the network it keeps."""

from dataclasses import dataclass
from typing import ClassVar

from unsplit.defenses.defense import Defense, Privacy, register_defense
from unsplit.errors import check_at_least_one, check_not_negative, check_positive


@register_defense("dp-sgd", strengths=("noise=0.5,clip=1", "noise=1,clip=1", "noise=2,clip=1"))
@dataclass(frozen=True, kw_only=True)
class PrivateTraining(Defense):
    """DP-SGD of the client's own weights, by Opacus: each sample's gradient is clipped and noise added to their sum.

    It bounds what the weights say about any one sample. It hides nothing in smashed data, which is what inversion
    reads; against model stealing it does nothing.

    Args:
        noise: standard deviation of the noise divided by `clip`, 0 or more.
        clip: largest Euclidean norm that a sample's gradient may have, above 0.

    Reference:
        Abadi et al., "Deep learning with differential privacy", 2016; Yousefpour et al., "Opacus", 2021.
    """

    protects: ClassVar[str] = "membership: the client's weights depend little on any one sample"
    knob: ClassVar[str] = "noise: more hides more"
    noise: float = 1.0
    clip: float = 1.0

    def __post_init__(self) -> None:
        check_not_negative(self, "noise")
        check_positive(self, "clip")

    @property
    def privacy(self) -> Privacy | None:
        return Privacy(noise=self.noise, clip=self.clip)


@register_defense("deeper-cut", strengths=("modules=1", "modules=2", "modules=4"), usual=True)
@dataclass(frozen=True, kw_only=True)
class DeeperCut(Defense):
    """The client keeps more of the network, and the server gets less.

    Args:
        modules: number of further modules that the client keeps, 1 or more.

    Reference:
        The depth of the cut is what UnSplit's Table 2 varies.
    """

    protects: ClassVar[str] = "inputs and model: there is more to undo"
    knob: ClassVar[str] = "modules: more hide more, and the client computes more"
    modules: int = 1

    def __post_init__(self) -> None:
        check_at_least_one(self, "modules")

    @property
    def deeper(self) -> int:
        return self.modules
