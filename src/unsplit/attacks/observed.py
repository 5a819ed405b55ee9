"""Checks of what attacks observe."""

from torch import Tensor

from unsplit.errors import InputError


def check_finite(what: str, *values: Tensor) -> None:
    """Check that observed values are numbers an attack can work with.

    Raises:
        InputError: NaN or infinity is among them.
    """
    if not all(bool(value.isfinite().all()) for value in values):
        raise InputError(f"The {what} hold NaN or infinity; record a run whose training does not diverge.")
