"""What some layers of a network mean for who trains or attacks it."""

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from unsplit.randomness import seeded


def refuses_single_samples(model: nn.Module, input_shape: tuple[int, ...]) -> bool:
    """Whether a network in training refuses a batch of one sample, since a layer normalises each of its numbers over
    the batch alone, as `nn.BatchNorm1d` does behind a dense layer.
    """
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return False
    trained = copy.deepcopy(model).train()
    device = next((value.device for value in model.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad(), seeded(0):
            trained(torch.zeros(1, *input_shape, device=device))
    except ValueError as error:
        return "more than 1 value per channel" in str(error)
    except RuntimeError:  # inputs of another kind; whoever uses the network says so
        return False
    return False


def batch_norm_note(bottom: nn.Module) -> str | None:
    """What the server sees of a bottom with batch normalisation, in a sentence for a report; None if it has none."""
    norms = [name for name, module in bottom.named_modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return None
    layers = f"{len(norms)} batch normalisation layer" + ("s" if len(norms) > 1 else "")
    return (
        f"The client's part has {layers}: during training each sample's smashed data are normalised by the mean and "
        "variance of the batch that it is in, so they depend on the other samples too, and an attacker who inverts one "
        "sample alone needs the running statistics, which the client keeps and which are not among the weights; after "
        "training, when the network is only used, smashed data of a sample depend on that sample alone."
    )


def dense_note(bottom: nn.Module) -> str | None:
    """What cannot be known of inputs behind a dense first layer, in a sentence for a report; None if it is another."""
    form = nn.Sequential | nn.Identity | nn.Flatten | nn.Unflatten
    first = next((module for module in bottom.modules() if not isinstance(module, form)), None)
    if not isinstance(first, nn.Linear):
        return None
    return (
        "The client's first layer is dense: any invertible mixture of an input's numbers, undone in that layer's "
        "weights, gives the same smashed data, so smashed data determine inputs up to a linear map only; an attack "
        "that knows only the architecture must guess the rest from what such inputs look like, and neither a small "
        "residual nor restarts that agree show that the guess is right."
    )
