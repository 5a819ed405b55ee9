"""How often and how fast a client's guards detect feature-space hijacking, how often they cry wolf, and what it costs.

    UNSPLIT_DATA=DIR python benchmarks/detection.py [--seeds 40] [--parts fsha,honest,...]

Each run trains a ResNet of an eighth of the usual width with batches of 64; its server hijacks (critic of 16 channels,
own batches of 32) or is honest. One training carries three guards: SplitGuard and scrutiny with their defaults, and
SplitGuard with its authors' sets and threshold. A hijacked run ends when all three have given an alarm, or after 300
steps. Seeds of the reported runs start at 0; those of the parts "calibrate-...", on which defaults are fixed, at 1,000.
A run is stored when it ends (`.benchmarks/detection/`), and a repeated command does only what is missing.
"""

import argparse
import json
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import torch
from torch import nn

from unsplit.attacks.auxiliary import HijackConfig, hijack_feature_space
from unsplit.data import Splits, load
from unsplit.defenses.detection import GuardConfig, HijackSuspected, ScrutinyConfig, SplitGuardConfig
from unsplit.experiment.provenance import machine, versions
from unsplit.files import write_text
from unsplit.knowledge import AuxiliaryData
from unsplit.metrics import Share, accuracy
from unsplit.models import build
from unsplit.models._resnet import ResidualBlock
from unsplit.optim import OptimizerSpec
from unsplit.protocol import Client, MaliciousServer, SplitConfig, SplitTraining, split_training
from unsplit.randomness import generator, numbered_seed
from unsplit.types import Message

RUNS = Path(__file__).parents[1] / ".benchmarks" / "detection"
RESULTS = Path(__file__).parent / "results" / "detection.json"
CUTS = ("block2", "block4", "block3", "block4")
GUARDS: Mapping[str, GuardConfig] = {
    "splitguard": SplitGuardConfig(),
    "published": SplitGuardConfig(regular="halves", policy="mean", threshold=0.9),
    "scrutiny": ScrutinyConfig(),
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training; `watch` goes on after alarms, `full` takes networks of the usual width."""

    part: str
    hijacked: bool
    seed: int
    cut: str
    dataset: str = "mnist"
    steps: int = 300
    optimizer: str = "adam"
    rate: float = 1e-3
    noisy: float = 0.0
    full: bool = False
    guarded: bool = True
    watch: bool = False

    @property
    def path(self) -> Path:
        return RUNS / f"{self.part}-{self.seed}.json"


class Guarded:
    """A client with SplitGuard, SplitGuard with its authors' sets and threshold, and scrutiny, all in one training.

    The two SplitGuards draw the same fakes; scrutiny is shown the labels that were sent. It goes on after alarms, until
    each of the three has given one.
    """

    def __init__(self, client: Client, seed: int, *, watch: bool) -> None:
        self._client = client
        self.guards = {name: one.guard(classes=10, generator=generator(seed)) for name, one in GUARDS.items()}
        self.alarms: dict[str, int] = {}
        self._watch = watch

    def __getattr__(self, name: str) -> object:
        return getattr(self._client, name)

    def begin(self, step: int) -> list[Message]:
        smashed, labels = self._client.begin(step)
        sent = self.guards["splitguard"].labels(step, labels.tensor)
        self.guards["published"].labels(step, labels.tensor)
        self.guards["scrutiny"].labels(step, sent)
        return [smashed, replace(labels, payload=sent)]

    def receive(self, message: Message) -> list[Message]:
        answers = self._client.answer(message)
        bottom = self._client.bottom
        assert bottom is not None
        weights = next(value.grad for value in bottom.module.parameters() if value.grad is not None)
        for name, guard in self.guards.items():
            verdict = guard.observe(message.step, message.tensor, weights=weights)
            if verdict is not None and verdict.alarm:
                self.alarms.setdefault(name, message.step + 1)
                if len(self.alarms) == len(self.guards) and not self._watch:
                    bottom.forget()
                    raise HijackSuspected(self._client.name, verdict)
        if not self.guards["splitguard"].trains(message.step):
            bottom.forget()
        self._client.settle()
        return answers


def narrow(channels: int) -> nn.Sequential:
    """`unsplit.models.resnet` at an eighth of its width, without its fifth block."""
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(channels, 8, 3, padding=1),
            norm1=nn.BatchNorm2d(8),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            block1=ResidualBlock(8, 8),
            block2=ResidualBlock(8, 16, stride=2),
            block3=ResidualBlock(16, 16),
            block4=ResidualBlock(16, 32, stride=2),
            relu2=nn.ReLU(),
            pool2=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(32, 10),
        )
    )


@lru_cache(maxsize=1)
def data(name: str) -> Splits:
    return load(name)


def training_of(run: Run) -> SplitTraining:
    """Parties ready to train, the server hijacked where the run says so."""
    train, test = data(run.dataset).train, data(run.dataset).test
    channels = train.input_shape[0]
    model = (
        build("resnet" if channels == 1 else "resnet-rgb", generator=generator(run.seed))
        if run.full else build(lambda: narrow(channels), generator=generator(run.seed))
    )  # fmt: skip
    optimizer = OptimizerSpec(name=run.optimizer, lr=run.rate)
    config = SplitConfig(cut=run.cut, client_optimizer=optimizer, server_optimizer=optimizer)
    drawn = generator(numbered_seed(run.seed, 1))
    labels = train.labels.clone()
    wrong = torch.rand(len(labels), generator=drawn) < run.noisy
    labels[wrong] = torch.randint(10, (int(wrong.sum()),), generator=drawn)
    training = split_training(model, train.images, labels, config, generator=drawn)
    if run.hijacked:
        view = training.infer(test.images[:1])
        settings = HijackConfig() if run.full else HijackConfig(width=16, batch_size=32)
        hijacker = hijack_feature_space(view, AuxiliaryData(inputs=test.images), settings, generator=drawn)
        training.server = MaliciousServer(body=training.server.body, answer=hijacker.answer, loss=config.loss)
    return training


def perform(run: Run) -> dict[str, object]:
    """Do one run; where its guard stopped it, and all scores."""
    started = time.process_time()
    training = training_of(run)
    plain = training.clients[0]
    guarded = Guarded(plain, numbered_seed(run.seed, 2), watch=run.watch)
    if run.guarded:
        training.clients = (guarded,)  # type: ignore[assignment]
    with suppress(HijackSuspected):
        training.run(run.steps)
    row: dict[str, object] = {**asdict(run), "ran": training.steps_done, "alarms": guarded.alarms}
    row["scores"] = {
        name: [(verdict.step, round(verdict.score, 4)) for verdict in guard.verdicts]
        for name, guard in guarded.guards.items()
    }
    if not run.hijacked:
        test = data(run.dataset).test
        row["accuracy"] = accuracy(training.predict(test.images[:2000]), test.labels[:2000])
    row["seconds"] = round(time.process_time() - started, 2)
    return row


def planned(seeds: int) -> list[Run]:
    """All runs, by part: calibration, the reported ones, and honest servers that could be mistaken."""
    runs = [
        *(Run(part=f"calibrate-{what}", hijacked=what == "fsha", seed=1000 + number, cut=CUTS[number % len(CUTS)],
              steps=140 if what == "fsha" else 300, watch=True)
          for number in range(6) for what in ("fsha", "honest")),
        Run(part="calibrate-long", hijacked=False, seed=1100, cut="block4", steps=1500, watch=True),
        Run(part="calibrate-sgd", hijacked=False, seed=1101, cut="block4", optimizer="sgd", rate=0.05, watch=True),
        Run(part="calibrate-cifar", hijacked=False, seed=1102, cut="block4", dataset="cifar-10", watch=True),
    ]  # fmt: skip
    for number in range(seeds):
        cut = CUTS[number % len(CUTS)]
        runs.append(Run(part="fsha", hijacked=True, seed=number, cut=cut))
        runs.append(Run(part="honest", hijacked=False, seed=number, cut=cut))
    for number in range(10):
        cut = CUTS[number % len(CUTS)]
        common = {"hijacked": False, "seed": number, "cut": cut}
        runs.append(Run(part="unguarded", guarded=False, **common))
        runs.append(Run(part="honest-sgd", optimizer="sgd", rate=0.05, **common))
        runs.append(Run(part="honest-noisy", noisy=0.3, **common))
        runs.append(Run(part="honest-fashion", dataset="fashion-mnist", **common))
        runs.append(Run(part="honest-cifar", dataset="cifar-10", **common))
        runs.append(Run(part="fsha-fashion", dataset="fashion-mnist", **{**common, "hijacked": True}))
    return runs


def summary(part: str, rows: list[dict[str, Any]]) -> list[dict[str, object]]:
    """For each guard: the share of a part's runs with an alarm, and after how many steps it came."""
    found: list[dict[str, object]] = []
    for name in GUARDS:
        steps = sorted(row["alarms"][name] for row in rows if name in row["alarms"])
        scores = [score for row in rows for _, score in row["scores"][name]]
        found.append({
            "part": part,
            "guard": name,
            "runs": len(rows),
            "seeds": [row["seed"] for row in rows],
            "alarms": len(steps),
            "alarm_rate": asdict(Share.of(len(steps), len(rows))),
            "steps_until_alarm": {"median": median(steps), "longest": steps[-1]} if steps else None,
            "scores": {"lowest": min(scores), "median": median(scores), "highest": max(scores)} if scores else None,
        })  # fmt: skip
    return found


def price(rows: list[dict[str, Any]], without: list[dict[str, Any]]) -> dict[str, object]:
    """Test accuracy lost by fake batches, in pairs of runs with the same seed."""
    plain = {row["seed"]: row["accuracy"] for row in without}
    lost = [plain[row["seed"]] - row["accuracy"] for row in rows if row["seed"] in plain]
    return {
        "part": "price of fake batches",
        "pairs": len(lost),
        "accuracy_without": fmean(plain.values()),
        "accuracy_lost": fmean(lost),
        "standard_error": stdev(lost) / len(lost) ** 0.5 if len(lost) > 1 else None,
    }


def summed_up(rows: list[dict[str, Any]]) -> dict[str, object]:
    """The results of all runs that are there."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        parts.setdefault(row["part"], []).append(row)
    without = parts.pop("unguarded", [])
    results = [one for part, some in parts.items() for one in summary(part, some)]
    if without and "honest" in parts:
        results.append(price(parts["honest"], without))
    return {
        "name": "detection",
        "command": "python benchmarks/" + " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "machine": {**machine(), "words": f"{os.cpu_count()}-core CPU, one thread"},
        "versions": versions(),
        "defaults": {name: asdict(config) for name, config in GUARDS.items()},  # type: ignore[call-overload]
        "results": results,
    }


def main() -> None:
    """Do the runs that are missing, and sum up all that are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--parts", default="", help="comma-separated; all, unless given")
    options = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [part for part in options.parts.split(",") if part]
    runs = planned(options.seeds)
    for run in runs:
        if (not wanted or run.part in wanted) and not run.path.exists():
            row = perform(run)
            write_text(run.path, json.dumps(row))
            print(
                run.part, run.seed, run.cut, row["ran"], row["alarms"], row.get("accuracy"), row["seconds"], flush=True
            )
    found = [json.loads(run.path.read_text()) for run in runs if run.path.exists()]
    if found:
        write_text(RESULTS, json.dumps(summed_up(found), indent=1) + "\n")


if __name__ == "__main__":
    main()
