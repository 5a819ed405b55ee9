"""Steps per second of split training against training the same network unsplit, on the same batches."""

import copy

import torch
from measure import paired, write
from torch.nn import functional

from unsplit.models import build
from unsplit.protocol import SERVER, Recorder, SplitConfig, split_training
from unsplit.randomness import generator
from unsplit.types import Setup

STEPS = 100
BATCH = 64


def main() -> None:
    """Measure every setup, and setup (a) with a recorder."""
    torch.set_num_threads(1)
    source = generator(0)
    inputs, labels = torch.rand(6400, 1, 28, 28, generator=source), torch.randint(10, (6400,), generator=source)
    model = build("mnist-net", generator=source)
    rows = []
    for setup, cut, recorded in [
        (Setup.A, 1, False),
        (Setup.A, 3, False),
        (Setup.A, 6, False),
        (Setup.A, 1, True),
        (Setup.B, 1, False),
        (Setup.C, 1, False),
    ]:
        config = SplitConfig(setup=setup, cut=cut, batch_size=BATCH)
        training = split_training(model, inputs, labels, config, generator=generator(1))
        if recorded:
            training.record(Recorder(observer=SERVER, last=10))
        whole = copy.deepcopy(model)
        optimizer = torch.optim.Adam(whole.parameters(), 1e-3)
        batches = [training.truth(step) for step in range(STEPS)]

        def unsplit(whole=whole, optimizer=optimizer, batches=batches):
            for batch in batches:
                optimizer.zero_grad()
                functional.cross_entropy(whole(batch.inputs), batch.labels).backward()
                optimizer.step()

        def split(training=training):
            training.run(training.steps_done + STEPS)

        ours, peer = paired(split, unsplit)
        rows.append(
            {
                "what": f"setup {setup.value}, cut {cut}, batch {BATCH}" + (", recording the last 10" * recorded),
                "ratio": round(peer / ours, 3),
                "ours": round(STEPS / ours, 1),
                "peer": round(STEPS / peer, 1),
                "unit": "steps/s, one thread; peer: the same network unsplit",
            }
        )
    write("protocol", rows)


if __name__ == "__main__":
    main()
