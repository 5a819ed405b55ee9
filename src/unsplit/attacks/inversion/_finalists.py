"""What becomes of restarts: which of them go on to the end, and what is made of those that came there.

A symmetry leaves all smashed data as they are, so no objective tells a solution from its exact mirror. What does tell
is which of two *found* solutions of opposite signs explains the data better: the wrong one has to bend the client's
layers. For that, both signs must come to the end.
"""

import copy
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from unsplit.attacks.inversion._candidate import Candidate
from unsplit.attacks.inversion._ensemble import AGREEMENT, Finalist, averaged, correlation, hedged
from unsplit.attacks.inversion._pieces import in_pieces
from unsplit.attacks.inversion.photographs import (
    Photographs,
    figure_contrast,
    greyed,
    in_colour,
    natural_colours,
    red_blue,
)
from unsplit.attacks.objectives import relative_residual
from unsplit.attacks.symmetry import first_layer, mirror, remix, stretch
from unsplit.knowledge import ClientArchitecture
from unsplit.types import DecidedBy, Sign

SURE_AGREEMENT, SURE_RESIDUAL = 0.9, 0.025
"""An attack may be sure where its finalists agree by this much or more and its clone leaves no more than this of the
smashed data unexplained. Fitted on the runs of `docs/results.json`."""

Witness = Callable[[nn.Module, Tensor], float]
"""Evidence from elsewhere than the objective: of a clone and the pictures [n, *input shape] of all targets, how much
more it speaks for them than for their negative (below 0: for the negative)."""

_NEAR = 1.5
"""A restart with more than this many times the lowest objective after the trial has collapsed or is lost."""
_GLANCE = 256
"""Number of pictures by which restarts are compared after the trial."""
_DECISIVE = 0.01
"""Objectives are relative to the variance of the smashed data. Those of opposite signs that differ by less than this
decide nothing: by .004 the wrong sign won (Fashion-MNIST, depth 5)."""
_STANDS_OUT = 0.05
"""By how much of the range the middle must be brighter than the border for figures to be told from their ground."""
_HEARD = 0.003
"""A witness whose evidence is smaller than this is silent (Fashion-MNIST 5, seed 1, SGD: -.0015 for the right sign)."""


def chosen(candidates: Sequence[Candidate], number: int) -> list[Candidate]:
    """The restarts that go on: the one with the lowest objective; of the others that come near it, the one that is
    most its negative, if there is one; then the lowest objectives.

    After a trial most restarts may be of one sign, and the wrong one may be ahead.
    """
    best, *others = sorted(candidates, key=lambda one: one.objective)
    near = [one for one in others if one.objective <= _NEAR * best.objective]
    if number > 1 and len(near) > 1:
        pictures = best.pictures(_GLANCE)
        alike = [correlation(pictures, one.pictures(_GLANCE)) for one in near]
        if min(alike) < 0:
            unlike = near[alike.index(min(alike))]
            others = [unlike, *(one for one in others if one is not unlike)]
    return [best, *others][:number]


@dataclass(frozen=True, kw_only=True, eq=False)
class Conclusion:
    """What is believed in the end.

    Args:
        best: the finalist whose clone is returned, with its own pictures: those of several, averaged, are nearer to the
            truth, and smoother than what the clone is to be fitted to.
        inputs: the best guess at the pictures by squared error: as those, unless restarts disagree.
        agreement: correlation of the pictures of the two best finalists; None for one.
        sign: whether the negative could be ruled out.
        decided_by: what decided between the pictures and their negative; None for one finalist.
        colours_told: whether the sense of the colours could be told; None where colours were left as they were found.
    """

    best: Finalist
    inputs: Tensor
    agreement: float | None
    sign: Sign
    decided_by: DecidedBy | None
    colours_told: bool | None = None


def conclude(
    candidates: Sequence[Candidate],
    architecture: ClientArchitecture,
    stray: float | None,
    photographs: Photographs,
    witness: Witness | None = None,
) -> Conclusion:
    """What the restarts that came to the end say together: those that agree are averaged; where others disagree, the
    inputs are the mean of all, and the less they agree the nearer to one grey.

    Args:
        candidates: the restarts, whose clones are mended for the stretch of their pictures.
        architecture: the client's layers and the range of inputs.
        stray: share of pixels that the stretch may leave outside the range, at either end; None for no stretch.
        photographs: what is taken for granted about the pictures.
        witness: evidence on the sign from elsewhere; None for none.
    """
    found = [_placed(one, architecture, stray, photographs) for one in candidates]
    best, *others = sorted(found, key=lambda one: one.candidate.objective)
    vote = 0.0 if witness is None else _vote(best, others, witness)
    if vote < 0:
        best, others = _turned(best, others, architecture)
    alike = [best.like(other) for other in others]
    decided_by = DecidedBy.REPLAY if vote else _decided_by(best, others, alike)
    agreed: list[Finalist] = []
    doubts: list[Finalist] = []
    for one, other in zip(alike, others, strict=True):
        told = one >= AGREEMENT or (one <= -AGREEMENT and decided_by is not DecidedBy.NOTHING)
        (agreed if told else doubts).append(other)
    colours_told = _colours_told(best, agreed)
    inputs = best.pictures
    if agreed:
        inputs = averaged(best, agreed, architecture)
        if stray is not None and colours_told is None:
            inputs = stretch(inputs, copy.deepcopy(best.candidate.clone), architecture, stray=stray)
    if doubts:
        inputs = hedged(replace(best, pictures=inputs), doubts)
    sign = _sign(decided_by, best.candidate.clone)
    undecided = decided_by in (None, DecidedBy.AGREEMENT) and sign is not Sign.RESOLVED
    if undecided and _on_ground(best, architecture, photographs):
        sign, decided_by = Sign.ASSUMED, DecidedBy.FIGURES
    if colours_told is not None:
        # What could not be told is left out of the best guess; the clone goes with the vivid pictures.
        inputs = greyed(inputs, red_blue=not colours_told)
    return Conclusion(
        best=best,
        inputs=inputs,
        agreement=alike[0] if alike else None,
        sign=sign,
        decided_by=decided_by,
        colours_told=colours_told,
    )


def surely(agreement: float | None, residual: float, sign: str) -> bool:
    """Whether an attack that sees this of itself may be sure that its error is below half of a blind guess's.

    Args:
        agreement: correlation of the pictures of the two best restarts; None without restarts.
        residual: mean relative squared error of the clone's output.
        sign: value of the `Sign` of the pictures.
    """
    told = agreement is not None and agreement >= SURE_AGREEMENT
    return told and residual <= SURE_RESIDUAL and sign in (Sign.RESOLVED.value, Sign.ASSUMED.value)


def extended(clone: nn.Module, layers: nn.Sequential) -> nn.Module:
    """The clone with layers behind it, under the names that they had."""
    if not len(layers):
        return clone
    return nn.Sequential(OrderedDict([*clone.named_children(), *layers.named_children()]))


@torch.no_grad()
def residual_of(clone: nn.Module, pictures: Tensor, targets: Tensor) -> Tensor:
    """The relative squared error of the clone's output against each target, shape [n]."""
    output = torch.cat([clone(part) for part in in_pieces(pictures, pictures.shape[1:])])
    return relative_residual(output, targets)


def _on_ground(best: Finalist, architecture: ClientArchitecture, photographs: Photographs) -> bool:
    """Whether pictures of which the smashed data leave the sign open show figures on dark ground, as is assumed."""
    layer = first_layer(best.candidate.clone)
    if layer is None or layer.dense or not photographs.on_ground(architecture.input_shape):
        return False
    return _contrast(best.pictures, architecture) >= _STANDS_OUT


def _contrast(pictures: Tensor, architecture: ClientArchitecture) -> float:
    """How much brighter the middle of pictures is than their border, as a share of the range."""
    return float(figure_contrast(pictures)) / (architecture.high - architecture.low)


def _placed(
    candidate: Candidate, architecture: ClientArchitecture, stray: float | None, photographs: Photographs
) -> Finalist:
    """What a restart found, in the range and the colours that pictures are known to have."""
    pictures = candidate.pictures()
    if stray is None:
        return Finalist(candidate=candidate, pictures=pictures)
    colours = None
    if photographs.colours and in_colour(architecture.input_shape):
        colours = natural_colours(pictures, stray)
    if colours is None:
        pictures = stretch(pictures, candidate.clone, architecture, stray=stray)
        if photographs.on_ground(architecture.input_shape) and _contrast(pictures, architecture) < -_STANDS_OUT:
            pictures = mirror(pictures, candidate.clone, architecture)
        return Finalist(candidate=candidate, pictures=pictures)
    remix(candidate.clone, colours.mixing, colours.offset)
    return Finalist(candidate=candidate, pictures=colours(pictures), colours_told=colours.told)


def _colours_told(best: Finalist, agreed: Sequence[Finalist]) -> bool | None:
    """Whether all finalists that agree in shapes tell the same sense of the colours."""
    if best.colours_told is None:
        return None
    vivid = red_blue(best.pictures)
    return best.colours_told and all(correlation(vivid, red_blue(other.pictures)) > 0 for other in agreed)


def _vote(best: Finalist, others: Sequence[Finalist], witness: Witness) -> float:
    """The witness's evidence for the best's sign, from all finalists whose sign relative to it is known."""
    vote = witness(best.candidate.clone, best.pictures)
    for other in others:
        alike = best.like(other)
        if abs(alike) >= AGREEMENT:
            vote += math.copysign(1, alike) * witness(other.candidate.clone, other.pictures)
    return vote if abs(vote) >= _HEARD else 0.0


def _turned(
    best: Finalist, others: Sequence[Finalist], architecture: ClientArchitecture
) -> tuple[Finalist, list[Finalist]]:
    """The best of the other sign, and the rest: a finalist that was found there, else the exact mirror of the best."""
    for number, other in enumerate(others):
        if best.like(other) <= -AGREEMENT:
            return other, [best, *others[:number], *others[number + 1 :]]
    pictures = mirror(best.pictures, best.candidate.clone, architecture)
    return Finalist(candidate=best.candidate, pictures=pictures), [*others]


def _decided_by(best: Finalist, others: Sequence[Finalist], alike: Sequence[float]) -> DecidedBy | None:
    """What decides by itself; `alike` are the correlations of the others' pictures with the best's."""
    if not others:
        return None
    negatives = [other for one, other in zip(alike, others, strict=True) if one <= -AGREEMENT]
    if negatives:
        ahead = min(other.candidate.objective for other in negatives) - best.candidate.objective
        return DecidedBy.OBJECTIVE if ahead >= _DECISIVE else DecidedBy.NOTHING
    return DecidedBy.AGREEMENT if alike[0] >= AGREEMENT else DecidedBy.NOTHING


def _sign(decided_by: DecidedBy | None, clone: nn.Module) -> Sign:
    if decided_by is None:
        return Sign.UNTESTED
    layer = first_layer(clone)
    # Where an exact mirror exists, all restarts may have ended on the same wrong side of it, and do (docs/sign.md).
    mirrored = layer is None or (layer.bias is not None and not layer.padded)
    open_ = decided_by is DecidedBy.NOTHING or (decided_by is DecidedBy.AGREEMENT and mirrored)
    return Sign.AMBIGUOUS if open_ or (layer is not None and layer.dense) else Sign.RESOLVED
