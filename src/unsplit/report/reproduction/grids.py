"""Tables 4 and 6: pictures, from the tensors of a store."""

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from unsplit.errors import DataError
from unsplit.experiment.reproduce.cells import evaluation
from unsplit.experiment.reproduce.plan import depths_of
from unsplit.experiment.reproduce.reader import Found, Reader, is_collaborative, is_inversion
from unsplit.experiment.reproduce.store import Store

_SCALE, _GAP, _MARGIN = 2, 2, 150
Line = tuple[str, Tensor | None]


def picture_grids(store: Store) -> dict[str, bytes]:
    """PNGs by file name: for Table 4 "table4-DATASET.png", for Table 6 "table6-DATASET-PRESET.png".

    A data set that is not on this machine, whose originals cannot be shown, is left out.
    """
    reader, drawn = Reader(store), {}
    for dataset in reader.datasets:
        try:
            originals = evaluation(dataset).targets.images
        except DataError:
            continue
        lines = _table4(store, reader, dataset)
        if any(pictures is not None for _, pictures in lines):
            drawn[f"table4-{dataset}.png"] = grid([("original", originals), *lines])
        for preset in ("strong", "joint", "paper"):
            sides = [_table6(store, reader, dataset, preset, state) for state in ("before", "after")]
            if any(pictures is not None for side in sides for _, pictures in side):
                left, right = ([("original", originals), *side] for side in sides)
                drawn[f"table6-{dataset}-{preset}.png"] = grid(left, right)
    return drawn


def _table4(store: Store, reader: Reader, dataset: str) -> list[Line]:
    depth = 2 if dataset == "digits" else 3
    wanted = {
        "white box": ("joint", is_collaborative("white box", depth)),
        **{
            f"UnSplit, {preset}": (preset, is_inversion(preset, depth, "after"))
            for preset in ("strong", "joint", "paper")
        },
        **{
            attack: ("joint", is_collaborative(attack, depth))
            for attack in ("query-free, own data", "query-free, no data")
        },
    }
    return [
        (label, _pictures(store, reader.find("table4", dataset, cells, preset=preset)))
        for label, (preset, cells) in wanted.items()
    ]


def _table6(store: Store, reader: Reader, dataset: str, preset: str, state: str) -> list[Line]:
    return [
        (
            f"depth {depth}",
            _pictures(store, reader.find("table6", dataset, is_inversion(preset, depth, state), preset=preset)),
        )
        for depth in depths_of(dataset)
    ]


def _pictures(store: Store, found: Found) -> Tensor | None:
    """Those of the first seed."""
    if not found.results:
        return None
    first = min(found.results, key=lambda result: int(str(result.config["seed"])))
    return store.tensors(first)["inputs"]


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
    image = Image.new("RGB", (_MARGIN + pixels.shape[1], pixels.shape[0]), "white")
    image.paste(Image.fromarray(np.ascontiguousarray(pixels)), (_MARGIN, 0))
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
