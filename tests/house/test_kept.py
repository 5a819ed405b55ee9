"""What other people's code and stores rest on is still there: public names, commands and the keys of stored cells.

The lists beside this file were taken before the studies moved out of the experiments. What is new since need not be in
them; what is taken out of the program breaks somebody's.
"""

import hashlib
import importlib
import json
from pathlib import Path

import pytest
import typer

from unsplit.cli.app import app
from unsplit.studies.reproduction import Selection, plan
from unsplit.studies.tradeoff import TradeoffSelection, plan_tradeoff

HERE = Path(__file__).parent
KEPT = json.loads((HERE / "names.json").read_text())
CELLS = json.loads((HERE / "cells.json").read_text())

RENAMED = {
    "unsplit.attacks.unsplit": "unsplit.attacks.inversion",
    "unsplit.attacks.collaborative": "unsplit.attacks.he2019",
    "unsplit.attacks.hijack": "unsplit.attacks.auxiliary",
    "unsplit.experiment.verdict": "unsplit.verdict",
    "unsplit.experiment.reproduce": "unsplit.studies.reproduction",
    "unsplit.report.reproduction": "unsplit.studies.reproduction",
    "unsplit.experiment.tradeoff": "unsplit.studies.tradeoff",
    "unsplit.report.tradeoff": "unsplit.studies.tradeoff",
}
"""Rooms that have another name now."""


@pytest.mark.parametrize("room", KEPT["names"])
def test_public_names_are_kept(room):
    here = importlib.import_module(RENAMED.get(room, room))
    assert [name for name in (*KEPT["names"][room], *here.__all__) if not hasattr(here, name)] == []


def options_of(command, words=()):
    """Every command by its words, and its options and arguments."""
    found = {" ".join(words): {option for one in command.params for option in (*one.opts, *one.secondary_opts)}}
    for name, inner in getattr(command, "commands", {}).items():
        found |= options_of(inner, (*words, name))
    return found


def test_commands_and_their_options_are_kept():
    now = options_of(typer.main.get_command(app))
    lost = {command: set(options) - now.get(command, set()) for command, options in KEPT["commands"].items()}
    assert {command: options for command, options in lost.items() if options} == {}


def digest(cells):
    """Of all that determines these cells and those that they need, but for the versions of the code."""
    chosen = [one for cell in cells for one in (cell, cell.needs) if one is not None]
    configs = {json.dumps({k: v for k, v in cell.config.items() if k != "code"}, sort_keys=True) for cell in chosen}
    return {"cells": len(cells), "sha256": hashlib.sha256("\n".join(sorted(configs)).encode()).hexdigest()}


@pytest.mark.parametrize("name", CELLS)
def test_cells_that_are_stored_are_found_again(name):
    *what, budget = name.split(" ")
    if what[0] == "tradeoff":
        planned = plan_tradeoff(TradeoffSelection(budget=budget, defenses=(what[1],)))
    else:
        presets = ("joint", "paper", "released", "strong", "strong-quick")
        planned = plan(Selection(tables=(what[0],), budget=budget, presets=presets))
    assert digest(planned) == CELLS[name], "Stored results of these cells would no longer be found."
