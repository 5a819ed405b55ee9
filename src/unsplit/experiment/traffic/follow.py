"""A sidecar of a training: attacks on a transcript while it is being written. It reads the folder and nothing else."""

import time
from collections.abc import Callable
from pathlib import Path

from unsplit.attacks import Progress, readable, silent
from unsplit.errors import FormatError, InputError, StorageError
from unsplit.experiment.traffic.inputs import InversionFindings, InversionRequest, attack_inputs
from unsplit.experiment.traffic.labels import LabelFindings, LabelRequest, attack_labels
from unsplit.protocol import load_transcript
from unsplit.protocol.store import MANIFEST
from unsplit.types import Kind, Transcript

Request = InversionRequest | LabelRequest
Findings = InversionFindings | LabelFindings
Tell = Callable[[int, Path, Findings], None]
"""Called after each attack with the newest step that it saw, its folder, and what it found."""

_PAUSE = 0.5
_LABEL_KINDS = (Kind.FEATURES, Kind.FEATURE_GRAD, Kind.WEIGHTS)


def follow(
    transcript: Path,
    request: Request,
    folder: Path,
    *,
    quiet_for: float,
    tell: Tell = lambda _step, _folder, _found: None,
    progress: Progress = silent,
) -> int:
    """Attack the newest steps of a transcript whenever new ones were stored, until none came for a while.

    Steps that are stored during an attack are not attacked one by one: the next attack is on the newest of them. What a
    training forgets when it resumes from an earlier step is attacked again when it comes again.

    Args:
        transcript: its folder, which may not be there yet; it is only read.
        request: the attack: of the inputs of the last step or steps, or of all labels so far.
        folder: gets a folder `step-NNNNNN` for each attack, by its newest step.
        quiet_for: seconds without anything new after which it ends.
        tell: told of each attack.
        progress: told while an attack runs.

    Returns:
        The number of attacks.

    Raises:
        InputError: nothing to attack was stored in time, a folder within the transcript, or an attack's own.
        FormatError: a transcript that is damaged, and not merely being changed.
    """
    if not quiet_for > 0:
        raise InputError(f"--follow is {quiet_for:g}; it takes the seconds to wait for something new, above 0.")
    if folder.resolve().is_relative_to(transcript.resolve()):
        raise InputError(f"{folder} is within the transcript, which is only read; name another place with --out.")
    attacks, attacked, seen, heard, failure = 0, -1, b"", time.monotonic(), None
    while time.monotonic() - heard <= quiet_for:
        stored = _manifest(transcript)
        if stored in (b"", seen):
            time.sleep(min(_PAUSE, quiet_for / 4))
            continue
        seen, view = _read(transcript, request)
        newest = _newest(view, request)
        if newest > attacked:
            place = folder / f"step-{newest:06d}"
            try:
                found = _attack(view, request, place, progress)
            except InputError as error:
                if isinstance(request, InversionRequest):
                    raise
                failure = error  # more steps may be what it needs
            else:
                attacks += 1
                tell(newest, place, found)
        attacked, heard = newest, time.monotonic()
    if not attacks:
        raise failure or _nothing(transcript, request, quiet_for)
    return attacks


def _nothing(transcript: Path, request: Request, quiet_for: float) -> InputError:
    what = "smashed data" if isinstance(request, InversionRequest) else "cut gradients"
    return InputError(
        f"No {what} were stored in {transcript} within {quiet_for:g} seconds; start the training first, or wait longer "
        "with --follow."
    )


def _read(transcript: Path, request: Request) -> tuple[bytes, Transcript]:
    """The manifest, and the messages that the attack needs, in memory: later the training may drop their files.

    Checksums are left alone, since every look would read everything again. The manifest is replaced before a file that
    it named is dropped, and no file changes while it is named. So a file that is not as the manifest says is damaged if
    the manifest is still the same, and else there is a newer one.
    """
    while True:
        stored = _manifest(transcript)
        try:
            view = load_transcript(transcript, verify=False)
            chosen = _chosen(view, request)
            return stored, Transcript(observer=view.observer, messages=list(chosen))
        except (FormatError, StorageError):
            if _manifest(transcript) == stored:
                raise


def _manifest(transcript: Path) -> bytes:
    """The manifest as it is now; nothing if there is none."""
    try:
        return (transcript / MANIFEST).read_bytes()
    except OSError:
        return b""


def _chosen(view: Transcript, request: Request) -> Transcript:
    if isinstance(request, InversionRequest):
        return readable(view.of(Kind.SMASHED)).last(request.last)
    return readable(view.of(*_LABEL_KINDS))


def _newest(view: Transcript, request: Request) -> int:
    """The newest step that can be attacked; -1 if there is none."""
    kind = Kind.SMASHED if isinstance(request, InversionRequest) else Kind.FEATURE_GRAD
    return max(view.of(kind).steps, default=-1)


def _attack(view: Transcript, request: Request, folder: Path, progress: Progress) -> Findings:
    if isinstance(request, InversionRequest):
        return attack_inputs(view, request, folder, progress=progress)
    return attack_labels(view, request, folder, progress=progress)
