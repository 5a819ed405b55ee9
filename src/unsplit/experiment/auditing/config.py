"""What an audit does, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import yaml

from unsplit.attacks.inversion import PRESETS
from unsplit.choices import WHITE_BOX
from unsplit.defenses import Defense, parse_defenses, together
from unsplit.devices import Precision, check_precision
from unsplit.errors import InputError, check_at_least_one, check_not_negative, unknown_name
from unsplit.files import explained
from unsplit.losses import LossSpec
from unsplit.optim import OptimizerSpec, parse_optimizer
from unsplit.ranges import InputRange

State = Literal["before", "after"]
STATES: tuple[State, ...] = ("before", "after")
ROW_KNOWLEDGE = ("known-rows", "statistics")


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """Settings of an audit. The defaults are those of `unsplit audit` on the embedded digits.

    Args:
        data: name of a data set, or path: of a folder of images, of a table (.csv), of arrays (.npz, .safetensors,
            .npy).
        image_size: height and width that the pictures of a folder are brought to; None leaves them.
        label: the label's column of a table; the last one if None.
        input_range: lowest and highest value of the pictures or arrays in their own units, which become 0 and 1, or
            these two for each channel; None to tell by the values.
        model: name of a model, "module:function", or None for the paper's net for such pictures.
        cuts: where to cut for inversion, by depth or module name; may be empty.
        presets: of the inversion attack.
        states: attack the client before training, after it, or both.
        auxiliary: data of the server's own, by name or path, or "test" for the test part of `data` (without the
            targets): attacks that have such data (SDAR, FORA) are run beside the presets. None for none.
        row_knowledge: of a table, what else the server may know: "known-rows", "statistics" (of the columns), or both;
            an attack for each is run beside the presets. May be empty. Of other data none is run.
        known_rows: how many rows the server knows there, at least 2.
        targets_per_class: inputs of each class to recover, from the test set (of a regression, ten times as many).
        most_targets: but no more than so many in all; of more, some spread over them.
        epochs: passes over the training data, at least 1.
        batch_size: samples a step.
        optimizer: of both parties.
        loss: of the training; None for cross-entropy of classes and the squared error of a regression.
        label_setups: setups in which to infer labels; may be empty. Of a regression none are inferred.
        label_heads: depths of the client's head, in layers with weights.
        label_steps: samples whose steps are observed.
        label_batch_size: samples a step of these trainings; None for 1, as in the paper, or for `batch_size` where a
            defence acts only on samples beside others.
        label_optimizers: of both parties, one training each.
        u_shape: cut and head (in layers with weights) of a training in setup (c) from which everything is taken at
            once; None for none.
        defenses: what the clients do on their side of the border, one after another, in every training and whenever
            the network is used.
        aware: beside the attacks that do not know the defences, run those that do.
        known_weights: file of public weights (safetensors, or a torch state dict) that the client's first layers start
            from and the attacker knows; the white box is run beside the attacks that do not know them. None for none.
        white_box: preset of that attack, "white-box" or "white-box-quick".
        freeze_client: leave the client's first layers as they start, in the trainings that are inverted.
        seed: of everything.
        device: where tensors live.
        reduced_precision: whether decoders compute their convolutions in bfloat16: "on", "off", or "auto", where the
            device has instructions for it.

    Raises:
        InputError: a number out of its range, or an unknown preset, state or setup.
    """

    data: str = "digits"
    image_size: tuple[int, ...] | None = None
    label: str | None = None
    input_range: InputRange | None = None
    model: str | None = None
    cuts: tuple[int | str, ...] = (1, 2, 3)
    presets: tuple[str, ...] = ("strong-quick", "joint")
    states: tuple[str, ...] = STATES
    auxiliary: str | None = None
    row_knowledge: tuple[str, ...] = ROW_KNOWLEDGE
    known_rows: int = 10
    targets_per_class: int = 1
    most_targets: int = 64
    epochs: int = 10
    batch_size: int = 64
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    loss: LossSpec | None = None
    label_setups: tuple[str, ...] = ("b", "c")
    label_heads: tuple[int, ...] = (1, 2)
    label_steps: int = 1000
    label_batch_size: int | None = None
    label_optimizers: tuple[OptimizerSpec, ...] = (OptimizerSpec(name="sgd", lr=0.01), OptimizerSpec(name="adam"))
    u_shape: tuple[int | str, int] | None = None
    defenses: tuple[Defense, ...] = ()
    aware: bool = False
    known_weights: str | None = None
    white_box: str = "white-box-quick"
    freeze_client: bool = False
    seed: int = 0
    device: str = "cpu"
    reduced_precision: Precision = "auto"

    def __post_init__(self) -> None:
        check_at_least_one(
            self, "targets_per_class", "most_targets", "epochs", "batch_size", "label_steps", "label_batch_size"
        )
        check_not_negative(self, "seed")
        check_precision(self.reduced_precision)
        for known, what, names in (
            (PRESETS, "preset", self.presets),
            (STATES, "state", self.states),
            (WHITE_BOX, "preset of the white box", (self.white_box,)),
            (("b", "c"), "label setup", self.label_setups),
            (ROW_KNOWLEDGE, "knowledge of rows", self.row_knowledge),
        ):
            for name in names:
                if name not in known:
                    raise unknown_name(what, name, known)
        if self.known_rows < 2:
            raise InputError(
                f"known_rows is {self.known_rows}; it must be at least 2, since one says nothing of others."
            )
        if self.image_size is not None and (len(self.image_size) != 2 or min(self.image_size) < 1):
            raise InputError(f"image_size is {self.image_size}; give a height and a width, for example 64,64.")
        if self.freeze_client and self.known_weights is None:
            raise InputError(
                "The client's layers are frozen as they start, which must be from weights that do something; name "
                "their file with --known-weights."
            )
        if self.aware and not self.defenses:
            raise InputError("There is no defence to be aware of; name one, for example --defense gaussian:0.5.")

    @property
    def defense(self) -> Defense | None:
        """All defences as one; None for none."""
        return together(self.defenses) if self.defenses else None

    @classmethod
    def of(cls, settings: Mapping[str, Any], *, source: str = "the settings") -> "AuditConfig":
        """The configuration that these settings describe: keys are the fields' names, as in a file of settings.

        Args:
            settings: values as YAML has them; where the command line takes a text ("1,conv2", "1:1", "adam:lr=0.001",
                "64,64", "none"), so does this.
            source: where they come from, for what is said of mistakes.

        Raises:
            InputError: an unknown key, or a value that a setting cannot have.
        """
        known = {each.name: each.default for each in fields(cls)}
        chosen: dict[str, Any] = {}
        for key, value in settings.items():
            if key not in known:
                raise unknown_name(f"setting in {source}", str(key), known)
            chosen[key] = _value(source, key, value, optional=known[key] is None)
        return cls(**chosen)


def load_audit_config(path: Path) -> AuditConfig:
    """An audit's settings from a YAML file; see `AuditConfig.of`.

    Raises:
        InputError: not such a file, an unknown key, or a value that it cannot have.
        StorageError: it cannot be read.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path} of settings; name a YAML file, with for example `data: digits`.")
    with explained(path):
        content = path.read_bytes()
    try:
        read = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not YAML ({reason}); write for example `data: digits`.") from error
    if not isinstance(read, dict):
        raise InputError(f"{path} holds no settings; write for example `data: digits`.")
    return AuditConfig.of(read, source=str(path))


_TEXTS = (
    "data", "label", "model", "auxiliary", "device", "reduced_precision", "known_weights", "white_box"
)  # fmt: skip
_NUMBERS = (
    "targets_per_class", "most_targets", "epochs", "batch_size", "label_steps", "label_batch_size", "known_rows", "seed"
)  # fmt: skip
_SEVERAL_NUMBERS = ("image_size", "label_heads")
_SEVERAL_NAMES = ("presets", "states", "label_setups", "row_knowledge")


def _value(source: str, key: str, value: object, *, optional: bool) -> object:
    """A setting's value as the configuration takes it."""
    if optional and (value is None or value == "none"):
        return None
    if key in _TEXTS:
        if isinstance(value, str | Path) or _whole(value):
            return str(value)
        raise InputError(f"The setting {key} of {source} is {value!r}; give a text, in quotes.")
    if key in _NUMBERS:
        if not _whole(value):
            raise InputError(f"The setting {key} of {source} is {value!r}; give a whole number.")
        return value
    if key in ("aware", "freeze_client"):
        if not isinstance(value, bool):
            raise InputError(f"The setting {key} of {source} is {value!r}; give true or false.")
        return value
    if key == "defenses":
        return _defenses(source, value)
    if key == "loss":
        return value if isinstance(value, LossSpec) else _loss(source, value)
    if key == "optimizer":
        return _optimizer(source, key, value)
    if key == "input_range":
        return InputRange.of(value)
    parts = _listed(value, ":" if key == "u_shape" else ",")
    if key == "label_optimizers":
        # A text holds one, since commas part its options.
        parts = (value,) if isinstance(value, str) and value != "none" else parts
        return tuple(_optimizer(source, key, part) for part in parts)
    if key in _SEVERAL_NUMBERS and not all(_whole(part) for part in parts):
        raise InputError(f"The setting {key} of {source} is {value!r}; give whole numbers, for example [1, 2].")
    if not all(isinstance(part, str) or (_whole(part) and key not in _SEVERAL_NAMES) for part in parts):
        raise InputError(f"The setting {key} of {source} is {value!r}; give a name, or a list of them.")
    if key == "u_shape" and (len(parts) != 2 or not _whole(parts[1])):
        raise InputError(f"The setting u_shape of {source} is {value!r}; give a cut and a head, for example [1, 1].")
    return parts


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _listed(value: object, separator: str) -> tuple[object, ...]:
    """The parts of a list, or of a text as on the command line; none of "none"."""
    if isinstance(value, str):
        texts = [] if value.strip().lower() in ("", "none") else [part.strip() for part in value.split(separator)]
        return tuple(int(part) if part.removeprefix("-").isdecimal() else part for part in texts)
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _optimizer(source: str, key: str, value: object) -> OptimizerSpec:
    if isinstance(value, OptimizerSpec):
        return value
    if not isinstance(value, str):
        raise InputError(f"The setting {key} of {source} is {value!r}; write for example adam:lr=0.001.")
    return parse_optimizer(value)


def _defenses(source: str, value: object) -> tuple[Defense, ...]:
    """Defences, each a text or a value; a text may hold several with " + " between them."""
    found: list[Defense] = []
    for part in value if isinstance(value, list | tuple) else () if value is None else (value,):
        if not isinstance(part, Defense | str):
            raise InputError(f"The setting defenses of {source} has {part!r}; write for example gaussian:scale=0.5.")
        found += (part,) if isinstance(part, Defense) else parse_defenses(part)
    return tuple(found)


def _loss(source: str, value: object) -> LossSpec:
    """A loss written as name or name:label_smoothing=0.1."""
    name, _, rest = str(value).partition(":")
    option, equals, number = rest.partition("=")
    try:
        smoothing = float(number) if rest else 0.0
    except ValueError:
        smoothing = -1.0
    if rest and (option.strip() != "label_smoothing" or not equals or smoothing < 0):
        raise InputError(f"The setting loss of {source} is '{value}'; write for example bce:label_smoothing=0.1.")
    return LossSpec(name=name.strip(), label_smoothing=smoothing)
