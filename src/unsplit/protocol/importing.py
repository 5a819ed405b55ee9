"""Making a transcript of arrays that somebody dumped from a training: numpy's files and safetensors, never pickle."""

import difflib
import itertools
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from zipfile import BadZipFile
from zlib import error as ZlibError  # noqa: N812 - an exception

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from unsplit.data.numbers import SHORT_FLOATS, wanted_instead
from unsplit.errors import DataError, InputError, unknown_name
from unsplit.files import explained
from unsplit.protocol.foreign_step import check_client, copied, crossing
from unsplit.protocol.parties import SERVER
from unsplit.protocol.store import MANIFEST
from unsplit.protocol.transcript_writer import TranscriptWriter
from unsplit.types import Kind

ARRAYS = ("smashed", "labels", "features", "feature_grad", "cut_grad")
"""The names of arrays that become messages, in the order in which they cross."""
STEP = "step"
"""The name of the array that says in which step each sample was."""

_GRADIENT_OF = {"cut_grad": "smashed", "feature_grad": "features"}


class Imported(NamedTuple):
    """What an import made.

    Args:
        folder: folder of the transcript.
        steps: number of steps.
        shapes: shape of the first batch of each array, by the array's name.
    """

    folder: Path
    steps: int
    shapes: dict[str, tuple[int, ...]]


def import_arrays(
    source: Path | str | Mapping[str, Any],
    folder: Path | str,
    *,
    batch_size: int | None = None,
    names: Mapping[str, str] = MappingProxyType({}),
    ignore: Collection[str] = (),
    client: str = "client0",
    observer: str = SERVER,
) -> Imported:
    """Write arrays as the transcript of a server.

    Without `batch_size` and an array "step", the first axis is the steps and the second the samples of a batch; with
    either, the first axis is the samples of all steps.

    Args:
        source: a `.npz` or `.safetensors` file, a folder of `.npy` files, or arrays and tensors by name: "smashed",
            "cut_grad", "labels", "features", "feature_grad" and "step".
        folder: folder to write, which holds no transcript yet.
        batch_size: number of samples in a step; the last step may have fewer.
        names: the name of each array in the source, by its name here.
        ignore: arrays of the source to leave out.
        client: name of the client in the transcript.
        observer: name of the server in the transcript.

    Raises:
        InputError: unknown or missing names, arrays that disagree, or a folder that holds a transcript.
        DataError: a file that cannot be read, or arrays of something else than finite numbers.
        StorageError: the folder cannot be written.
    """
    folder = Path(folder)
    if (folder / MANIFEST).exists():
        raise InputError(f"{folder} holds a transcript already; name another folder or remove it first.")
    check_client(client, observer)
    arrays = _chosen(_opened(source, ignore), names, ignore)
    _check_set(arrays)
    for name, array in arrays.items():
        _check_type(name, array)
    parts = _steps(arrays, batch_size)
    payloads = [name for name in ARRAYS if name in arrays]
    for step, part in parts:
        for name in payloads:
            if not bool(torch.isfinite(_tensor(arrays[name][part], name)).all()):
                raise DataError(
                    f"'{name}' holds NaN or infinity in step {step}; leave such steps out, since no attack can read "
                    "them."
                )
    writer = TranscriptWriter(folder, observer)
    for step, part in parts:
        for name in payloads:
            payload = _tensor(arrays[name][part], name)
            writer.append(crossing(step, Kind(name), payload, client=client, observer=observer))
    writer.flush()
    shapes = {name: tuple(arrays[name][parts[0][1]].shape) for name in payloads}
    return Imported(folder, len(parts), shapes)


def _opened(source: Path | str | Mapping[str, Any], ignore: Collection[str]) -> dict[str, Any]:
    """The arrays of a source by name; those to ignore are not read."""
    if isinstance(source, Mapping):
        return {name: value if isinstance(value, Tensor) else np.asarray(value) for name, value in source.items()}
    path = Path(source)
    if not path.exists():
        raise DataError(f"There is no {path}; name a .npz or .safetensors file, or a folder of .npy files.")
    try:
        with explained(path):
            if path.is_dir():
                files = {file.stem: file for file in sorted(path.glob("*.npy"))}
                return {
                    name: name in ignore or np.load(file, mmap_mode="r", allow_pickle=False)
                    for name, file in files.items()
                }
            if path.suffix == ".npz":
                with path.open("rb") as file, np.load(file, allow_pickle=False) as stream:
                    return {name: name in ignore or stream[name] for name in stream.files}
            if path.suffix == ".safetensors":
                with safe_open(path, framework="pt") as tensors:
                    held = tensors.keys()
                    return {name: name in ignore or tensors.get_tensor(name) for name in held}
    except (ValueError, EOFError, BadZipFile, ZlibError, SafetensorError) as error:
        raise DataError(
            f"{path} cannot be read: it is damaged, or holds Python objects, which only pickle loads; save plain "
            f"numbers with numpy.savez, numpy.save or safetensors, and {SHORT_FLOATS}."
        ) from error
    raise DataError(
        f"{path} is neither .npz, .safetensors nor a folder of .npy files; save the arrays in one of these forms "
        "(pickled files are not read: to load them can run any code)."
    )


def _chosen(found: Mapping[str, Any], names: Mapping[str, str], ignore: Collection[str]) -> dict[str, Any]:
    """The arrays by our names."""
    known = (*ARRAYS, STEP)
    for name in names:
        if name not in known:
            raise unknown_name("array to map to", name, known)
    for name in [*names.values(), *ignore]:
        if name not in found:
            raise InputError(f"There is no array '{name}'; the source holds {', '.join(sorted(found)) or 'none'}.")
    theirs = {name: ours for ours, name in names.items()}
    for name in sorted(set(found) - set(known) - set(theirs) - set(ignore)):
        close = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1, cutoff=0.6)
        meant = f"for '{close[0]}', write `names={{'{close[0]}': '{name}'}}`; " if close else ""
        raise InputError(
            f"The array '{name}' has none of the names {', '.join(known)}: {meant}map it to one of them, or leave it "
            f"out by `ignore=['{name}']`."
        )
    for ours, name in names.items():
        if ours in found and ours not in ignore and ours != name:
            raise InputError(f"Both '{name}' and '{ours}' would be '{ours}'; leave one out by `ignore`.")
    return {theirs.get(name, name): found[name] for name in found if name not in ignore}


def _check_set(arrays: Mapping[str, Any]) -> None:
    """Check that these arrays are what some server sees."""
    if "smashed" not in arrays and "features" not in arrays:
        raise InputError(
            f"There is neither 'smashed' nor 'features' among {', '.join(sorted(arrays)) or 'no arrays'}; import what "
            "crossed the cut, and map it by `names` where it has another name."
        )
    for gradient, of in _GRADIENT_OF.items():
        if gradient in arrays and of not in arrays:
            raise InputError(f"There is '{gradient}' without '{of}'; import both.")
        if gradient in arrays and tuple(arrays[gradient].shape) != tuple(arrays[of].shape):
            raise InputError(
                f"'{gradient}' has the shape {tuple(arrays[gradient].shape)} and '{of}' {tuple(arrays[of].shape)}; "
                "a gradient has the shape of what it belongs to."
            )
    if "labels" in arrays and "features" in arrays:
        raise InputError(
            "There are 'labels' and 'features'; where features go back to the client, its labels stay there: leave "
            "them out by `ignore=['labels']`, and keep them as truth."
        )


def _check_type(name: str, array: Any) -> None:
    kind = "f" if isinstance(array, Tensor) and array.is_floating_point() else getattr(array.dtype, "kind", "i")
    if isinstance(array, Tensor) and array.is_complex():
        kind = "c"
    wanted = {STEP: "iu", "labels": "fiub"}.get(name, "f")
    if kind not in wanted:
        numbers = {"iu": "whole", "f": "floating-point"}.get(wanted, "whole or floating-point")
        instead = wanted_instead(array.dtype, f"{numbers} numbers are expected")
        raise DataError(f"'{name}' is of the type {array.dtype}; {instead}.")
    if array.ndim == 0 or 0 in array.shape:
        raise DataError(f"'{name}' has the shape {tuple(array.shape)}; it must hold some samples.")


def _steps(arrays: Mapping[str, Any], batch_size: int | None) -> list[tuple[int, Any]]:
    """The number of each step, and what selects its samples."""
    first = next(name for name in ("smashed", "features") if name in arrays)
    axes = 1 if batch_size is not None or STEP in arrays else 2
    for name in arrays:
        sizes, expected = tuple(arrays[name].shape[:axes]), tuple(arrays[first].shape[:axes])
        if sizes != expected:
            raise InputError(
                f"'{name}' has {_of(sizes)} and '{first}' has {_of(expected)}; they must be of the same steps and "
                "samples."
            )
    if axes == 2:
        if arrays[first].ndim < 3:
            raise InputError(
                f"'{first}' has the shape {tuple(arrays[first].shape)}, so that its first axis cannot be steps and its "
                "second samples; say how many samples a step has (`batch_size`), or give an array 'step'."
            )
        return [(step, step) for step in range(len(arrays[first]))]
    if STEP not in arrays:
        return _batches(len(arrays[first]), batch_size)
    if batch_size is not None:
        raise InputError("There is a batch size and an array 'step'; give one of them.")
    numbers = np.asarray(arrays[STEP])
    if numbers.ndim != 1 or numbers[0] < 0 or (numbers[1:] < numbers[:-1]).any():
        raise InputError(
            "'step' must have one number for each sample, from 0, and these must not decrease; sort the samples."
        )
    edges = [0, *(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist(), len(numbers)]
    return [(int(numbers[start]), slice(start, end)) for start, end in itertools.pairwise(edges)]


def _batches(samples: int, batch_size: int | None) -> list[tuple[int, Any]]:
    if batch_size is None or batch_size < 1:
        raise InputError(f"The batch size is {batch_size}; it must be at least 1.")
    starts = range(0, samples, batch_size)
    return [(step, slice(start, start + batch_size)) for step, start in enumerate(starts)]


def _tensor(part: Any, name: str) -> Tensor:
    if not isinstance(part, Tensor):
        with np.errstate(over="ignore"):  # what does not fit is infinite, and refused
            part = torch.from_numpy(np.array(part, dtype=np.float32 if part.dtype.kind == "f" else np.int64))
    return copied(part, f"'{name}'")


def _of(sizes: tuple[int, ...]) -> str:
    return f"{sizes[0]} samples" if len(sizes) == 1 else f"the shape [{', '.join(map(str, sizes))}, ...]"
