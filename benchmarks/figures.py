"""Where "inputs show figures on dark ground" helps an attack, and where it misleads one.

    UNSPLIT_DATA=DIR python benchmarks/figures.py [--depths 3 5] [--steps 800]

The paper's net for MNIST is trained on 10,000 pictures of each set and cut; the attack sees the smashed data of 2,000
others, with the prior on and off. The sets: digits and clothes, on dark ground; digits on bright ground, where what is
taken for granted is the opposite of the truth; the middles of grey photographs, which have neither figure nor ground.
`likeness` is the correlation of found and true pictures: below 0 they are negatives. `guess` is the mean picture of the
client's data. Every row is written as it is measured; one takes some two minutes of one core.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

import torch
from measure import write
from torch import Tensor, nn
from torch.nn import functional

from unsplit.attacks.inversion import AmortisedConfig, Photographs, invert_by_decoder
from unsplit.data import load
from unsplit.knowledge import ClientArchitecture
from unsplit.metrics import mse
from unsplit.models import build, split
from unsplit.randomness import generator, numbered_seed
from unsplit.types import Kind, Message, Transcript

TRAINED, SEEN = 10_000, 2_000
EPOCHS, BATCH, RATE = 3, 64, 0.001


def sets() -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, pictures [12000, 1, 28, 28] and labels of every set."""
    for name, words in (("mnist", "digits"), ("fashion-mnist", "clothes")):
        some = load(name).train
        pictures, labels = some.images[: TRAINED + SEEN], some.labels[: TRAINED + SEEN]
        yield f"{words} on dark ground", pictures, labels
        if name == "mnist":
            yield f"{words} on bright ground", 1 - pictures, labels
    some = load("cifar-10").train
    grey = some.images[: TRAINED + SEEN, :, 2:-2, 2:-2].mean(1, keepdim=True)
    yield "grey photographs", grey, some.labels[: TRAINED + SEEN]


def trained(pictures: Tensor, labels: Tensor) -> nn.Module:
    """A client and its server, trained on these."""
    model, source = build("mnist-net", generator=generator(0)), generator(1)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(pictures), generator=source).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(model(pictures[batch]), labels[batch]).backward()
            optimizer.step()
    return model.eval()


def attacked(model: nn.Module, depth: int, pictures: Tensor, labels: Tensor, steps: int) -> dict[str, object]:
    """Errors with the prior on and off, of pictures that the client was not trained on."""
    bottom, top = split(model, depth)
    with torch.no_grad():
        smashed = bottom(pictures)
        told = float((top(smashed).argmax(1) == labels).float().mean())
    message = Message(step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=smashed)
    view = Transcript(observer="server", messages=(message,))
    architecture = ClientArchitecture.of(bottom, tuple(pictures.shape[1:]))
    row: dict[str, object] = {"accuracy": told, "guess": mse(pictures.mean(0).expand_as(pictures), pictures)}
    for words, figures in (("on", 1.0), ("off", 0.0)):
        config = AmortisedConfig(steps=steps)
        config = replace(config, learning=replace(config.learning, photographs=Photographs(figures=figures)))
        found = invert_by_decoder(view, architecture, config, generator=generator(numbered_seed(2, 0)))
        with torch.no_grad():
            clone = float((top(found.clones[0](pictures)).argmax(1) == labels).float().mean())
        row |= {
            f"error_{words}": mse(found.inputs, pictures),
            f"likeness_{words}": float(torch.corrcoef(torch.stack([found.inputs.flatten(), pictures.flatten()]))[0, 1]),
            f"clone_{words}": clone,
            f"sign_{words}": found.sign.value,
        }
    return row


def main() -> None:
    """Attack every set at every depth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=[3, 5])
    parser.add_argument("--steps", type=int, default=800)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    for name, pictures, labels in sets():
        model = trained(pictures[:TRAINED], labels[:TRAINED])
        for depth in options.depths:
            row = attacked(model, depth, pictures[TRAINED:], labels[TRAINED:], options.steps)
            rows.append({"what": f"{name}, depth {depth}", "steps": options.steps, **row})
            write("figures", rows)


if __name__ == "__main__":
    main()
