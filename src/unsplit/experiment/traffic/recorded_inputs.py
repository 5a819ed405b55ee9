"""The form of the inputs behind recorded traffic: as the truth has it, or as the user says."""

from unsplit.data.scaling import SMALL_PART
from unsplit.errors import InputError
from unsplit.experiment.traffic.truth import RecordedTruth
from unsplit.ranges import UNIT, InputRange


def shape_of(given: tuple[int, ...] | None, truth: RecordedTruth | None) -> tuple[int, ...] | None:
    """The shape of one input, if it is known.

    Raises:
        InputError: two are.
    """
    known = None if truth is None or truth.inputs is None else tuple(truth.inputs.shape[1:])
    if known is not None and given is not None and known != given:
        raise InputError(f"The truth has inputs of shape {known}, and --input-shape says {given}; leave that out.")
    return known or given


def range_of(given: InputRange | None, truth: RecordedTruth | None, shape: tuple[int, ...]) -> InputRange:
    """The range of the client's inputs, within which the truth is; 0 to 1 if nobody says another.

    Raises:
        InputError: two ranges, one for another number of channels, or a truth beyond it.
    """
    known = None if truth is None else truth.input_range
    if known is not None and given is not None and known != given:
        raise InputError(f"The truth has the input range {known}, and --input-range says {given}; leave that out.")
    found = known or given or UNIT
    found.columns(shape)
    if truth is not None and truth.inputs is not None:
        found.check(truth.inputs, "The truth's inputs")
    return found


def about_the_range(truth: RecordedTruth | None, units: InputRange) -> tuple[str, ...]:
    """What there is to say of a truth that fills a small part of the range, if it does."""
    if truth is None or truth.inputs is None:
        return ()
    unit = units.to_unit(truth.inputs)
    if not 0 < float(unit.max() - unit.min()) <= SMALL_PART:
        return ()
    low, high = float(truth.inputs.min()), float(truth.inputs.max())
    return (
        f"The truth fills {low:g} to {high:g} only, a small part of the range {units}, which attacks look for inputs "
        "to fill; give the range that the client's inputs really fill (--input-range).",
    )
