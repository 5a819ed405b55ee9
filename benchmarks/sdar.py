"""How close passive attacks with auxiliary data come: SDAR beside its authors' own log, and what a few pictures add.

`cifar` watches the training of ResNet-20 on CIFAR-10, cut after its fourth block, as far as the given minutes reach; it
goes on where an earlier call stopped. `digits` compares the attacks on the embedded digits at the same cuts.
"""

import argparse
import itertools
import json
import sys
import time
from pathlib import Path

import torch
from measure import RESULTS
from safetensors.torch import load_file
from torch import Tensor, nn

from unsplit.attacks.auxiliary import (
    FORA_PRESETS,
    SDAR_PRESETS,
    SdarAttacker,
    SdarConfig,
    invert_by_feature_matching,
    invert_by_simulation_without_labels,
)
from unsplit.attacks.inversion import invert, preset
from unsplit.data import load
from unsplit.experiment.provenance import machine, versions
from unsplit.files import write_tensors, write_text
from unsplit.knowledge import AuxiliaryData, ClientArchitecture, OwnTop
from unsplit.metrics import mse, ssim, trivial_guesses
from unsplit.models import build, depth_of, split
from unsplit.models.resnet20 import resnet20
from unsplit.protocol import Recorder, SplitConfig, split_training
from unsplit.randomness import generator
from unsplit.types import Kind

# The authors' log of SDAR at level 4 on CIFAR-10, vanilla setup, ResNet-20, run 1 (scripts/sdar_results/vsl/cifar10 in
# their repository): iterations, and the attack's mean squared error over the hundred iterations that end there.
AUTHORS = {
    100: 0.0789, 200: 0.0412, 300: 0.0410, 400: 0.0349, 500: 0.0327, 600: 0.0292, 700: 0.0281, 800: 0.0269, 900: 0.0263,
    1000: 0.0231, 1100: 0.0231, 1200: 0.0219, 1300: 0.0228, 1400: 0.0225, 1500: 0.0221, 1600: 0.0217, 1700: 0.0199,
    1800: 0.0196, 1900: 0.0198, 2000: 0.0185, 2500: 0.0193, 3000: 0.0176, 4000: 0.0145, 5000: 0.0142, 10000: 0.0100,
    20000: 0.0083,
}  # fmt: skip
# Over all of the client's pictures, after 20,000 iterations of batch 128.
PUBLISHED = {"mse": 0.0081, "ssim": 0.804, "iterations": 20_000, "batch": 128}
EVERY = 100


def main() -> None:
    """Run one part and put its rows in the place of its earlier ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("cifar", "digits"))
    parser.add_argument("--minutes", type=float, default=35.0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/sdar"), help="where `cifar` keeps its state")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.part == "cifar":
        watch_cifar(arguments.minutes, arguments.batch, arguments.seed, arguments.folder)
    else:
        compare_on_digits(arguments.seed)


def keep(part: str, rows: list[dict[str, object]]) -> None:
    """Write the rows of a part beside those of the other."""
    path = RESULTS / "sdar.json"
    others = [row for row in json.loads(path.read_text()) if row["part"] != part] if path.exists() else []
    command = "python benchmarks/" + " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    common = {"machine": machine(), "versions": versions(), "command": command}
    results = others + [{"name": "sdar", "part": part, **row, **common} for row in rows]
    write_text(path, json.dumps(sorted(results, key=lambda row: row["part"]), indent=1) + "\n")


def watch_cifar(minutes: float, batch: int, seed: int, folder: Path) -> None:
    """Train the split network and let the attacker watch, until the time is up."""
    deadline = time.monotonic() + 60 * minutes
    pictures, labels, own, own_labels = cifar_halves(seed)
    truth = pictures[:2000]
    guess = min(trivial_guesses(truth, pictures.mean(0)).values())
    model = build(resnet20, generator=generator(seed))
    config = SplitConfig(cut="block4", batch_size=batch)
    training = split_training(model, pictures, labels, config, generator=generator(seed + 1))
    recorder = training.record(Recorder(observer="server", last=1, kinds=(Kind.SMASHED, Kind.LABELS)))
    bottom, _ = split(model, "block4")
    drawn = generator(seed + 2)
    attacker = SdarAttacker(
        ClientArchitecture.of(bottom, (3, 32, 32)),
        OwnTop(top=training.server.body.module, classes=10),
        AuxiliaryData(inputs=own, labels=own_labels),
        SdarConfig(batch_size=batch, reduced_precision="auto"),
        generator=drawn,
    )
    checkpoint, state, log = folder / "training.safetensors", folder / "attacker.safetensors", folder / "curve.json"
    curve: list[dict[str, float]] = []
    if log.exists():
        curve = json.loads(log.read_text())
        training.resume(checkpoint)
        tensors = load_file(state)
        drawn.set_state(tensors.pop("generator"))
        attacker.load(tensors)
    errors: list[float] = []
    likeness: list[float] = []
    loss, begun, used = 0.0, time.monotonic(), time.process_time()
    while time.monotonic() < deadline and training.steps_done < PUBLISHED["iterations"]:
        loss += training.step()
        view = recorder.transcript()
        attacker.observe(view, OwnTop(top=training.server.body.module, classes=10))
        found = attacker.invert(view.tensor(Kind.SMASHED), view.tensor(Kind.LABELS))
        private = training.truth(training.steps_done - 1).inputs
        errors.append(mse(found, private))
        likeness.append(ssim(found, private))
        if training.steps_done % EVERY:
            continue
        curve.append({
            "iterations": training.steps_done,
            "mse": round(sum(errors) / EVERY, 5),
            "ssim": round(sum(likeness) / EVERY, 4),
            "training_loss": round(loss / EVERY, 4),
            "seconds": round(time.monotonic() - begun, 1),
            "cpu_seconds": round(time.process_time() - used, 1),
        })  # fmt: skip
        errors, likeness, loss = [], [], 0.0
        begun, used = time.monotonic(), time.process_time()
        training.save(checkpoint)
        write_tensors(state, attacker.state() | {"generator": drawn.get_state()})
        write_text(log, json.dumps(curve))
        keep("cifar", [row_of(curve, guess, batch, seed)])
        print(json.dumps(curve[-1]), flush=True)


def row_of(curve: list[dict[str, float]], guess: float, batch: int, seed: int) -> dict[str, object]:
    """The row of a curve; the peer is the authors' own log at the same number of iterations."""
    last = curve[-1]
    same = max(number for number in AUTHORS if number <= last["iterations"])
    return {
        "what": "SDAR on CIFAR-10, ResNet-20, level 4, vanilla setup: mean squared error on 0 to 1",
        "ratio": round(AUTHORS[same] / last["mse"], 3),
        "ours": last["mse"],
        "peer": AUTHORS[same],
        "unit": "MSE over the batches of the last 100 iterations; peer: the authors' log at as many iterations",
        "iterations": last["iterations"],
        "batch": batch,
        "seed": seed,
        "ssim": last["ssim"],
        "mse_best_trivial": round(guess, 5),
        "published": PUBLISHED,
        "auxiliary": "half of the 60,000 pictures, the client has the other half",
        "departures": "batches of 32 for 128, convolutions of the attacker's networks in bfloat16",
        "authors": [{"iterations": number, "mse": error} for number, error in AUTHORS.items()],
        "curve": curve,
        "seconds": round(sum(point["seconds"] for point in curve), 1),
        "cpu_seconds": round(sum(point["cpu_seconds"] for point in curve), 1),
    }


def cifar_halves(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All 60,000 pictures with their labels, half of them the client's and half the attacker's."""
    data = load("cifar-10")
    pictures = torch.cat([data.train.images, data.test.images])
    labels = torch.cat([data.train.labels, data.test.labels])
    first, second = torch.randperm(len(pictures), generator=generator(seed + 42)).chunk(2)
    return pictures[first], labels[first], pictures[second], labels[second]


def compare_on_digits(seed: int) -> None:
    """Attack the paper's net in use on the embedded digits, with own pictures and without, and keep a row for each."""
    data = load("digits")
    model = build("mnist-net", generator=generator(seed))
    images, labels = data.train.images, data.train.labels
    training = split_training(model, images, labels, SplitConfig(cut=2), generator=generator(seed + 1))
    training.run(189)
    seen, truth = images[:1000], images[:200]
    guess = min(trivial_guesses(truth, images.mean(0)).values())
    rows: list[dict[str, object]] = []
    trials = (("FORA, quick", 1000), ("SDAR, quick", 1000), ("strong-quick", 0), ("SDAR, quick", 100))
    for cut, (name, number) in itertools.product(("pool1", "pool2"), trials):
        begun, used = time.monotonic(), time.process_time()
        own = AuxiliaryData(inputs=data.test.images[:number], labels=data.test.labels[:number])
        found = attacked(training.model(), cut, seen, name, own, seed)[:200]
        error = mse(found, truth)
        rows.append({
            "what": f"{name}, digits, mnist-net after three epochs cut after {cut}, 1,000 smashed data",
            "ratio": round(guess / error, 3),
            "ours": round(error, 5),
            "peer": round(guess, 5),
            "unit": "MSE over 200 pictures on 0 to 1; peer: the best trivial guess",
            "ssim": round(ssim(found, truth), 4),
            "attack": name,
            "cut": cut,
            "auxiliary_pictures": number,
            "seed": seed,
            "seconds": round(time.monotonic() - begun, 1),
            "cpu_seconds": round(time.process_time() - used, 1),
        })  # fmt: skip
        keep("digits", rows)
        print(json.dumps(rows[-1]), flush=True)


def attacked(model: nn.Sequential, cut: str, seen: Tensor, name: str, own: AuxiliaryData, seed: int) -> Tensor:
    """The pictures that an attack finds in what the server sees while `model`, cut there, is used on `seen`."""
    labels = torch.zeros(len(seen), dtype=torch.long)
    view = split_training(model, seen, labels, SplitConfig(cut=cut), generator=generator(0)).infer(seen)
    bottom, top = split(model, cut)
    architecture, drawn = ClientArchitecture.of(bottom, tuple(seen.shape[1:])), generator(seed)
    if name == "strong-quick":
        return invert(view, architecture, preset(name, depth_of(model, cut)), generator=drawn).inputs
    if name == "FORA, quick":
        return invert_by_feature_matching(view, own, FORA_PRESETS["quick"], generator=drawn).inputs
    own_top = OwnTop(top=top, classes=10)
    settings = SDAR_PRESETS["quick"]
    return invert_by_simulation_without_labels(view, architecture, own_top, own, settings, generator=drawn).inputs


if __name__ == "__main__":
    main()
