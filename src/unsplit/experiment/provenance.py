"""Where numbers come from: versions and machine."""

import datetime
import functools
import os
import platform
import time
from importlib.metadata import version

import torch

from unsplit.devices import Precision, decoder_arithmetic
from unsplit.results import Provenance

_PACKAGES = ("unsplit", "torch", "numpy", "torchmetrics", "scikit-learn")


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def machine() -> dict[str, str]:
    """The kind of machine, nothing that tells whose it is."""
    return {"system": platform.system(), "processor": platform.machine(), "cores": str(os.cpu_count() or 1)}


def provenance(command: str, *, seed: int, device: torch.device, precision: Precision, started: float) -> Provenance:
    """Where the results of a work come from that began at `started`, by `time.perf_counter`."""
    return Provenance(
        command=command,
        seed=seed,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        seconds=time.perf_counter() - started,
        device=str(device),
        precision=decoder_arithmetic(precision, device),
        versions=versions(),
        machine=machine(),
    )
