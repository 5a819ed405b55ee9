"""How a network is split and trained, as a plain value."""

from dataclasses import dataclass, field

from torch import nn

from unsplit.defenses import Defense, together
from unsplit.defenses.detection import GuardConfig
from unsplit.losses import LossSpec
from unsplit.models import Parts, depth_of, split, split_head, split_u
from unsplit.optim import OptimizerSpec
from unsplit.protocol.parties import Loss
from unsplit.types import Setup


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How a network is split and trained.

    Args:
        setup: which party holds inputs, labels and head (the paper's Figure 1).
        cut: depth or name of the last module of the client's bottom; in setups (a) and (c).
        head: number of layers with weights in the client's head; in setups (b) and (c).
        clients: number of data holders that take turns; the data are dealt out evenly among them.
        batch_size: number of samples in a step.
        turn: number of steps in a turn; None for one pass over the client's data.
        hand_off: whether weights go through the "server" or from "peer" to peer when turns change.
        hand_off_optimizer: hand on the optimiser's state as well; the paper hands on weights only.
        client_optimizer, server_optimizer: the optimiser of each client, and that of the server.
        loss: function of outputs and labels that gives a scalar, averaged over the batch.
        defenses: defences of the clients, applied one after another.
        guard: how each client detects a server that hijacks it (setup a); None for no detection.
    """

    setup: Setup = Setup.A
    cut: int | str = 1
    head: int = 1
    clients: int = 1
    batch_size: int = 64
    turn: int | None = None
    hand_off: str = "server"
    hand_off_optimizer: bool = False
    client_optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    server_optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    loss: Loss = field(default_factory=LossSpec)
    defenses: tuple[Defense, ...] = ()
    guard: GuardConfig | None = None

    @property
    def defense(self) -> Defense | None:
        """All defences as one; None for none."""
        return together(self.defenses) if self.defenses else None

    def depth(self, model: nn.Sequential) -> int:
        """The depth of the cut, where a defence may have put it deeper."""
        return depth_of(model, self.cut) + (0 if self.defense is None else self.defense.deeper)

    def parts(self, model: nn.Sequential) -> Parts:
        """The parts of `model`; they share its modules."""
        if self.setup is Setup.A:
            bottom, top = split(model, self.depth(model))
            return Parts(bottom=bottom, body=top, head=None)
        if self.setup is Setup.B:
            body, head = split_head(model, self.head)
            return Parts(bottom=None, body=body, head=head)
        return split_u(model, self.depth(model), self.head)
