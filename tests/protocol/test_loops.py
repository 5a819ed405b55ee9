"""The page on other people's traffic is true: its programs and commands are run, and attacks on their traffic work."""

import importlib.metadata
import importlib.util
import json
import re
import runpy
import shlex
import shutil
import sys
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the older typer beside Flower
    from helpers.programs import program
from unsplit import load_transcript, observe
from unsplit.metrics import mse, trivial_guesses
from unsplit.types import Kind

ROOT = Path(__file__).parents[2]
LOOPS = ROOT / "examples" / "loops"
BLOCKS = re.findall(
    r"(?:<!-- path: (\S+) -->\n)?(?:```\w*\n(.*?)```|((?:^    [^\n]*\n)+))",
    re.sub(r"^(- .*\n(?:  .*\n)*)", "", (ROOT / "docs" / "traffic.md").read_text(), flags=re.M),
    re.S | re.M,
)
PAGE = [(name, block or re.sub("^    ", "", lines, flags=re.M)) for name, block, lines in BLOCKS]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder with the programs of the page, in which scripts start and models are looked for."""
    for file in LOOPS.glob("*.py"):
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "network", raising=False)
    with torch.random.fork_rng():
        yield tmp_path
    sys.modules.pop("network", None)


def walk(lines, monkeypatch, capsys):
    """Run lines of the shell: programs of ours in this process."""
    for line in lines.splitlines():
        command, *words = shlex.split(line)
        if command == "python":
            runpy.run_path(words[0], run_name="__main__")
        else:
            assert command == "unsplit"
            code, printed = program(monkeypatch, capsys, *words)
            assert code == 0, printed.err


def inputs_of(seed=0):
    """The batches of the scripts that draw with this seed, in order."""
    torch.manual_seed(seed)
    from network import digits, net

    net()
    return [inputs for inputs, _ in digits()]


def far_better_than_guesses(found, inputs):
    return mse(found, inputs) < 0.02 * min(trivial_guesses(inputs, inputs.mean(0)).values())


def test_every_block_of_the_page_is_run():
    """By name: those of files are in them, word for word, and the files are run by the page's commands."""
    assert {name for name, _ in PAGE} == {"commands", "flower", "python"} | {
        f"{name}.py" for name in ("hand_written", "u_shape", "server_object", "flower_app")
    }
    for name, block in PAGE:
        if name.endswith(".py"):
            assert block in (LOOPS / name).read_text()
    run = {line.split()[1] for name, block in PAGE for line in block.splitlines() if line.startswith("python ")}
    assert run == {file.name for file in LOOPS.glob("*.py")} - {"network.py"}


def commands(number):
    return [block for name, block in PAGE if name == "commands"][number]


def test_a_loop_written_by_hand(place, monkeypatch, capsys):
    walk(commands(0), monkeypatch, capsys)
    inputs = inputs_of()[-1]
    found = load_file(place / "runs" / "attack" / "reconstruction.safetensors")["inputs"]
    assert far_better_than_guesses(found, inputs)
    (row,) = json.loads((place / "runs" / "audit" / "report.json").read_text())["recorded"]["inversion"]
    assert row["scores"]["mse"] == pytest.approx(mse(found, inputs), rel=0.01)
    assert row["scores"]["mse"] < 0.001
    assert round(row["scores"]["mse_best_trivial"], 2) == 0.07
    assert (place / "runs" / "audit" / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_a_u_shape(place, monkeypatch, capsys):
    walk(commands(1), monkeypatch, capsys)
    recorded = json.loads((place / "runs" / "audit" / "report.json").read_text())["recorded"]
    assert recorded["setup"] == "c"
    assert recorded["inversion"][0]["scores"]["mse"] < 0.02 * recorded["inversion"][0]["scores"]["mse_best_trivial"]
    assert recorded["labels"][0]["scores"][1]["accuracy"] > 0.95


def test_a_server_object(place, monkeypatch, capsys):
    walk(commands(2), monkeypatch, capsys)
    view = load_transcript(place / "runs" / "object")
    assert view.steps == tuple(range(56))
    senders = [header.sender for header in view.headers if header.kind is Kind.SMASHED]
    assert senders == ["client1"] * 28 + ["client2"] * 28
    assert len(load_file("runs/object-attack/reconstruction.safetensors")["inputs"]) == 64


def test_the_server_of_fedml_itself(place):
    """The file of the installed package alone: what it imports is torch, and the package would load much else."""
    try:
        package = importlib.metadata.distribution("fedml")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("fedml is not installed")
    path = package.locate_file("fedml/simulation/mpi/split_nn/server.py")
    spec = importlib.util.spec_from_file_location("fedml_server", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    example = runpy.run_path("server_object.py")
    net = example["net"]
    trained = []
    for recorded in (True, False):
        torch.manual_seed(0)
        server, bottom = module.SplitNN_server({"comm": None, "model": net()[2:], "max_rank": 2}), net()[:2]
        if recorded:
            with observe(place / "fedml") as traffic:
                traffic.watch(server, client=lambda server=server: f"client{server.active_node}")
                example["train"](server, [bottom])
        else:
            example["train"](server, [bottom])
        trained.append([*server.model.state_dict().values(), *bottom.state_dict().values()])
    assert all(torch.equal(one, other) for one, other in zip(*trained, strict=True))
    view = load_transcript(place / "fedml")
    assert view.steps == tuple(range(28))
    assert view.tensor(Kind.CUT_GRAD).shape == view.tensor(Kind.SMASHED).shape
    assert view.of(Kind.LABELS).headers[0].sender == "client1"


def test_dumped_arrays(place, monkeypatch, capsys):
    walk(commands(3), monkeypatch, capsys)
    found = load_file(place / "runs" / "imported-attack" / "reconstruction.safetensors")["inputs"]
    assert far_better_than_guesses(found, inputs_of()[-1])


def test_the_python_of_the_page(place):
    (block,) = [block for name, block in PAGE if name == "python"]
    exec(compile(block, "docs/traffic.md", "exec"), {})
    truth = load_file(place / "runs" / "arrays-truth.safetensors")
    view = load_transcript(place / "runs" / "arrays")
    assert view.steps == (0, 1, 2, 3)
    assert torch.equal(view.tensor(Kind.LABELS), truth["labels"])
    assert truth["steps"].tolist() == [step for step in range(4) for _ in range(64)]


@pytest.mark.slow
def test_flower(place, monkeypatch, capsys):
    """All that moves goes through Flower's wire format; how an attack follows is the page's second command."""
    pytest.importorskip("flwr")
    from flwr.app import Context, RecordDict
    from flwr.supercore.task_identity import TaskIdentity

    from helpers.nodes import Nodes

    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1

    class Answering(Nodes):
        def send_and_receive(self, messages, *, timeout=None):  # noqa: ARG002
            return self.pull_messages(self.push_messages(messages))

    torch.manual_seed(1)
    app = runpy.run_path("flower_app.py")
    grid = Answering(app["client"], [{"partition-id": number} for number in range(2)])
    app["server"](grid, Context(1, 1, {}, RecordDict(), {}))
    view = load_transcript(place / "runs" / "flower")
    assert view.steps == tuple(range(40))
    assert {header.sender for header in view.headers if header.kind is Kind.SMASHED} == {"node100", "node101"}
    (block,) = [block for name, block in PAGE if name == "flower"]
    walk(block.splitlines()[1], monkeypatch, capsys)
    found = load_file("runs/flower-attack/reconstruction.safetensors")["inputs"]
    assert far_better_than_guesses(found, app["batch"](39)[0])
