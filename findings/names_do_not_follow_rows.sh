#!/usr/bin/env bash
# MONAI 1.6.1: a batch of scans from its DataLoader, a MetaTensor, through a client's first layer.
#
# Guess, before running: each row's file name goes where the row goes; a mask or an order of the rows takes the names
# along, as one index and a slice do, and what is no row any more (a mean) has no names.
#
# Seen: one index, a slice and an iteration over the rows do. A mask, a tensor of positions and `flip` keep all names in
# their old order, a list of positions keeps the name of the first of them alone. Each piece that `split` makes carries
# the names of the whole batch, and so does the mean over it. Gradients are plain tensors.
#
#   row 2: scan2; rows 2 and 3: scan2 scan3
#   by the mask [1, 0, 1, 0]: scan0 scan1 scan2 scan3
#   in the order [3, 2, 1, 0]: scan0 scan1 scan2 scan3
#   by the list [3, 1]: scan3
#   first half of split(2): scan0 scan1 scan2 scan3
#   mean: scan0 scan1 scan2 scan3
#   gradient: Tensor
#
# For unsplit: names that crossed are those of the batch, not of the rows they lie beside: a client that shuffles its
# rows before it sends them still sends the old order beside them, a micro-batch from `split` names all its neighbours,
# and a truth put together by these names has wrong pairs. `.as_tensor()` before anything crosses; unsplit's own
# messages are plain tensors.
set -euo pipefail
source "$(dirname "$0")/common.sh"
installed torch==2.13.0 numpy==2.4.6 monai==1.6.1
observed <<'PY'
import torch
from monai.data import DataLoader, MetaTensor
from still import still

scans = [MetaTensor(torch.rand(1, 8, 8), meta={"filename_or_obj": f"scan{number}"}) for number in range(4)]
layer = torch.nn.Conv2d(1, 2, 3)
smashed = layer(next(iter(DataLoader(scans, batch_size=4))))


def names(tensor: MetaTensor) -> str:
    found = tensor.meta["filename_or_obj"]
    return found if isinstance(found, str) else " ".join(found)


everything = "scan0 scan1 scan2 scan3"
mask, order = torch.tensor([True, False, True, False]), torch.tensor([3, 2, 1, 0])
print(f"row 2: {names(smashed[2])}; rows 2 and 3: {names(smashed[2:])}")
print("by the mask [1, 0, 1, 0]:", names(smashed[mask]))
print("in the order [3, 2, 1, 0]:", names(smashed[order]))
print("by the list [3, 1]:", names(smashed[[3, 1]]))
print("first half of split(2):", names(smashed.split(2)[0]))
print("mean:", names(smashed.mean()))
smashed.mean().backward()
print("gradient:", type(layer.weight.grad).__name__)
kept = [smashed[mask], smashed[order], smashed.flip(0), *smashed.split(2), smashed.mean()]
still(
    (names(smashed[2]), names(smashed[2:]), names(smashed[[3, 1]])) == ("scan2", "scan2 scan3", "scan3")
    and " ".join(map(names, smashed)) == everything
    and all(names(tensor) == everything for tensor in kept)
    and type(layer.weight.grad) is torch.Tensor
)
PY
