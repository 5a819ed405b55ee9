"""What an audit does, as a value. Each field is a key of a file of settings, and an option of `unsplit audit`.

The command line makes `--help` of it, so this module loads no torch, nor does what is imported at its top.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from unsplit.choices import DEFENSES, DEPTH, LOSSES, PRESETS, WHITE_BOX, Precision
from unsplit.errors import InputError, check_at_least_one, check_not_negative, unknown_name
from unsplit.experiment.auditing.readers import DEFENSE_LIST, LOSS, OPTIMIZER, OPTIMIZERS, PRECISION, RANGE
from unsplit.settings import CHOICE, CUT_AND_HEAD, CUTS, NAMES, NUMBER, NUMBERS, TEXT, setting

if TYPE_CHECKING:
    import unsplit.defenses
    import unsplit.losses
    import unsplit.optim
    import unsplit.ranges
else:
    # It loads a room when an annotation here is evaluated; to import it would be to import from above.
    unsplit = sys.modules["unsplit"]

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
        presets: names of the presets of the inversion attack.
        states: attack the client before training, after it, or both.
        auxiliary: data of the server's own, by name or path, or "test" for the test part of `data` (without the
            targets): attacks that have such data (SDAR, FORA) are run beside the presets. None for none.
        row_knowledge: what else the server may know of a table: "known-rows", "statistics" (of the columns), or both;
            an attack for each is run beside the presets. May be empty. Other data than tables are not attacked so.
        known_rows: number of rows that a server with "known-rows" knows, at least 2.
        known_pictures: number of the client's pictures, none of them a target, that the server knows: an attack that
            knows them is run beside the presets. None for none.
        targets_per_class: inputs of each class to recover, from the test set (of a regression, ten times as many).
        most_targets: largest number of inputs to recover in all; of more, some spread evenly over them are taken.
        epochs: passes over the training data, at least 1.
        batch_size: number of samples in each step of the training.
        optimizer: optimiser of both parties, the client and the server.
        loss: loss of the training; None for cross-entropy of classes and the squared error of a regression.
        label_setups: setups in which to infer labels; may be empty. Of a regression none are inferred.
        label_heads: depths of the client's head, in layers with weights.
        label_steps: number of samples whose training steps are observed, at least 1.
        label_batch_size: number of samples in each step of the trainings whose labels are inferred; None for 1, as in
            the paper, or for `batch_size` where a defence acts only on samples beside others.
        label_optimizers: optimisers of both parties, one training for each, in which labels are inferred.
        u_shape: cut and head (in layers with weights) of a training in setup (c) from which everything is taken at
            once; None for none.
        defenses: what the clients do on their side of the border, one after another, in every training and whenever
            the network is used.
        aware: whether attacks that know the defences are run beside those that do not.
        known_weights: file of public weights (safetensors, or a torch state dict) that the client's first layers start
            from and the attacker knows; the white box is run beside the attacks that do not know them. None for none.
        white_box: preset of the white-box attack, "white-box" or "white-box-quick".
        freeze_client: whether to leave the client's first layers as they start, in the trainings that are inverted.
        not_photographs: whether the inputs may be other pictures than photographs, such as spectral pictures or ones in
            false colours; attacks then take nothing for granted about colours and phases.
        not_figures: whether inputs of one channel may be other pictures than figures on dark ground, such as landscapes
            or dark figures on bright ground; attacks then take nothing for granted about the sign.
        seed: seed of everything that is drawn at random, 0 or more.
        device: name of the device where tensors live, such as "cpu" or "cuda:1".
        reduced_precision: whether decoders compute their convolutions in bfloat16: "on", "off", or "auto", where the
            device has instructions for it.

    Raises:
        InputError: a number out of its range, or an unknown preset, state or setup.
    """

    data: str = setting("digits", "Data set by name (see `unsplit data list`), or a folder of images.", TEXT)
    image_size: tuple[int, ...] | None = setting(
        None, "Height and width to bring a folder's pictures to, e.g. 64,64.", NUMBERS
    )
    label: str | None = setting(None, "A table's column of labels; the last one if left out.", TEXT)
    input_range: "unsplit.ranges.InputRange | None" = setting(
        None,
        "Lowest and highest value of an input in its own units, e.g. 0,255; or these two for each channel.",
        RANGE,
        metavar="LOW,HIGH",
    )
    model: str | None = setting(
        None, "Model by name, or my_module:function; the paper's net for the data if left out.", TEXT
    )
    cuts: tuple[int | str, ...] = setting((1, 2, 3), f"Cuts to invert, by {DEPTH} or name; or 'none'.", CUTS)
    presets: tuple[str, ...] = setting(("strong-quick", "joint"), f"Presets: {', '.join(PRESETS)}.", NAMES)
    states: tuple[str, ...] = setting(STATES, "Attack before training, after it, or both.", NAMES)
    auxiliary: str | None = setting(
        None, "Also attack with data of the server's own: by name or path, or 'test' for the test part.", TEXT
    )
    row_knowledge: tuple[str, ...] = setting(
        ROW_KNOWLEDGE, "What else the server knows of a table: known-rows, statistics (of columns); or none.", NAMES
    )
    known_rows: int = setting(10, "How many rows of a table the server knows.", NUMBER)
    known_pictures: int | None = setting(
        None, "Also attack as a server that knows so many of the pictures that it sees smashed.", NUMBER
    )
    targets_per_class: int = setting(1, "Pictures of each class to recover.", NUMBER, flag="targets")
    most_targets: int = setting(64, None, NUMBER)
    epochs: int = setting(10, "Passes over the training data.", NUMBER)
    batch_size: int = setting(64, "Samples a step.", NUMBER)
    optimizer: "unsplit.optim.OptimizerSpec" = setting(
        "adam", "Optimiser of torch.optim with its options, e.g. sgd:lr=0.05,momentum=0.9.", OPTIMIZER
    )
    loss: "unsplit.losses.LossSpec | None" = setting(
        None, f"The client's loss: {', '.join(LOSSES)}.", LOSS, shown="cross_entropy"
    )
    label_setups: tuple[str, ...] = setting(("b", "c"), "Setups in which to infer labels; or 'none'.", NAMES)
    label_heads: tuple[int, ...] = setting((1, 2), "Depths of the client's head, in layers with weights.", NUMBERS)
    label_steps: int = setting(1000, "Samples whose steps are observed, one a step.", NUMBER)
    label_batch_size: int | None = setting(
        None, "Samples a step there; 1 if left out, or `batch_size` for defences that act within batches.", NUMBER
    )
    label_optimizers: "tuple[unsplit.optim.OptimizerSpec, ...]" = setting(("sgd:lr=0.01", "adam"), None, OPTIMIZERS)
    u_shape: tuple[int | str, int] | None = setting(
        None, "Also take everything at once from the U-shape with this cut and head, e.g. 1:1.", CUT_AND_HEAD
    )
    defenses: "tuple[unsplit.defenses.Defense, ...]" = setting(
        (),
        f"Defence of the clients, e.g. gaussian:scale=0.5; repeat it for several: {', '.join(DEFENSES)}.",
        DEFENSE_LIST,
        flag="defense",
    )
    aware: bool = setting(False, "Also run the attacks that know the defences (`defenses`) and adapt.", CHOICE)
    known_weights: str | None = setting(
        None,
        "Public weights of the client's first layers (safetensors or a torch state dict): run the white box.",
        TEXT,
        metavar="FILE",
    )
    white_box: str = setting(
        "white-box-quick", f"Preset of the attack with `known_weights`: {', '.join(WHITE_BOX)}.", TEXT
    )
    freeze_client: bool = setting(False, "Leave the client's first layers at their known weights.", CHOICE)
    not_photographs: bool = setting(
        False, "Take nothing for granted about colours: false-colour or spectral pictures, for example.", CHOICE
    )
    not_figures: bool = setting(
        False, "Do not take grey pictures for bright figures on dark ground: landscapes, dark ink.", CHOICE
    )
    seed: int = setting(0, "Seed of everything random.", NUMBER, min=0)
    device: str = setting("cpu", "Where to compute: cpu, cuda, cuda:1, mps.", TEXT)
    reduced_precision: Precision = setting(
        "auto",
        "Decoders' convolutions in bfloat16: 'auto' (where the device has instructions for it), 'on' or 'off'.",
        PRECISION,
    )

    def __post_init__(self) -> None:
        check_at_least_one(
            self,
            "targets_per_class",
            "most_targets",
            "epochs",
            "batch_size",
            "label_steps",
            "label_batch_size",
            "known_pictures",
        )
        check_not_negative(self, "seed")
        for known, what, names in (
            (PRESETS, "preset", self.presets),
            (STATES, "state", self.states),
            (WHITE_BOX, "preset of the white box", (self.white_box,)),
            (("b", "c"), "label setup", self.label_setups),
            (ROW_KNOWLEDGE, "knowledge of rows", self.row_knowledge),
            (get_args(Precision), "setting of reduced precision", (self.reduced_precision,)),
        ):
            for name in names:
                if name not in known:
                    raise unknown_name(what, name, known)
        if self.known_rows < 2:
            raise InputError(
                f"known_rows is {self.known_rows}; it must be at least 2, since one row says nothing about the others."
            )
        if self.image_size is not None and (len(self.image_size) != 2 or min(self.image_size) < 1):
            raise InputError(f"image_size is {self.image_size}; give a height and a width, for example 64,64.")
        if self.freeze_client and self.known_weights is None:
            raise InputError(
                "`freeze_client` keeps the client's layers at their first weights, which must then be trained ones; "
                "name the file of these weights with `known_weights`."
            )
        if self.aware and not self.defenses:
            raise InputError(
                "There is no defence to be aware of; name one, for example `defenses=parse_defenses('gaussian:0.5')`."
            )

    @property
    def defense(self) -> "unsplit.defenses.Defense | None":
        """All defences as one; None for none."""
        from unsplit.defenses import together

        return together(self.defenses) if self.defenses else None

    @property
    def deeper(self) -> int:
        """How many modules deeper than named the defences put a cut."""
        return 0 if self.defense is None else self.defense.deeper

    @classmethod
    def of(cls, settings: Mapping[str, Any], *, source: str = "the settings") -> "AuditConfig":
        """The configuration that these settings describe: keys are the fields' names, as in a file of settings.

        Args:
            settings: values as YAML has them; where the command line takes a text ("1,conv2", "1:1", "adam:lr=0.001",
                "64,64", "none"), so does this.
            source: name of the place where the settings come from, for sentences about mistakes.

        Raises:
            InputError: an unknown key, or a value that a setting cannot have.
        """
        known = {each.name: each for each in fields(cls)}
        chosen: dict[str, Any] = {}
        for key, value in settings.items():
            if key not in known:
                raise unknown_name(f"setting in {source}", str(key), known)
            if known[key].default is None and (value is None or value == "none"):
                chosen[key] = None
                continue
            try:
                chosen[key] = known[key].metadata["reader"].read(value)
            except ValueError as error:
                raise InputError(f"The setting {key} of {source} {error}.") from error
        return cls(**chosen)


def load_audit_config(path: Path) -> AuditConfig:
    """An audit's settings from a YAML file; see `AuditConfig.of`.

    Raises:
        InputError: not such a file, an unknown key, or a value that it cannot have.
        StorageError: it cannot be read.
    """
    import yaml

    from unsplit.files import explained

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
