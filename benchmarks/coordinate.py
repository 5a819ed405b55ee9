"""Coordinate descent of this build and of an earlier one: CPU seconds of all rounds, side by side.

    python benchmarks/coordinate.py --before DIR [--what paper-mnist-1,released-mnist-1] [--pictures 10] [--rounds 2]

DIR is a checkout of the earlier build. Both attack the same smashed data of an untrained client, one thread each, in
processes of their own that may use no instructions beyond AVX2, so that a newer processor stands for an ordinary one.
A round costs the same from the first to the last, so that `--rounds` of them, taken in turn by both builds, tell the
time of all 1,000; none ends early. Residuals after these rounds are those of both, and must be the same.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch
from measure import RESULTS, in_build, write

from unsplit.attacks.inversion import invert, preset
from unsplit.data import load
from unsplit.experiment.inversion import observe_inference
from unsplit.knowledge import ClientArchitecture
from unsplit.models import build, split
from unsplit.randomness import generator

HERE = Path(__file__).resolve().parent.parent
NETS = {"cifar-10": "cifar-net"}
ONLY_AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
"""All three: torch computes with two libraries and kernels of its own."""


def main() -> None:
    """Measure what was asked for, or, in a process of its own, run one attack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--what", default="paper-mnist-1,released-mnist-1")
    parser.add_argument("--pictures", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attack:
        print(json.dumps(_attack(json.loads(options.attack))))
        return
    for what in options.what.split(","):
        task = {"what": what, "pictures": options.pictures, "rounds": options.rounds}
        kept: tuple[list[dict[str, float]], list[dict[str, float]]] = ([], [])
        for _ in range(options.repeats):
            for build_at, rows in zip((options.before, HERE), kept, strict=True):
                rows.append(in_build(__file__, task, build_at, ONLY_AVX2))
        _keep(task, *kept)


def _attack(task: dict[str, object]) -> dict[str, float]:
    """CPU seconds of all rounds, from those of a few, by whichever build is on the path."""
    torch.set_num_threads(1)
    name, _, rest = str(task["what"]).partition("-")
    data, _, depth = rest.rpartition("-")
    pictures, rounds = int(str(task["pictures"])), int(str(task["rounds"]))
    model = build(NETS.get(data, "mnist-net"), generator=generator(0))
    targets = load(data).test.subset(torch.arange(pictures))
    view = observe_inference(model, int(depth), targets, torch.device("cpu"))
    architecture = ClientArchitecture.of(split(model, int(depth))[0], targets.input_shape)
    settings = replace(preset(name, int(depth)), tolerance=None)
    seconds, residual = [], 0.0
    # What is done once is in both, so that the difference is that of the rounds.
    for number in (1, 1 + rounds):
        started = time.process_time()
        found = invert(view, architecture, replace(settings, rounds=number), generator=generator(0))
        seconds.append(time.process_time() - started)
        residual = float(found.residual.mean())
    return {"seconds": (seconds[1] - seconds[0]) / rounds * settings.rounds, "residual": residual}


def _keep(task: dict[str, object], before: list[dict[str, float]], after: list[dict[str, float]]) -> None:
    """Write the row, beside those that are there already."""
    what = f"{task['what']}, {task['pictures']} pictures"
    path = RESULTS / "coordinate.json"
    stored = json.loads(path.read_text()) if path.exists() else []
    ours, peer = (statistics.median(each["seconds"] for each in rows) for rows in (after, before))
    row = {
        "what": what,
        "ratio": round(peer / ours, 2),
        "ours": round(ours, 1),
        "peer": round(peer, 1),
        "unit": "CPU seconds of 1,000 rounds, one thread, AVX2; peer: the build before",
        "timed_rounds": task["rounds"],
        "residual_ours": after[0]["residual"],
        "residual_peer": before[0]["residual"],
    }
    write("coordinate", [*(each for each in stored if each["what"] != what), row])


if __name__ == "__main__":
    main()
