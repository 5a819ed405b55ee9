"""Whatever breaks, training ends with the weights of an undisturbed run, nothing lost and nothing twice."""

import os
import random
import signal
import time

import pytest

from helpers.parties import Trial, assert_same_training, free_port, proxy, start

FAULTS = 50
KINDS = ("kill server", "kill client", "end server", "end client", "cut", "cut", "stall", "freeze")
pytestmark = pytest.mark.slow


class Weather:
    """Does harm to a trial of which all clients come through a proxy."""

    def __init__(self, folder, seed, **settings):
        self.drawn = random.Random(seed)
        self.port = free_port()
        self.trial = Trial(folder, through=self.port, **settings)
        self.proxy = start(proxy, self.port, self.trial.port)
        self.trial.start()

    def strike(self):
        """One fault; returns its kind, or None if what it would have hit is through already."""
        kind = self.drawn.choice(KINDS)
        name = "server" if kind.endswith("server") else self.drawn.choice(self.trial.names)
        if kind == "cut":
            self.proxy.kill()
            self.proxy.join(10)
            time.sleep(self.drawn.uniform(0, 0.4))
            self.proxy = start(proxy, self.port, self.trial.port)
        elif kind == "stall":
            self.freeze(self.proxy, self.drawn.uniform(0.1, 1.0))
        elif not self.trial.processes[name].is_alive():
            return None
        elif kind == "freeze":
            self.freeze(self.trial.processes[name], self.drawn.uniform(0.1, 1.0))
        else:
            self.trial.kill(name, signal.SIGKILL if kind.startswith("kill") else signal.SIGTERM)
            assert self.trial.processes[name].exitcode in (-signal.SIGKILL, 143, 0, -signal.SIGTERM)
            self.trial.run(name)
        return kind

    def freeze(self, process, seconds):
        """Neither dead nor alive: connections stay open and nothing comes."""
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGCONT)

    def end(self):
        self.proxy.kill()
        self.trial.end()


@pytest.fixture
def weather(tmp_path):
    """Makes a `Weather`, and ends it."""
    made = []

    def make(seed, **settings):
        made.append(Weather(tmp_path, seed, **settings))
        return made[-1]

    yield make
    for each in made:
        each.end()


def test_fifty_faults(weather):
    """Kills, clean ends, cuts, stalls and freezes at random moments, of the server and of three clients."""
    storm = weather(5, setup="c", clients=["client0", "client1", "client2"], turn=20, steps=600, checkpoint_every=3)
    struck = []
    time.sleep(1)
    while len(struck) < FAULTS:
        time.sleep(storm.drawn.uniform(0.05, 0.4))
        kind = storm.strike()
        struck += [kind] if kind else []
        assert storm.trial.processes["server"].is_alive(), f"the training was over after {len(struck)} faults"
    codes = storm.trial.wait(200)
    assert set(codes.values()) == {0}, (codes, storm.trial.log("server"), storm.trial.log("client0"))
    assert not any("Traceback" in storm.trial.log(name) for name in storm.trial.processes)
    assert_same_training(storm.trial)


def test_a_server_without_room_says_so_and_goes_on_later(tmp_path):
    trial = Trial(tmp_path, setup="a", clients=["client0", "client1"], turn=20, steps=60, checkpoint_every=5)
    try:
        trial.run("server", most_bytes=2_000_000)
        for name in trial.names:
            trial.run(name)
        trial.processes["server"].join(60)
        assert trial.processes["server"].exitcode == 2
        (sentence,) = trial.log("server").splitlines()
        assert sentence.startswith("unsplit: Cannot use ")
        trial.run("server")
        assert set(trial.wait().values()) == {0}, trial.log("client0")
        assert_same_training(trial)
    finally:
        trial.end()


@pytest.mark.parametrize("setup", ["a", "b"])
def test_some_faults_in_the_other_setups(weather, setup):
    storm = weather(7, setup=setup, clients=["client0", "client1"], turn=15, steps=150, checkpoint_every=4)
    time.sleep(1)
    for _ in range(8):
        time.sleep(storm.drawn.uniform(0.05, 0.4))
        storm.strike()
    codes = storm.trial.wait(200)
    assert set(codes.values()) == {0}, (codes, storm.trial.log("server"))
    assert_same_training(storm.trial)
