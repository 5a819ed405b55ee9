"""Processor seconds until the program has said its version, and until the package has been imported.

Beside them the same of another checkout, which is given by its path, and `import torch` alone.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import write

OWN = Path(__file__).parents[1]
PROGRAM = "import sys; from unsplit.cli import main; sys.argv = ['unsplit', '--version']; main()"
PACKAGE = "from unsplit import *"
TORCH = "import torch"
ROUNDS = 5


def seconds(code: str, checkout: Path, cache: str) -> float:
    """Processor seconds of a new process that runs this code with the package of a checkout, compiled before."""
    paths = {"PYTHONPATH": str(checkout / "src"), "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | paths, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure all in turn, so that a drift of the machine's speed hits all alike; one round before compiles all."""
    if len(sys.argv) != 2:
        sys.exit("usage: python benchmarks/startup.py CHECKOUT")
    other = Path(sys.argv[1])
    runs = {
        "program": (PROGRAM, OWN),
        "program before": (PROGRAM, other),
        "package": (PACKAGE, OWN),
        "package before": (PACKAGE, other),
        "torch": (TORCH, OWN),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    with tempfile.TemporaryDirectory() as cache:
        for number in range(ROUNDS + 1):
            for name, run in runs.items():
                spent = seconds(*run, cache)
                if number:
                    times[name].append(spent)
    median = {name: statistics.median(found) for name, found in times.items()}
    rows = [
        ("unsplit --version", "program", "program before", "peer: the other checkout"),
        ("unsplit --version", "program", "torch", "peer: import torch alone"),
        ("from unsplit import *", "package", "package before", "peer: the other checkout"),
        ("from unsplit import *", "package", "torch", "peer: import torch alone"),
    ]
    write(
        "startup",
        [
            {
                "what": what,
                "ratio": round(median[peer] / median[ours], 3),
                "ours": round(median[ours], 3),
                "peer": round(median[peer], 3),
                "unit": f"s of processor time; {against}",
            }
            for what, ours, peer, against in rows
        ],
    )


if __name__ == "__main__":
    main()
