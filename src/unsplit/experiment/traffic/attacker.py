"""Who attacks recorded traffic: what is known of the training, and where attacks compute."""

from dataclasses import dataclass, field

from torch import nn

from unsplit.choices import WHITE_BOX
from unsplit.devices import Precision, check_precision
from unsplit.errors import unknown_name
from unsplit.losses import LossSpec
from unsplit.models import build, default_for
from unsplit.randomness import generator
from unsplit.ranges import InputRange

DIGITS = (1, 28, 28)
"""The shape of one input where nobody says another: that of the paper's digits."""


@dataclass(frozen=True, kw_only=True)
class Attacker:
    """What is known to whoever attacks recorded traffic, attacked by one goal or audited as a whole.

    Args:
        model: the network's architecture: a name, "module:function", or None for the paper's net for such inputs.
        cut: the place of the cut behind the client's first layers, by depth or module name; setups (a) and (c).
        head: the number of layers with weights in the client's head; setups (b) and (c).
        input_shape: the shape of one input; None for that of the truth, or of the paper's digits.
        input_range: the range in which the client's network takes its inputs; None for that of the truth, or 0 to 1.
        loss: the client's loss; read by label inference.
        known_weights: file of weights (safetensors, or a torch state dict) that the client's first layers are known to
            have, which the white box starts from; None for none.
        white_box: the preset of that attack, "white-box" or "white-box-quick".
        not_photographs: whether the inputs may be other pictures than photographs.
        not_figures: whether inputs of one channel may be other pictures than figures on dark ground.
        seed: the seed of all that attacks draw.
        device: the device on which attacks compute.
        reduced_precision: whether decoders compute their convolutions in bfloat16 (`devices.Precision`).

    Raises:
        InputError: an unknown preset, or a setting of the precision that there is not.
    """

    model: str | None = None
    cut: int | str = 1
    head: int = 1
    input_shape: tuple[int, ...] | None = None
    input_range: InputRange | None = None
    loss: LossSpec = field(default_factory=LossSpec)
    known_weights: str | None = None
    white_box: str = "white-box-quick"
    not_photographs: bool = False
    not_figures: bool = False
    seed: int = 0
    device: str = "cpu"
    reduced_precision: Precision = "auto"

    def __post_init__(self) -> None:
        check_precision(self.reduced_precision)
        if self.white_box not in WHITE_BOX:
            raise unknown_name("preset of the white box", self.white_box, WHITE_BOX)

    def network(self, input_shape: tuple[int, ...] | None) -> nn.Sequential:
        """The network of the known architecture for inputs of this shape, with weights of its own; None for a network
        that can be cut without running it.

        Raises:
            InputError: no such network, or one that does not take such inputs.
        """
        name = self.model or default_for(input_shape or DIGITS)
        return build(name, generator=generator(0), input_shape=input_shape)
