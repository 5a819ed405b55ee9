"""How the settings of an audit are written that stand for values of other rooms, which are loaded when one is read."""

from typing import TYPE_CHECKING

from unsplit.choices import Precision
from unsplit.settings import TEXT, Reader

if TYPE_CHECKING:
    from unsplit.defenses import Defense
    from unsplit.losses import LossSpec
    from unsplit.optim import OptimizerSpec
    from unsplit.ranges import InputRange


def _optimizer(value: object) -> "OptimizerSpec":
    from unsplit.optim import OptimizerSpec, parse_optimizer

    if isinstance(value, OptimizerSpec):
        return value
    if not isinstance(value, str):
        raise ValueError(f"is {value!r}; write for example adam:lr=0.001")
    return parse_optimizer(value)


def _optimizers(value: object) -> "tuple[OptimizerSpec, ...]":
    """Several, in a list; a text holds one, since commas part its options."""
    parts = value if isinstance(value, list | tuple) else () if value in (None, "", "none") else (value,)
    return tuple(_optimizer(part) for part in parts)


def _defenses(value: object) -> "tuple[Defense, ...]":
    """Defences, each a text or a value; a text may hold several with " + " between them."""
    from unsplit.defenses import Defense, parse_defenses

    found: list[Defense] = []
    for part in value if isinstance(value, list | tuple) else () if value is None else (value,):
        if not isinstance(part, Defense | str):
            raise ValueError(f"has {part!r}; write for example gaussian:scale=0.5")
        found += (part,) if isinstance(part, Defense) else parse_defenses(part)
    return tuple(found)


def _loss(value: object) -> "LossSpec":
    """A loss written as name or name:label_smoothing=0.1."""
    from unsplit.losses import LossSpec

    if isinstance(value, LossSpec):
        return value
    name, _, rest = str(value).partition(":")
    option, equals, number = rest.partition("=")
    try:
        smoothing = float(number) if rest else 0.0
    except ValueError:
        smoothing = -1.0
    if rest and (option.strip() != "label_smoothing" or not equals or smoothing < 0):
        raise ValueError(f"is '{value}'; write for example bce:label_smoothing=0.1")
    return LossSpec(name=name.strip(), label_smoothing=smoothing)


def _range(value: object) -> "InputRange":
    from unsplit.ranges import InputRange

    return InputRange.of(value)


OPTIMIZER = Reader(_optimizer, lazy=True)
OPTIMIZERS = Reader(_optimizers, lazy=True)
DEFENSE_LIST = Reader(_defenses, option=list[str])
LOSS = Reader(_loss, "the name of a loss, or for example bce:label_smoothing=0.1")
RANGE = Reader(_range)
PRECISION = Reader(TEXT.read, option=Precision)
