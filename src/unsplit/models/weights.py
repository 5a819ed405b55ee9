"""Weights that are public: read from a file, and put in the place of a network's own as far as they fit."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from unsplit.errors import FormatError, InputError
from unsplit.files import explained

from ._cuts import split
from .stages import Stages

_WITHIN = ("state_dict", "model_state_dict", "model", "weights", "net")
"""Keys under which training scripts keep a state dict in what they save."""
_COUNTED = "num_batches_tracked"
_LISTED = 3


def read_weights(path: Path) -> dict[str, Tensor]:
    """Named tensors of a safetensors file, or of a torch state dict (also one within the dictionary of a training).

    Nothing in the file is run: torch loads tensors only.

    Raises:
        InputError: there is no such file.
        FormatError: it holds something else than named tensors.
        StorageError: it cannot be read.
    """
    if not path.is_file():
        raise InputError(
            f"There is no file {path} of weights; name a safetensors file, or a state dict that torch.save wrote."
        )
    with explained(path):
        try:
            return dict(load_file(path))
        except SafetensorError:
            pass
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception as error:  # of many kinds, by what a foreign file holds
            raise FormatError(
                f"{path} holds no weights that can be read without running code from it; save model.state_dict() with "
                "torch.save, or with safetensors."
            ) from error
    for key in _WITHIN:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    tensors = {str(name): value for name, value in found.items()} if isinstance(found, Mapping) else {}
    tensors = {name: value for name, value in tensors.items() if isinstance(value, Tensor)}
    if not tensors:
        raise FormatError(f"{path} holds a {type(found).__name__} without named tensors; save model.state_dict().")
    return tensors


def start_from(model: nn.Sequential, cut: int | str, weights: Mapping[str, Tensor], source: str) -> int:
    """Put weights into a network, in place: into all layers up to a cut, and into later ones as far as they fit.

    Names are those of the network as it was before it was cut into stages. The file's may have something in front of
    them ("module.", "backbone."), or lack what the network has in front of its own. Otherwise a file that keeps the
    order of its layers fits by order, kind and shape.

    Args:
        model: the whole network.
        cut: cut up to which every weight must be in the file.
        weights: tensors by name.
        source: file that they come from, as error messages name it.

    Returns:
        How many of the network's tensors they replaced.

    Raises:
        InputError: a weight of the first layers is missing, or of another shape; or these layers have none.
    """
    state = model.state_dict()
    origins = model.origins if isinstance(model, Stages) else {name: name for name in state}
    # What the network itself does not save, such as a normalisation's constants, belongs to its architecture.
    first = [name for name in split(model, cut)[0].state_dict() if name in origins and not name.endswith(_COUNTED)]
    needed = {name: origins[name] for name in first}
    if not needed:
        raise InputError(f"The layers up to the cut {cut} have no weights, so there are none to know; cut deeper.")
    renaming = _renaming(needed, weights)
    if renaming is None:
        names = _in_order(needed, state, weights)
        if names is None:
            raise _unlike(needed, weights, source)
    else:
        names = {name: _renamed(own, *renaming) for name, own in origins.items()}
        names = {
            name: there
            for name, there in names.items()
            if there in weights and (name in needed or weights[there].shape == state[name].shape)
        }
    for name in needed:
        there = names[name]
        if weights[there].shape != state[name].shape:
            raise InputError(
                f"'{there}' has shape {tuple(weights[there].shape)} in {source} and {tuple(state[name].shape)} in the "
                "model; name the weights of this architecture."
            )
    with torch.no_grad():
        for name, there in names.items():
            state[name].copy_(weights[there])
    return len(names)


def distance(one: nn.Module, other: nn.Module) -> float:
    """How far the weights and buffers of `other` are from those of `one`: the norm of the difference over that of
    `one`'s, 0 for the same.
    """
    there = other.state_dict()
    pairs = [(value, there[name].to(value)) for name, value in one.state_dict().items() if value.is_floating_point()]
    apart = sum(float((two - value).square().sum()) for value, two in pairs)
    size = sum(float(value.square().sum()) for value, _ in pairs)
    return float((apart / max(size, torch.finfo(torch.float32).tiny)) ** 0.5)


def _renaming(needed: Mapping[str, str], weights: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """What the file has in front of all names, and what it lacks there; None if they are not alike so."""
    first = next(iter(needed.values()))
    added = sorted((key.removesuffix(first) for key in weights if f".{key}".endswith(f".{first}")), key=len)
    parts = first.split(".")
    lacking = [".".join(parts[:number]) + "." for number in range(1, len(parts))]
    for renaming in [*((prefix, "") for prefix in added), *(("", dropped) for dropped in lacking)]:
        if all(_renamed(own, *renaming) in weights for own in needed.values()):
            return renaming
    return None


def _renamed(own: str, added: str, dropped: str) -> str:
    return added + own.removeprefix(dropped)


def _in_order(
    needed: Mapping[str, str], state: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> dict[str, str] | None:
    """The file's first weights, where they are of the same kinds and shapes one after another."""
    there = [name for name in weights if not name.endswith(_COUNTED)][: len(needed)]
    pairs = dict(zip(needed, there, strict=False))
    alike = len(there) == len(needed) and all(
        needed[name].rpartition(".")[2] == other.rpartition(".")[2] and state[name].shape == weights[other].shape
        for name, other in pairs.items()
    )
    return pairs if alike else None


def _unlike(needed: Mapping[str, str], weights: Mapping[str, Tensor], source: str) -> InputError:
    missing = [own for own in needed.values() if own not in weights]
    wanted, has = (", ".join(f"'{name}'" for name in names[:_LISTED]) for names in (missing, list(weights)))
    return InputError(
        f"{source} does not hold the client's layers: of their {len(needed)} weights {len(missing)} are missing, such "
        f"as {wanted}, and it has {has}; name the weights of this architecture."
    )
