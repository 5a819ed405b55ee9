"""Messages as frames and back. Nothing of a frame is believed before it was checked against what is expected.

A payload is the bytes of its tensors one after another, little-endian, in the first frame and as many chunks as it
takes. Its header says kind, step, dtypes and shapes, so that a reader knows how many bytes may come before the first
of them is kept.
"""

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from unsplit.errors import InputError
from unsplit.protocol.remote import wire_pb2 as wire
from unsplit.types import Kind, Message, Payload

CHUNK = 2**20
"""Most payload bytes in one frame; gRPC refuses messages above 4 MiB."""
MOST_TENSORS = 10_000
MOST_SIZES = 16
"""Most sizes in a shape, so that what is said of it stays a sentence."""

_KINDS = {
    Kind.SMASHED: wire.KIND_SMASHED,
    Kind.LABELS: wire.KIND_LABELS,
    Kind.FEATURES: wire.KIND_FEATURES,
    Kind.FEATURE_GRAD: wire.KIND_FEATURE_GRAD,
    Kind.CUT_GRAD: wire.KIND_CUT_GRAD,
    Kind.WEIGHTS: wire.KIND_WEIGHTS,
}
_KINDS_BACK = {number: kind for kind, number in _KINDS.items()}
_DTYPES = {
    torch.float32: wire.DTYPE_FLOAT32,
    torch.float16: wire.DTYPE_FLOAT16,
    torch.bfloat16: wire.DTYPE_BFLOAT16,
    torch.int64: wire.DTYPE_INT64,
    torch.float64: wire.DTYPE_FLOAT64,
    torch.uint8: wire.DTYPE_UINT8,
}
_DTYPES_BACK = {number: dtype for dtype, number in _DTYPES.items()}
WIRE = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class WireError(InputError):
    """A frame that cannot be used; the message may be told to the other side."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a payload must look like.

    Args:
        tensors: dtype and shape of each tensor by its name; of a batch, the shape of one sample.
        batch: the most samples that a batch may have; 0 where the tensors are not of a batch and shapes are exact.
        optional: names of tensors that may be left out.
    """

    tensors: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]
    batch: int = 0
    optional: frozenset[str] = field(default_factory=frozenset)

    def check(self, specs: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]) -> None:
        """Check names, dtypes and shapes.

        Raises:
            WireError: one is not as expected.
        """
        missing = [name for name in self.tensors if name not in specs and name not in self.optional]
        if missing or any(name not in self.tensors for name in specs):
            raise WireError(f"the message has {len(specs)} tensors that are not those expected")
        for name, (dtype, shape) in specs.items():
            wanted, sizes = self.tensors[name]
            if dtype != wanted:
                raise WireError(f"'{name}' is {_short(dtype)}, not {_short(wanted)}")
            exact = shape if not self.batch else shape[1:]
            if exact != sizes or (self.batch and not (shape and 1 <= shape[0] <= self.batch)):
                expected = (f"1 to {self.batch}", *sizes) if self.batch else sizes
                raise WireError(f"'{name}' has shape {shape}, not {expected}")


def encode(message: Message, *, dtype: torch.dtype | None = None) -> Iterator[wire.Frame]:
    """The frames of a message.

    Args:
        message: the message, of one tensor or of named ones.
        dtype: dtype to which floating-point numbers are rounded for the wire; None for none.
    """
    specs, parts = [], []
    for name, value in message.tensors.items():
        tensor = value.detach().cpu().contiguous()
        if dtype is not None and tensor.is_floating_point():
            tensor = tensor.to(dtype)
        specs.append(wire.TensorSpec(name=name, dtype=_DTYPES[tensor.dtype], shape=tensor.shape))
        parts.append(_bytes(tensor))
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    yield wire.Frame(
        payload=wire.Payload(
            step=message.step,
            kind=_KINDS[message.kind],
            sender=message.sender,
            receiver=message.receiver,
            byte_order=wire.BYTE_ORDER_LITTLE,
            tensors=specs,
            size=len(data),
            data=data[:CHUNK],
        )
    )
    for start in range(CHUNK, len(data), CHUNK):
        yield wire.Frame(chunk=wire.Chunk(data=data[start : start + CHUNK]))


@dataclass(kw_only=True)
class Arriving:
    """A message of which the header has arrived and been checked, but maybe not all bytes.

    Args:
        kind, step, sender, receiver: the message's header.
        specs: dtype and shape of each tensor by its name.
        size: number of payload bytes in all.
        data: the payload bytes that have arrived.
    """

    kind: Kind
    step: int
    sender: str
    receiver: str
    specs: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]
    size: int
    data: bytearray = field(default_factory=bytearray)

    @classmethod
    def begin(cls, payload: wire.Payload, layouts: Mapping[Kind, Layout]) -> "Arriving":
        """Check a header.

        Args:
            payload: the first frame of the message.
            layouts: the layout of each kind of message that may come now.

        Raises:
            WireError: it is none of these, or contradicts itself.
        """
        kind = _KINDS_BACK.get(payload.kind)
        if kind is None or kind not in layouts:
            raise WireError(f"a message of kind {kind.value if kind else payload.kind} was not expected now")
        if payload.byte_order != wire.BYTE_ORDER_LITTLE:
            raise WireError(f"the byte order {payload.byte_order} is not little-endian")
        if len(payload.tensors) > MOST_TENSORS:
            raise WireError(f"{len(payload.tensors)} tensors are more than {MOST_TENSORS}")
        specs: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
        for spec in payload.tensors:
            if spec.dtype not in _DTYPES_BACK:
                raise WireError(f"there is no dtype {spec.dtype}")
            if spec.name in specs or len(spec.shape) > MOST_SIZES or any(size < 0 for size in spec.shape):
                raise WireError(f"a tensor comes twice, has a negative size, or more than {MOST_SIZES} of them")
            specs[spec.name] = (_DTYPES_BACK[spec.dtype], tuple(spec.shape))
        layouts[kind].check(specs)
        if payload.size != sum(dtype.itemsize * math.prod(shape) for dtype, shape in specs.values()):
            raise WireError(f"{payload.size} bytes are not what its shapes make")
        arriving = cls(
            kind=kind,
            step=payload.step,
            sender=payload.sender,
            receiver=payload.receiver,
            specs=specs,
            size=payload.size,
        )
        arriving.add(payload.data)
        return arriving

    @property
    def complete(self) -> bool:
        """Whether all bytes are here."""
        return len(self.data) == self.size

    def add(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            WireError: more than were announced, or none where some are missing.
        """
        if len(self.data) + len(data) > self.size or (self.size > len(self.data) and not data):
            raise WireError(f"{len(data)} more bytes do not fit a message of {self.size}")
        self.data += data

    def message(self, *, restore: torch.dtype | None = None) -> Message:
        """The message.

        Args:
            restore: dtype to which floating-point numbers are widened; None for none.

        Raises:
            WireError: it holds NaN or infinity.
        """
        tensors, start = {}, 0
        for name, (dtype, shape) in self.specs.items():
            count = math.prod(shape)
            end = start + count * dtype.itemsize
            if count:
                swap = sys.byteorder == "big"
                data = _swapped(self.data[start:end], dtype.itemsize) if swap else self.data
                offset = 0 if swap else start
                value = torch.frombuffer(data, dtype=dtype, count=count, offset=offset).reshape(shape)
            else:
                value = torch.empty(shape, dtype=dtype)
            start = end
            if value.is_floating_point():
                if not is_finite(value):
                    raise WireError(f"'{name}' holds NaN or infinity")
                value = value if restore is None else value.to(restore)
            tensors[name] = value
        payload: Payload = tensors if self.kind is Kind.WEIGHTS else tensors[self.kind.value]
        return Message(step=self.step, sender=self.sender, receiver=self.receiver, kind=self.kind, payload=payload)


def _bytes(tensor: Tensor) -> bytes:
    # numpy has no bfloat16; the bytes are those of an integer of its size.
    data: bytes = (tensor.view(torch.int16) if tensor.dtype is torch.bfloat16 else tensor).numpy().tobytes()
    return bytes(_swapped(bytearray(data), tensor.element_size())) if sys.byteorder == "big" else data


def is_finite(value: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity. Their sum tells in most cases, and quickly."""
    return bool(torch.isfinite(value.sum())) or bool(torch.isfinite(value).all())


def _swapped(data: bytearray, size: int) -> bytearray:
    """Numbers of `size` bytes with their bytes in the other order."""
    return bytearray(np.frombuffer(data, dtype=f"u{size}").byteswap().tobytes())


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
