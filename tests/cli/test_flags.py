"""The library names settings, the command line their options."""

import ast
import re
from pathlib import Path

import pytest
from typer.main import get_command

import unsplit
from helpers.programs import program
from unsplit import AuditConfig, UnsplitError, audit, import_arrays
from unsplit.cli.app import app
from unsplit.cli.command import flags
from unsplit.data import load
from unsplit.experiment.training import TrainConfig, train
from unsplit.protocol.remote import Door
from unsplit.report.longer import longer
from unsplit.settings import in_options

SOURCE = Path(unsplit.__file__).parent
FLAG = re.compile(r"(?<!\w)(?<!var\()--[a-z]")
# Commands, which rows of studies name as what makes them again, and the page that explains such a command.
COMMANDS = re.compile(r"({} )?\s*(--[a-z]|unsplit )")
ABOUT_COMMANDS = {"studies/tradeoff/page.py"}


def sentences(path):
    """The strings of a module that are no docstrings; what an f-string computes is left out of it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    notes = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (notes | inner):
            yield node.value


def test_no_sentence_of_the_library_has_a_flag():
    found = {
        (str(path.relative_to(SOURCE)), text)
        for path in SOURCE.rglob("*.py")
        if "cli" not in path.parts and path.relative_to(SOURCE).as_posix() not in ABOUT_COMMANDS
        for text in sentences(path)
        if FLAG.search(text) and not ("studies" in path.parts and COMMANDS.match(text))
    }
    assert found == set()
    assert any(FLAG.search(text) for text in sentences(SOURCE / "cli" / "recorded.py"))


SAID = {
    "`image_size` is for folders": "--image-size is for folders",
    "bring them to `image_size=(64, 48)`.": "bring them to --image-size 64,48.",
    "use `device='cpu'`.": "use --device cpu.",
    "audit `u_shape=(1, 1)` or `label_setups=('b', 'c')`": "audit --u-shape 1:1 or --label-setups b,c",
    "name `defenses=parse_defenses('gaussian:0.5')`": "name --defense gaussian:0.5",
    "`targets_per_class=10`": "--targets 10",
    "epochs is 0; it must be at least 1.": "--epochs is 0; it must be at least 1.",
    "Such epochs is what `unsplit certs` and `data: digits` say.": None,
}


@pytest.mark.parametrize("sentence", SAID)
def test_a_setting_becomes_an_option_with_its_value(sentence):
    assert in_options(sentence, flags(get_command(app).commands["audit"])) == (SAID[sentence] or sentence)


def door(_):
    return Door()


BOTH = {
    "audit --data digits --image-size 8,8": (
        lambda _: load("digits", image_size=(8, 8)), "--image-size is for folders"
    ),
    "audit --aware": (lambda _: AuditConfig(aware=True), "for example --defense gaussian:0.5."),
    "audit --targets 0": (lambda _: AuditConfig(targets_per_class=0), "--targets is 0; it must be at least 1."),
    "audit --device cuda:99": (lambda _: audit(AuditConfig(device="cuda:99")), "use --device cpu."),
    "audit --fail-if label_accuracy>0.5 --label-setups none": (None, "name setups with --label-setups."),
    "train --out {}": (lambda folder: train(TrainConfig(), folder), "go on with --resume, or"),
    "import {}/arrays.npz": (
        lambda folder: import_arrays(folder / "arrays.npz", folder / "t"), "write --smashed smahsed; map it"
    ),
    "import {}/arrays.npz --ignore smahsed": (
        lambda folder: import_arrays(folder / "arrays.npz", folder / "t", ignore=["smahsed"]),
        "map it by --smashed or --features where",
    ),
    "serve {}/run.yaml": (door, "The server needs --certificate and --key;"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    import numpy as np

    np.savez(tmp_path / "arrays.npz", smahsed=np.ones((2, 4, 3)))
    (tmp_path / "checkpoint.safetensors").touch()
    (tmp_path / "run.yaml").write_text("run: x\nclients: [client0]\nsteps: 1\ndata: digits\n")
    return tmp_path


@pytest.mark.parametrize("command", BOTH)
def test_a_program_hears_of_settings_and_a_command_of_options(command, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    call, words = BOTH[command]
    code, printed = program(monkeypatch, capsys, *command.format(folder).split())
    assert code == 2
    assert words in printed.err
    assert "`" not in printed.err.replace("`unsplit certs`", "")
    if call is not None:
        with pytest.raises(UnsplitError) as caught:
            call(folder)
        assert not FLAG.search(str(caught.value))
        own = flags(get_command(app).commands[command.split()[0]])
        assert f"unsplit: {in_options(str(caught.value), own)}\n" == printed.err


def test_what_a_longer_run_adds_is_said_as_the_audit_was_asked_for():
    from helpers.reports import inversion, result

    found = result((inversion(),), ())
    of_a_program = found.model_copy(
        update={"provenance": found.provenance.model_copy(update={"command": "audit(AuditConfig())"})}
    )
    assert "--u-shape 1:1" in dict(longer(found))
    assert "u_shape=(1, 1)" in dict(longer(of_a_program))
