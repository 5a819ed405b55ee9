"""Steps per second between two processes: ours (gRPC, mutual TLS, loopback) against the same parties in one process,
and against the same exchange over torch.distributed's gloo (plain TCP); what recording costs, and rounding on the wire.
"""

import asyncio
import copy
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from measure import write
from torch import distributed

from unsplit.data import load
from unsplit.metrics import accuracy
from unsplit.models import split
from unsplit.protocol import predicted, split_training
from unsplit.protocol.remote import (
    ConnectOptions,
    ListenOptions,
    RunConfig,
    Telemetry,
    join,
    logger,
    make_certificates,
    make_plan,
    serve,
)
from unsplit.protocol.remote.states import States
from unsplit.randomness import generator

STEPS, WARM, REPEATS = 320, 20, 2
PROCESSES = multiprocessing.get_context("spawn")


class Clock(Telemetry):
    """Notes when each step ends."""

    def step(self, client, step, loss):
        """Note it."""
        self.__dict__.setdefault("ends", []).append(time.perf_counter())
        super().step(client, step, loss)


def main() -> None:
    """Measure."""
    torch.set_num_threads(1)
    rows = []
    for cut in (1, 3, 6):
        config = RunConfig(data="digits", cut=cut, steps=STEPS)
        remote, local, gloo, bare = [], [], [], []
        for _ in range(REPEATS):
            remote.append(over_grpc(config))
            local.append(in_process(config))
            gloo.append(over_gloo(config))
            bare.append(over_grpc(config, record=False))
        ours = statistics.median(remote)
        for peer, rates in (("in one process", local), ("gloo, plain TCP", gloo), ("ours without a transcript", bare)):
            rate = statistics.median(rates)
            rows.append(
                {
                    "what": f"setup a, cut {cut}, batch 64, mutual TLS, recording; peer: {peer}",
                    "ratio": round(ours / rate, 3),
                    "ours": round(ours, 1),
                    "peer": round(rate, 1),
                    "unit": "steps/s, one thread a process, median of two runs in turn",
                }
            )
    rows += rounding()
    write("network", rows)


def over_grpc(config: RunConfig, *, record: bool = True, keep: Path | None = None) -> float:
    """Steps per second of a server process and a client in this one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) if keep is None else keep
        certs = folder / "certs"
        make_certificates(certs, hosts=["localhost"], clients=config.clients)
        ports = PROCESSES.Queue()
        server = PROCESSES.Process(target=_server, args=(config, folder, record, ports))
        server.start()
        plan = make_plan(config)
        connect = ConnectOptions(
            address=f"localhost:{ports.get(timeout=120)}",
            ca=certs / "ca.pem",
            certificate=certs / "client0.pem",
            key=certs / "client0.key",
        )
        clock = Clock(log=logger(quiet=True))
        asyncio.run(join(plan, plan.make_client("client0"), connect, folder / "client0", clock))
        server.join()
        ends = clock.__dict__["ends"]
        return (len(ends) - 1 - WARM) / (ends[-1] - ends[WARM])


def _server(config, folder, record, ports):
    torch.set_num_threads(1)
    certs = folder / "certs"
    listen = ListenOptions(
        address="localhost:0",
        certificate=certs / "server.pem",
        key=certs / "server.key",
        client_ca=certs / "ca.pem",
    )
    telemetry = Telemetry(log=logger(quiet=True))
    asyncio.run(serve(make_plan(config), listen, folder / "server", telemetry, record=record, listening=ports.put))


def in_process(config: RunConfig) -> float:
    """Steps per second of the same parties in one process."""
    train, plan = load("digits").train, make_plan(config)
    training = split_training(plan.model(0), train.images, train.labels, plan.split, generator=generator(0))
    training.run(WARM)
    started = time.perf_counter()
    training.run(STEPS)
    return (STEPS - WARM) / (time.perf_counter() - started)


def over_gloo(config: RunConfig) -> float:
    """Steps per second of the same exchange over gloo, as one would write it by hand."""
    rates = PROCESSES.Queue()
    with tempfile.TemporaryDirectory() as name:
        place = f"file://{name}/meet"
        parties = [PROCESSES.Process(target=_gloo, args=(rank, place, config.cut, rates)) for rank in (0, 1)]
        for party in parties:
            party.start()
        rate = rates.get(timeout=300)
        for party in parties:
            party.join()
    return rate


def _gloo(rank, place, cut, rates):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=place, rank=rank, world_size=2)
    plan = make_plan(RunConfig(data="digits", cut=cut, steps=STEPS))
    bottom, top = split(plan.model(0), cut)
    shape, batch = plan.shapes[next(iter(plan.shapes))], 64
    mine = copy.deepcopy(top if rank else bottom)
    optimizer = torch.optim.Adam(mine.parameters())
    train = load("digits").train
    images, labels, order = train.images, train.labels, torch.randperm(len(train), generator=generator(0))
    smashed, gradient = torch.empty(batch, *shape), torch.empty(batch, *shape)
    classes = torch.empty(batch, dtype=torch.int64)
    started = 0.0
    for step in range(STEPS):
        if step == WARM:
            started = time.perf_counter()
        optimizer.zero_grad()
        if rank == 0:
            chosen = order[torch.arange(step * batch, (step + 1) * batch) % len(order)]
            outputs = mine(images[chosen])
            distributed.send(outputs.detach(), 1)
            distributed.send(labels[chosen], 1)
            distributed.recv(gradient, 1)
            outputs.backward(gradient)
        else:
            distributed.recv(smashed, 0)
            distributed.recv(classes, 0)
            inputs = smashed.clone().requires_grad_()
            torch.nn.functional.cross_entropy(mine(inputs), classes).backward()
            distributed.send(inputs.grad, 0)
        optimizer.step()
    if rank == 0:
        rates.put((STEPS - WARM) / (time.perf_counter() - started))
    distributed.destroy_process_group()


def rounding() -> list[dict[str, object]]:
    """Test accuracy and bytes of ten epochs with numbers rounded on the wire, against numbers as they are."""
    scores = {}
    for wire in ("float32", "float16", "bfloat16"):
        config = RunConfig(data="digits", cut=3, steps=630, wire=wire)
        found = []
        for seed in range(3):
            with tempfile.TemporaryDirectory() as name:
                chosen = config.model_copy(update={"seed": seed})
                over_grpc(chosen, keep=Path(name))
                found.append(_accuracy(chosen, Path(name)))
        scores[wire] = statistics.mean(found)
    return [
        {
            "what": f"setup a, cut 3, ten epochs, three seeds: numbers as {wire} on the wire; peer: as float32",
            "ratio": round(scores[wire] / scores["float32"], 4),
            "ours": round(scores[wire], 4),
            "peer": round(scores["float32"], 4),
            "unit": "test accuracy",
        }
        for wire in ("float16", "bfloat16")
    ]


def _accuracy(config: RunConfig, folder: Path) -> float:
    plan, digest = make_plan(config), config.digest()
    model = plan.model(0)
    body, client = States(folder / "server" / "turns", digest=digest), States(folder / "client0/states", digest=digest)
    tensors = {**body.load(body.stamps()[-1])[0], **client.load(client.stamps()[-1])[0]}
    state = {
        name.rpartition("/")[2]: value
        for name, value in tensors.items()
        if "optimizer." not in name and name.partition("|")[0] != "handed"
    }
    model.load_state_dict(state)
    test = load("digits").test
    return accuracy(predicted(test.images, model), test.labels)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main()
