"""Choosing where tensors live."""

import torch

from unsplit.errors import InputError


def device(name: str) -> torch.device:
    """The device of this name, once a tensor was seen to fit on it.

    Raises:
        InputError: torch knows no such device, or this machine does not have it.
    """
    try:
        chosen = torch.device(name)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"The device '{name}' is not to be had on this machine; use --device cpu.") from error
    if chosen.type == "meta":
        raise InputError("The device 'meta' holds no numbers; use --device cpu.")
    return chosen
