"""How the figures and the grids of pictures are drawn."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#a8481e", "#1c5a99", "#4b7a1f", "#7a3f95", "#7d6608")


def figure_of(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100)
    FigureCanvasAgg(figure)
    return figure


def axes_of(x_label: str, y_label: str) -> "tuple[Figure, Axes]":
    figure = figure_of(7, 4.2)
    axes = figure.add_subplot()
    plain(axes, x_label, y_label)
    return figure, axes


def plain(axes: "Axes", x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(visible=True, axis="y", color="#d5d1c8", linewidth=0.6)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))


def png(figure: "Figure", axes: "Axes") -> bytes:
    legend = axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", bbox_extra_artists=(legend,), metadata={"Software": None})
    return buffer.getvalue()


_SCALE, _GAP = 2, 2
GRID_MARGIN = 150
"""How wide the labels of a grid are."""


Line = tuple[str, Tensor | None]


def grid(*sides: Sequence[Line]) -> bytes:
    """A PNG of labelled rows of pictures; several sides stand beside each other, and the first has the labels.

    Args:
        sides: rows of a label and pictures [n, channels, h, w], values 0 to 1; None leaves a row empty.
    """
    labels = [label for label, _ in sides[0]]
    first = sides[0][0][1]
    if first is None:
        raise RuntimeError("the first row of a grid gives its size and cannot be empty")
    body = torch.cat(
        [torch.cat([_strip(pictures, first) for _, pictures in side], 1) for side in _spaced(sides, first)], 2
    )
    pixels = (body.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    image = Image.new("RGB", (GRID_MARGIN + pixels.shape[1], pixels.shape[0]), "white")
    image.paste(Image.fromarray(np.ascontiguousarray(pixels)), (GRID_MARGIN, 0))
    pen, height = ImageDraw.Draw(image), pixels.shape[0] // len(labels)
    for number, label in enumerate(labels):
        place = (6, number * height + height // 2)
        pen.text(place, label, fill="black", anchor="lm", font=ImageFont.load_default(size=13))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _spaced(sides: Sequence[Sequence[Line]], like: Tensor) -> list[Sequence[Line]]:
    """The sides with an empty column between."""
    column = torch.ones(1, *like.shape[1:])
    spaced: list[Sequence[Line]] = []
    for side in sides:
        spaced += [[(label, column) for label, _ in side], side] if spaced else [side]
    return spaced


def _strip(pictures: Tensor | None, like: Tensor) -> Tensor:
    """A row of pictures as [3, height, width]."""
    if pictures is None:
        pictures = torch.ones_like(like)
    large = pictures.expand(-1, 3, -1, -1).repeat_interleave(_SCALE, 2).repeat_interleave(_SCALE, 3)
    return torch.cat(list(functional.pad(large, (_GAP, _GAP, _GAP, _GAP), value=1.0)), 2)
