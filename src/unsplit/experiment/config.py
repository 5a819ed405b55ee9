"""What an audit does, as a value."""

from dataclasses import dataclass, field
from typing import Literal

from unsplit.attacks.unsplit import PRESETS
from unsplit.errors import check_at_least_one, unknown_name
from unsplit.optim import OptimizerSpec

State = Literal["before", "after"]
STATES: tuple[State, ...] = ("before", "after")


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """Settings of an audit. The defaults are those of `unsplit audit` on the embedded digits.

    Args:
        data: name of a data set, or path of a folder of images.
        model: name of a model, "module:function", or None for the paper's net for such pictures.
        cuts: where to cut for inversion, by depth or module name; may be empty.
        presets: of the inversion attack.
        states: attack the client before training, after it, or both.
        targets_per_class: pictures of each class to recover, from the test set.
        epochs: passes over the training data, at least 1.
        batch_size: samples a step.
        optimizer: of both parties.
        label_setups: setups in which to infer labels; may be empty.
        label_heads: depths of the client's head, in layers with weights.
        label_steps: single-sample steps to observe.
        label_optimizers: of both parties, one training each.
        u_shape: cut and head (in layers with weights) of a training in setup (c) from which everything is taken at
            once; None for none.
        seed: of everything.
        device: where tensors live.

    Raises:
        InputError: a number out of its range, or an unknown preset, state or setup.
    """

    data: str = "digits"
    model: str | None = None
    cuts: tuple[int | str, ...] = (1, 2, 3)
    presets: tuple[str, ...] = ("strong-quick", "joint")
    states: tuple[str, ...] = STATES
    targets_per_class: int = 1
    epochs: int = 10
    batch_size: int = 64
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    label_setups: tuple[str, ...] = ("b", "c")
    label_heads: tuple[int, ...] = (1, 2)
    label_steps: int = 1000
    label_optimizers: tuple[OptimizerSpec, ...] = (OptimizerSpec(name="sgd", lr=0.01), OptimizerSpec(name="adam"))
    u_shape: tuple[int | str, int] | None = None
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_at_least_one(self, "targets_per_class", "epochs", "batch_size", "label_steps")
        for known, what, names in (
            (PRESETS, "preset", self.presets),
            (STATES, "state", self.states),
            (("b", "c"), "label setup", self.label_setups),
        ):
            for name in names:
                if name not in known:
                    raise unknown_name(what, name, known)
