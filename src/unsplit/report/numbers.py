"""Numbers as people read them."""


def percent(value: float | None) -> str:
    """A share as a percentage with one digit; "none" for none."""
    return "none" if value is None else f"{value:.1%}"


def error(value: float) -> str:
    """A squared error with four digits after the point, or as a power of ten if it is smaller than they show."""
    return f"{value:.4f}" if value >= 0.0001 or value == 0 else f"{value:.1e}"
