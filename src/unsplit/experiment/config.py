"""What an audit does, as a value."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import yaml

from unsplit.attacks.unsplit import PRESETS
from unsplit.errors import InputError, check_at_least_one, unknown_name
from unsplit.files import explained
from unsplit.losses import LossSpec
from unsplit.optim import OptimizerSpec, parse_optimizer

State = Literal["before", "after"]
STATES: tuple[State, ...] = ("before", "after")


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """Settings of an audit. The defaults are those of `unsplit audit` on the embedded digits.

    Args:
        data: name of a data set, or path: of a folder of images, of a table (.csv), of arrays (.npz, .safetensors).
        image_size: height and width that the pictures of a folder are brought to; None leaves them.
        label: the label's column of a table; the last one if None.
        model: name of a model, "module:function", or None for the paper's net for such pictures.
        cuts: where to cut for inversion, by depth or module name; may be empty.
        presets: of the inversion attack.
        states: attack the client before training, after it, or both.
        auxiliary: data of the server's own, by name or path, or "test" for the test part of `data` (without the
            targets): attacks that have such data (SDAR, FORA) are run beside the presets. None for none.
        targets_per_class: inputs of each class to recover, from the test set (of a regression, ten times as many).
        most_targets: but no more than so many in all.
        epochs: passes over the training data, at least 1.
        batch_size: samples a step.
        optimizer: of both parties.
        loss: of the training; None for cross-entropy of classes and the squared error of a regression.
        label_setups: setups in which to infer labels; may be empty. Of a regression none are inferred.
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
    image_size: tuple[int, ...] | None = None
    label: str | None = None
    model: str | None = None
    cuts: tuple[int | str, ...] = (1, 2, 3)
    presets: tuple[str, ...] = ("strong-quick", "joint")
    states: tuple[str, ...] = STATES
    auxiliary: str | None = None
    targets_per_class: int = 1
    most_targets: int = 64
    epochs: int = 10
    batch_size: int = 64
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    loss: LossSpec | None = None
    label_setups: tuple[str, ...] = ("b", "c")
    label_heads: tuple[int, ...] = (1, 2)
    label_steps: int = 1000
    label_optimizers: tuple[OptimizerSpec, ...] = (OptimizerSpec(name="sgd", lr=0.01), OptimizerSpec(name="adam"))
    u_shape: tuple[int | str, int] | None = None
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_at_least_one(self, "targets_per_class", "most_targets", "epochs", "batch_size", "label_steps")
        for known, what, names in (
            (PRESETS, "preset", self.presets),
            (STATES, "state", self.states),
            (("b", "c"), "label setup", self.label_setups),
        ):
            for name in names:
                if name not in known:
                    raise unknown_name(what, name, known)
        if self.image_size is not None and (len(self.image_size) != 2 or min(self.image_size) < 1):
            raise InputError(f"image_size is {self.image_size}; give a height and a width, for example 64,64.")


def load_audit_config(path: Path) -> AuditConfig:
    """An audit's settings from a YAML file, whose keys are the fields of `AuditConfig`.

    Lists stand for tuples; optimisers and losses are written as on the command line ("adam:lr=0.001", "mse").

    Raises:
        InputError: not such a file, an unknown key, or a value that it cannot have.
        StorageError: it cannot be read.
    """
    with explained(path):
        text = path.read_text(encoding="utf-8")
    try:
        read = yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not YAML ({reason}); write for example `data: digits`.") from error
    if not isinstance(read, dict):
        raise InputError(f"{path} holds no settings; write for example `data: digits`.")
    known = {each.name: each for each in fields(AuditConfig)}
    chosen: dict[str, Any] = {}
    for key, value in read.items():
        if key not in known:
            raise unknown_name(f"setting in {path}", str(key), known)
        chosen[key] = _value(path, str(key), value)
    return AuditConfig(**chosen)


_OPTIMIZERS = ("optimizer", "label_optimizers")
_NUMBERS = ("targets_per_class", "most_targets", "epochs", "batch_size", "label_steps", "seed")


def _value(path: Path, key: str, value: object) -> object:
    """A setting's value as the configuration takes it."""
    if key in _NUMBERS and not (isinstance(value, int) and not isinstance(value, bool)):
        raise InputError(f"The setting {key} of {path} is {value!r}; give a whole number.")
    if key in _OPTIMIZERS and value is not None:
        each = [parse_optimizer(str(one)) for one in (value if isinstance(value, list) else [value])]
        return tuple(each) if key == "label_optimizers" else each[0]
    if key == "loss" and value is not None:
        return LossSpec(name=str(value))
    several = ("cuts", "presets", "states", "label_setups", "label_heads", "image_size", "u_shape")
    if key in several and value is not None:
        return tuple(value) if isinstance(value, list) else (value,)
    return value
