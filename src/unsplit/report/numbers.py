"""Numbers as people read them."""

import math


def percent(value: float | None) -> str:
    """A share as a percentage with one digit; "not measured" for none."""
    return "not measured" if value is None or math.isnan(value) else f"{value:.1%}"


def error(value: float) -> str:
    """A squared error with four digits after the point, or as a power of ten if it is smaller than they show."""
    if math.isnan(value):
        return "not measured"
    return f"{value:.4f}" if value >= 0.0001 or value == 0 else f"{value:.1e}"


def decimals(value: float | None, digits: int = 2) -> str:
    """A number with so many digits after the point; a dash for none and for what is not a number."""
    return "—" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def on_scale(score: float | None) -> str:
    """A score of the verdict, rounded down, so that 1.00 means exact and 0.90 has reached its band; a dash for none."""
    return "—" if score is None else f"{math.floor(100 * score + 1e-9) / 100:.2f}"
