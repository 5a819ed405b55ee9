"""Results of recorded traffic and of the U-shape made by hand, and what is read from a Markdown page."""

import re

from markdown_it import MarkdownIt

from helpers.reports import GUESSES, result
from unsplit.results import RecordedInversionRow, RecordedLabelRow, RecordedRow, UShapeRow


def whole(**changes):
    row = {
        "mse": 0.03, "mse_scale_free": 0.03, "mse_best_trivial": 0.06, "guesses": GUESSES, "skill": 0.5, "psnr": 20.0,
        "ssim": 0.5, "depth": 1, "cut": "relu1", "head": 1, "preset": "joint", "steps": 100, "known_samples": 1,
        "label_accuracy": 0.6, "label_chance": 0.2, "reference_accuracy": 0.9, "bottom_accuracy": 0.9,
        "head_accuracy": 0.9, "whole_accuracy": 0.7, "whole_agreement": 0.8, "chance": 0.1, "pictures": "w.png",
    }  # fmt: skip
    return UShapeRow(**row | changes)


def recorded(scores=None, margin=1.5, label_scores=()):
    inverted = RecordedInversionRow(
        depth=1, cut="relu1", preset="joint", step=9, samples=8, steps=1, smashed=8, residual=1e-3, sign="resolved",
        agreement=None, seconds=1.0, pictures="p.png", scores=scores,
    )  # fmt: skip
    read = RecordedLabelRow(
        attack="infer_by_surrogate", head=1, steps=9, samples=9, undecided=0, named=False, counts=(9,), margin=margin,
        seconds=1.0, scores=label_scores,
    )  # fmt: skip
    row = RecordedRow(
        transcript="t", observer="server", model="mnist-net", setup="c", others=1, messages=9, steps=9, first_step=0,
        last_step=8, truth=scores is not None, inversion=(inverted,), labels=(read,),
    )  # fmt: skip
    return result((), ()).model_copy(update={"training": None, "recorded": row})


CLAIMS = re.compile(r"\b(safe|safely|secure|secured|protected|private)\b", re.IGNORECASE)


def tables(text):
    """The header and the rows of each table that a Markdown reader sees."""
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and found and token.level >= 4:
            found[-1][-1].append("".join(child.content for child in token.children))
    return found
