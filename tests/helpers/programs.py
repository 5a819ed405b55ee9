"""The command line as it is called."""

import sys

import pytest
from typer.testing import CliRunner

from unsplit.cli.app import app, main


def run(*arguments):
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "160"})


def program(monkeypatch, capsys, *arguments):
    """The program as installed: its exit code and what it printed."""
    monkeypatch.setattr(sys, "argv", ["unsplit", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code, capsys.readouterr()
