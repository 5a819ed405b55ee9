"""Whether a network reads its inputs by an embedding, as tokens: whole numbers that stand for words or categories."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unsplit.randomness import seeded


@torch.no_grad()
def token_parts(
    model: nn.Module, input_shape: tuple[int, ...], parts: Mapping[str, tuple[int, int]]
) -> tuple[str, ...]:
    """The named parts of a flat input that reach an embedding's table; ("",) where inputs have no such parts and do.

    Args:
        model: network that takes inputs [n, *input shape]; left as it is.
        input_shape: shape of one input, without the batch.
        parts: begin and end of each named part in a flat input; empty where an input is one whole.
    """
    tables = [layer for layer in model.modules() if isinstance(layer, nn.Embedding | nn.EmbeddingBag)]
    if not tables:
        return ()
    read: list[Tensor] = []
    hooks = [table.register_forward_pre_hook(lambda _, given: read.append(given[0].clone())) for table in tables]
    training = model.training
    model.eval()
    try:
        without = _indices(model, torch.zeros(2, *input_shape), read)
        found = []
        for name in parts or ("",):
            inputs = torch.zeros(2, *input_shape)
            inputs[:, slice(*parts[name]) if parts else slice(None)] = 1
            changed = _indices(model, inputs, read)
            if any(not torch.equal(one, other) for one, other in zip(without, changed, strict=True)):
                found.append(name)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return tuple(found)


def _indices(model: nn.Module, inputs: Tensor, read: list[Tensor]) -> list[Tensor]:
    """What its embeddings look up for these inputs."""
    read.clear()
    with seeded(0):
        model(inputs)
    return list(read)
