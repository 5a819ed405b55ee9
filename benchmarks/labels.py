"""Seconds and accuracy of label inference against the paper's rule as its authors released it, on the same steps.

    python benchmarks/labels.py --released-code DIR [--steps 1000] [--heads 1,2]

DIR is a checkout of the paper's code, whose `label_inference` is called as it is: one sample and one candidate label at
a time, on the weight gradient of the last layer, with a clone trained along on the labels that it infers (as its demo
does). Ours are given the same single-sample steps, recorded once: the sign rule and the weights handed over, both with
names, and the surrogate, which sees cut gradients alone and groups without names. On the digits that come with a
package, under SGD at .01. The last row judges 10,000 steps at depth 1 with the sign rule.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from measure import write
from paper_code import released_code
from torch import Tensor, nn
from torch.nn import functional

from unsplit.attacks.labels import (
    SurrogateConfig,
    head_weight_gradients,
    infer_by_sign,
    infer_by_surrogate,
    infer_from_handed_weights,
)
from unsplit.data import load
from unsplit.knowledge import ClientLoss, ClientOptimizer, HeadArchitecture, HeadWeightGradient, LabelSpace
from unsplit.metrics import accuracy_up_to_names, label_accuracy
from unsplit.models import build, split_head
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SERVER, Recorder, SplitConfig, split_training
from unsplit.randomness import generator
from unsplit.types import InferredLabels, Kind, Setup, Transcript

SGD = OptimizerSpec(name="sgd", lr=0.01)
SPACE = LabelSpace(classes=10)


def main() -> None:
    """Time each attack once over all steps; a run takes a minute or two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--released-code", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--heads", default="1,2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rule = released_code(options.released_code).attacks.label_inference
    rows: list[dict[str, object]] = []
    for head in map(int, options.heads.split(",")):
        view, truth, gradients, architecture = record(head, options.steps)
        started = time.perf_counter()
        theirs = by_released_rule(rule, view, gradients, architecture)
        peer, right = time.perf_counter() - started, label_accuracy(theirs, truth).value
        for name, attack in attacks(view, gradients, architecture).items():
            started = time.perf_counter()
            found = attack()
            ours = time.perf_counter() - started
            labels = found.labels if len(found.labels) == len(truth) else found.labels[1 : len(truth) + 1]
            share = label_accuracy(labels, truth) if found.named else accuracy_up_to_names(labels, truth, 10)
            rows.append(
                {
                    "what": f"{name}, head of {head}, {len(truth)} single-sample steps",
                    "ratio": peer / ours,
                    "ours": ours,
                    "peer": peer,
                    "unit": "s",
                    "accuracy": share.value,
                    "names": "included" if found.named else "unknown",
                    "peer_accuracy": right,
                }
            )
    rows.append(ten_thousand())
    write("labels", rows)


def record(head: int, steps: int) -> tuple[Transcript, Tensor, HeadWeightGradient, HeadArchitecture]:
    """Single-sample steps of two clients in turns, their labels, the gradients they give, and the head."""
    splits, model = load("digits"), build("mnist-net", generator=generator(0))
    config = SplitConfig(
        setup=Setup.B, head=head, clients=2, batch_size=1, turn=1, client_optimizer=SGD, server_optimizer=SGD
    )
    train = splits.train
    training = split_training(model, train.images, train.labels, config, generator=generator(0))
    recorder = training.record(Recorder(observer=SERVER))
    training.run(steps + 2)
    view = recorder.transcript()
    gradients = head_weight_gradients(view, ClientOptimizer(spec=SGD))
    truth = torch.cat([training.truth(step).labels for step in gradients.steps])
    return view, truth, gradients, HeadArchitecture.of(split_head(model, head)[1])


def attacks(
    view: Transcript, gradients: HeadWeightGradient, architecture: HeadArchitecture
) -> dict[str, Callable[[], InferredLabels]]:
    """Ours, ready to run; the surrogate does not see weights."""
    cut = view.of(Kind.FEATURES, Kind.FEATURE_GRAD)
    return {
        "sign rule": lambda: infer_by_sign(view, gradients, SPACE),
        "weights handed over": lambda: infer_from_handed_weights(view, architecture, SPACE, ClientLoss()),
        "surrogate": lambda: infer_by_surrogate(
            cut, architecture, SPACE, ClientLoss(), SurrogateConfig(), generator=generator(0)
        ),
    }


def by_released_rule(
    rule: Callable[..., Tensor], view: Transcript, gradients: HeadWeightGradient, architecture: HeadArchitecture
) -> Tensor:
    """The labels by the released rule, as its demo calls it: the clone takes a step on each label that was inferred."""
    clone: nn.Module = architecture.blueprint.instantiate(generator=generator(1))
    optimizer = torch.optim.Adam(clone.parameters(), lr=0.001, amsgrad=True)
    features = {message.step: message.tensor for message in view.of(Kind.FEATURES)}
    names = [name for name, _ in clone.named_parameters()]
    index = len(names) - 2  # The last layer's weight.
    candidates = [torch.tensor([label]) for label in range(SPACE.classes)]
    labels = []
    for row, step in enumerate(gradients.steps):
        optimizer.zero_grad()
        outputs = clone(features[step])
        label = rule(outputs, clone, gradients.gradients[names[index]][row], candidates, index)
        functional.cross_entropy(outputs, label).backward()
        optimizer.step()
        labels.append(label)
    return torch.cat(labels)


def ten_thousand() -> dict[str, object]:
    """10,000 single-sample steps at depth 1: the time from the transcript to the labels, working out gradients too."""
    view, truth, _, _ = record(1, 10_000)
    started = time.perf_counter()
    found = infer_by_sign(view, head_weight_gradients(view, ClientOptimizer(spec=SGD)), SPACE)
    seconds = time.perf_counter() - started
    return {
        "what": "10,000 single-sample steps at depth 1 against a limit of 10 s",
        "ratio": 10 / seconds,
        "ours": seconds,
        "peer": 10.0,
        "unit": "s",
        "accuracy": label_accuracy(found.labels, truth).value,
        "names": "included",
    }


if __name__ == "__main__":
    main()
