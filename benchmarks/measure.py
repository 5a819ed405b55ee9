"""What the benchmarks share: paired timing, and the one form of their results."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from unsplit.experiment.provenance import machine, versions

RESULTS = Path(__file__).parent / "results"


def paired(ours: Callable[[], object], peer: Callable[[], object], *, repeats: int = 7) -> tuple[float, float]:
    """Median seconds of both, run in turn after one warm-up each, so that a drift of the machine's speed hits both."""
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for function, kept in zip((ours, peer), times, strict=True):
            started = time.perf_counter()
            function()
            if repeat:
                kept.append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def in_build(script: str, task: dict[str, object], build_at: Path, bounds: dict[str, str]) -> dict[str, float]:
    """What a benchmark measures of a task in a process of its own, on one thread, with the build of a checkout.

    Args:
        script: file of the benchmark, which does a task that it is given by `--attack` and prints a row.
        task: what to do.
        build_at: the checkout.
        bounds: environment that bounds the instructions that are used.
    """
    environment = os.environ | bounds | {"PYTHONPATH": str(build_at / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, script, "--attack", json.dumps(task)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def write(name: str, rows: list[dict[str, object]]) -> None:
    """Write the rows of one benchmark and print them. Each has `ratio` (above 1: we are better), `ours`, `peer` and
    `unit`, and what was measured. A row that says itself by what it was measured keeps that.
    """
    command = "python benchmarks/" + " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    common = {"machine": machine(), "versions": versions(), "command": command}
    results = [{"name": name, **row, **(common | row)} for row in rows]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    for row in rows:
        print(name, json.dumps(row))
