"""What batch normalisation in a client's layers means for who attacks them."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norm_note(bottom: nn.Module) -> str | None:
    """What the server sees of a bottom with batch normalisation, in a sentence for a report; None if it has none."""
    norms = [name for name, module in bottom.named_modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return None
    layers = f"{len(norms)} batch normalisation layer" + ("s" if len(norms) > 1 else "")
    return (
        f"The client's part has {layers}: during training each sample's smashed data are normalised by the mean and "
        "variance of the batch that it is in, so they depend on the other samples too, and an attacker who inverts one "
        "sample alone needs the running statistics, which the client keeps and which are not among the weights; once "
        "the network is used, smashed data of a sample depend on that sample alone."
    )
