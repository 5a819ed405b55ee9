"""Whether the strongest attack is right when it is sure: its self-estimate against the errors, over all runs."""

import itertools
from collections.abc import Mapping, Sequence

from unsplit.attacks.inversion import SURE_AGREEMENT, SURE_RESIDUAL
from unsplit.metrics import Share
from unsplit.studies.reproduction.drawing import COLOURS, axes_of, png

Seed = Mapping[str, float]
"""One attack: its measures by name, and `guess`, the error of the best guess that has seen nothing."""

_LIMITS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""The limits of the agreement that were tried, in this order."""
_BINS = (-1.0, -0.5, 0.0, 0.5, 0.8, 1.0)


def right(cell: Seed) -> bool:
    """Whether the error is below half of the best guess's."""
    return cell["mse"] < cell["guess"] / 2


def sure(cell: Seed, limit: float | None = None) -> bool:
    """Whether the attack is sure by today's rule, which is stricter than that of earlier runs.

    Args:
        cell: the attack.
        limit: the rule with this limit of the agreement in place of the attack's own.
    """
    least = SURE_AGREEMENT if limit is None else limit
    # What it said of itself holds the sign, which no row has.
    told = limit is not None or bool(cell.get("sure", True))
    return told and cell.get("agreement", -1.0) >= least and cell["residual"] <= SURE_RESIDUAL


def fitted(cells: Sequence[Seed]) -> float | None:
    """The lowest limit of the agreement at and above which no attack that would be sure is wrong; None if none is."""
    for limit in _LIMITS:
        if all(right(cell) for one in _LIMITS if one >= limit for cell in cells if sure(cell, one)):
            return limit
    return None


def sureness(cells: Sequence[Seed]) -> str:
    """What the rule is, how often it was right, and how often it would have been on runs that it was not fitted on."""
    told = [cell for cell in cells if sure(cell)]
    text = (
        f"The attack calls itself *sure* where its two best restarts agree by {SURE_AGREEMENT:g} or more, its clone "
        f"leaves no more than {SURE_RESIDUAL:g} unexplained, and the sign is not left open. "
    )
    if not told:
        return text + f"Of {len(cells)} attacks none was.\n"
    share = Share.of(sum(map(right, told)), len(told))
    text += (
        f"Of {len(cells)} attacks {len(told)} were, and {sum(map(right, told))} of these have an error below half of "
        f"the best guess's (95 % interval of the share: {share.low:.0%} to {share.high:.0%}); so have "
        f"{sum(map(right, cells)) - sum(map(right, told))} of the {len(cells) - len(told)} others. "
    )
    return text + _left_out(cells)


def _left_out(cells: Sequence[Seed]) -> str:
    """The rule fitted on all runs but one, and tried on that one, for each in turn."""
    outcomes = []
    for number, cell in enumerate(cells):
        limit = fitted([*cells[:number], *cells[number + 1 :]])
        if limit is not None and sure(cell, limit):
            outcomes.append(right(cell))
    limit = fitted(cells)
    found = "no limit of the agreement" if limit is None else f"{limit:g} as the limit of the agreement"
    return (
        f"On these runs the rule (the lowest of {', '.join(map(str, _LIMITS))} from which on no sure attack is wrong) "
        f"gives {found}. Fitted without each run in turn and tried on it, it is sure {len(outcomes)} times and right "
        f"{sum(outcomes)} times.\n"
    )


def reliability(cells: Sequence[Seed]) -> bytes | None:
    """A PNG: how many attacks are right, by how well their restarts agree."""
    told = [cell for cell in cells if "agreement" in cell]
    if not told:
        return None
    figure, axes = axes_of("agreement of the two best restarts", "share with an error below half of the best guess's")
    label: str | None = "all attacks, by agreement (bar: 95 % interval)"
    for low, high in itertools.pairwise(_BINS):
        last = high == _BINS[-1]
        here = [cell for cell in told if low <= cell["agreement"] < high or (last and cell["agreement"] >= high)]
        if not here:
            continue
        share = Share.of(sum(map(right, here)), len(here))
        middle = (low + high) / 2
        axes.errorbar(
            [middle],
            [share.value],
            yerr=[[max(0.0, share.value - share.low)], [max(0.0, share.high - share.value)]],
            xerr=(high - low) / 2,
            color=COLOURS[1],
            marker="o",
            label=label,
        )
        label = None  # one line of the legend
        axes.annotate(
            f"{sum(map(right, here))} of {len(here)}", (middle, share.value), (4, 6), textcoords="offset points"
        )
    certain = [cell for cell in told if sure(cell)]
    if certain:
        share = Share.of(sum(map(right, certain)), len(certain))
        axes.axhspan(share.low, share.high, color=COLOURS[2], alpha=0.15)
        label = f"sure: {sum(map(right, certain))} of {len(certain)}"
        axes.axhline(share.value, color=COLOURS[2], linewidth=0.9, linestyle="--", label=label)
    axes.set_xlim(-1.02, 1.02)
    axes.set_ylim(-0.02, 1.08)
    return png(figure, axes)
