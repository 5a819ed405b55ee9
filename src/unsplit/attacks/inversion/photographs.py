"""What is true of photographs whatever they show, and how an attack uses it; none of it needs a picture.

A first layer undoes any mixing of the colour channels, so smashed data leave the colours of the pictures open: shapes
come out sharp and right in colours that are one mixture of the true ones. In photographs, brightness varies a great
deal and is spread evenly, while colourfulness is *sparse*: most pixels are nearly grey and a few are vivid. So of all
directions in colour space, grey is the one whose complement has the heaviest tails (independent component analysis,
with a fourth moment).
"""

import functools
import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from unsplit.attacks.settings import Assumptions
from unsplit.attacks.symmetry import filled
from unsplit.errors import check_not_negative

AXES = ((3**-0.5, 3**-0.5, 3**-0.5), (2**-0.5, 0.0, -(2**-0.5)), (6**-0.5, -2 * 6**-0.5, 6**-0.5))
"""The axes along which colours of photographs vary: grey, red against blue, green against magenta."""

_VARIANCES = (0.2175, 0.0188, 0.0045)
"""Variances along these axes, relative to each other (the eigenvalues of ImageNet's colours in the colour augmentation
of Krizhevsky, Sutskever and Hinton, 2012)."""
_MIDDLES = (0.778, 0.056, -0.009)
"""Means along these axes: those of ImageNet's mean colour (.485, .456, .406), which is slightly warm."""

_POOLED = 4
"""Colours are judged on means of so many pixels a side, where a decoder's mistakes in detail average out."""
_PAIR_TURNS = 30
_TOLD = 1.15
"""One sense of the red-blue axis is believed if the other puts this many times more out of the range of a display."""
_SAMPLE = 200_000
_CONTRAST = 0.45
"""Figures need not be brighter than the ground by more than this. Less leaves too many restarts on the wrong side; with
no limit, where the ground is dark anyway (MNIST), pictures keep a glow in their middle."""
_SMALL = 5
"""Pictures of fewer rows or columns than this have no middle and no border."""
_PIXELS = 4_000_000
"""Of more pixels than these, every n-th picture is looked at, so that it takes a few hundred megabytes at most."""


@dataclass(frozen=True, kw_only=True)
class Photographs:
    """What an attack takes for granted about the client's pictures. Each can be turned off.

    Args:
        colours: that colours vary as those of photographs do; for pictures of three channels, taken for red, green
            and blue.
        phases: weight of the demand, in the second half of the schedule, that pictures have the same statistics in
            every phase of the grid of the client's pooling (see `phase_misfit`); 0 turns it off.
        figures: how much the demand that figures stand on dark ground (see `figure_misfit`) weighs beside the total
            variation, with which it falls; for pictures of one channel. It settles the sign: of a picture and its
            negative, smashed data tell neither. 0 turns it off.

    Raises:
        InputError: a negative weight.
    """

    colours: bool = True
    phases: float = 0.1
    figures: float = 1.0

    def __post_init__(self) -> None:
        check_not_negative(self, "phases", "figures")

    def within(self, assumptions: Assumptions) -> "Photographs":
        """The same without what is not to be taken for granted."""
        kept = self if assumptions.photographs else replace(self, colours=False, phases=0.0)
        return kept if assumptions.figures else replace(kept, figures=0.0)

    def on_ground(self, input_shape: tuple[int, ...]) -> bool:
        """Whether inputs of this shape are taken for figures on dark ground."""
        return bool(self.figures) and len(input_shape) == 3 and input_shape[0] == 1 and min(input_shape[1:]) >= _SMALL

    def assumed(self, input_shape: tuple[int, ...]) -> tuple[str, ...]:
        """What is taken for granted of inputs of this shape, in words."""
        said = []
        if self.colours and in_colour(input_shape):
            said.append("inputs are photographs of many things: most colours are nearly grey, on the usual axes")
        if self.phases and len(input_shape) == 3:
            said.append("inputs are photographs: their statistics do not depend on the grid of the client's pooling")
        if self.on_ground(input_shape):
            said.append("inputs show figures in the middle, brighter than the ground at the border")
        return tuple(said)


def in_colour(input_shape: tuple[int, ...]) -> bool:
    """Whether inputs of this shape are pictures of three channels."""
    return len(input_shape) == 3 and input_shape[0] == 3


@dataclass(frozen=True, kw_only=True, eq=False)
class ColourMap:
    """The change of colours, mixing @ colour + offset, that makes pictures vary as photographs do.

    Args:
        mixing: shape [3, 3]; invertible.
        offset: shape [3].
        told: whether the sense of the red-blue axis could be told. That of the green-magenta axis never is.
    """

    mixing: Float[Tensor, "3 3"]
    offset: Float[Tensor, " 3"]
    told: bool

    def __call__(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """The pictures in these colours, within the range from 0 to 1."""
        mixed = torch.einsum("cd,ndhw->nchw", self.mixing, pictures)
        return mixed.add_(self.offset[:, None, None]).clamp_(0, 1)


@torch.no_grad()
def natural_colours(pictures: Float[Tensor, "n 3 h w"], stray: float) -> ColourMap | None:
    """The change of colours that makes pictures vary as photographs do, without a look at the truth.

    Grey is the axis whose complement, where all variances are 1, has the largest sum of kurtoses. The chromatic axes
    are the principal components of what grey does not explain, in the sense that puts less of the pictures out of the
    range of a display. Brightness spans the range, and all are given the means, and the chromatic axes the amplitudes,
    of photographs.

    Args:
        pictures: what an attack found, with colours mixed.
        stray: share of the pixels that may be darker than black, or brighter than white.

    Returns:
        The change, or None where the pictures have not three colours to tell apart.
    """
    pixels = pictures[:, 0].numel()
    pictures = pictures[:: max(1, -(-pixels // _PIXELS))]
    every = pictures.transpose(0, 1).flatten(1).double()
    pooled = functional.avg_pool2d(pictures, min(_POOLED, *pictures.shape[2:])).transpose(0, 1).flatten(1).double()
    whitening = _whitening(pooled)
    if whitening is None:
        return None
    white = whitening @ (pooled - pooled.mean(1, keepdim=True))
    grey = _grey_direction(white) @ whitening
    spread = torch.cov(every)
    load = spread @ grey / (grey @ spread @ grey)
    # Black is dark: most of what is known of the sign is that the range begins at 0.
    sign = torch.sign(load.sum()) if bool(load.sum() != 0) else load.new_ones(())
    rest = torch.eye(3).to(load) - torch.outer(load, grey)
    chromatic = torch.linalg.eigh(rest @ spread @ rest.T).eigenvectors[:, [2, 1]].T @ rest
    rows = torch.cat([(sign * grey)[None], chromatic])
    rows = rows / (rows @ spread @ rows.T).diagonal().clamp_min(1e-12).sqrt()[:, None]
    return _placed(rows, every, stray)


def greyed(pictures: Float[Tensor, "n 3 h w"], *, red_blue: bool) -> Float[Tensor, "n 3 h w"]:
    """Pictures with the chromatic axes at their means: the best guess where their sense cannot be told.

    Args:
        pictures: colours that `natural_colours` chose.
        red_blue: whether to leave out the red-blue axis as well as the green-magenta axis.
    """
    axes = torch.tensor(AXES).to(pictures)
    along = torch.einsum("ac,nchw->nahw", axes, pictures)
    for axis in (1, 2) if red_blue else (2,):
        along[:, axis] = _MIDDLES[axis]
    return torch.einsum("ac,nahw->nchw", axes, along).clamp(0, 1)


def red_blue(pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n h w"]:
    """How red rather than blue each pixel is."""
    return torch.einsum("c,nchw->nhw", torch.tensor(AXES[1]).to(pictures), pictures)


def phase_misfit(pictures: Float[Tensor, "n c h w"], period: int) -> Float[Tensor, ""]:
    """How much the statistics of pictures depend on the phase, row and column modulo `period`: 0 if not at all.

    Pooling does not say where in its window the largest value was, and a decoder puts it always in the same place: a
    chequerboard. In photographs the mean, the variance, and the products of neighbours are the same in every phase.

    Returns:
        The variance over phases of the means of four quantities (value, its square, the squared differences to the next
        row and column), each relative to its scale in all pictures.
    """
    rows, columns = ((size - 1) // period * period for size in pictures.shape[2:])
    values = pictures[:, :, :rows, :columns]
    right = (pictures[:, :, :rows, 1 : columns + 1] - values).square()
    down = (pictures[:, :, 1 : rows + 1, :columns] - values).square()
    spread = values.detach().var().clamp_min(1e-4)
    roughness = (0.5 * (right + down).detach().mean()).clamp_min(1e-5)
    total = torch.zeros((), device=pictures.device)
    scales = ((values, spread.sqrt()), (values.square(), spread), (right, roughness), (down, roughness))
    for quantity, scale in scales:
        split = quantity.reshape(*quantity.shape[:2], rows // period, period, columns // period, period)
        of_phase = split.mean((0, 2, 4)) / scale
        total = total + (of_phase - of_phase.mean((1, 2), keepdim=True)).square().mean()
    return total


def figure_contrast(pictures: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
    """How much brighter the middle of pictures is than their border, in the mean: negative for negatives of figures on
    dark ground.

    The middle is the inner half of rows and columns, the border the outermost seventh on each side.
    """
    height, width = pictures.shape[2:]
    rows, columns = math.ceil(height / 7), math.ceil(width / 7)
    inner = pictures[:, :, rows:-rows, columns:-columns]
    number = pictures.numel() - inner.numel()
    border = (pictures.sum() - inner.sum()) / number
    middle: Tensor = pictures[:, :, height // 4 : height - height // 4, width // 4 : width - width // 4].mean()
    return middle - border


def figure_misfit(pictures: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
    """How much is missing for figures to stand out from their ground: 0 if nothing is."""
    return (_CONTRAST - figure_contrast(pictures)).clamp_min(0)


def _placed(rows: Tensor, colours: Tensor, stray: float) -> ColourMap:
    """The change that gives unit components `rows` @ colours their places and amplitudes."""
    axes = torch.tensor(AXES).to(rows)
    along = rows @ colours[:, :: max(1, colours.shape[1] // _SAMPLE)]
    low, high = filled(along[0], stray)
    # From black to white is sqrt(3) along the grey axis.
    unit = math.sqrt(3) / (high - low).clamp_min(1e-12)
    amplitude = torch.tensor(_VARIANCES).to(rows)
    amplitude = unit * (amplitude / amplitude[0]).sqrt()
    middles = along.mean(1)
    spilled = {}
    for senses in ((1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)):
        scale = amplitude * torch.tensor((1.0, *senses)).to(rows)
        offset = torch.tensor(_MIDDLES).to(rows) - scale * middles
        placed = axes.T @ (scale[:, None] * along + offset[:, None])
        spilled[senses] = (float((placed - placed.clamp(0, 1)).square().mean()), scale, offset)
    best = min(spilled, key=lambda senses: spilled[senses][0])
    least = min(spilled[-best[0], other][0] for other in (1.0, -1.0))
    kept, scale, offset = spilled[best]
    return ColourMap(
        mixing=(axes.T @ (scale[:, None] * rows)).float(),
        offset=(axes.T @ offset).float(),
        told=least >= _TOLD * kept and least > 0,
    )


def _whitening(colours: Tensor) -> Tensor | None:
    """The matrix that gives these colours, shape [3, n], the covariance 1; None where they have fewer than three."""
    values, vectors = torch.linalg.eigh(torch.cov(colours))
    if not bool(values[0] > 1e-7 * values[-1]):
        return None
    white: Tensor = (vectors / values.sqrt()).T
    return white


def _grey_direction(white: Tensor) -> Tensor:
    """Of white colours [3, n], the direction whose complement has the largest sum of kurtoses."""
    bases = _bases().to(white)
    moments = torch.einsum("in,jn,kn,ln->ijkl", white, white, white, white).flatten() / white.shape[1]
    pairs = bases[:, 1:].reshape(-1, 3)
    powers = torch.einsum("ni,nj,nk,nl->nijkl", pairs, pairs, pairs, pairs).flatten(1)
    kurtoses = (powers @ moments).reshape(-1, 2).sum(1)
    return bases[kurtoses.argmax(), 0]


@functools.cache
def _bases() -> Tensor:
    """Orthonormal bases [n, 3, 3] for half of all directions, some 3 degrees apart, turned around each."""
    polar, around = torch.linspace(0, math.pi / 2, 31), torch.linspace(0, 2 * math.pi, 121)[:-1]
    polar, around = (angle.flatten() for angle in torch.meshgrid(polar, around, indexing="ij"))
    first = torch.stack([polar.sin() * around.cos(), polar.sin() * around.sin(), polar.cos()], 1)
    second = torch.stack([polar.cos() * around.cos(), polar.cos() * around.sin(), -polar.sin()], 1)
    third = torch.linalg.cross(first, second)
    bases = []
    for turn in torch.linspace(0, math.pi / 2, _PAIR_TURNS + 1)[:-1]:
        turned = turn.cos() * second + turn.sin() * third, turn.cos() * third - turn.sin() * second
        bases.append(torch.stack([first, *turned], 1))
    return torch.cat(bases)
