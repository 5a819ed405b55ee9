"""The amortised attack on a client that changes its smashed data before they leave, by a server that knows how."""

import torch

from unsplit.attacks.progress import Progress, silent
from unsplit.attacks.threat_model import attack
from unsplit.attacks.unsplit.amortised import AmortisedConfig, search
from unsplit.attacks.unsplit.targets import matched_targets
from unsplit.knowledge import ClientArchitecture, KnownDefense
from unsplit.randomness import generator as seeded_generator
from unsplit.types import Kind, Reconstruction, Transcript


@attack(goal="inputs and a clone of the client's first layers", reads=(Kind.SMASHED,))
def invert_through_defense(
    view: Transcript,
    architecture: ClientArchitecture,
    defense: KnownDefense,
    config: AmortisedConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Reconstruction:
    """Recover all observed pictures as `invert_by_decoder` does, with the defence in the objective.

    What the client's layers put out is compared with what was observed by how likely the defence makes the one of the
    other: a number that dropout may have taken says little, one that top-k left out is known to be small, one at the
    limit of clipping is known to be at least that. An audit that tries unaware attacks only says how well a defence
    hides that it is there.

    Threat model:
        An honest-but-curious server that keeps the smashed data of many samples that passed through the same weights
        and knows the client's architecture and its defence: kind and strength, not what it drew.

    Objective:
        That of `invert_by_decoder` with the defence's misfit m(f(w; G(s)), s) for the squared error.

    Args:
        view: transcript whose smashed data [n, ...] are the targets; a thousand or more make the decoder.
        architecture: the client's layers, the shape of a picture [c, h, w] and its range.
        defense: the misfit.
        config: the settings.
        generator: draws first weights and batches.
        progress: told after every stretch of every restart.

    Returns:
        As `invert_by_decoder`; the residual is that of the undefended output.

    Raises:
        InputError: no smashed data in the view, of a shape that the architecture cannot produce, or not pictures.

    Reference:
        Ours; adaptive evaluation in the sense of Tramèr, Carlini, Brendel, Madry, "On adaptive attacks to adversarial
        example defenses", 2020.
    """
    targets, _ = matched_targets(view, architecture, seeded_generator(0))
    return search(targets, architecture, config, generator=generator, progress=progress, misfit=defense.misfit)
