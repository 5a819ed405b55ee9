"""Named settings of the inversion attacks, by the depth of the cut."""

from collections.abc import Callable
from dataclasses import replace

import torch

from unsplit.attacks.inversion._candidate import LearningConfig
from unsplit.attacks.inversion.amortised import AmortisedConfig
from unsplit.attacks.inversion.coordinate import CoordinateConfig
from unsplit.attacks.inversion.joint import JointConfig
from unsplit.attacks.progress import Progress, silent
from unsplit.attacks.settings import InversionConfig
from unsplit.devices import Precision, check_precision
from unsplit.errors import unknown_name
from unsplit.knowledge import ClientArchitecture
from unsplit.optim import OptimizerSpec
from unsplit.types import Reconstruction, Transcript


def paper(depth: int) -> CoordinateConfig:
    """UnSplit as the paper describes it: MSE for both blocks, Adam at 0.001, total variation with its root, weighted
    0.1 at depths 1 to 3 and 1 beyond, a randomly initialised clone for every input, rounds until convergence.

    Departures:
        - The paper's total variation is a sum over pixels beside a mean squared error. Taken so, alpha = 0.1 outweighs
          the smashed data several times over and every picture comes out blank (preset `paper-literal`), which the
          paper's own figures are not. Here it is divided by the number of pixels, as the released code divides its own.
        - The paper gives neither the steps of a round, nor the first input, nor a measure of convergence. Steps (100
          for inputs, 100 for weights), at most 1,000 rounds, and a first input of half the range are the released
          code's; an input ends when its objective has not fallen by 0.1 % for 50 rounds.
    """
    return CoordinateConfig(variation_weight=_paper_alpha(depth))


def paper_literal(depth: int) -> CoordinateConfig:
    """`paper` with the total variation summed over pixels, exactly as its formula is printed.

    Departures:
        As `paper`, but for the first.
    """
    return CoordinateConfig(variation_weight=_paper_alpha(depth), variation="isotropic-sum")


def released(depth: int) -> CoordinateConfig:
    """UnSplit as its authors' code runs it, where that differs from the paper: squared total variation (its mean,
    without the root), an extra term of weight 1 on the input's mean square, Adam with AMSGrad, exactly 1,000 rounds
    of 100 + 100 steps, the same clone going on from input to input.

    Departures:
        - The released code min-max normalises CIFAR-10 reconstructions before their error is taken and scores the
          clone through a top that was never trained; metrics are the same for every preset here.
    """
    adam = OptimizerSpec(options={"amsgrad": True})
    return CoordinateConfig(
        variation_weight=_paper_alpha(depth),
        variation="squared",
        norm_weight=1.0,
        input_optimizer=adam,
        weight_optimizer=adam,
        new_clone=False,
        tolerance=None,
    )


def joint(depth: int) -> JointConfig:
    """All targets at once with one clone; less total variation at the start from depth 3 on, where more of it erases
    the pictures before the clone can hold them.
    """
    return JointConfig() if depth < 3 else JointConfig(variation_start=0.3)


def joint_quick(depth: int) -> JointConfig:
    """`joint` with 600 of its 2,500 steps, for a first look."""
    return replace(joint(depth), steps=600)


def strong(depth: int) -> AmortisedConfig:  # noqa: ARG001
    """A decoder shared by all smashed data that the server has seen, and restarts of it. It wants a thousand smashed
    samples or more beside the targets; with few of them, `joint` is better.
    """
    return AmortisedConfig()


def strong_quick(depth: int) -> AmortisedConfig:  # noqa: ARG001
    """`strong` with a third of the work, for a first look: three restarts, half of the steps, smaller batches."""
    return AmortisedConfig(candidates=3, trial=0.25, steps=400, refit_steps=100, learning=LearningConfig(batch=16))


PRESETS: dict[str, Callable[[int], InversionConfig]] = {
    "joint": joint,
    "joint-quick": joint_quick,
    "paper": paper,
    "paper-literal": paper_literal,
    "released": released,
    "strong": strong,
    "strong-quick": strong_quick,
}
"""The presets by name; each gives the settings for a depth."""


def preset(name: str, depth: int, *, precision: Precision = "auto") -> InversionConfig:
    """The settings of a preset at a depth.

    Args:
        name: one of `PRESETS`.
        depth: depth of the cut, from 0.
        precision: whether a decoder's convolutions are computed in bfloat16 (`devices.Precision`).

    Raises:
        InputError: no such preset, or no such setting.
    """
    check_precision(precision)
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name](depth).computing(precision)


def attack_of(config: InversionConfig) -> Callable[..., Reconstruction]:
    """The attack that these settings are for."""
    return config.attack


def adaptive_attack_of(config: InversionConfig) -> Callable[..., Reconstruction] | None:
    """The form of that attack that knows the client's defence; None where it has none."""
    return config.adaptive_attack


def invert(
    view: Transcript,
    architecture: ClientArchitecture,
    config: InversionConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Reconstruction:
    """Run the attack that these settings are for, with its threat model and its errors."""
    return config.attack(view, architecture, config, generator=generator, progress=progress)


def _paper_alpha(depth: int) -> float:
    return 0.1 if depth <= 3 else 1.0
