"""Where "inputs are photographs" is true enough to help an attack, and where it is not.

    UNSPLIT_DATA=DIR python benchmarks/photographs.py [--pictures 2000] [--mixings 10] [--attacks]

No attack is needed to ask it of the priors alone. *Colours*: true pictures are mixed by random matrices that keep the
sign of brightness (which an attack finds otherwise), stretched to the range as an attack without the prior does
(`mixed`), and given their colours back by `natural_colours` (`vivid`). Where the sense of an axis is not told, an
attack leaves the axis out (`concluded`); `grey` leaves out both, and `own grey` is the pictures' own brightness, the
least error of a grey picture. One affine map of the colours, chosen by the truth, leaves no error at all. `guess`: one
grey for all. `brightness`: correlation of the mean channel, found and true.

*Phases*: what the penalty costs the true pictures in batches of 24, and what the same pictures cost with the largest
value of each window in its first corner and the window's least value elsewhere.

With `--attacks`, instead, one small untrained client on four sets is attacked with the prior on and off.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean

import torch
from measure import write
from pictures import others, photographs, pieces
from small_net import cifar_small
from torch import Tensor
from torch.nn import functional

from unsplit.attacks.inversion import AmortisedConfig, LearningConfig, Photographs, invert_by_decoder
from unsplit.attacks.inversion.photographs import AXES, greyed, natural_colours, phase_misfit, red_blue
from unsplit.data import load
from unsplit.knowledge import ClientArchitecture
from unsplit.metrics import mse
from unsplit.models import build, split
from unsplit.randomness import generator, numbered_seed
from unsplit.types import Kind, Message, Transcript

STRAY = 0.005
PERIODS = (2, 4, 8)
ATTACKED_PICTURES = 500
ATTACKED = ("cifar-10", "hues turned by 180 degrees", "heat map", "immunohistochemistry")


def sets(number: int) -> Iterator[tuple[str, str, Tensor]]:
    """Kind, name and pictures [n, 3, 32, 32] of every set."""
    draws = generator(0)
    cifar = load("cifar-10").train.images[:number]
    labels = load("cifar-10").train.labels
    taken = {name: pieces(picture, 32, 400, draws) for name, picture in photographs().items()}
    yield "photographs", "cifar-10", cifar
    for few in (20, 100):
        yield "photographs", f"cifar-10, {few} pictures", cifar[:few]
    for label, name in ((0, "aeroplanes"), (6, "frogs"), (8, "ships")):
        yield "photographs", f"cifar-10, {name}", load("cifar-10").train.images[labels == label][:number]
    yield "photographs", "all seven photographs", torch.cat(list(taken.values()))
    for name, pictures in taken.items():
        yield "one photograph", name, pictures
    for name, picture in others().items():
        yield "other", name, pieces(picture, 32, 400, draws)
    yield "false colour", "channels in turn (120 degrees)", cifar.roll(1, 1)
    axis = torch.tensor(AXES[0])
    half_turn = 2 * torch.outer(axis, axis) - torch.eye(3)
    yield "false colour", "hues turned by 180 degrees", torch.einsum("cd,ndhw->nchw", half_turn, cifar).clamp(0, 1)
    grey = cifar.mean(1, keepdim=True)
    yield "false colour", "heat map", torch.cat([(1.5 - (4 * grey - at).abs()).clamp(0, 1) for at in (3, 2, 1)], 1)
    third = len(grey) // 3
    yield "spectral", "three unrelated bands", torch.cat([grey[at : 3 * third : 3] for at in range(3)], 1)
    yield "spectral", "grey in three channels", grey.expand(-1, 3, -1, -1).contiguous()


def mixed(pictures: Tensor, seed: int) -> Tensor:
    """The pictures through a random orthogonal matrix and scalings from a half to 2, in a range from 0 to 1."""
    draws = generator(seed)
    orthogonal, _ = torch.linalg.qr(torch.randn(3, 3, generator=draws))
    mixing = orthogonal * 2 ** (2 * torch.rand(3, generator=draws) - 1)[:, None]
    mixing = mixing if float(mixing.sum()) > 0 else -mixing
    found = torch.einsum("cd,ndhw->nchw", mixing, pictures)
    return (found - found.min()) / (found.max() - found.min())


def stretched(pictures: Tensor) -> Tensor:
    """All but the share `STRAY` at either end, in the range from 0 to 1."""
    ordered = pictures.flatten().sort().values
    outside = int(STRAY * len(ordered))
    low, high = ordered[outside], ordered[-1 - outside]
    return ((pictures - low) / (high - low)).clamp(0, 1)


def likeness(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


def cornered(pictures: Tensor, period: int) -> Tensor:
    """Each window's largest value in its first corner and its smallest elsewhere."""
    corner = torch.zeros_like(pictures)
    corner[:, :, ::period, ::period] = 1
    high = functional.max_pool2d(pictures, period).repeat_interleave(period, 2).repeat_interleave(period, 3)
    low = -functional.max_pool2d(-pictures, period).repeat_interleave(period, 2).repeat_interleave(period, 3)
    return torch.where(corner > 0, high, low)


def phases(pictures: Tensor) -> dict[str, float]:
    """What batches of 24 cost, true and with one corner for all largest values."""
    batches = torch.split(pictures[:480], 24)
    costs = {}
    for period in PERIODS:
        costs[f"phases {period}"] = fmean(float(phase_misfit(batch, period)) for batch in batches)
        costs[f"corners {period}"] = fmean(float(phase_misfit(cornered(batch, period), period)) for batch in batches)
    return costs


def colours(pictures: Tensor, mixings: int) -> dict[str, object]:
    """Mean errors over random mixings, and how often the prior said what is so."""
    errors: dict[str, list[float]] = {name: [] for name in ("mixed", "vivid", "concluded", "grey")}
    brightness: list[float] = []
    told = right = negative = left = 0
    for number in range(mixings):
        found = mixed(pictures, numbered_seed(1, number))
        errors["mixed"].append(mse(stretched(found), pictures))
        change = natural_colours(found, STRAY)
        if change is None:
            left += 1
            for name in ("vivid", "concluded", "grey"):
                errors[name].append(errors["mixed"][-1])
            brightness.append(likeness(stretched(found).mean(1), pictures.mean(1)))
            continue
        vivid = change(found)
        errors["vivid"].append(mse(vivid, pictures))
        errors["grey"].append(mse(greyed(vivid, red_blue=True), pictures))
        errors["concluded"].append(mse(greyed(vivid, red_blue=not change.told), pictures))
        brightness.append(likeness(vivid.mean(1), pictures.mean(1)))
        negative += brightness[-1] < 0
        told += change.told
        right += change.told and likeness(red_blue(vivid), red_blue(pictures)) > 0
    grey = pictures.mean(1, keepdim=True).expand_as(pictures)
    row: dict[str, object] = {name: fmean(found) for name, found in errors.items()}
    return row | {
        "brightness": fmean(brightness), "worst_concluded": max(errors["concluded"]),
        "own_grey": mse(grey, pictures),
        "guess": mse(torch.full_like(pictures, float(pictures.mean())), pictures),
        "mixings": mixings, "negative": negative, "told": told, "told_right": right, "left_alone": left,
    }  # fmt: skip


def attacked(name: str, pictures: Tensor) -> dict[str, object]:
    """An untrained client of two convolutions (cut behind its second ReLU), attacked with the prior on and off."""
    bottom, _ = split(build(cifar_small, generator=generator(0)), "relu2")
    with torch.no_grad():
        smashed = bottom(pictures)
    message = Message(step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=smashed)
    view = Transcript(observer="server", messages=(message,))
    row: dict[str, object] = {"what": f"attack on {name}", "steps": 250, "restarts": 2, "pictures": len(pictures)}
    row["guess"] = mse(torch.full_like(pictures, float(pictures.mean())), pictures)
    row["own_grey"] = mse(pictures.mean(1, keepdim=True).expand_as(pictures), pictures)
    for words, prior in (("on", Photographs()), ("off", Photographs(colours=False))):
        config = AmortisedConfig(candidates=2, steps=250, learning=LearningConfig(batch=16))
        config = replace(config, learning=replace(config.learning, photographs=prior))
        architecture = ClientArchitecture.of(bottom, tuple(pictures.shape[1:]))
        found = invert_by_decoder(view, architecture, config, generator=generator(numbered_seed(2, 0)))
        row[f"error_{words}"] = mse(found.inputs, pictures)
        row[f"told_{words}"] = found.colours_told
        row[f"residual_{words}"] = float(found.residual.mean())
    return row


def main() -> None:
    """Measure all sets, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2000, help="of CIFAR-10")
    parser.add_argument("--mixings", type=int, default=10)
    parser.add_argument("--attacks", action="store_true", help="attack a small client instead: minutes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    for kind, name, pictures in sets(options.pictures):
        if options.attacks:
            if name in ATTACKED:
                rows.append(attacked(name, pictures[:ATTACKED_PICTURES]))
                write("photographs_attacked", rows)
            continue
        rows.append({"what": name, "kind": kind, "pictures": len(pictures), **colours(pictures, options.mixings)})
        rows[-1].update(phases(pictures))
        print(table_row(rows[-1]), flush=True)
    if not options.attacks:
        write("photographs", rows)


def table_row(row: dict[str, object]) -> str:
    """One row of the table, errors as mean squared errors."""
    names = ("mixed", "vivid", "concluded", "worst_concluded", "grey", "own_grey", "guess")
    errors = " | ".join(f"{row[name]:.4f}" for name in names)
    costs = " | ".join(f"{row[f'{what} {period}']:.3f}" for period in PERIODS for what in ("phases", "corners"))
    words = f"{row['told_right']} of {row['told']}, {row['negative']} negative, brightness {row['brightness']:.2f}"
    return f"| {row['what']} | {errors} | {words} | {costs} |"


if __name__ == "__main__":
    main()
