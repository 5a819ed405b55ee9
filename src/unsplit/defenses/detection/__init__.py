"""Guards: how a client tells from the gradients that it gets back whether the server trains for something else."""

from unsplit.defenses.detection.guard import GUARDS, Guard, GuardConfig, HijackSuspected, Verdict, register_guard
from unsplit.defenses.detection.scrutiny import (
    Likeness,
    Scrutinizer,
    ScrutinyConfig,
    fitting_error,
    likeness,
    scrutiny_score,
)
from unsplit.defenses.detection.splitguard import (
    SplitGuard,
    SplitGuardConfig,
    Summary,
    angle,
    splitguard_distance,
    splitguard_score,
)

__all__ = [
    "GUARDS",
    "Guard",
    "GuardConfig",
    "HijackSuspected",
    "Likeness",
    "Scrutinizer",
    "ScrutinyConfig",
    "SplitGuard",
    "SplitGuardConfig",
    "Summary",
    "Verdict",
    "angle",
    "fitting_error",
    "likeness",
    "register_guard",
    "scrutiny_score",
    "splitguard_distance",
    "splitguard_score",
]
