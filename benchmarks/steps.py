"""Peak memory of recording, `attack --goal labels` and `audit --transcript` over many steps, against few.

    python benchmarks/steps.py [--steps 1000,100000] [--folder DIR]

The embedded digits in setup (b), one sample a step, a head of one layer. Each command runs in a process of its own. A
run takes half an hour on one core; with --folder the recordings stay there, and one that is there is not made again.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import write

LIMIT = 1.2
"""How many times the memory of the few steps the many may take."""


def main() -> None:
    """Measure each command for each number of steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="1000,100000")
    parser.add_argument("--folder", type=Path, help="for the recordings; a temporary one if left out")
    options = parser.parse_args()
    few, many = map(int, options.steps.split(","))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        found = {steps: _measured(folder, steps) for steps in (few, many)}
    rows = []
    for what, (peak, seconds) in found[many].items():
        base = found[few][what][0]
        row = {
            "what": f"{what}, {many:,} steps against {few:,} (at most {LIMIT} times the memory)",
            "ratio": round(base / peak, 3),
            "ours": round(peak, 1),
            "peer": round(base, 1),
            "unit": f"MiB peak; peer: {few:,} steps",
            "seconds": round(seconds, 1),
        }
        rows.append(row)
    write("steps", rows)


def _measured(folder: Path, steps: int) -> dict[str, tuple[float, float]]:
    """Peak memory (MiB) and seconds of each command."""
    recording = folder / str(steps)
    transcript, out = str(recording / "transcript"), str(folder / "out")
    kept, found = recording / "recording.json", {}
    if kept.is_file():
        found["recording"] = tuple(json.loads(kept.read_text()))
    else:
        training = ["train", "--setup", "b", "--batch-size", "1", "--steps", str(steps), "--out", str(recording)]
        found["recording"] = _peak(training)
        kept.write_text(json.dumps(found["recording"]))
    found["attack --goal labels"] = _peak(["attack", transcript, "--goal", "labels", "--out", out])
    found["audit --transcript"] = _peak(["audit", "--transcript", transcript, "--out", out])
    return found


def _peak(arguments: list[str]) -> tuple[float, float]:
    """Peak memory (MiB) and seconds of a command of unsplit."""
    started = time.perf_counter()
    command = [sys.executable, __file__, "--", *arguments]
    peak = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"{' '.join(arguments)}: {peak:.0f} MiB, {time.perf_counter() - started:.0f} s", flush=True)
    return peak, time.perf_counter() - started


def _child(arguments: list[str]) -> None:
    """Run a command and print its peak memory: a process counts that of the children that it has waited for."""
    subprocess.run([sys.executable, "-m", "unsplit", *arguments, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--"]:
        _child(sys.argv[2:])
    else:
        main()
