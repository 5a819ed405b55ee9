"""What the documentation shows is run: the notebook, the Python of the README, and every command's options."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import typer
from nbclient import NotebookClient

from unsplit.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands():
    """Every line of a page's code blocks, and every example of a command's help, that calls the program."""
    texts = [page.read_text() for page in PAGES]
    blocks = [block for text in texts for block in re.findall(r"(?:^    .*\n?)+|```.*?```", text, re.M | re.S)]
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    from unsplit.cli import attack, audit, certs, compare, importing, join, serve, tradeoff, train

    examples = [
        line
        for page in (attack, audit, certs, compare, importing, join, serve, tradeoff, train)
        for line in re.findall(r"`(unsplit [^`]+)`", page.EXAMPLES)
    ]
    return sorted({line.partition("  #")[0].strip() for line in lines if line.startswith("unsplit ")} | set(examples))


@pytest.mark.parametrize("line", commands())
def test_every_command_in_the_documentation_is_understood(line):
    """Parsed by the program itself, short of running it."""
    words = shlex.split(line)[1:]
    if words[0].startswith("--"):
        return
    context = typer.main.get_command(app).make_context("unsplit", words, resilient_parsing=False)
    command = context.command
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
    assert context.params


def test_there_are_commands_to_understand():
    assert len(commands()) >= 10


@pytest.mark.slow
def test_the_notebook_runs():
    notebook = nbformat.read(ROOT / "examples" / "audit.ipynb", as_version=4)
    NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "100.0% of 400 hidden labels" in printed
    error = float(re.search(r"error ([0-9.]+)", printed).group(1))
    assert error < 0.005


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert blocks
    for block in blocks:
        done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "python" / "report.html").exists()
