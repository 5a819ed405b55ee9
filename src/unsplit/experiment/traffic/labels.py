"""What label inference from recorded traffic needs: whole steps, the number of classes, and files of known samples."""

import csv
from pathlib import Path

from torch import nn

from unsplit.errors import InputError
from unsplit.files import explained
from unsplit.knowledge import KnownSamples
from unsplit.protocol import evaluated
from unsplit.types import Kind, Transcript


def classes_of(view: Transcript, head: nn.Module) -> int:
    """How many classes a head tells apart that takes the recorded features; one output tells two.

    Raises:
        InputError: no features, or the head does not take them.
    """
    features = view.of(Kind.FEATURES)
    if not len(features):
        raise InputError("The recording holds cut gradients but no features; record a server, which has both.")
    seen = features.messages[0].tensor
    try:
        outputs = evaluated(head, seen[:1].cpu())
    except RuntimeError as error:
        raise InputError(
            f"The head does not take features of shape {tuple(seen.shape[1:])} ({str(error).splitlines()[0]}); name "
            "the model and the layers of the head (`head`) that the clients have."
        ) from error
    return max(2, outputs.shape[-1])


def answered(view: Transcript) -> Transcript:
    """A view without features that wait for their cut gradients: one that is still being recorded, or was cut off, may
    end within a step.
    """
    last = max((header.step for header in view.headers if header.kind is Kind.FEATURE_GRAD), default=None)
    return view.where(lambda header: header.kind is not Kind.FEATURES or last is None or header.step <= last)


def read_known(path: Path) -> KnownSamples:
    """Known samples from a CSV file with a position and a label on each line; a first line of words is skipped.

    Raises:
        InputError: a line that is not two whole numbers.
        StorageError: it cannot be read.
    """
    try:
        with explained(path), path.open(newline="", encoding="utf-8-sig") as stream:
            lines = [line for line in csv.reader(stream) if line]
        if lines and not any(letter.isdigit() for letter in "".join(lines[0])):
            lines = lines[1:]
        pairs = [(int(index), int(label)) for index, label in lines]
    except (ValueError, csv.Error) as error:
        raise InputError(
            f"{path} is not a list of known samples; write a position and a label on each line, for example 12,3."
        ) from error
    return KnownSamples(indices=tuple(index for index, _ in pairs), labels=tuple(label for _, label in pairs))
