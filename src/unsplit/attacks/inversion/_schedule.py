"""What the steps of a restart differ in: rates, weights, the leak, and the batch."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from unsplit.stepping import Timetable

if TYPE_CHECKING:
    from unsplit.attacks.inversion._candidate import LearningConfig

_WARM_UP = 30
_SHAPED = 0.5


class Stretch(NamedTuple):
    """So many steps that go from a share `begin` of the whole schedule to `end`."""

    steps: int
    begin: float
    end: float


def timetable(
    config: "LearningConfig",
    stretches: Sequence[Stretch],
    narrowness: float,
    samples: int,
    generator: torch.Generator,
    device: torch.device,
) -> Timetable:
    """The timetable of these stretches, one after another; each starts warm, with low rates.

    Args:
        config: settings of the attack.
        stretches: in the order in which they are gone through.
        narrowness: factor of the clone's rates, at most 1.
        samples: number of the smashed samples that batches are drawn from.
        generator: draws the batches.
        device: where the steps are computed.
    """
    moments = [
        (stretch.begin + (stretch.end - stretch.begin) * step / stretch.steps, min(1.0, (step + 1) / _WARM_UP))
        for stretch in stretches
        for step in range(stretch.steps)
    ]
    shares = [done for done, _ in moments]
    variation = [config.variation_start * (config.variation_end / config.variation_start) ** done for done in shares]
    weights = {
        "variation": variation,
        "leak": [max(0.0, config.leak * (1 - 2 * done)) for done in shares],
        # Before pictures have taken shape, the demand of equal phases keeps them from it.
        "phases": [config.photographs.phases if done >= _SHAPED else 0.0 for done in shares],
        "figures": [config.photographs.figures * weight for weight in variation],
    }
    batches = torch.randint(samples, (len(moments), config.batch), generator=generator)
    return Timetable([_rates(config, *moment, narrowness) for moment in moments], weights, batches, device)


def _rates(config: "LearningConfig", done: float, warm: float, narrowness: float) -> tuple[float, float]:
    """The rates of the decoder and of the clone when a share `done` of the schedule is done."""
    late = max(0.0, 1 - done / config.rise)
    fall = 0.5 * (1 + math.cos(math.pi * done)) * warm
    decoder = fall * config.decoder_rate * (config.decoder_rate_start / config.decoder_rate) ** late
    rise = (config.clone_rate_start / config.clone_rate) ** late
    return decoder, fall * config.clone_rate * rise * narrowness
