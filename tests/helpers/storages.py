"""What memory a module holds."""

import gc

from torch import Tensor, nn


def held_storages(thing):
    """Addresses of all tensors' numbers that can be reached from a thing."""
    waiting, seen, found = [thing], set(), set()
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, type):
            continue
        seen.add(id(thing))
        if isinstance(thing, Tensor) and not thing.is_meta:
            found.add(thing.untyped_storage().data_ptr())
        if not callable(thing) or isinstance(thing, nn.Module):
            waiting += gc.get_referents(thing)
    return found
