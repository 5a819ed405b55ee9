"""Numbers of any kind as those that the product computes with: one conversion for arrays and tensors."""

import numpy as np
import torch
from torch import Tensor

from unsplit.errors import DataError
from unsplit.tensors import plain as numbers_alone

_SMALL = torch.int32
"""Holds whole numbers of 16 bits; larger ones take 64."""
SHORT_FLOATS = "turn bfloat16 and float8, which numpy does not know, into float32 before they are saved or handed over"


def wanted_instead(kind: object, otherwise: str) -> str:
    """What to do about an array of this dtype that holds no numbers for numpy: `otherwise`, unless its bytes are
    likely numbers of JAX's or another library's own types, which numpy saves without what they mean.
    """
    plain_bytes = isinstance(kind, np.dtype) and kind.kind == "V" and kind.names is None
    return SHORT_FLOATS if plain_bytes else otherwise


def plain(values: np.ndarray | Tensor, what: str) -> Tensor:
    """Values as a tensor of their own: booleans and bytes as they are, other whole numbers with a sign, floating-point
    numbers in single precision, or double where they have it; in whatever byte order, memory layout, subclass or
    packed form they come.

    Args:
        values: an array or a tensor.
        what: words that begin the error message.

    Raises:
        DataError: texts, complex numbers, objects, or whole numbers beyond 64 bits with a sign.
    """
    if isinstance(values, Tensor):
        return _of_tensor(values, what)
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind not in "biuf":
        raise DataError(f"{what} is of the kind {values.dtype}; {wanted_instead(values.dtype, 'give numbers')}.")
    if kind == "u" and size == 8 and values.size and int(values.max()) > np.iinfo(np.int64).max:
        raise DataError(f"{what} holds numbers beyond 64 bits with a sign; give smaller ones.")
    if kind == "f":
        wanted = np.dtype(np.float32 if size <= 4 else np.float64)
    elif kind == "b" or (kind == "u" and size == 1):
        wanted = values.dtype
    else:
        wanted = np.dtype(np.int32 if size <= 2 else np.int64)
    return torch.from_numpy(np.array(values, dtype=wanted, order="C"))


def _of_tensor(values: Tensor, what: str) -> Tensor:
    values = numbers_alone(values)
    if values.is_complex():
        raise DataError(f"{what} is of the kind {values.dtype}; give real numbers.")
    if values.is_floating_point():
        return values if values.dtype in (torch.float32, torch.float64) else values.float()
    if values.dtype in (torch.bool, torch.uint8):
        return values
    if values.dtype is torch.uint64 and values.numel() and int(values.view(torch.int64).min()) < 0:
        raise DataError(f"{what} holds numbers beyond 64 bits with a sign; give smaller ones.")
    return values.to(_SMALL if values.dtype.itemsize <= 2 else torch.int64)
