"""The command line: help, exit codes, one sentence for bad input, a traceback for a fault of ours."""

import errno
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.programs import program, run

COMMANDS = [
    "",
    "audit",
    "train",
    "attack",
    "reproduce",
    "certs",
    "tradeoff",
    "compare",
    "import",
    "serve",
    "join",
    "data",
    "data list",
    "data fetch",
    "data verify",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command):
    found = run(*command.split(), "--help")
    assert found.exit_code == 0
    assert "Usage" in found.output
    if command and command != "data":
        assert "Example" in found.output


def test_version():
    found = run("--version")
    assert found.exit_code == 0
    assert found.output.startswith("unsplit 0.")


def test_completion_can_be_shown():
    assert "--install-completion" in run("--help").output


def test_data_list_as_json():
    found = json.loads(run("data", "list", "--json").output)
    assert [entry["name"] for entry in found] == ["digits", "mnist", "fashion-mnist", "cifar-10"]


BAD = {
    "audit --cuts 99": "no cut 99",
    "audit --cuts conv9": "no cut 'conv9'",
    "audit --presets jont": "did you mean 'joint'",
    "audit --model nothing": "Unknown model",
    "audit --fail-if label_acuracy>1": "did you mean 'label_accuracy'",
    "audit --fail-if whole_accuracy>0.5": "name a U-shape",
    "audit cifar-net --model mnist-net": "Two models are named",
    "import no/such.npz": "There is no no/such.npz",
    "compare nowhere elsewhere": "There is no report",
    "audit --device cuda:99": "use --device cpu",
    "audit --batch-size 5000": "use a batch size from 1 to 4000",
    "audit --data no/such/folder": "no folder",
    "audit --data diggits": "did you mean 'digits'",
    "audit --optimizer adm": "Unknown optimiser 'adm'",
    "audit --optimizer adam:lr": "name:option=value",
    "audit --optimizer adam:lr=fast": "is not a number",
    "audit --label-heads one": "whole numbers",
    "audit --u-shape 1": "a cut and the layers of the head",
    "audit --u-shape relu4:1": "leave nothing for the server",
    "audit --checkpoint nothing": "no checkpoint",
    "train --cut 1,2": "takes one depth or module name",
    "attack nowhere --cut none": "takes one depth or module name",
    "train --hand-off pear": "did you mean 'peer'",
    "train --setup b --head 9": "no head of 9 layers",
    "train --setup c --cut relu4": "leave nothing for the server",
    "train --observer client4": "no party 'client4'",
    "train --resume": "no checkpoint",
    "attack nowhere": "not a transcript",
    "attack nowhere --goal inptus": "did you mean 'inputs'",
    "attack nowhere --goal labels --label-attack grad": "Unknown label attack",
    "attack nowhere --goal labels --loss mae": "did you mean 'mse'",
    "attack nowhere --goal labels --label-smoothing 2": "--label-smoothing is 2.0",
    "train --guard splitgard": "did you mean 'splitguard'",
    "train --setup c --guard scrutiny": "so it needs setup (a)",
    "train --defense gausian:1": "did you mean 'gaussian'",
    "train --defense gaussian:much": "needs a number, not 'much'",
    "train --setup b --defense gradient-noise:shape=alined": "did you mean 'aligned'",
    "train --setup b --defense gradient-noise:scale=-1": "0 or more",
    "train --setup b --defense label-dp:epsilon=0": "must be above 0",
    "tradeoff --defense gausian": "did you mean 'gaussian'",
    "tradeoff --budget shrt": "did you mean 'short'",
    "tradeoff --seeds none": "at least one seed",
    "tradeoff --data mnits": "did you mean 'mnist'",
    "tradeoff --steps 0": "at least 1",
    "data fetch mnits": "did you mean 'mnist'",
    "data verify digits": "Unknown data set to verify",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, printed = program(monkeypatch, capsys, *shlex.split(line))
    assert code == 2
    assert BAD[line] in printed.err
    assert printed.err.startswith("unsplit: ")
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_a_place_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("in the way")
    code, printed = program(monkeypatch, capsys, "audit", "--out", tmp_path / "file" / "x")
    assert code == 2
    assert "choose a place that can be written" in printed.err


def test_an_unknown_option_is_a_usage_error(monkeypatch, capsys):
    code, printed = program(monkeypatch, capsys, "audit", "--dpeth", "3")
    assert code == 2
    assert "No such option" in printed.err


def test_a_fault_of_ours_keeps_its_traceback_and_is_no_condition(monkeypatch, capsys):
    """Exit code 1 means that a condition of --fail-if holds, so that a crash must not have it."""

    def broken(**_):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("unsplit.data.available", broken)
    code, printed = program(monkeypatch, capsys, "data", "list")
    assert code == 70
    assert "Traceback" in printed.err
    assert "ZeroDivisionError: ours" in printed.err
    assert "fault of the program" in printed.err


def test_a_reader_that_has_left_is_no_condition(monkeypatch, capsys):
    def closed(*_, **__):
        raise BrokenPipeError(errno.EPIPE, "closed")

    monkeypatch.setattr("unsplit.data.available", closed)
    out, err = sys.stdout, sys.stderr
    try:
        assert program(monkeypatch, capsys, "data", "list")[0] == 141
    finally:
        sys.stdout, sys.stderr = out, err


def test_an_interrupt_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr("unsplit.data.available", interrupted)
    code, printed = program(monkeypatch, capsys, "data", "list")
    assert code == 130
    assert "Traceback" not in printed.err
    assert "run the command again to go on" in printed.err


@pytest.mark.slow
def test_the_commands_of_a_session(tmp_path):
    """As a user would: train, attack the transcript twice, audit, each in a process of its own, in a bare folder."""

    def unsplit(*arguments):
        command = [sys.executable, "-c", "from unsplit.cli import main; main()", *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    labels = ["--setup", "b", "--clients", 2, "--turn", 1, "--batch-size", 1, "--optimizer", "sgd:lr=0.01"]
    summary = json.loads(unsplit("train", *labels, "--steps", 60, "--out", "run", "--json"))
    assert summary["steps"] == 60
    found = json.loads(
        unsplit("attack", "run/transcript", "--goal", "labels", "--label-attack", "matching",
                "--optimizer", "sgd:lr=0.01", "--out", "labels", "--json")
    )  # fmt: skip
    assert len(found["labels"]) == 58
    assert "group numbers" in unsplit("attack", "run/transcript", "--goal", "labels", "--out", "groups")
    defended = [
        "--setup",
        "b",
        "--defense",
        "gradient-noise:1",
        "--defense",
        "label-dp:4",
        "--loss",
        "bce",
        "--steps",
        5,
    ]
    assert json.loads(unsplit("train", *defended, "--out", "defended", "--json"))["steps"] == 5
    audit = ["audit", "--epochs", 1, "--cuts", 1, "--states", "after", "--label-steps", 40, "--label-heads", 1]
    audit += ["--presets", "joint"]
    printed = unsplit(*audit, "--label-setups", "b", "--out", "audit")
    assert "audit/report.html" in printed
    report = json.loads((tmp_path / "audit" / "report.json").read_text())
    assert report["inversion"][0]["mse"] < report["inversion"][0]["mse_best_trivial"]
    assert report["provenance"]["command"].startswith("unsplit")
    assert unsplit("data", "list", "--json").startswith("[")
    assert unsplit(*audit, "--label-setups", "none", "--out", "audit", "--quiet") == ""
    assert Path(tmp_path / "audit" / "pictures" / "depth1-after-joint.png").exists()
