"""SDAR (Zhu et al. 2025): a passive server that learns to simulate the client, with data of its own."""

import torch

from unsplit.attacks._threat_model import attack
from unsplit.attacks.auxiliary._sdar_attacker import PIECE, SdarAttacker, SdarConfig
from unsplit.attacks.objectives import relative_residual
from unsplit.attacks.progress import Progress, silent
from unsplit.attacks.targets import matched_targets
from unsplit.knowledge import AuxiliaryData, ClientArchitecture, OwnTop
from unsplit.types import Kind, Reconstruction, Transcript


@attack(goal="the private inputs and a simulator of the client's first layers", reads=(Kind.SMASHED, Kind.LABELS))
def invert_by_simulation(
    view: Transcript,
    architecture: ClientArchitecture,
    top: OwnTop,
    data: AuxiliaryData,
    config: SdarConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Reconstruction:
    """SDAR on a recorded window of a training in setup (a): smashed data with their labels, and the top as it is now.

    For programs in Python: no command runs it. Audits run `SdarAttacker`, the same attack beside a running training,
    where it learns from each step as it comes, and `invert_by_simulation_without_labels`.

    Threat model:
        An honest-but-curious server that knows the client's architecture, has its own layers, receives the labels, and
        has labelled data that resemble the client's. It changes nothing that it sends.

    Objective:
        Simulator e: min CE(g(e(x')), y') + a BCE(D1(e(x'), y'), real), through the server's own top g. Decoder d:
        min |d(e(x'), y') - x'|^2 + b BCE(D2(d(s, y), y), real). The discriminators D1 (real: s) and D2 (real: x')
        minimise their cross-entropies. All four take one step an iteration; the pictures are d(s, y).

    Args:
        view: transcript whose smashed data [n, ...], each with its label, are learned from and inverted.
        architecture: the client's layers, and the shape [c, h, w] and range of a picture.
        top: the server's own layers, which stay as they are; it is used in evaluation mode.
        data: the attacker's own pictures [m, c, h, w] and their classes [m].
        config: settings of the attack.
        generator: draws first weights, batches and dropout's masks.
        progress: told of each iteration, with the decoder's error.

    Returns:
        The pictures [n, c, h, w], and the simulator as the clone.

    Raises:
        InputError: no smashed data or not one label for each, data without labels, an architecture that does not
            produce the smashed data, or shapes that no decoder is made for.

    Reference:
        Zhu, Luo, Wu, Jiang, Xiao, Ooi: Passive inference attacks on split learning via adversarial regularization,
        NDSS 2025, and the authors' code.

    Departures:
        - The authors learn while the client trains, from its step and the top of each iteration; so does
          `SdarAttacker`. This function learns from a window recorded already, with the top of its end.
        - They use Keras: first weights (Glorot) and Adam's epsilon (1e-7) differ a little from torch's.
        - They pass over their data in a shuffled order; here each batch is drawn anew.
        - The decoder has the authors' layers at levels 4 and 7 of their ResNet-20 (3 x 3 convolutions where they
          write transposed ones of stride 1); between, it lacks one or two. Flat smashed data, and maps that unpadded
          convolutions made smaller, are ours.
    """
    matched_targets(view, architecture, generator)
    attacker = SdarAttacker(architecture, top, data, config, generator=generator)
    return _invert_window(view, attacker, config, generator, progress)


@attack(goal="the private inputs and a simulator of the client's first layers", reads=(Kind.SMASHED,))
def invert_by_simulation_without_labels(
    view: Transcript,
    architecture: ClientArchitecture,
    top: OwnTop,
    data: AuxiliaryData,
    config: SdarConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Reconstruction:
    """`invert_by_simulation` where no labels come with the smashed data, as when a trained network is used.

    Threat model:
        An honest-but-curious server that knows the client's architecture, has its own layers of the network, and has
        labelled data that resemble the client's. It changes nothing that it sends.

    Objective:
        As `invert_by_simulation`, with a decoder and discriminators that are not told labels.

    Args:
        view: transcript whose smashed data [n, ...] are learned from and inverted.
        architecture: the client's layers, and the shape [c, h, w] and range of a picture.
        top: the server's own layers, which stay as they are; it is used in evaluation mode.
        data: the attacker's own pictures [m, c, h, w] and their classes [m].
        config: settings of the attack.
        generator: draws first weights, batches and dropout's masks.
        progress: told of each iteration, with the decoder's error.

    Returns:
        The pictures [n, c, h, w], and the simulator as the clone.

    Raises:
        InputError: no smashed data, data without labels, an architecture that does not produce the smashed data, or
            shapes that no decoder is made for.

    Reference:
        Zhu et al. 2025, and the authors' code, whose option `no_cond` leaves the labels out.

    Departures:
        As `invert_by_simulation`; the authors always learn during a training.
    """
    matched_targets(view, architecture, generator)
    attacker = SdarAttacker(architecture, top, data, config, generator=generator, conditional=False)
    return _invert_window(view, attacker, config, generator, progress)


def _invert_window(
    view: Transcript, attacker: SdarAttacker, config: SdarConfig, generator: torch.Generator, progress: Progress
) -> Reconstruction:
    smashed, labels = attacker.read(view)
    for number in range(config.iterations):
        drawn = torch.randint(len(smashed), (config.batch_size,), generator=generator).to(smashed.device)
        attacker.learn(smashed[drawn], None if labels is None else labels[drawn])
        progress(number + 1, config.iterations, attacker.losses["decoder"])
    found = attacker.invert(smashed, labels)
    with torch.no_grad():
        simulated = torch.cat([attacker.simulator(piece) for piece in torch.split(found, PIECE)])
    return Reconstruction(
        inputs=found,
        clones=(attacker.simulator,),
        residual=relative_residual(simulated, smashed),
        rounds=(config.iterations,) * len(found),
    )
