"""What of an audit fits the data: the network for them, the targets among them, and what makes no sense of them."""

from dataclasses import replace

import torch
from torch import nn

from unsplit.data import Dataset, Splits, as_read, load
from unsplit.errors import InputError
from unsplit.experiment.auditing.config import AuditConfig
from unsplit.experiment.inversion import presets_for, without
from unsplit.losses import LossSpec
from unsplit.models import NamedInputs, build, build_for, check_fits, depth_of, refuses_single_samples, split_u
from unsplit.models.registry import builder_of
from unsplit.randomness import generator
from unsplit.results import InputRow

MOST_COLUMNS = 128
"""The time of a search by statistics grows with the cube of the columns."""

TEST = "test"
"""What stands for the test part of the data themselves, without the targets."""
_SAMPLES = 1000


def network_for(config: AuditConfig, splits: Splits, device: torch.device) -> tuple[nn.Sequential, str, Splits]:
    """The untrained network, checked against the data and the cuts, its name, and the data as it takes them."""
    train = splits.train
    if train.inputs:
        model, name, splits = _with_several_inputs(config, splits)
    else:
        model, name = build_for(config.model, train.input_shape, train.outputs, generator=generator(config.seed))
    cut_depths(model, config)
    if config.u_shape is not None:
        cut, head = config.u_shape
        split_u(model, depth_of(model, cut) + config.deeper, head)
    train, test = as_read(model, splits.train, splits.test)
    return model.to(device), name, Splits(train=train, test=test)


def cut_depths(model: nn.Sequential, config: AuditConfig) -> list[int]:
    """The depths of the cuts, ascending, where a defence may have put them deeper.

    Raises:
        InputError: there is no such cut.
    """
    return sorted({depth_of(model, depth_of(model, cut) + config.deeper) for cut in config.cuts})


def _with_several_inputs(config: AuditConfig, splits: Splits) -> tuple[nn.Sequential, str, Splits]:
    """The untrained network of data with several named inputs, which it takes packed into one vector, its name, and the
    data packed in the order in which it takes them.
    """
    train = splits.train
    if config.model is None:
        names = ", ".join(name for name, _ in train.inputs)
        raise InputError(
            f"The data have the inputs {names}; name a model that takes them, `model='my_module:build_model'`."
        )
    make, order = builder_of(config.model), list[str]()

    def packing() -> nn.Module:
        made = make()
        if isinstance(made, nn.Module) and not isinstance(made, NamedInputs):
            made = NamedInputs(made, dict(train.inputs))
        if isinstance(made, NamedInputs):
            order.extend(made.inputs)
        return made

    model = build(packing, generator=generator(config.seed))
    check_fits(model, train.input_shape, train.outputs)
    return model, config.model, Splits(train=train.repacked(order), test=splits.test.repacked(order))


def fitting(config: AuditConfig, splits: Splits, model: nn.Sequential) -> tuple[AuditConfig, tuple[str, ...]]:
    """The configuration without what makes no sense for these data and this network, and what was left out in words.

    Raises:
        InputError: nothing of it would be left.
    """
    notes, shape = list(splits.train.notes), splits.train.input_shape
    if splits.train.tokens:
        config = _without_inversion(config, splits.train)
        notes.append(f"{_TOKENS}: that was left out, and whether inputs leak is not measured.")
    fitting, left_out = presets_for(config.presets, shape)
    notes += left_out
    wanted = config.targets_per_class * (10 if splits.train.regression else len(splits.train.classes))
    if wanted > config.most_targets:
        notes.append(f"{config.most_targets} of {wanted} targets were attacked, which is the most that was allowed.")
    setups = config.label_setups
    if splits.train.regression and setups:
        notes.append("The labels are those of a regression; label inference, which reads classes, was left out.")
        setups = ()
    elif setups and config.label_heads and refuses_single_samples(model, shape):
        notes.append(
            "The network has a batch normalisation (nn.BatchNorm1d) that in training refuses single samples, and label "
            "inference here observes steps of one sample: it was left out, and whether labels leak is not measured."
        )
        setups = ()
    if splits.train.regression and config.u_shape is not None:
        raise InputError(
            "The attack on the whole U-shape reads classes, not a regression's targets; leave out `u_shape`."
        )
    config, about_rows = fitting_rows(config, splits.train)
    return replace(config, presets=fitting, label_setups=setups), (*notes, *about_rows)


def fitting_rows(config: AuditConfig, train: Dataset) -> tuple[AuditConfig, tuple[str, ...]]:
    """The configuration with the attacks on tables that these data allow, and what there is to say of them."""
    if len(train.input_shape) != 1 or train.inputs or not (config.cuts and config.states):
        return replace(config, row_knowledge=()), ()
    columns, names = train.input_shape[0], config.row_knowledge
    number = min(config.known_rows, len(train))
    notes = [
        f"The first layer is dense: an affine map of the {columns} columns gives the same smashed data if the layer's "
        "weights undo it, so rows are not identifiable from smashed data and the architecture: 'joint' finds them up "
        "to such a map at best. "
        + (
            f"{' and '.join(_told(name, number) for name in names)} were used to find the map."
            if names
            else "Nothing that could find the map was tried (`row_knowledge`)."
        )
    ]
    if "statistics" in names and columns > MOST_COLUMNS:
        names = tuple(name for name in names if name != "statistics")
        notes = [
            f"The search by the columns' statistics takes up to {MOST_COLUMNS} columns and there are {columns}; it was "
            "left out."
        ]
    return replace(config, row_knowledge=names, known_rows=number), tuple(notes)


def _told(name: str, rows: int) -> str:
    return f"{rows} known rows" if name == "known-rows" else "the columns' published statistics"


_TOKENS = "The network reads its inputs as tokens, by an embedding, and no attack here recovers tokens"


def _without_inversion(config: AuditConfig, train: Dataset) -> AuditConfig:
    """The configuration without attacks on inputs, which are tokens."""
    if config.u_shape is not None:
        raise InputError(f"{_TOKENS}; leave out `u_shape`, and audit the labels alone.")
    if train.regression or not (config.label_setups and config.label_heads):
        raise InputError(f"{_TOKENS}, so that nothing is left to attack; audit the labels (`label_setups=('b', 'c')`).")
    return replace(config, cuts=(), auxiliary=None)


def loss_for(config: AuditConfig, splits: Splits) -> LossSpec:
    """The loss that was asked for, or the one that suits the labels."""
    return config.loss or LossSpec(name="mse" if splits.train.regression else "cross_entropy")


def targets_of(test: Dataset, config: AuditConfig) -> Dataset:
    """The inputs to recover: so many of each class, or where there may not be as many, some spread over them."""
    targets = test.one_per_class(config.targets_per_class)
    number = min(len(targets), config.most_targets)
    return targets.subset(torch.linspace(0, len(targets) - 1, number).round().long())


def auxiliary_data(name: str, splits: Splits, targets: Dataset, image_size: tuple[int, ...] | None) -> Dataset:
    """The server's own data: at most a thousand samples, none of them a target.

    Args:
        name: name of a data set, a path, or "test" for the test part of the client's own.
        splits: training and test data of the client.
        targets: inputs that are attacked, none of which may be among the server's data.
        image_size: height and width that a folder's pictures are brought to.

    Raises:
        InputError: data of another shape or with other classes.
    """
    data = splits.test if name == TEST else load(name, image_size=image_size).train
    if data.input_shape != targets.input_shape or len(data.classes) != len(targets.classes) or data.regression:
        raise InputError(
            f"The auxiliary data '{name}' have inputs of shape {data.input_shape} in {len(data.classes)} classes, the "
            f"client's {targets.input_shape} in {len(targets.classes)}; name data of the same form, or 'test'."
        )
    foreign = without(data, targets)
    return foreign.subset(torch.arange(min(_SAMPLES, len(foreign))))


def named_inputs(train: Dataset) -> tuple[InputRow, ...]:
    """The parts of a flat input that have names, and what 0 and 1 stand for in them."""
    rows, scaling = [], train.scaling
    for name, (begin, end) in train.parts.items():
        low = high = None
        if scaling is not None and end - begin == 1:
            low = float(scaling.low[begin])
            high = low + float(scaling.span[begin])
        rows.append(InputRow(name=name, numbers=end - begin, low=low, high=high))
    return tuple(rows)
