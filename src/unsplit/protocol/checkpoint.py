"""Checkpoints: every party's weights and optimiser in one safetensors file, enough to go on bit for bit."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from unsplit.errors import FormatError
from unsplit.files import explained, replacing
from unsplit.protocol.parties import Segment, load_optimizer_tensors, optimizer_tensors

FORMAT = "unsplit-checkpoint"
VERSION = 1


def save_checkpoint(path: Path, segments: Mapping[str, Segment], *, step: int, run: str) -> None:
    """Write the state of all segments after `step` steps; an interrupt leaves the old file whole.

    Args:
        path: the file.
        segments: every party's parts.
        step: steps done.
        run: describes what must be the same to go on (seeds, batch size, ...).

    Raises:
        StorageError: the place cannot be written, or the disk is full.
    """
    tensors = {
        f"{role}/{name}": value.contiguous()
        for role, segment in segments.items()
        for name, value in segment.module.state_dict().items()
    }
    tensors |= {name: value.contiguous() for name, value in optimizer_tensors(segments).items()}
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "step": str(step),
        "run": run,
        "segments": json.dumps(sorted(segments)),
    }
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=metadata)
        except SafetensorError as error:
            raise OSError(*error.args) from error


def load_checkpoint(path: Path, segments: Mapping[str, Segment], *, run: str) -> int:
    """Put a checkpoint's state into the segments; returns the number of steps it stands for.

    Raises:
        FormatError: missing, damaged, foreign, from a newer version, or of another network or another set of parties.
    """
    if not path.is_file():
        raise FormatError(f"There is no checkpoint {path} to resume from; name one, or start without --resume.")
    try:
        with explained(path), safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            _check(path, metadata, segments, run)
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a mapping
        step = int(metadata["step"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise FormatError(
            f"The checkpoint {path} is damaged: it is truncated or altered; start the run again."
        ) from error
    states = {
        role: {name.partition("/")[2]: value for name, value in tensors.items() if name.startswith(f"{role}/")}
        for role in segments
    }
    for role, segment in segments.items():
        expected = {name: value.shape for name, value in segment.module.state_dict().items()}
        if {name: value.shape for name, value in states[role].items()} != expected:
            raise FormatError(f"The checkpoint {path} is of another network ({role} differs); name the model it is of.")
    for role, segment in segments.items():
        segment.module.load_state_dict(states[role])
        load_optimizer_tensors(segment, role, tensors)
    return step


def _check(path: Path, metadata: Mapping[str, str], segments: Mapping[str, Segment], run: str) -> None:
    if metadata.get("format") != FORMAT:
        raise FormatError(f"{path} is not a checkpoint of unsplit; name a file that a run wrote with --checkpoint.")
    if int(metadata["version"]) > VERSION:
        raise FormatError(
            f"The checkpoint {path} is of version {metadata['version']}, and this program reads up to {VERSION}; "
            "update unsplit."
        )
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
