"""What of a tensor may cross a border: its numbers, and nothing else; tensors by name, their hash, and many as one."""

import hashlib
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from .errors import InputError

_OWN = frozenset((Tensor, torch.nn.Parameter, torch.nn.Buffer))
_JOINED = 256
"""Parts that are joined at a time."""


def plain(value: Tensor) -> Tensor:
    """The same numbers as a tensor of torch's own class, dense and without a graph; shares storage where it can.

    Subclasses may carry more than numbers: MONAI's MetaTensor has the name of the file that it was read from.
    Quantised numbers are given as those that they stand for.

    Raises:
        InputError: no numbers can be had, as of masked, nested or meta tensors.
    """
    try:
        with torch._C.DisableTorchFunctionSubclass():
            value = (value if type(value) is Tensor else value.as_subclass(Tensor)).detach()
            if value.is_quantized:
                value = value.dequantize()
            if value.layout is not torch.strided:
                value = value.to_dense()
    except (RuntimeError, TypeError) as error:
        raise _not_plain(value) from error
    if type(value) is not Tensor or value.is_nested or value.is_meta:
        raise _not_plain(value)
    return value


def metadata(value: object) -> str | None:
    """The class of a tensor and the names of what it carries beside its numbers; None of a tensor without anything."""
    if not isinstance(value, Tensor) or type(value) in _OWN:
        return None
    names = sorted(name.lstrip("_") for name, kept in getattr(value, "__dict__", {}).items() if kept is not None)
    meta = getattr(value, "meta", None)
    if isinstance(meta, dict):
        names += sorted(f"meta[{key}]" for key in meta if isinstance(key, str))
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    return f"{kind} with {', '.join(names)}" if names else None


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, by what follows it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _not_plain(value: Tensor) -> InputError:
    what = "nested" if value.is_nested else "meta" if value.is_meta else type(value).__name__
    return InputError(
        f"A tensor that crosses is of the kind {what}, whose numbers cannot be read as one dense tensor; hand over "
        "ordinary tensors, such as a padded or filled one."
    )


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A hash of named tensors: names, types, shapes and contents."""
    digest = hashlib.sha256()
    for name, value in tensors.items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def gathered(parts: Iterable[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Tensors that come in many parts, joined along their first axis; there must be a part.

    A tensor of a few numbers takes a kilobyte as an object of its own, so parts are joined while others come.

    Args:
        parts: one or more tensors each, of shapes that differ in the first number only from part to part.
    """
    joined: list[tuple[Tensor, ...]] = []
    some: list[tuple[Tensor, ...]] = []
    for part in parts:
        some.append(part)
        if len(some) == _JOINED:
            joined.append(_together(some))
            some = []
    return _together([*joined, *some])


def _together(parts: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.cat(values) for values in zip(*parts, strict=True))
