"""Seconds an image of the amortised attack against the authors' released code: same machine, same run, same targets.

    python benchmarks/released.py --released-code DIR [--rounds 1000] [--images 1] [--depths 1,2,3,4,5,6]

DIR is a checkout of the paper's code, which is read and never copied. Its attack takes one image at a time and always
the same number of rounds, so fewer `--rounds` than its own 1,000 are scaled up; its error is then that of a search cut
short, and the row says after how many rounds. The amortised attack is timed whole, restarts and set-up included, over
the 2,010 smashed samples that it needs, on the digits that come with a package.
"""

import argparse
import resource
import time
from pathlib import Path

import torch
from measure import write
from paper_code import released_code

from unsplit.attacks.inversion import invert, preset
from unsplit.data import Splits, load
from unsplit.experiment.inversion import more_inputs, observe_inference
from unsplit.knowledge import ClientArchitecture
from unsplit.metrics import mse
from unsplit.models import build, split
from unsplit.protocol import SplitConfig, split_training
from unsplit.randomness import generator, seeded
from unsplit.types import Kind

FULL = 1000


def main() -> None:
    """Measure each depth once; a run takes minutes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--released-code", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=FULL)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--depths", default="1,2,3,4,5,6")
    parser.add_argument("--preset", default="strong")
    options = parser.parse_args()
    torch.set_num_threads(1)
    released = released_code(options.released_code)
    splits = load("digits")
    model = _trained(splits)
    targets, others = splits.test.one_per_class(), more_inputs(splits.train, 2000)
    rows = []
    for depth in map(int, options.depths.split(",")):
        view = observe_inference(model, depth, targets, torch.device("cpu"), others)
        architecture = ClientArchitecture.of(split(model, depth)[0], targets.input_shape)
        started = time.perf_counter()
        found = invert(view, architecture, preset(options.preset, depth), generator=generator(0))
        ours = (time.perf_counter() - started) / len(found.inputs)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        smashed, pictures = view.tensor(Kind.SMASHED)[: options.images], []
        alpha = 0.1 if depth <= 3 else 1.0
        started = time.perf_counter()
        for target in smashed.split(1):
            with seeded(0):
                clone = released.models.MnistNet()
            pictures.append(
                released.attacks.model_inversion_stealing(
                    clone, depth, target, (1, 1, 28, 28), lambda_tv=alpha, main_iters=options.rounds
                )
            )
        peer = (time.perf_counter() - started) / len(smashed) * FULL / options.rounds
        truth = targets.images[: options.images]
        rows.append(
            {
                "what": f"depth {depth}",
                "ratio": round(peer / ours),
                "ours": round(ours, 4),
                "peer": round(peer, 1),
                "unit": "s/image, one thread; peer: the released code, 1,000 rounds",
                "peer_rounds_run": options.rounds,
                "mse_ours_ten_targets": round(mse(found.inputs[:10], targets.images), 5),
                "mse_ours": round(mse(found.inputs[: options.images], truth), 5),
                "mse_peer": round(mse(torch.cat(pictures), truth), 5),
                "peak_mib": round(memory),
            }
        )
    write("released", rows)


def _trained(splits: Splits) -> torch.nn.Sequential:
    model = build("mnist-net", generator=generator(0))
    training = split_training(
        model, splits.train.images, splits.train.labels, SplitConfig(cut=1, batch_size=64), generator=generator(0)
    )
    training.run(10 * -(-len(splits.train) // 64))
    trained: torch.nn.Sequential = training.model()
    return trained


if __name__ == "__main__":
    main()
