"""Amortised inversion by a server that has watched the client train: its steps, taken again, decide the sign."""

from functools import partial

import torch

from unsplit.attacks._threat_model import attack
from unsplit.attacks.inversion._replay import Window, replay_witness
from unsplit.attacks.inversion.amortised import AmortisedConfig, search
from unsplit.attacks.progress import Progress, silent
from unsplit.attacks.targets import as_maps
from unsplit.knowledge import ClientArchitecture, ClientOptimizer
from unsplit.types import Kind, Reconstruction, Transcript


@attack(goal="inputs and a clone of the client's first layers", reads=(Kind.SMASHED, Kind.CUT_GRAD))
def invert_with_replay(
    view: Transcript,
    architecture: ClientArchitecture,
    optimizer: ClientOptimizer,
    config: AmortisedConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Reconstruction:
    """Recover all observed pictures as `invert_by_decoder` does, and tell them from their negatives by replay.

    A snapshot of smashed data cannot tell a picture from its negative, and labels cannot either: the exact mirror gives
    the same logits. But the client's steps differ. The attack takes them again, with each finalist and with its exact
    mirror, and asks which of the two explains more of how the smashed data of a sample moved from one epoch to the
    next; samples are recognised by their smashed data, so no order of theirs need be known.

    For programs in Python: no command runs it, since audits keep no window of a training.

    Threat model:
        An honest-but-curious server that keeps the smashed data and the cut gradients of some epochs of a client's
        training, short enough that the weights moved little, and knows the client's architecture and its optimiser,
        which are usually part of the agreed protocol. Not the optimiser's state, which a third of the steps stands for.

    Objective:
        That of `invert_by_decoder`. The sign is the one whose steps explain more: the sum over the finalists of the
        share of the squared drift that their own steps explain, less that of their mirror's.

    Args:
        view: transcript of two epochs or more of one client's training; its smashed data [n, ...] are the targets.
        architecture: the client's layers, the shape of a picture [c, h, w] and its range.
        optimizer: the client's optimiser and its options.
        config: settings of the attack.
        generator: draws first weights and batches.
        progress: called after every stretch of every restart.

    Returns:
        As `invert_by_decoder`. `decided_by` is "replay", unless the first layer has no exact mirror (zero padding, no
        bias) or no sample came twice.

    Raises:
        InputError: no step with smashed data and a cut gradient, smashed data of a shape that the architecture cannot
            produce, or not pictures.

    Reference:
        Ours.

    Departures:
        None.
    """
    window = Window.of(view)
    _, before, _ = as_maps(window.smashed[0], architecture)
    witness = partial(replay_witness, window=window, optimizer=optimizer.spec, architecture=before)
    return search(view, architecture, config, None, generator, progress, witness)
