"""Inversion of recorded smashed data: which attacks there are for a network, and what each of them may see."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from unsplit.attacks import Progress, silent
from unsplit.attacks.inversion import preset
from unsplit.attacks.registry import ClientForm, named
from unsplit.attacks.settings import AttackSettings
from unsplit.experiment.known_weights import client_weights, known_network, sent_in_training
from unsplit.experiment.threats import taken_for_granted
from unsplit.experiment.traffic.attacker import Attacker
from unsplit.knowledge import ClientArchitecture, ClientWeights
from unsplit.models import check_crossing, depth_of, split
from unsplit.randomness import generator
from unsplit.ranges import InputRange
from unsplit.types import Kind, Message, Reconstruction, Transcript

NEAR_SAMPLES = 16
"""Smashed samples for which attacks that learn from many are given earlier steps, where the batch has fewer."""
NEAR_STEPS = 16
"""The most steps that they are given, the attacked one among them."""


@dataclass(frozen=True, eq=False)
class Inversion:
    """An attack that is ready to run on smashed data.

    Args:
        name: the preset's name.
        attack: the attack, with its threat model.
        known: the knowledge in the attack's signature.
        settings: the attack's settings.
    """

    name: str
    attack: Callable[..., Reconstruction]
    known: ClientArchitecture | ClientWeights
    settings: AttackSettings

    def __call__(
        self, view: Transcript, *, seed: int, device: torch.device, progress: Progress = silent
    ) -> tuple[Reconstruction, float]:
        """What the attack makes of a view, and the seconds that it takes."""
        seen = view.to(device)
        started = time.perf_counter()
        found = self.attack(seen, self.known, self.settings, generator=generator(seed), progress=progress)
        return found, time.perf_counter() - started


def inversions(
    view: Transcript,
    model: nn.Sequential,
    inputs: tuple[tuple[int, ...], InputRange],
    attacker: Attacker,
    presets: Sequence[str],
    *,
    device: torch.device,
    training: bool | None = None,
) -> tuple[Inversion, ...]:
    """The attacks of these presets on what a view holds of smashed data, and after them the white box where the
    attacker has known weights.

    Args:
        view: the recording; only shapes and headers are looked at.
        model: the network of the known architecture; known weights are put into it.
        inputs: shape and range of the client's inputs.
        attacker: the knowledge and the settings of all attacks.
        presets: names of presets that can recover inputs of this shape.
        device: the device on which attacks compute.
        training: whether the smashed data were sent in training; None for what the view tells.

    Raises:
        InputError: smashed data that the architecture cannot have made, or an unknown preset.
    """
    depth, bottom = depth_of(model, attacker.cut), split(model, attacker.cut)[0]
    for message in view.of(Kind.SMASHED).last(1):
        check_crossing(model, attacker.cut, inputs[0], tuple(message.tensor.shape[1:]))
    white_box: tuple[Inversion, ...] = ()
    if attacker.known_weights is not None:
        known_network(model, (attacker.cut,), attacker.known_weights)
        training = sent_in_training(view) if training is None else training
        weights = client_weights(bottom.to(device), *inputs, training=training)
        one = named(attacker.white_box)
        settings = one.settings(ClientForm.of(depth, bottom, inputs[0]))
        white_box = (Inversion(attacker.white_box, one.attack, weights, settings),)
    architecture = ClientArchitecture.of(bottom, *inputs)
    chosen = {
        name: preset(name, depth, precision=attacker.reduced_precision).assuming(taken_for_granted(attacker))
        for name in presets
    }
    return (
        *(Inversion(name, one.attack, architecture, one) for name, one in chosen.items()),
        *white_box,
    )


def near(smashed: Transcript, step: int, samples_wanted: int) -> Transcript:
    """What an attack that learns from so many samples is given to invert the batch of `step`, which comes last in it.

    `joint` and the paper's presets explain all that they see by one clone, so they get this batch alone: no other was
    made by the same weights. The amortised presets share a decoder as well and want more samples. In an audit that
    trains, thousands pass through the same weights; here the weights move with every step. What helps is enough of the
    steps just before to have a handful of samples, and no more: on the digits `strong-quick` ends at an error of .016
    for a batch of 2 alone, .005 with 4 steps and .006 with 64; of .0081 for a batch of 8 alone, .0097 with 4 steps and
    .016 with 32, the weights having moved by 4 %; a batch of 64 alone is as good as with 16 steps, and better than with
    32 (.021 against .030, 7 %).
    """
    if not samples_wanted:
        return smashed.between(step, step)
    taken: list[Message] = []
    for earlier in reversed(smashed.between(0, step).last(NEAR_STEPS).messages[:]):
        taken.insert(0, earlier)
        if sum(len(message.tensor) for message in taken) >= NEAR_SAMPLES:
            break
    return Transcript(observer=smashed.observer, messages=taken)
