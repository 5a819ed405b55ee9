#!/usr/bin/env bash
# torchslicer 0.2.0: split learning with micro-batches, ten samples in four of them.
#
# Guess, before running: the cut gradients of the micro-batches, put together, are those of the whole batch; with mixed
# precision, tensors still cross in single precision.
#
# Seen: the four hold 3, 3, 3 and 1 samples, each has a mean loss of its own, and each mean counts a quarter. So the
# gradient of a sample in the first three is 0.83 of what the whole batch gives it, and that of the last sample 2.5
# times. With eight samples there is no difference at all. With mixed precision bfloat16 crosses, both ways.
#
#   samples in each micro-batch: [3, 3, 3, 1]
#   gradient against the whole batch: 0.83 0.83 0.83 0.83 0.83 0.83 0.83 0.83 0.83 2.50
#   mixed precision: torch.bfloat16 and torch.bfloat16
#
# For unsplit: the length of a cut gradient tells here where in the batch a sample was, and the label attack by length
# takes that for a rare class. Divide by the weights, or look at whole micro-batches, before reading lengths. A step as
# `observe` notes it is a micro-batch, not the loader's batch.
set -euo pipefail
source "$(dirname "$0")/common.sh"
installed torch==2.13.0 numpy==2.4.6 "torchslicer[grpc]==0.2.0"
observed <<'PY'
import torch
import torchslicer
from still import still
from torch import nn

torch.manual_seed(0)
inputs, labels = torch.rand(10, 6), torch.randint(3, (10,))


def crossed(samples: int, **how: object) -> list[tuple[torch.dtype, torch.Tensor]]:
    """The dtype of what arrives at the second part, and the gradient that goes back, in the order of the samples."""
    torch.manual_seed(1)
    sliced = torchslicer.slice(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.Linear(4, 3)), n=2)
    seen = []

    def noted(part: nn.Module, arrived: tuple[torch.Tensor], _: torch.Tensor) -> None:
        place = len(seen)
        seen.append((arrived[0].dtype, torch.empty(0)))
        part.x.register_hook(lambda gradient: seen.__setitem__(place, (arrived[0].dtype, gradient.clone())))

    set_up = sliced.executor.setup

    def hooked(*given: object, **named: object) -> None:
        set_up(*given, **named)
        sliced.executor.split_layers[1].register_forward_hook(noted)

    sliced.executor.setup = hooked
    optimiser, loss = {"name": "SGD", "params": {"lr": 0.1}}, {"name": "CrossEntropyLoss", "params": {}}
    sliced.train([(inputs[:samples], labels[:samples])], optimiser, loss, epochs=1, **how)
    return seen


def ratios(samples: int) -> tuple[list[int], torch.Tensor]:
    parts = [gradient for _, gradient in crossed(samples, use_gpipe=True, n_micro_batches=4)]
    whole = crossed(samples)[0][1]
    return [len(part) for part in parts], torch.cat(parts).norm(dim=1) / whole.norm(dim=1)


sizes, uneven = ratios(10)
_, even = ratios(8)
arrived, gradient = crossed(10, mixed_precision=True)[0]
print("samples in each micro-batch:", sizes)
print("gradient against the whole batch:", *(f"{ratio:.2f}" for ratio in uneven))
print("mixed precision:", arrived, "and", gradient.dtype)
still(
    sizes == [3, 3, 3, 1]
    and torch.allclose(uneven, torch.tensor([10 / 12] * 9 + [2.5]), atol=1e-4)
    and torch.allclose(even, torch.ones(8))
    and arrived == gradient.dtype == torch.bfloat16
)
PY
