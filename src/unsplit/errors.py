"""What goes wrong because of an input, said in one sentence: what was wrong, what was expected, what to do.

The command line prints the sentence and exits with code 2. Any other exception is a fault of the program
and keeps its traceback.
"""

import difflib
import math
from collections.abc import Iterable


class UnsplitError(Exception):
    """Something the user can mend; the message says how."""


class InputError(UnsplitError):
    """An argument, a name, a model or a configuration that cannot be used."""


class DataError(UnsplitError):
    """A data set that is missing, damaged or not of the expected form."""


class FormatError(UnsplitError):
    """A file of ours (transcript, checkpoint, report) that is damaged, foreign or from a newer version."""


class StorageError(UnsplitError):
    """A place that cannot be read or written."""


def check_at_least_one(settings: object, *names: str) -> None:
    """Check that these numbers among some settings are 1 or more, where they are given at all.

    Raises:
        InputError: one is less.
    """
    for name in names:
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; it must be at least 1.")


def check_positive(settings: object, *names: str) -> None:
    """Check that these numbers among some settings are above 0 and finite.

    Raises:
        InputError: one is not.
    """
    for name in names:
        value = getattr(settings, name)
        if not 0 < value < math.inf:
            raise InputError(f"{name} is {value}; it must be above 0, and finite.")


def check_not_negative(settings: object, *names: str) -> None:
    """Check that these numbers among some settings are 0 or more and finite.

    Raises:
        InputError: one is not.
    """
    for name in names:
        value = getattr(settings, name)
        if not 0 <= value < math.inf:
            raise InputError(f"{name} is {value}; it must be 0 or more, and finite.")


def unknown_name(what: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not in a list of names: suggests the closest, else lists them all."""
    known = sorted(known)
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'?" if close else "choose one of the known names."
    return InputError(f"Unknown {what} '{name}'; known are {', '.join(known)}: {hint}")
