"""Inversion of a stored transcript, by somebody who has nothing else: no truth, so no scores."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from unsplit.attacks import Progress, readable, silent
from unsplit.attacks.he2019 import invert_white_box
from unsplit.attacks.inversion import invert, preset
from unsplit.choices import WHITE_BOX
from unsplit.devices import Precision, decoder_arithmetic
from unsplit.devices import device as checked_device
from unsplit.errors import unknown_name
from unsplit.experiment.known_weights import client_weights, known_network, sent_in_training, white_box_settings
from unsplit.files import writable_folder, write_tensors, write_text
from unsplit.knowledge import ClientArchitecture
from unsplit.models import build, check_crossing, depth_of, split
from unsplit.protocol import load_transcript
from unsplit.randomness import generator
from unsplit.ranges import UNIT, InputRange
from unsplit.results import Row
from unsplit.types import Kind, Reconstruction, Transcript


@dataclass(frozen=True, kw_only=True)
class InversionRequest:
    """Recover inputs and the client's bottom.

    Args:
        model: the network's architecture, by name or "module:function".
        cut: where it was cut.
        input_shape: shape of one input.
        input_range: the range in which the client's network takes its inputs.
        preset: of the attack.
        known_weights: file of weights (safetensors, or a torch state dict) that the client's first layers are known to
            have: the white box is run in place of `preset`. None for none.
        white_box: preset of that attack, "white-box" or "white-box-quick".
        last: attack the smashed data of the last so many steps that had samples; they should have seen the same
            weights, so 1 for a transcript of training.
        seed: of the attack.
        device: where it computes.
        reduced_precision: whether a decoder computes its convolutions in bfloat16 (`devices.Precision`).
    """

    model: str = "mnist-net"
    cut: int | str = 1
    input_shape: tuple[int, ...] = (1, 28, 28)
    input_range: InputRange = UNIT
    preset: str = "joint"
    known_weights: str | None = None
    white_box: str = "white-box-quick"
    last: int = 1
    seed: int = 0
    device: str = "cpu"
    reduced_precision: Precision = "auto"

    def __post_init__(self) -> None:
        if self.white_box not in WHITE_BOX:
            raise unknown_name("preset of the white box", self.white_box, WHITE_BOX)


class InversionFindings(Row):
    """The contents of `attack.json` after an inversion; the tensors are in `reconstruction.safetensors`."""

    goal: Literal["inputs"] = "inputs"
    inputs: int
    residual: float
    sign: str
    precision: Literal["float32", "bfloat16"] = "float32"
    seconds: float
    tensors: str


def attack_inputs(
    transcript: Path | Transcript, request: InversionRequest, folder: Path, *, progress: Progress = silent
) -> InversionFindings:
    """Invert the smashed data of a transcript, or of one stored in a folder; leaves the reconstruction, the clone's
    weights and `attack.json` in `folder`.

    Raises:
        UnsplitError: a transcript that cannot be read, or an architecture that does not fit it.
    """
    device = checked_device(request.device)
    stored = load_transcript(transcript) if isinstance(transcript, Path) else transcript
    view = readable(stored.of(Kind.SMASHED)).last(request.last)
    model = build(request.model, generator=generator(0), input_shape=request.input_shape)
    bottom, _ = split(model, request.cut)
    for message in view.last(1):
        check_crossing(model, request.cut, request.input_shape, tuple(message.tensor.shape[1:]))
    if request.known_weights is not None:
        known_network(model, (request.cut,), request.known_weights)
    started = time.perf_counter()
    found = _inverted(
        view.to(device), bottom, depth_of(model, request.cut), request, sent_in_training(stored), progress
    )
    seconds = time.perf_counter() - started
    tensors = {"inputs": found.inputs}
    for number, clone in enumerate(found.clones):
        tensors |= {f"clone{number}/{name}": value for name, value in clone.state_dict().items()}
    path = writable_folder(folder) / "reconstruction.safetensors"
    write_tensors(path, tensors)
    findings = InversionFindings(
        inputs=len(found.inputs),
        residual=float(found.residual.mean()),
        sign=found.sign.value,
        precision=decoder_arithmetic(request.reduced_precision, device),
        seconds=seconds,
        tensors=path.name,
    )
    write_text(folder / "attack.json", findings.model_dump_json(indent=1) + "\n")
    return findings


def _inverted(
    view: Transcript,
    bottom: nn.Module,
    depth: int,
    request: InversionRequest,
    training: bool,
    progress: Progress,
) -> Reconstruction:
    """What the attack that was asked for makes of the view; `bottom` has the known weights, if there are any."""
    shape, units, draws = request.input_shape, request.input_range, generator(request.seed)
    if request.known_weights is not None:
        weights = client_weights(bottom.to(request.device), shape, units, training=training)
        settings = white_box_settings(request.white_box, bottom, shape)
        return invert_white_box(view, weights, settings, generator=draws, progress=progress)
    return invert(
        view,
        ClientArchitecture.of(bottom, shape, units),
        preset(request.preset, depth, precision=request.reduced_precision),
        generator=draws,
        progress=progress,
    )
