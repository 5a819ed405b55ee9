"""What an ordinary machine makes of this build and of an earlier one: CPU seconds and errors of `strong`, side by side.

    python benchmarks/ordinary.py --before DIR [--what mnist-4,cifar-10-3] [--seeds 0,1,2] [--client FILE]

DIR is a checkout of the earlier build. Both attack the same trained client, one thread each, in processes of their
own that may use no instructions beyond AVX2, so that a newer processor stands for an ordinary one. A step of an attack
costs the same from the first to the last, so that `--steps` of them, taken in turn by both builds, tell the time of
all; with `--steps 0` both run whole. Errors are always those of whole runs. Each row is written as soon as it is known.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from measure import RESULTS, in_build, write

from unsplit.attacks.inversion import AmortisedConfig, amortised, invert, preset
from unsplit.data import load
from unsplit.experiment.inversion import more_inputs, observe_inference
from unsplit.knowledge import ClientArchitecture
from unsplit.metrics import mse
from unsplit.models import build, split
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SplitConfig, split_training
from unsplit.randomness import generator
from unsplit.types import Reconstruction, Transcript

ONLY_AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
HERE = Path(__file__).resolve().parent.parent
NETS = {"cifar-10": "cifar-net"}
CLIENTS = {"mnist": (60_000, 1, 1e-3), "fashion-mnist": (60_000, 1, 1e-3), "cifar-10": (5_000, 4, 3e-4)}
"""Samples, epochs and learning rate of the client's training."""


def main() -> None:
    """Measure what was asked for, or, in a process of its own, run one attack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--what", default="mnist-4,cifar-10-3")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--client", type=Path, default=Path(tempfile.gettempdir()) / "ordinary-clients")
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attack:
        print(json.dumps(_attack(json.loads(options.attack))))
        return
    for what in options.what.split(","):
        data, _, depth = what.rpartition("-")
        network = _client(data, options.client)
        for seed in map(int, options.seeds.split(",")):
            task = {"data": data, "depth": int(depth), "seed": seed, "network": str(network), "steps": options.steps}
            before, after = _side_by_side(task, options.before)
            _keep(task, before, after)


def _side_by_side(task: dict[str, object], before: Path) -> tuple[dict[str, float], dict[str, float]]:
    """CPU seconds and errors of both builds."""
    whole = [in_build(__file__, task, build_at, ONLY_AVX2) for build_at in (before, HERE)] if not task["steps"] else []
    if whole:
        return whole[0], whole[1]
    times: tuple[list[dict[str, float]], list[dict[str, float]]] = ([], [])
    for _ in range(3):
        for build_at, kept in zip((before, HERE), times, strict=True):
            kept.append(in_build(__file__, task, build_at, ONLY_AVX2))
    middle = [statistics.median(each["seconds"] for each in kept) for kept in times]
    # Errors need no AVX2, and whole runs of the earlier build are quicker without that bound.
    errors = [
        in_build(__file__, task | {"steps": 0}, build_at, {"ONEDNN_MAX_CPU_ISA": "ALL"}) for build_at in (before, HERE)
    ]
    return errors[0] | {"seconds": middle[0]}, errors[1] | {"seconds": middle[1]}


def _attack(task: dict[str, object]) -> dict[str, float]:
    """One attack by whichever build is on the path; a share of it where so many steps are asked for."""
    torch.set_num_threads(1)
    data, depth, steps = str(task["data"]), int(str(task["depth"])), int(str(task["steps"]))
    splits = load(data)
    model = build(NETS.get(data, "mnist-net"), generator=generator(0))
    model.load_state_dict(torch.load(str(task["network"]), weights_only=True))
    targets, others = splits.test.one_per_class(1), more_inputs(splits.train)
    settings = preset("strong", depth)
    view = observe_inference(model, depth, targets, torch.device("cpu"), others[: settings.samples])
    architecture = ClientArchitecture.of(split(model, depth)[0], targets.input_shape)
    taken = _steps(settings)
    source = int(str(task["seed"]))
    if steps:
        # What is done once is in both, so that the difference is that of the steps.
        short, long = (
            replace(settings, candidates=1, finalists=1, steps=number, refit_steps=0) for number in (steps, 3 * steps)
        )
        times = [_timed(view, architecture, each, source)[0] for each in (short, long)]
        return {"seconds": (times[1] - times[0]) / (2 * steps) * taken}
    seconds, found = _timed(view, architecture, settings, source)
    return {"seconds": seconds, "mse": mse(found.inputs[: len(targets)], targets.images)}


def _steps(settings: AmortisedConfig) -> int:
    """Steps of all restarts, by whichever build is on the path: earlier ones compare restarts only once."""
    rounds = getattr(amortised, "_rounds", None)
    if rounds is not None:
        return sum(number * stretch.steps for number, stretch in rounds(settings))
    return round(settings.candidates * settings.trial * settings.steps) + settings.finalists * round(
        (1 - settings.trial) * settings.steps
    )


def _timed(
    view: Transcript, architecture: ClientArchitecture, settings: AmortisedConfig, seed: int
) -> tuple[float, Reconstruction]:
    """CPU seconds of an attack, and what it found."""
    started = time.process_time()
    found = invert(view, architecture, settings, generator=generator(seed))
    return time.process_time() - started, found


def _client(data: str, folder: Path) -> Path:
    """The weights of a client's network, trained once."""
    path = folder / f"{data}.pt"
    if path.exists():
        return path
    samples, epochs, rate = CLIENTS[data]
    train = load(data).train
    train = train.subset(torch.randperm(len(train), generator=generator(0))[:samples])
    optimizer = OptimizerSpec(lr=rate)
    config = SplitConfig(cut=1, batch_size=64, client_optimizer=optimizer, server_optimizer=optimizer)
    model = build(NETS.get(data, "mnist-net"), generator=generator(0))
    training = split_training(model, train.images, train.labels, config, generator=generator(0))
    training.run(epochs * -(-samples // 64))
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(training.model().state_dict(), path)
    return path


def _keep(task: dict[str, object], before: dict[str, float], after: dict[str, float]) -> None:
    """Write the row, beside those that are there already."""
    what = f"strong, {task['data']} depth {task['depth']}, seed {task['seed']}"
    path = RESULTS / "ordinary.json"
    stored = json.loads(path.read_text()) if path.exists() else []
    row = {
        "what": what,
        "ratio": round(before["seconds"] / after["seconds"], 2),
        "ours": round(after["seconds"], 1),
        "peer": round(before["seconds"], 1),
        "unit": "CPU seconds of the whole attack, one thread, AVX2; peer: the build before",
        "timed_steps": task["steps"] or "all",
        "mse_ours": round(after["mse"], 5),
        "mse_peer": round(before["mse"], 5),
    }
    write("ordinary", [*(each for each in stored if each["what"] != what), row])


if __name__ == "__main__":
    main()
