"""Where numbers come from: versions and machine."""

import os
import platform
from importlib.metadata import version

_PACKAGES = ("unsplit", "torch", "numpy", "torchmetrics", "scikit-learn")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def machine() -> dict[str, str]:
    """The kind of machine, nothing that tells whose it is."""
    return {"system": platform.system(), "processor": platform.machine(), "cores": str(os.cpu_count() or 1)}
