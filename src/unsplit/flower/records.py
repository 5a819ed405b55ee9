"""Messages as Flower's records and back. What arrives is believed only once its dtypes and shapes were checked."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor

from unsplit.errors import InputError
from unsplit.protocol.remote.codec import Layout, WireError, is_finite
from unsplit.types import Kind, Message, Payload

_NUMPY = "numpy.ndarray"
"""Flower's name for an array in numpy's own file format, which it reads without pickle."""
_DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "uint16": torch.bfloat16,  # which numpy does not have: its bits go as whole numbers
    "int64": torch.int64,
    "int32": torch.int32,
    "uint8": torch.uint8,
    "bool": torch.bool,
}


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the server asks of a client in one of Flower's messages, besides answering those of the training in it.

    Args:
        load: number of steps of the state to load first; -1 to go on from the present one.
        base: number of steps of the state from which its turn began.
        begin: number of the step to begin afterwards; -1 for none.
        over: number of steps done at which the turn ends; -1 where it goes on.
        hand_off: whether to hand over the client's weights.
    """

    load: int = -1
    base: int = 0
    begin: int = -1
    over: int = -1
    hand_off: bool = False

    def record(self) -> ConfigRecord:
        """As a record of Flower."""
        return ConfigRecord(asdict(self))

    @classmethod
    def read(cls, records: RecordDict) -> "Order":
        """The order in a message's records.

        Raises:
            InputError: there is none, or it is not of this version.
        """
        found: dict[str, Any] = dict(records.config_records.get("order", {}))
        types = {key: type(value) for key, value in found.items()}
        if types != {key: type(value) for key, value in asdict(cls()).items()}:
            raise InputError("The server's order cannot be read; install the same unsplit on both sides.")
        return cls(**found)


def arrays_of(tensors: Mapping[str, Tensor]) -> ArrayRecord:
    """Named tensors as Flower's arrays."""
    return ArrayRecord({name: _array(value.detach().cpu()) for name, value in tensors.items()})


def tensors_of(record: ArrayRecord, layout: Layout | None = None) -> dict[str, Tensor]:
    """The tensors in a record.

    Args:
        record: record of arrays, as `arrays_of` makes it.
        layout: dtypes and shapes that they must have; None for a party's own tensors.

    Raises:
        WireError: they do not look like that, or are of a dtype or form that is never sent.
    """
    specs = {}
    for name, array in record.items():
        if array.stype != _NUMPY or array.dtype not in _DTYPES:
            raise WireError(f"'{name[:80]}' is an array of {array.dtype[:20]} in the form {array.stype[:20]}")
        specs[name] = (_DTYPES[array.dtype], tuple(array.shape))
    if layout is not None:
        layout.check(specs)
    return {name: _tensor(name, array) for name, array in record.items()}


def pack(*messages: Message, dtype: torch.dtype) -> RecordDict:
    """Messages, each of another kind, as records.

    Args:
        messages: messages of the training.
        dtype: dtype to which floating-point numbers of a step are rounded for the wire.
    """
    records = RecordDict({"steps": ConfigRecord({message.kind.value: message.step for message in messages})})
    for message in messages:
        tensors = message.tensors
        if message.kind is not Kind.WEIGHTS:
            tensors = {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}
        records[message.kind.value] = arrays_of(tensors)
    return records


def unpack(records: RecordDict, layouts: Mapping[Kind, Layout], *, sender: str, receiver: str) -> list[Message]:
    """The messages in records, in the order in which they were sent: by step, and in each as `Kind` has them.

    Args:
        records: records of messages, as `pack` makes them.
        layouts: layout of each kind of message that may come.
        sender, receiver: names of the two parties, known from the node that sent the records.

    Raises:
        InputError: one is not as expected, or holds NaN or infinity.
    """
    steps = records.config_records.get("steps", ConfigRecord())
    messages = [
        _message(kind, steps.get(kind.value), records.array_records[kind.value], layouts, sender, receiver)
        for kind in Kind
        if kind.value in records.array_records
    ]
    return sorted(messages, key=lambda message: message.step)


def _message(
    kind: Kind, step: object, record: ArrayRecord, layouts: Mapping[Kind, Layout], sender: str, receiver: str
) -> Message:
    try:
        if kind not in layouts or not isinstance(step, int):
            raise WireError("it was not expected")
        tensors = tensors_of(record, layouts[kind])
        for name, value in tensors.items():
            if value.is_floating_point() and not is_finite(value):
                raise WireError(f"'{name}' holds NaN or infinity")
    except WireError as error:
        raise InputError(f"The {kind.value} message of step {step} from {sender} cannot be used: {error}.") from error
    payload: Payload = tensors
    if kind is not Kind.WEIGHTS:
        value = tensors[kind.value]
        payload = value.float() if value.is_floating_point() else value
    return Message(step=step, sender=sender, receiver=receiver, kind=kind, payload=payload)


def _array(tensor: Tensor) -> Array:
    return Array((tensor.view(torch.uint16) if tensor.dtype is torch.bfloat16 else tensor).numpy())


def _tensor(name: str, array: Array) -> Tensor:
    try:
        values = array.numpy()
    except (ValueError, EOFError, OSError) as error:
        raise WireError(f"'{name[:80]}' is no array of numpy") from error
    if str(values.dtype) != array.dtype or values.shape != tuple(array.shape):
        raise WireError(f"'{name[:80]}' is not of the dtype and shape that it is said to be")
    tensor = torch.from_numpy(values)
    return tensor.view(torch.bfloat16) if array.dtype == "uint16" else tensor
