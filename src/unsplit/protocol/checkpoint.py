"""Checkpoints: every party's weights and optimiser in one safetensors file, enough to go on bit for bit."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from unsplit.errors import FormatError
from unsplit.files import explained, write_tensors
from unsplit.protocol.segment import Segment, load_optimizer_tensors, optimizer_tensors
from unsplit.tensors import under

FORMAT = "unsplit-checkpoint"
VERSION = 1


def save_checkpoint(path: Path, segments: Mapping[str, Segment], *, step: int, run: str, active: str) -> None:
    """Write the state of all segments after `step` steps; an interrupt leaves the old file whole.

    Args:
        path: file to write.
        segments: the parts of every party by "party.role".
        step: number of steps done.
        run: description of what must be the same to go on (seeds, batch size, ...).
        active: the client that trained last, whose parts belong to the network as it stands.

    Raises:
        StorageError: the place cannot be written, or the disk is full.
    """
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "step": str(step),
        "run": run,
        "active": active,
        "segments": json.dumps(sorted(segments)),
    }
    write_tensors(path, segment_tensors(segments), metadata)


def segment_tensors(segments: Mapping[str, Segment]) -> dict[str, Tensor]:
    """Weights, buffers and optimisers' states of parts by role, as "ROLE/NAME" and "optimizer.ROLE.PARAMETER/KEY"."""
    tensors = {
        f"{role}/{name}": value
        for role, segment in segments.items()
        for name, value in segment.module.state_dict().items()
    }
    return tensors | optimizer_tensors(segments)


def restore_segments(segments: Mapping[str, Segment], tensors: Mapping[str, Tensor]) -> None:
    """Put parts into the state that `segment_tensors` gave; a step that was begun is dropped."""
    for role, segment in segments.items():
        segment.forget()
        segment.module.load_state_dict(under(f"{role}/", tensors))
        if segment.optimizer is not None:
            segment.optimizer.state.clear()
        load_optimizer_tensors(segment, role, tensors)


def load_checkpoint(path: Path, segments: Mapping[str, Segment], *, run: str) -> int:
    """Put a checkpoint's state into the segments; returns the number of steps it stands for.

    Raises:
        FormatError: missing, damaged, foreign, from a newer version, or of another network or another set of parties.
    """
    metadata, tensors = _read(path)
    parties = json.loads(metadata["segments"])
    if parties != sorted(segments):
        raise FormatError(
            f"The checkpoint {path} is of the parts {', '.join(parties)}, and this run has "
            f"{', '.join(sorted(segments))}; resume with the same setup and clients."
        )
    if metadata["run"] != run:
        raise FormatError(
            f"The checkpoint {path} is of a run with {metadata['run']}, and this one has {run}; "
            "resume with the same settings."
        )
    states = {role: under(f"{role}/", tensors) for role in segments}
    for role, segment in segments.items():
        _check_shapes(path, states[role], segment.module)
    restore_segments(segments, tensors)
    return int(metadata["step"])


def load_network(path: Path, model: nn.Module) -> int:
    """Put the network of a checkpoint, however it was split, into a whole model; returns the steps it was trained for.

    Raises:
        FormatError: missing, damaged, foreign, from a newer version, or of another network.
    """
    metadata, tensors = _read(path)
    state: dict[str, Tensor] = {}
    for role in json.loads(metadata["segments"]):
        if role.partition(".")[0] in (metadata["active"], "server"):
            state |= under(f"{role}/", tensors)
    _check_shapes(path, state, model)
    model.load_state_dict(state)
    return int(metadata["step"])


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise FormatError(f"There is no checkpoint {path}; name a file that a run wrote, or start a run anew.")
    try:
        with explained(path), safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise FormatError(f"{path} is not a checkpoint of unsplit; name a file that `unsplit train` wrote.")
            if int(metadata["version"]) > VERSION:
                raise FormatError(
                    f"The checkpoint {path} is of version {metadata['version']}, and this program reads up to "
                    f"{VERSION}; update unsplit."
                )
            return metadata, {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, KeyError, ValueError) as error:
        raise FormatError(
            f"The checkpoint {path} is damaged: it is truncated or altered; run the training again."
        ) from error


def _check_shapes(path: Path, state: Mapping[str, Tensor], module: nn.Module) -> None:
    expected = {name: value.shape for name, value in module.state_dict().items()}
    if {name: value.shape for name, value in state.items()} != expected:
        raise FormatError(f"The checkpoint {path} is of another network; name the model that it was trained with.")
