"""Amortised inversion: one decoder, shared by all smashed data that the server has seen, and one clone."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from unsplit.attacks._threat_model import attack
from unsplit.attacks.inversion._candidate import Candidate, LearningConfig, MisfitFunction
from unsplit.attacks.inversion._finalists import Witness, chosen, conclude, extended, residual_of, surely
from unsplit.attacks.inversion._schedule import Stretch
from unsplit.attacks.progress import Progress, Told, silent
from unsplit.attacks.settings import Assumptions, InversionConfig, Limits, at_most
from unsplit.attacks.targets import as_maps, matched_targets
from unsplit.devices import Precision
from unsplit.errors import InputError, check_at_least_one
from unsplit.knowledge import ClientArchitecture, KnownDefense
from unsplit.randomness import generator as seeded_generator
from unsplit.stepping import perform
from unsplit.types import Kind, Reconstruction, Transcript


@dataclass(frozen=True, kw_only=True)
class AmortisedConfig(InversionConfig):
    """Settings of the amortised inversion.

    Args:
        samples: how many smashed samples an audit or a reproduction lets the attack see beside the targets.
        candidates: number of restarts, each with a new decoder and clone.
        tilts: logits of the restarts' first pictures, in turn: dark, middle, bright.
        trial: share of the schedule after which the restarts are compared, between 0 and 1.
        semifinalists: how many of them then go on: the best, the one most its negative if there is one, then the next
            best.
        semifinal: share of the schedule after which these are compared, between 0 and 1; there is no semifinal where it
            is not above `trial`.
        finalists: how many go on to the end, chosen in the same way. Those that agree are averaged, and the others say
            how much to trust the result.
        steps: number of steps of the whole schedule, for each restart that goes to its end.
        refit_steps: number of final steps that train only the clone, on the pictures found.
        refit_rate: Adam's learning rate in these final steps.
        stray: share of pixels that may lie outside the range, at either end, when the pictures are stretched to it;
            None leaves them as they are.
        learning: settings of the training of each restart.

    Raises:
        InputError: a number out of its range.
    """

    samples: int = 2000
    candidates: int = 5
    tilts: tuple[float, ...] = (-1.5, 0.0, 1.5)
    trial: float = 0.15
    semifinalists: int = 3
    semifinal: float = 0.35
    finalists: int = 2
    steps: int = 800
    refit_steps: int = 200
    refit_rate: float = 0.003
    stray: float | None = 0.005
    learning: LearningConfig = field(default_factory=LearningConfig)

    def __post_init__(self) -> None:
        check_at_least_one(self, "samples", "candidates", "semifinalists", "finalists", "steps")
        if self.finalists > self.candidates:
            raise InputError(
                f"finalists is {self.finalists} and candidates is {self.candidates}; finalists can be at most "
                "candidates."
            )
        if not 0 < self.trial < 1 or not self.tilts:
            raise InputError(
                f"trial is {self.trial} and tilts are {self.tilts}; trial must be between 0 and 1, and tilts must hold "
                "at least one tilt."
            )
        if not 0 < self.semifinal < 1:
            raise InputError(f"semifinal is {self.semifinal}; it must be between 0 and 1.")
        if self.stray is not None and not 0 <= self.stray < 0.5:
            raise InputError(f"stray is {self.stray}; it must be from 0 to below 0.5, or None.")
        if self.refit_steps < 0 or not self.refit_rate > 0:
            raise InputError(
                f"refit_steps is {self.refit_steps} and refit_rate is {self.refit_rate}; refit_steps must be 0 or "
                "more, and refit_rate above 0."
            )

    @property
    def attack(self) -> Callable[..., Reconstruction]:
        return invert_by_decoder

    @property
    def adaptive_attack(self) -> Callable[..., Reconstruction]:
        return invert_through_defense

    @property
    def samples_wanted(self) -> int:
        return self.samples

    @property
    def gives_way(self) -> bool:
        return True

    def takes(self, input_shape: tuple[int, ...]) -> bool:
        """Whether the decoder makes inputs of this shape: pictures [c, h, w] and signals [c, length]."""
        return len(input_shape) in (2, 3)

    def within(self, limits: Limits) -> "AmortisedConfig":
        return replace(
            self,
            steps=at_most(self.steps, limits.decoder_steps),
            candidates=at_most(self.candidates, limits.restarts),
            learning=replace(self.learning, batch=at_most(self.learning.batch, limits.batch)),
        )

    def assuming(self, assumptions: Assumptions) -> "AmortisedConfig":
        return replace(self, learning=replace(self.learning, photographs=self.learning.photographs.within(assumptions)))

    def assumes(self, input_shape: tuple[int, ...]) -> tuple[str, ...]:
        return self.learning.photographs.assumed(input_shape)

    def computing(self, precision: Precision) -> "AmortisedConfig":
        return replace(self, learning=replace(self.learning, reduced_precision=precision))


@attack(goal="inputs and a clone of the client's first layers", reads=(Kind.SMASHED,))
def invert_by_decoder(
    view: Transcript,
    architecture: ClientArchitecture,
    config: AmortisedConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Reconstruction:
    """Recover all observed pictures by one decoder that learns together with one clone of the client's bottom.

    Threat model:
        An honest-but-curious server that keeps the smashed data of samples that passed through the same weights (any
        number of inferences, or of training steps short enough that the weights hardly moved) and knows the client's
        architecture. As part of it, it knows that layers start as torch starts them.

    Objective:
        min over decoder G and clone weights w of h(f(w; G(s)), s) / V(s) + a(t) TV(G(s)) + b |w|^2 + c |bias|^2,
        with h the squared error (before a last ReLU a hinge where s is 0), V(s) the variance within channels, a(t)
        falling, and |w|^2 relative to its expectation at the start of training. Several restarts; the lowest objective
        wins.

    Args:
        view: transcript whose smashed data [n, ...] are the targets; a thousand or more make the decoder.
        architecture: the client's layers, the shape of a picture [c, h, w] and its range.
        config: settings of the attack.
        generator: draws first weights and batches.
        progress: called after every stretch of every restart.

    Returns:
        The pictures [n, c, h, w] in the architecture's range and one clone, with the residual of its own pictures;
        `agreement`, the correlation of the two best restarts' pictures; `decided_by`, what decided between the pictures
        and their negative; and `sure`. Restarts that agree are averaged. Where they disagree, the pictures are their
        mean, drawn towards one grey, and the clone is the best restart's. The sign is not called resolved where nothing
        decided it, nor behind a dense first layer, whose inputs are open up to a linear map.

    Raises:
        InputError: no smashed data in the view, of a shape that the architecture cannot produce, or not pictures.

    Reference:
        Ours; the learned inverse of Dosovitskiy and Brox, with the network that it inverts learned beside it.

    Departures:
        From Erdoğan et al.'s section 4.2: a decoder for free pictures, all targets at once, simultaneous updates.
    """
    return search(view, architecture, config, None, generator, progress)


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
        That of `invert_by_decoder` with the defence's misfit m(f(w; G(s)), s) for the squared error or the hinge.

    Args:
        view: transcript whose smashed data [n, ...] are the targets.
        architecture: the client's layers, the shape of an input and its range.
        defense: what the client does to its smashed data, and how strongly.
        config: settings of the attack.
        generator: draws first weights and batches.
        progress: told as the work goes on.

    Returns:
        As `invert_by_decoder`; the residual is that of the undefended output.

    Raises:
        InputError: no smashed data in the view, of a shape that the architecture cannot produce, or not pictures.

    Reference:
        Ours; adaptive evaluation in the sense of Tramèr, Carlini, Brendel, Madry, "On adaptive attacks to adversarial
        example defenses", 2020.
    """
    return search(view, architecture, config, defense.misfit, generator, progress)


def search(
    view: Transcript,
    architecture: ClientArchitecture,
    config: AmortisedConfig,
    misfit: MisfitFunction | None,
    generator: torch.Generator,
    progress: Progress,
    witness: Witness | None = None,
) -> Reconstruction:
    """The attack itself, with the `misfit` of a `Candidate` and what `conclude` may ask about the sign."""
    targets, _ = matched_targets(view, architecture, seeded_generator(0))
    targets, architecture, last_layers = as_maps(targets, architecture)
    rounds = _rounds(config)
    stretches = tuple(stretch for _, stretch in rounds)
    told = Told(progress, sum(number * stretch.steps for number, stretch in rounds))
    tilts = itertools.islice(itertools.cycle(config.tilts), config.candidates)
    left = [
        Candidate.start(targets, architecture, config.learning, tilt, generator, stretches, misfit) for tilt in tilts
    ]
    for number, stretch in rounds:
        left = chosen(left, number) if number < len(left) else left
        perform([candidate.learn(told.after(stretch.steps)) for candidate in left])
    found = conclude(left, architecture, config.stray, config.learning.photographs, witness)
    best, pictures = found.best.candidate, found.best.pictures
    if config.refit_steps:
        perform([best.refit(pictures, config.refit_steps, config.refit_rate, generator)])
    residual = residual_of(best.clone, pictures, targets)
    return Reconstruction(
        inputs=found.inputs,
        clones=(extended(best.clone, last_layers),),
        residual=residual,
        sign=found.sign,
        rounds=(config.steps,) * len(pictures),
        agreement=found.agreement,
        decided_by=found.decided_by,
        colours_told=found.colours_told,
        sure=surely(found.agreement, float(residual.mean()), found.sign),
    )


def _rounds(config: AmortisedConfig) -> list[tuple[int, Stretch]]:
    """How many restarts go through which stretch of the schedule, in turn."""
    shares = {0.0: config.candidates, config.trial: config.finalists}
    if config.trial < config.semifinal and config.finalists < config.semifinalists < config.candidates:
        shares |= {config.trial: config.semifinalists, config.semifinal: config.finalists}
    begins = list(shares)
    steps = [round(share * config.steps) for share in (*begins, 1.0)]
    stretches = [
        Stretch(max(1, end - begin), share, until)
        for begin, end, share, until in zip(steps, steps[1:], begins, [*begins[1:], 1.0], strict=False)
    ]
    return list(zip(shares.values(), stretches, strict=True))
