"""Whether what was seen to cross a cut is what a network gives there, and where else it would be."""

from itertools import permutations

from torch import nn

from unsplit.errors import InputError

from ._cuts import cuts, depth_of


def check_crossing(model: nn.Sequential, cut: int | str, input_shape: tuple[int, ...], seen: tuple[int, ...]) -> None:
    """Check that smashed data of this shape come from this cut.

    Args:
        model: the whole network.
        cut: depth or name of the cut that the smashed data are said to come from.
        input_shape: shape of one input, without the batch.
        seen: shape of one sample's smashed data.

    Raises:
        InputError: they do not; the message names the cuts that they may come from, and axes that seem swapped.
    """
    depth = depth_of(model, cut)
    known = cuts(model, input_shape)
    here = known[depth]
    if seen == here.shape:
        return
    said = (
        f"The smashed data have shape {seen} for each input, and the cut {here.depth} ({here.name}) gives {here.shape}"
    )
    matching = ", ".join(f"{place.depth} ({place.name})" for place in known if place.shape == seen)
    if matching:
        raise InputError(f"{said}; that shape crosses at {matching}, so name that with `cut`.")
    swapped = _swapped(seen, here.shape)
    if swapped is not None:
        raise InputError(
            f"{said}: the axes seem swapped, as where channels come last; bring the recorded tensors into the order of "
            f"torch with .permute({', '.join(map(str, (0, *(axis + 1 for axis in swapped))))}), or import them so."
        )
    places = [place for place in known if _swapped(seen, place.shape) is not None]
    also = f" (with swapped axes: {', '.join(f'{place.depth} ({place.name})' for place in places)})" if places else ""
    raise InputError(
        f"{said}; no cut of this network gives that shape{also} for inputs of shape {tuple(input_shape)}, so name the "
        "model and the input shape of the recorded training."
    )


def _swapped(seen: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...] | None:
    """The order of the axes of `seen` that gives `wanted`: channels first of channels last if that will do."""
    if len(seen) != len(wanted):
        return None
    last_first = (len(seen) - 1, *range(len(seen) - 1))
    orders = [last_first, *permutations(range(len(seen)))] if len(seen) <= 4 else [last_first]
    return next((order for order in orders if tuple(seen[axis] for axis in order) == wanted), None)
