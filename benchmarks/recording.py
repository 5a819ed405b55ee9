"""Peak memory of a process that records 10,000 training steps: streaming to disk, against 1,000 steps, and against
holding them in memory.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from measure import write

from unsplit.models import build
from unsplit.protocol import SERVER, Recorder, SplitConfig, split_training
from unsplit.randomness import generator


def record(steps: int, stream: bool) -> None:
    """Train for `steps` small steps while recording; print peak memory (MiB) and bytes recorded (MiB)."""
    torch.set_num_threads(1)
    source = generator(0)
    inputs, labels = torch.rand(64, 1, 28, 28, generator=source), torch.randint(10, (64,), generator=source)
    model = build("mnist-net", generator=source)
    config = SplitConfig(cut=1, batch_size=4)
    training = split_training(model, inputs, labels, config, generator=source)
    with tempfile.TemporaryDirectory() as folder:
        recorder = training.record(Recorder(observer=SERVER, folder=Path(folder) if stream else None))
        training.run(steps)
        recorder.flush()
        size = sum(path.stat().st_size for path in Path(folder).iterdir()) / 2**20
    print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, "recorded": size}))


def main() -> None:
    """Measure each case in a process of its own."""
    rows = []
    peaks = {}
    for steps, stream in [(1000, True), (10_000, True), (10_000, False)]:
        arguments = [sys.executable, __file__, str(steps), str(int(stream))]
        found = json.loads(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)
        peaks[steps, stream] = found["peak"]
        base = peaks[1000, True]
        rows.append(
            {
                "what": f"{steps} steps, " + (f"{found['recorded']:.0f} MiB to disk" if stream else "held in memory"),
                "ratio": round(base / found["peak"], 3),
                "ours": round(found["peak"], 1),
                "peer": round(base, 1),
                "unit": "MiB peak; peer: 1,000 steps streaming",
            }
        )
    write("recording", rows)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        record(int(sys.argv[1]), bool(int(sys.argv[2])))
    else:
        main()
