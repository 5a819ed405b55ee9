"""Networks that other people wrote, cut at two places each: do the stages compute and learn as the whole does?

`python benchmarks/foreign_models.py` measures and writes results/foreign_models.json and the table of docs/models.md;
with `--render` it only writes the table.
"""

import copy
import importlib.metadata
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import foreign
import torch
from measure import RESULTS, paired, write
from torch import Tensor, nn
from torch.nn import functional

from unsplit.models import build, cuts, depth_of, sequential_of, split
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SplitConfig, split_training
from unsplit.randomness import draw_seed, generator, seeded

SHAPE = (3, 32, 32)
PAGE = Path(__file__).parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- foreign models -->\n", "<!-- end of foreign models -->\n"
SGD = OptimizerSpec(name="sgd", lr=0.01)
# By the name of the function that builds it: the package, and two cuts by the path of a module.
NETWORKS: dict[str, tuple[str, tuple[str, str]]] = {
    "pytorchcv_resnet10": ("pytorchcv", ("features.init_block", "features.stage2")),
    "pytorchcv_preresnet10": ("pytorchcv", ("features.init_block", "features.stage2")),
    "pytorchcv_seresnet10": ("pytorchcv", ("features.init_block", "features.stage2")),
    "pytorchcv_mobilenetv2": ("pytorchcv", ("features.stage1", "features.stage3")),
    "pytorchcv_shufflenetv2": ("pytorchcv", ("features.init_block", "features.stage2")),
    "pytorchcv_densenet121": ("pytorchcv", ("features.init_block.pool", "features.stage2")),
    "efficientnet_b0": ("efficientnet-pytorch", ("_bn0", "_blocks.5")),
    "vit": ("vit-pytorch", ("to_patch_embedding", "transformer-add_1")),
    "simple_vit": ("vit-pytorch", ("to_patch_embedding", "transformer")),
    "monai_resnet10": ("monai", ("maxpool", "layer2")),
    "monai_densenet121": ("monai", ("features.pool0", "features.denseblock2")),
    "monai_senet": ("monai", ("layer0", "layer2")),
    "monai_unet": ("monai", ("model.0", "model.1")),
}


def main() -> None:
    """Measure all networks, or render what was measured."""
    if "--render" not in sys.argv:
        torch.set_num_threads(1)
        write("foreign_models", [row for name in NETWORKS for row in measured(name)])
    render()


def measured(name: str) -> Iterator[dict[str, object]]:
    """One row for each cut of a network."""
    library, places = NETWORKS[name]
    with seeded(draw_seed(generator(0))):
        net: nn.Module = getattr(foreign, name)()
    whole = copy.deepcopy(net)
    started = time.perf_counter()
    model = sequential_of(net, SHAPE)
    seconds = time.perf_counter() - started
    inputs = torch.rand(8, *SHAPE, generator=generator(1))
    labels = labels_for(whole, inputs)
    peer, ours = (lambda network=network: step(network, inputs, labels) for network in (whole, copy.deepcopy(model)))
    with seeded(0):
        ours_s, peer_s = paired(ours, peer, repeats=3)
    whole = copy.deepcopy(net)
    for place in places:
        depth = depth_of(model, place)
        cut = cuts(model, SHAPE)[depth]
        bottom, top = split(model.eval(), place)
        with torch.no_grad():
            equal = torch.equal(top(bottom(inputs)), whole.eval()(inputs))
        yield {
            "what": f"{name}, {place}",
            "ratio": round(peer_s / ours_s, 3),
            "ours": round(ours_s * 1000, 2),
            "peer": round(peer_s * 1000, 2),
            "unit": "ms for a training step of 8 pictures, one thread; peer: the network as its authors wrote it",
            "model": name,
            "library": f"{library} {importlib.metadata.version(library)}",
            "parameters": sum(value.numel() for value in net.parameters()),
            "cut_places": len(model) - 1,
            "whole_modules": sum(not isinstance(module, torch.fx.GraphModule) for module in model),
            "seconds_to_cut": round(seconds, 3),
            "cut": place,
            "depth": depth,
            "after": cut.name,
            "shape": list(cut.shape),
            "equal": equal,
            "largest_difference_of_gradients": difference(net, model, whole, inputs, labels),
            "largest_difference_after_split_training": trained(name, net, model, whole, place, inputs, labels),
            "names": [child for child, _ in model.named_children()],
        }


def labels_for(network: nn.Module, inputs: Tensor) -> Tensor:
    """Classes, or a target of the output's shape where the output is not one score for each class."""
    with torch.no_grad():
        outputs = network.eval()(inputs)
    if outputs.dim() == 2:
        return torch.randint(outputs.shape[1], (len(inputs),), generator=generator(2))
    return torch.rand(outputs.shape, generator=generator(2))


def loss_for(labels: Tensor) -> object:
    """The loss that goes with these labels."""
    return functional.cross_entropy if labels.dim() == 1 else functional.mse_loss


def step(network: nn.Module, inputs: Tensor, labels: Tensor) -> dict[int, Tensor]:
    """A training step's forward and backward pass; the gradients by the weights' identity."""
    network.train().zero_grad()
    with seeded(3):
        loss_for(labels)(network(inputs.clone()), labels).backward()
    return {id(value): value.grad for value in network.parameters() if value.grad is not None}


def difference(net: nn.Module, model: nn.Module, whole: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """The largest difference of a gradient between the stages and a copy of the whole."""
    original = copy.deepcopy(whole)
    theirs, twin = step(original, inputs, labels), dict(zip(net.parameters(), original.parameters(), strict=True))
    state = copy.deepcopy(net.state_dict())
    mine = step(model, inputs, labels)
    net.load_state_dict(state)
    return max(float((mine[id(a)] - theirs[id(b)]).abs().max()) for a, b in twin.items() if id(b) in theirs)


def trained(
    name: str, net: nn.Module, model: nn.Sequential, whole: nn.Module, place: str, inputs: Tensor, labels: Tensor
) -> float | None:
    """The largest difference of a weight between two steps of split training and of training the whole; None where
    layers draw while they train, as the parties' seeds are their own.
    """
    if any(isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0 for module in net.modules()):
        return None
    config = SplitConfig(cut=place, batch_size=4, client_optimizer=SGD, server_optimizer=SGD, loss=loss_for(labels))
    with seeded(0):
        built = build(f"foreign:{name}", generator=generator(0), input_shape=SHAPE)
    training = split_training(built, inputs, labels, config, generator=generator(4))
    training.run(2)
    original = copy.deepcopy(whole).train()
    optimizer = SGD.build(original.parameters())
    for number in range(2):
        batch = training.truth(number)
        optimizer.zero_grad()
        loss_for(labels)(original(batch.inputs), batch.labels).backward()
        optimizer.step()
    names = {id(value): key for key, value in model.named_parameters()}
    ours = dict(training.model().named_parameters())
    pairs = zip(net.parameters(), original.parameters(), strict=True)
    return max(float((ours[names[id(mine)]] - theirs).abs().max().detach()) for mine, theirs in pairs)


def render() -> None:
    """Write the measured table into docs/models.md."""
    rows = json.loads((RESULTS / "foreign_models.json").read_text())
    lines = [
        "| network | from | weights | cut places | cut after | smashed data | same outputs | gradients differ by | "
        "weights after split training differ by | time of a step |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{row['model']}` | {row['library']} | {row['parameters']:,} | {row['cut_places']} | `{row['cut']}` | "
        f"{' x '.join(map(str, row['shape']))} | {'bit for bit' if row['equal'] else 'no'} | "
        f"{shown(row['largest_difference_of_gradients'])} | {shown(row['largest_difference_after_split_training'])} | "
        f"{1 / row['ratio']:.2f} |"
        for row in rows
    ]
    text = PAGE.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    PAGE.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + after)


def shown(value: float | None) -> str:
    """A difference, for a table."""
    return "(drops out)" if value is None else "0" if value == 0 else f"{value:.1e}"


if __name__ == "__main__":
    main()
