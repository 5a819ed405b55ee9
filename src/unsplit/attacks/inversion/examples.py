"""Amortised inversion by a server that has pictures: some of those that it sees smashed, or similar ones."""

import itertools
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from unsplit.attacks._threat_model import attack
from unsplit.attacks.inversion._candidate import LearningConfig
from unsplit.attacks.inversion._ensemble import AGREEMENT, correlation
from unsplit.attacks.inversion._finalists import extended, residual_of
from unsplit.attacks.inversion._informed import Examples, ExamplesConfig, InformedCandidate
from unsplit.attacks.inversion._schedule import Stretch
from unsplit.attacks.inversion.photographs import Photographs
from unsplit.attacks.observed import check_positions
from unsplit.attacks.progress import Progress, Told, silent
from unsplit.attacks.settings import NO_ASSUMPTIONS, AttackSettings, Limits, at_most
from unsplit.attacks.targets import as_maps, matched_targets
from unsplit.devices import Precision
from unsplit.errors import InputError, check_at_least_one, check_not_negative, check_positive
from unsplit.knowledge import AuxiliaryData, ClientArchitecture, KnownPictures, OwnTop
from unsplit.stepping import perform
from unsplit.types import Kind, Reconstruction, Sign, Transcript

_PIECE = 256


@dataclass(frozen=True, kw_only=True)
class ExamplesInversionConfig(AttackSettings):
    """Settings of the inversions from known pictures and from similar ones.

    Args:
        samples: how many smashed samples an audit lets the attack see beside the targets, the known ones among them.
        restarts: number of restarts, whose pictures are averaged.
        steps: number of steps of each restart.
        refit_steps: number of final steps that train only the clone, on the pictures found.
        refit_rate: Adam's learning rate in these final steps.
        tilt: logit of the first pictures; negative starts dark.
        learning: settings of the training of each restart.
        examples: how the pictures that the server has enter the objective.

    Raises:
        InputError: a number out of its range.
    """

    samples: int = 2000
    restarts: int = 3
    steps: int = 400
    refit_steps: int = 100
    refit_rate: float = 0.003
    tilt: float = -1.5
    learning: LearningConfig = field(
        default_factory=lambda: LearningConfig(
            batch=16, width=16, blocks=1, photographs=Photographs().within(NO_ASSUMPTIONS)
        )
    )
    examples: ExamplesConfig = field(default_factory=ExamplesConfig)

    def __post_init__(self) -> None:
        check_at_least_one(self, "samples", "restarts", "steps")
        check_not_negative(self, "refit_steps")
        check_positive(self, "refit_rate")

    @property
    def samples_wanted(self) -> int:
        return self.samples

    def takes(self, input_shape: tuple[int, ...]) -> bool:
        """Whether inputs of this shape are pictures [c, h, w]."""
        return len(input_shape) == 3

    def within(self, limits: Limits) -> "ExamplesInversionConfig":
        return replace(
            self,
            steps=at_most(self.steps, limits.decoder_steps),
            restarts=at_most(self.restarts, limits.restarts),
            learning=replace(self.learning, batch=at_most(self.learning.batch, limits.batch)),
        )

    def computing(self, precision: Precision) -> "ExamplesInversionConfig":
        return replace(self, learning=replace(self.learning, reduced_precision=precision))


@attack(goal="inputs and a clone of the client's first layers", reads=(Kind.SMASHED,))
def invert_from_known_pictures(
    view: Transcript,
    architecture: ClientArchitecture,
    top: OwnTop,
    known: KnownPictures,
    config: ExamplesInversionConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Reconstruction:
    """Recover all observed pictures from a few of them that are known.

    Threat model:
        An honest-but-curious server that keeps the smashed data of samples that passed through the same weights, knows
        the client's architecture, has its own layers, which tell the class of each sample, and knows some of the
        pictures: those that it put in itself, or those of customers that it shares with the client.

    Objective:
        That of `invert_by_decoder` for all smashed data, and for the known pictures x of the smashed data s: the error
        of G(s) at x, the error of f(w; x) at s, the error with which variants of x (turned, scaled, shifted) come back
        as G(f(w; x)), and distances between distributions along random directions: of decoded pictures and of such
        variants, and, class by class, of smashed data and of what f(w; .) makes of the variants. The pictures are the
        mean of those of several restarts, which differ where nothing is known.

    Args:
        view: transcript whose smashed data [n, ...] are the targets; a thousand or more make the decoder.
        architecture: the client's layers, the shape of a picture [c, h, w] and its range.
        top: the server's own layers, which name the class of each sample.
        known: the known pictures, and where among the observed ones they are.
        config: settings of the attack.
        generator: draws first weights, batches and variants.
        progress: called after every restart.

    Returns:
        The pictures [n, c, h, w] in the architecture's range, the known ones as they are known, one clone, and
        `agreement`: the mean correlation of the restarts' pictures, by twos.

    Raises:
        InputError: no smashed data in the view, of a shape that the architecture or the top do not fit, inputs that
            are not pictures, or known pictures of another shape or beyond what was observed.

    Reference:
        Ours. The cycle of two networks is that of Zhu, Park, Isola, Efros, "Unpaired image-to-image translation using
        cycle-consistent adversarial networks", 2017, here with a network of known form; the distance of distributions
        is the sliced Wasserstein distance of Rabin, Peyré, Delon, Bernot, 2011.

    Departures:
        None.
    """
    targets, _ = matched_targets(view, architecture, generator)
    _check_shape("known", known.pictures, architecture.input_shape)
    check_positions("picture", known.indices, len(targets))
    places = torch.tensor(known.indices, device=targets.device)
    truth = known.pictures.to(targets)
    seen = _classes(top, targets)
    examples = Examples(pictures=truth, places=places, classes=(seen[places], seen))
    return _search(targets, architecture, examples, config, generator, progress)


@attack(goal="inputs and a clone of the client's first layers", reads=(Kind.SMASHED,))
def invert_from_similar_pictures(
    view: Transcript,
    architecture: ClientArchitecture,
    top: OwnTop,
    data: AuxiliaryData,
    config: ExamplesInversionConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Reconstruction:
    """Recover all observed pictures with the help of labelled pictures of the same kind, none of which was sent.

    Threat model:
        An honest-but-curious server that keeps the smashed data of samples that passed through the same weights, knows
        the client's architecture, has its own layers, which tell the class of each sample, and has labelled pictures
        of its own that resemble the client's.

    Objective:
        That of `invert_by_decoder` for all smashed data s; the error with which variants of its own pictures x come
        back as G(f(w; x)); and distances between distributions along random directions: of decoded pictures and of
        such variants, and, class by class, of smashed data and of f(w; x). The pictures are the mean of those of
        several restarts.

    Args:
        view: transcript whose smashed data [n, ...] are the targets; a thousand or more make the decoder.
        architecture: the client's layers, the shape of a picture [c, h, w] and its range.
        top: the server's own layers, which name the class of each sample.
        data: the server's own pictures [m, c, h, w] and their classes [m].
        config: settings of the attack.
        generator: draws first weights, batches and variants.
        progress: called after every restart.

    Returns:
        The pictures [n, c, h, w] in the architecture's range, one clone, and `agreement`: the mean correlation of the
        restarts' pictures, by twos.

    Raises:
        InputError: no smashed data in the view, of a shape that the architecture or the top do not fit, inputs that
            are not pictures, data without classes, or of another shape.

    Reference:
        Ours; see `invert_from_known_pictures`. SDAR (`invert_by_simulation_without_labels`) has the same knowledge.

    Departures:
        None.
    """
    targets, _ = matched_targets(view, architecture, generator)
    _check_shape("own", data.inputs, architecture.input_shape)
    if data.labels is None:
        raise InputError("The server's own pictures have no classes, by which they are compared; give their labels.")
    if data.labels.is_floating_point():
        raise InputError("The labels of the server's own pictures must be whole numbers, the class of each picture.")
    seen = _classes(top, targets)
    examples = Examples(pictures=data.inputs.to(targets), classes=(data.labels.to(seen), seen))
    return _search(targets, architecture, examples, config, generator, progress)


def _search(
    targets: Tensor,
    architecture: ClientArchitecture,
    examples: Examples,
    config: ExamplesInversionConfig,
    generator: torch.Generator,
    progress: Progress,
) -> Reconstruction:
    """Some restarts, the mean of their pictures, and the clone of the best of them, fitted to that mean."""
    targets, architecture, last_layers = as_maps(targets, architecture)
    told, stretches = Told(progress, config.steps * config.restarts), (Stretch(config.steps, 0.0, 1.0),)
    finished: list[InformedCandidate] = []
    for _ in range(config.restarts):
        candidate = InformedCandidate.start(targets, architecture, config.learning, config.tilt, generator, stretches)
        candidate.know(examples, config.examples, generator)
        finished.append(candidate)
    perform([candidate.learn(told.after(config.steps)) for candidate in finished])
    drawn = [one.pictures() for one in finished]
    pictures = torch.stack(drawn).mean(0)
    if examples.places is not None:
        pictures[examples.places] = examples.pictures
    pairs = [correlation(one, other) for one, other in itertools.combinations(drawn, 2)]
    agreement = sum(pairs) / len(pairs) if pairs else None
    best = min(finished, key=lambda one: one.objective)
    if config.refit_steps:
        perform([best.refit(pictures, config.refit_steps, config.refit_rate, generator)])
    return Reconstruction(
        inputs=pictures,
        clones=(extended(best.clone, last_layers),),
        residual=residual_of(best.clone, pictures, targets),
        sign=_sign(agreement),
        rounds=(config.steps,) * len(pictures),
        agreement=agreement,
    )


@torch.no_grad()
def _classes(top: OwnTop, smashed: Tensor) -> Tensor:
    """The class that the server's own layers name for each sample."""
    was = top.top.training
    try:
        outputs = [top.top.eval()(part) for part in torch.split(smashed, _PIECE)]
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"The server's own layers do not take smashed data of shape {tuple(smashed.shape[1:])} "
            f"({(str(error).splitlines() or [''])[0]}); give the layers behind this cut."
        ) from error
    finally:
        top.top.train(was)
    return torch.cat(outputs).argmax(1)


def _check_shape(whose: str, pictures: Tensor, shape: tuple[int, ...]) -> None:
    if len(shape) != 3:
        raise InputError(
            f"This attack makes pictures [c, h, w], and inputs here have shape {shape}; use `invert_from_known_rows` "
            "for the rows of a table."
        )
    if tuple(pictures.shape[1:]) != shape or not len(pictures):
        raise InputError(
            f"The {whose} pictures have shape {tuple(pictures.shape)} and the client's inputs {shape}; give one or "
            "more pictures of the client's shape."
        )


def _sign(agreement: float | None) -> Sign:
    if agreement is None:
        return Sign.UNTESTED
    return Sign.RESOLVED if agreement >= AGREEMENT else Sign.AMBIGUOUS
