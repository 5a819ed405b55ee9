"""What pictures of 64 and 128 pixels cost the amortised attack, and how good it is beside 32 pixels.

    python benchmarks/bigger_pictures.py [--number 2000] [--steps 200] [--sizes 32 64 128] [--qualities 32 64]

Pictures are crops of the seven photographs of `pictures.py`, which are few: errors here compare sizes with each other,
and not with those of CIFAR-10. Clients are untrained: two convolutions, the client of a ResNet, of a ResNet-20, and of
a vision transformer with patches of 8 x 8, cut behind its patches (a map) and behind its first block (tokens).

For every client and size, one process measures the seconds of a step (a decoder and a clone, batches of 24, one thread)
and then the most memory that a whole attack of two short restarts on `--number` pictures has needed, its priors
included. For the sizes of `--qualities`, clients of two convolutions and of the transformer are attacked in earnest.
Rows of other clients and sizes stay as they were measured.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable

import torch
from measure import RESULTS, write
from pictures import photographs, pieces
from small_net import cifar_small
from torch import Tensor, nn

from unsplit.attacks.inversion import AmortisedConfig, invert_by_decoder
from unsplit.attacks.inversion._candidate import Candidate
from unsplit.attacks.inversion._schedule import Stretch
from unsplit.knowledge import ClientArchitecture
from unsplit.metrics import mse
from unsplit.models import build, split
from unsplit.randomness import generator
from unsplit.stepping import perform
from unsplit.types import Kind, Message, Transcript

SIZES = (32, 64, 128)
TIMED = 8


class Patches(nn.Module):
    """Patches of 8 x 8 pixels as tokens with learned positions: from [n, 3, size, size] to [n, tokens, width]."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(3, width, 8, stride=8)
        self.position = nn.Parameter(0.02 * torch.randn((size // 8) ** 2, width))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.project(pictures).flatten(2).transpose(1, 2) + self.position


def transformer(size: int, width: int = 64) -> nn.Sequential:
    """The first layers of a vision transformer: patches, and a block of attention."""
    block = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
    return nn.Sequential(OrderedDict(patches=Patches(size, width), block=block))


CLIENTS: dict[str, tuple[str, Callable[[int], object], str]] = {
    "convolutions": ("two convolutions", lambda _: cifar_small, "relu2"),
    "resnet": ("ResNet, block 1", lambda _: "resnet-rgb", "block1"),
    "resnet20": ("ResNet-20, block 4", lambda _: "resnet20", "block4"),
    "patches": ("transformer, patches", lambda size: lambda: transformer(size), "patches"),
    "block": ("transformer, block 1", lambda size: lambda: transformer(size), "block"),
}


def client_of(name: str, size: int) -> nn.Sequential:
    _, model, cut = CLIENTS[name]
    built = build(model(size), generator=generator(0))
    return built if cut == "block" else split(built, cut)[0]


@torch.no_grad()
def view_of(client: nn.Module, inputs: Tensor) -> Transcript:
    """What the server sees of these pictures, which pass in batches of 100."""
    smashed = torch.cat([client(part) for part in torch.split(inputs, 100)])
    message = Message(step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=smashed)
    return Transcript(observer="server", messages=(message,))


def crops(size: int, number: int) -> Tensor:
    draws = generator(0)
    shares = [pieces(picture, size, -(-number // 7), draws) for picture in photographs().values()]
    return torch.stack(shares, 1).flatten(0, 1)[:number]


def one(name: str, size: int, number: int, steps: int) -> dict[str, object]:
    """Cost of a step, and of a short attack (`steps` 0) or a whole one."""
    torch.set_num_threads(1)
    inputs = crops(size, number)
    client = client_of(name, size)
    view = view_of(client, inputs)
    architecture = ClientArchitecture.of(client, tuple(inputs.shape[1:]))
    row: dict[str, object] = {"what": f"{CLIENTS[name][0]}, {size} pixels", "pictures": number}
    if not steps:
        config = AmortisedConfig()
        targets = view.tensor(Kind.SMASHED)
        stretches = (Stretch(2, 0.0, 0.1), Stretch(TIMED, 0.1, 1.0))
        candidate = Candidate.start(targets, architecture, config.learning, 0.0, generator(1), stretches)
        perform([candidate.learn(lambda _: None)])
        started = time.process_time()
        perform([candidate.learn(lambda _: None)])
        row["seconds_per_step"] = (time.process_time() - started) / TIMED
        row["parameters"] = sum(value.numel() for value in candidate.decoder.parameters())
        row["period"] = candidate.decoder.period
        del candidate
        steps = 4
    else:
        row["steps"] = steps
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    config = AmortisedConfig(candidates=2, steps=steps, refit_steps=min(100, steps))
    found = invert_by_decoder(view, architecture, config, generator=generator(1))
    row["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    row["peak_before_mb"] = round(before / 1024)
    row["pictures_mb"] = round(inputs.numel() * 4 / 2**20)
    if "steps" in row:
        grey = inputs.mean(1, keepdim=True)
        row["error"] = mse(found.inputs, inputs)
        row["error_of_brightness"] = mse(found.inputs.mean(1, keepdim=True), grey)
        row["guess"] = mse(torch.full_like(inputs, float(inputs.mean())), inputs)
        row["guess_of_brightness"] = mse(torch.full_like(grey, float(grey.mean())), grey)
        row["residual"] = float(found.residual.mean())
        row["told"], row["sure"] = found.colours_told, found.sure
    return row


def apart(name: str, size: int, number: int, steps: int) -> dict[str, object]:
    """`one`, in a process of its own; what it says where it fails."""
    command = [sys.executable, __file__, "--one", name, str(size), "--number", str(number), "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"ended by {done.returncode}"])[-1]
        return {"what": f"{CLIENTS[name][0]}, {size} pixels", "pictures": number, "failed": said}
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure all clients and sizes, and write what is there after every row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=2000, help="of pictures")
    parser.add_argument("--steps", type=int, default=200, help="of an attack in earnest")
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES), help="sizes whose cost is measured")
    parser.add_argument("--qualities", type=int, nargs="*", default=[32, 64], help="sizes to attack in earnest")
    parser.add_argument("--clients", nargs="*", default=list(CLIENTS), choices=list(CLIENTS))
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one[0], int(options.one[1]), options.number, options.steps)))
        return
    path = RESULTS / "bigger_pictures.json"
    rows: list[dict[str, object]] = json.loads(path.read_text()) if path.exists() else []
    planned = [(name, size, 0) for name in options.clients for size in options.sizes]
    planned += [
        (name, size, options.steps)
        for name in ("convolutions", "patches", "block") if name in options.clients
        for size in options.qualities
    ]  # fmt: skip
    for name, size, steps in planned:
        row = apart(name, size, min(options.number, 500) if steps else options.number, steps)
        rows = [old for old in rows if (old["what"], old.get("steps")) != (row["what"], row.get("steps"))]
        write("bigger_pictures", [*rows, row])
        rows = json.loads(path.read_text())


if __name__ == "__main__":
    main()
