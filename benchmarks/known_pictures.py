"""What is the least extra knowledge that opens a cut behind a dense layer? The error against what the server knows.

    python benchmarks/known_pictures.py --datasets mnist fashion-mnist --seeds 0 1 2

The client is the paper's net, trained as the tables' clients are (ten epochs; kept in `runs/known-pictures`) and cut at
depth 6, in its first dense layer. The server sees the smashed data of ten targets, one of each class of the test set,
and of 2,000 training pictures, and knows

- `nothing`: the architecture alone, attacked with the settings of the other rows, the best of three restarts;
- `pairs`: so many of the 2,000 pictures, and its own layers (`invert_from_known_pictures`);
- `labelled`: so many training pictures that were not sent, with their labels, and its own layers
  (`invert_from_similar_pictures`);
- `sdar`: the same as `labelled`, attacked by SDAR (its preset `quick`);
- `true convolutions`, `true dense layer`, `true weights`: no picture, but these of the client's own weights, which are
  held fixed while one restart learns the rest (an ablation: which part is it that the smashed data do not tell?);
- `fora`: so many training pictures that were not sent, without labels, attacked by FORA (its preset `quick`).

Beside each error stand what needs no such attack: the mean of the pictures that the server has, and for pairs a ridge
regression of the known pictures on their smashed data, and the known picture with the nearest smashed data. Where
nothing tells the eight flips and quarter turns apart, the errors of the attack and of the guess under the best of them
stand beside the plain ones. Every row is written when it is measured; a row that is there is not measured again. A row
takes half a minute to a minute of one core, a client two to three.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from measure import RESULTS
from safetensors.torch import load_file
from torch import Tensor, nn

from unsplit.attacks.auxiliary import (
    fora_preset,
    invert_by_feature_matching,
    invert_by_simulation_without_labels,
    sdar_preset,
)
from unsplit.attacks.inversion import (
    AmortisedConfig,
    ExamplesInversionConfig,
    invert_by_decoder,
    invert_from_known_pictures,
    invert_from_similar_pictures,
)
from unsplit.attacks.inversion._candidate import Candidate
from unsplit.attacks.inversion._schedule import Stretch
from unsplit.attacks.objectives import relative_residual
from unsplit.experiment.inversion import observe_inference
from unsplit.experiment.provenance import machine, versions
from unsplit.files import write_tensors, write_text
from unsplit.knowledge import AuxiliaryData, ClientArchitecture, KnownPictures, OwnTop
from unsplit.metrics import accuracy, mse, mse_best_of_eight, mse_scale_free, trivial_guesses
from unsplit.models import split
from unsplit.protocol import predicted
from unsplit.randomness import generator
from unsplit.stepping import perform
from unsplit.studies.reproduction.budget import BUDGETS
from unsplit.studies.reproduction.clients import ClientCell
from unsplit.studies.targets import data, evaluation, network
from unsplit.types import Kind, Reconstruction

CPU = torch.device("cpu")
SEEN = 2000
# Added to the seed of attacks: the client's first weights are drawn with its own.
OTHER = 1000
# Own pictures come from beyond those that the server sees smashed.
BEYOND = 10_000
TRUE = {"true convolutions": ("conv",), "true dense layer": ("fc",), "true weights": ("conv", "fc")}
KNOWLEDGE = {
    "nothing": (0,),
    **dict.fromkeys(TRUE, (0,)),
    "pairs": (1, 3, 10, 30, 100),
    "labelled": (10, 100, 1000),
    "sdar": (1000,),
    "fora": (1000,),
}
PAPER = {"mnist": 0.137, "fashion-mnist": 0.131}
PENALTIES = np.logspace(-4, 4, 25)


class World:
    """A trained client cut at `depth`, what the server sees of it, and the truth."""

    def __init__(self, dataset: str, seed: int, depth: int, folder: Path) -> None:
        self.splits, self.judged = data(dataset), evaluation(dataset)
        self.model = client(dataset, seed, folder)
        self.bottom, self.top = split(self.model, depth)
        others = self.judged.others[:SEEN]
        self.inputs = torch.cat([self.judged.targets.images, others])
        self.view = observe_inference(self.model, depth, self.judged.targets, CPU, others)
        self.smashed = self.view.tensor(Kind.SMASHED)
        self.architecture = ClientArchitecture.of(self.bottom, self.splits.train.input_shape)
        self.number = len(self.judged.targets)

    def own(self, number: int) -> AuxiliaryData:
        """Labelled training pictures that were not sent."""
        order = torch.randperm(len(self.splits.train), generator=generator(0))[BEYOND : BEYOND + number]
        return AuxiliaryData(inputs=self.splits.train.images[order], labels=self.splits.train.labels[order])

    def attacked(self, knows: str, number: int, seed: int) -> Reconstruction:
        """What the attack with this knowledge finds."""
        drawn, settings = generator(seed + OTHER), ExamplesInversionConfig()
        own_top = OwnTop(top=self.top, classes=len(self.splits.train.classes))
        if knows in TRUE:
            return self.learned_beside(TRUE[knows], settings, seed)
        if knows == "nothing":
            same = AmortisedConfig(candidates=3, steps=settings.steps, learning=settings.learning)
            return invert_by_decoder(self.view, self.architecture, same, generator=drawn)
        if knows == "pairs":
            places = slice(self.number, self.number + number)
            known = KnownPictures(indices=tuple(range(places.start, places.stop)), pictures=self.inputs[places])
            return invert_from_known_pictures(self.view, self.architecture, own_top, known, settings, generator=drawn)
        own = self.own(number)
        if knows == "labelled":
            return invert_from_similar_pictures(self.view, self.architecture, own_top, own, settings, generator=drawn)
        if knows == "sdar":
            return invert_by_simulation_without_labels(
                self.view, self.architecture, own_top, own, sdar_preset("quick"), generator=drawn
            )
        return invert_by_feature_matching(self.view, own, fora_preset("quick"), generator=drawn)

    def learned_beside(self, parts: tuple[str, ...], settings: ExamplesInversionConfig, seed: int) -> Reconstruction:
        """What one restart finds whose clone has the client's own weights where a layer's name begins so."""
        stretches, drawn = (Stretch(settings.steps, 0.0, 1.0),), generator(seed + OTHER)
        one = Candidate.start(self.smashed, self.architecture, settings.learning, settings.tilt, drawn, stretches)
        for name, value in one.clone.named_parameters():
            if name.startswith(parts):
                value.data.copy_(self.bottom.get_parameter(name))
                value.requires_grad_(False)
        perform([one.learn(lambda _: None)])
        pictures = one.pictures()
        with torch.no_grad():
            residual = relative_residual(one.clone(pictures), self.smashed)
        return Reconstruction(inputs=pictures, clones=(one.clone,), residual=residual)

    def without_attack(self, knows: str, number: int) -> dict[str, float]:
        """The errors at the targets of what can be done with the pictures that the server has without an attack."""
        truth, places = self.inputs[: self.number], slice(self.number, self.number + number)
        if not number:
            return {}
        has = self.inputs[places] if knows == "pairs" else self.own(number).inputs
        found = {"mean of them": mse(has.mean(0).expand_as(truth), truth)}
        if knows == "pairs":
            near = torch.cdist(self.smashed[: self.number].flatten(1), self.smashed[places].flatten(1)).argmin(1)
            found["nearest"] = mse(has[near], truth)
        if knows == "pairs" and number > 1:
            found["regression"] = mse(self.regressed(places)[: self.number], truth)
        return found

    def regressed(self, places: slice) -> Tensor:
        """All pictures by ridge regression of the known ones on their smashed data, the penalty by leave-one-out."""
        from sklearn.linear_model import RidgeCV

        flat = self.smashed.flatten(1)
        values = ((flat - flat.mean(0)) / flat.std()).double().numpy()
        known = self.inputs[places].flatten(1).double().numpy()
        made = torch.as_tensor(RidgeCV(alphas=PENALTIES).fit(values[places], known).predict(values))
        return made.float().clamp(0, 1).reshape(self.inputs.shape)


def client(dataset: str, seed: int, folder: Path) -> nn.Sequential:
    """The client's network after its training, from the folder or trained now."""
    path = folder / f"{dataset}-{seed}.safetensors"
    training = BUDGETS["full"].clients[dataset]
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _, tensors = ClientCell(dataset=dataset, seed=seed, training=training).run({})
        last = f"{training.epochs}/"
        write_tensors(path, {name.removeprefix(last): one for name, one in tensors.items() if name.startswith(last)})
    model = network(data(dataset), seed, training.model)
    model.load_state_dict(load_file(path))
    return model.eval()


def measured(world: World, knows: str, number: int, seed: int) -> dict[str, object]:
    """The row of one attack."""
    begun, used = time.monotonic(), time.process_time()
    found = world.attacked(knows, number, seed)
    seconds, cpu = time.monotonic() - begun, time.process_time() - used
    pictures, truth = found.inputs[: world.number], world.inputs[: world.number]
    unknown = slice(world.number + number if knows == "pairs" else world.number, None)
    guesses, test = trivial_guesses(truth, world.judged.mean_input), world.judged.test
    row: dict[str, object] = {
        "mse": mse(pictures, truth),
        "mse_scale_free": mse_scale_free(pictures, truth),
        "mse_of_others": mse(found.inputs[unknown], world.inputs[unknown]),
        "guesses": guesses,
        "guess_of_others": mse(world.judged.mean_input.expand_as(world.inputs[unknown]), world.inputs[unknown]),
        "without_attack": world.without_attack(knows, number),
        "residual": float(found.residual.mean()),
        "agreement": found.agreement,
        "seconds": seconds,
        "cpu_seconds": cpu,
    }
    if knows != "fora":
        row["clone_accuracy"] = accuracy(predicted(test.images, found.clones[0], world.top, device=CPU), test.labels)
    if knows in ("nothing", "true convolutions"):
        guess = mse_best_of_eight(world.judged.mean_input.expand_as(truth), truth)
        row["mse_best_of_eight"] = mse_best_of_eight(pictures, truth)
        row["guess_best_of_eight"] = min(guess, guesses["best constant"])
    return row


def trials(arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    """What is measured, in the order in which it is most wanted: the first seed of all before the second."""
    for seed in arguments.seeds:
        for dataset in arguments.datasets:
            for knows in arguments.knows:
                for number in KNOWLEDGE[knows]:
                    if arguments.numbers is None or number in arguments.numbers:
                        yield {"dataset": dataset, "seed": seed, "knows": knows, "number": number}


def main() -> None:
    """Measure what is missing, and write each row when it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=["mnist", "fashion-mnist"], choices=list(PAPER))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the client and of the attack")
    parser.add_argument("--knows", nargs="+", default=["nothing", "pairs", "labelled"], choices=list(KNOWLEDGE))
    parser.add_argument("--numbers", nargs="+", type=int, help="only with so many pictures")
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--table", action="store_true", help="print what is there as Markdown, and measure nothing")
    parser.add_argument("--folder", type=Path, default=Path("runs/known-pictures"), help="keeps trained clients")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS / "known_pictures.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    if arguments.table:
        print(table(rows))
        return
    world: tuple[tuple[object, object], World] | None = None
    for trial in trials(arguments):
        trial["depth"] = arguments.depth
        if any(trial.items() <= row.items() for row in rows):
            continue
        place = (trial["dataset"], trial["seed"])
        if world is None or world[0] != place:
            world = place, World(*place, arguments.depth, arguments.folder)
        row = trial | {"paper": PAPER[trial["dataset"]]}
        row |= measured(world[1], trial["knows"], trial["number"], trial["seed"])
        rows.append({"name": "known_pictures", **rounded(row), "machine": machine(), "versions": versions()})
        write_text(path, json.dumps(rows, indent=1) + "\n")
        print(json.dumps(rounded(row)), flush=True)


def table(rows: list[dict]) -> str:
    """The rows as Markdown, the mean over seeds: errors beside those of guesses and of what needs no attack."""
    head = (
        "data", "knows", "pictures", "MSE", "best guess", "of the other 2,000", "guess", "mean of them", "nearest",
        "regression", "clone", "seeds",
    )  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    places = {name: number for number, name in enumerate(KNOWLEDGE)}
    kinds = {(row["dataset"], row["depth"], places[row["knows"]], row["number"]): row["knows"] for row in rows}
    for (dataset, depth, _, number), knows in sorted(kinds.items()):
        same = {"dataset": dataset, "depth": depth, "knows": knows, "number": number}
        some = [row for row in rows if same.items() <= row.items()]
        plain = [row["without_attack"] for row in some]
        cells = [
            mean([row["mse"] for row in some]),
            mean([min(row["guesses"].values()) for row in some]),
            mean([row["mse_of_others"] for row in some]),
            mean([row["guess_of_others"] for row in some]),
            *(mean([one.get(name) for one in plain]) for name in ("mean of them", "nearest", "regression")),
            mean([row.get("clone_accuracy") for row in some], percent=True),
        ]
        lines.append("| " + " | ".join((dataset, knows, f"{number:,}", *cells, str(len(some)))) + " |")
    return "\n".join(lines)


def mean(values: list[float | None], *, percent: bool = False) -> str:
    """The mean as it stands in a table; nothing where it was not measured."""
    there = [value for value in values if value is not None]
    if not there:
        return ""
    value = sum(there) / len(there)
    return f"{100 * value:.1f} %" if percent else f"{value:.4f}".removeprefix("0")


def rounded(value: object) -> object:
    """The same with numbers to five digits."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
