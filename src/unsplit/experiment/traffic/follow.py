"""A sidecar of a training: attacks on a transcript while it is being written. It reads the folder and nothing else."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from unsplit.attacks import Progress, readable, silent
from unsplit.errors import FormatError, InputError, StorageError
from unsplit.experiment.known_weights import sent_in_training
from unsplit.experiment.traffic.attack import AttackConfig, Findings, attack_recorded
from unsplit.protocol import load_transcript
from unsplit.protocol.store import MANIFEST
from unsplit.types import Kind, Transcript

Tell = Callable[[int, Path, Findings], None]
"""Called after each attack with the newest step that it saw, its folder, and what it found."""

_PAUSE = 0.5


class _Needs(NamedTuple):
    """What an attack needs: the kind of message whose steps can be attacked, in words, and all that it reads."""

    kind: Kind
    words: str
    reads: tuple[Kind, ...]


_NEEDS = {
    "inputs": _Needs(Kind.SMASHED, "smashed data", (Kind.SMASHED,)),
    "labels": _Needs(Kind.FEATURE_GRAD, "cut gradients", (Kind.FEATURES, Kind.FEATURE_GRAD, Kind.WEIGHTS)),
}


def follow(
    transcript: Path,
    config: AttackConfig,
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
        transcript: the transcript's folder, which may not be there yet; it is only read.
        config: the attack: of the inputs of the last step or steps, or of all labels so far.
        folder: the folder for the results, which gets a folder `step-NNNNNN` for each attack, by its newest step.
        quiet_for: seconds without anything new after which it ends.
        tell: called after each attack.
        progress: called while an attack runs.

    Returns:
        The number of attacks.

    Raises:
        InputError: nothing to attack was stored in time, a folder within the transcript, or an attack's own.
        FormatError: a transcript that is damaged, and not merely being changed.
    """
    if not quiet_for > 0:
        raise InputError(
            f"quiet_for is {quiet_for:g}; it must be above 0, and is how many seconds to wait for something new."
        )
    if folder.resolve().is_relative_to(transcript.resolve()):
        raise InputError(f"{folder} is within the transcript, which is only read; name another place with `folder`.")
    attacks, attacked, seen, heard, failure = 0, -1, b"", time.monotonic(), None
    while time.monotonic() - heard <= quiet_for:
        stored = _manifest(transcript)
        if stored in (b"", seen):
            time.sleep(min(_PAUSE, quiet_for / 4))
            continue
        seen, view, training = _read(transcript, config)
        newest = _newest(view, config)
        if newest > attacked:
            place = folder / f"step-{newest:06d}"
            try:
                found = attack_recorded(view, config, place, training=training, progress=progress)
            except InputError as error:
                if config.goal == "inputs":
                    raise
                failure = error  # more steps may be what it needs
            else:
                attacks += 1
                tell(newest, place, found)
        attacked, heard = newest, time.monotonic()
    if not attacks:
        raise failure or InputError(
            f"No {_NEEDS[config.goal].words} were stored in {transcript} within {quiet_for:g} seconds; start the "
            "training first, or wait longer with `quiet_for`."
        )
    return attacks


def _read(transcript: Path, config: AttackConfig) -> tuple[bytes, Transcript, bool]:
    """The manifest, the messages that the attack needs, in memory, since the training may drop their files later, and
    whether the transcript is of a training.

    Checksums are left alone, since every look would read everything again. The manifest is replaced before a file that
    it named is dropped, and no file changes while it is named. So a file that is not as the manifest says is damaged if
    the manifest is still the same, and else there is a newer one.
    """
    while True:
        stored = _manifest(transcript)
        try:
            view = load_transcript(transcript, verify=False)
            chosen = readable(view.of(*_NEEDS[config.goal].reads))
            chosen = chosen.last(config.last) if config.goal == "inputs" else chosen
            return stored, Transcript(observer=view.observer, messages=list(chosen)), sent_in_training(view)
        except (FormatError, StorageError):
            if _manifest(transcript) == stored:
                raise


def _manifest(transcript: Path) -> bytes:
    """The manifest as it is now; nothing if there is none."""
    try:
        return (transcript / MANIFEST).read_bytes()
    except OSError:
        return b""


def _newest(view: Transcript, config: AttackConfig) -> int:
    """The newest step that can be attacked; -1 if there is none."""
    return max(view.of(_NEEDS[config.goal].kind).steps, default=-1)
