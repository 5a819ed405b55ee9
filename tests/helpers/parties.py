"""Parties in processes of their own, started in an instant from a process that has imported everything already."""

import json
import multiprocessing
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path

import torch

from unsplit.data import load
from unsplit.protocol import Recorder, load_transcript, split_training
from unsplit.protocol.averaging import splitfed_training
from unsplit.protocol.checkpoint import segment_tensors
from unsplit.protocol.remote import make_certificates, make_plan, read_config
from unsplit.protocol.remote.states import States
from unsplit.randomness import generator

# The process that others are forked from finds `warm` by this; Python 3.11 passes it no path of ours.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["unsplit.cli.app", "pproxy.server", "helpers.warm"])


def command(arguments, log, most_bytes=None):
    """`unsplit ARGUMENTS`, with its output in a file, and perhaps no room for files above a size."""
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    from unsplit.cli import main

    sys.argv = ["unsplit", *arguments]
    main()


def proxy(listen, target):
    """A TCP proxy on `listen` that leads to `target`."""
    from pproxy.server import main

    sys.argv = ["pproxy", "-l", f"tunnel{{127.0.0.1:{target}}}://127.0.0.1:{listen}"]
    main()


def start(function, *arguments):
    """A process that runs a function of this module."""
    process = _PROCESSES.Process(target=function, args=arguments, daemon=True)
    process.start()
    return process


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Trial:
    """A server and its clients with certificates, in a folder.

    Args:
        folder: for everything.
        settings: of the configuration.
        through: a port that clients connect to instead of the server's.
        flags: more options of `unsplit join`.
    """

    def __init__(self, folder, *, through=None, flags=(), **settings):
        self.folder = folder
        self.names = settings.setdefault("clients", ["client0"])
        settings = {"data": "digits", "checkpoint_every": 7, "wait": 60, **settings}
        (folder / "run.yaml").write_text(json.dumps(settings))
        self.config = read_config(folder / "run.yaml")
        self.plan = make_plan(self.config)
        self.certs = folder / "certs"
        make_certificates(self.certs, hosts=["localhost"], clients=self.names)
        self.port = free_port()
        self.through = through or self.port
        self.flags = flags
        self.processes = {}

    def run(self, name, *extra, most_bytes=None):
        """Start the server, or a client, by name, with more options."""
        certs, out = self.certs, self.folder / name
        common = ["--out", str(out), "--quiet"]
        if name == "server":
            options = ["serve", str(self.folder / "run.yaml"), "--address", f"localhost:{self.port}",
                       "--certificate", str(certs / "server.pem"), "--key", str(certs / "server.key"),
                       "--client-ca", str(certs / "ca.pem")]  # fmt: skip
        else:
            options = ["join", str(self.folder / "run.yaml"), "--name", name, "--server", f"localhost:{self.through}",
                       "--ca", str(certs / "ca.pem"), "--certificate", str(certs / f"{name}.pem"),
                       "--key", str(certs / f"{name}.key"), *self.flags]  # fmt: skip
        log = str(self.folder / f"{name}.log")
        self.processes[name] = start(command, [*options, *common, *extra], log, most_bytes)

    def start(self):
        """Start everybody."""
        for name in ("server", *self.names):
            self.run(name)
        return self

    def kill(self, name, number=signal.SIGKILL):
        """End a process by a signal, and wait for its end."""
        process = self.processes[name]
        if process.is_alive():
            os.kill(process.pid, number)
        process.join(30)

    def wait(self, seconds=120):
        """Wait until all have ended; returns exit codes by name."""
        until = time.monotonic() + seconds
        for process in self.processes.values():
            process.join(max(until - time.monotonic(), 0.1))
        codes = {name: process.exitcode for name, process in self.processes.items()}
        self.end()
        return codes

    def end(self):
        """End what is still there."""
        for process in self.processes.values():
            if process.is_alive():
                process.kill()
                process.join(10)

    def log(self, name):
        return (self.folder / f"{name}.log").read_text() if (self.folder / f"{name}.log").exists() else ""

    def body(self):
        """The server's final state."""
        states = States(self.folder / "server" / "turns", digest=self.config.digest())
        tensors, _ = states.load(states.stamps()[-1])
        return tensors

    def client(self, name):
        """A client's last state."""
        states = States(self.folder / name / "states", digest=self.config.digest())
        return states.load(states.stamps()[-1])[0]

    def in_one_process(self):
        """The same parties in one process, before their first step."""
        train, seed = load(self.config.data).train, self.config.seed
        return split_training(
            self.plan.model(seed), train.images, train.labels, self.plan.split, generator=generator(seed)
        )

    def in_process(self):
        """The same training in one process, and what its server saw."""
        training = self.in_one_process()
        recorder = training.record(Recorder(observer="server"))
        training.run(self.config.steps)
        return training, recorder.transcript()

    def splitfed_in_process(self, **options):
        """The same training in one process, in SplitFed."""
        train = load(self.config.data).train
        model = self.plan.model(self.config.seed)
        training = splitfed_training(
            model, train.images, train.labels, self.plan.split, generator=generator(self.config.seed)
        )
        recorders = [pair.record(Recorder(observer="server")) for pair in training.pairs]
        training.run(self.config.steps, **options)
        return training, [recorder.transcript() for recorder in recorders]

    def transcript(self, name="transcript"):
        return load_transcript(self.folder / "server" / name)


def assert_same_tensors(ours, reference):
    assert ours.keys() == reference.keys()
    assert [name for name in reference if not torch.equal(ours[name], reference[name])] == []


def assert_same_messages(ours, reference):
    """Message for message, header and payload."""
    assert len(ours) == len(reference)
    for mine, theirs in zip(ours, reference, strict=True):
        assert (mine.step, mine.kind) == (theirs.step, theirs.kind)
        assert_same_tensors(mine.tensors, theirs.tensors)


def assert_same_training(trial):
    """The weights and optimisers of all parties, and the server's transcript, are those of one process."""
    training, transcript = trial.in_process()
    body = {name.removeprefix("turns|"): value for name, value in trial.body().items() if name.startswith("turns|")}
    assert_same_tensors(body, segment_tensors(training.server.segments()))
    for name, client in zip(trial.names, training.clients, strict=True):
        assert_same_tensors(trial.client(name), segment_tensors(client.segments()))
    assert_same_messages(trial.transcript(), transcript)


__all__ = ["Path", "Trial", "assert_same_messages", "assert_same_tensors", "assert_same_training", "free_port",
           "proxy", "start"]  # fmt: skip
