"""What other people's code and stores rest on is still there: public names, commands and the keys of stored cells.

The lists beside this file were taken before the studies moved out of the experiments. A name may be added to them; one
that is taken out breaks somebody's program.
"""

import hashlib
import importlib
import json
from pathlib import Path

import pytest
import typer

from unsplit.cli.app import app
from unsplit.studies.reproduction import BUDGETS, TABLES, Selection, plan
from unsplit.studies.tradeoff import STRENGTHS, TradeoffSelection, plan_tradeoff

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


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("table", TABLES)
def test_cells_that_are_stored_are_found_again(table, budget):
    presets = ("joint", "paper", "released", "strong", "strong-quick")
    planned = plan(Selection(tables=(table,), budget=budget, presets=presets))
    assert digest(planned) == CELLS[f"{table} {budget}"]


FIRST = (
    "gaussian", "laplace", "clip", "quantise", "sparsify", "top-k", "dropout", "random-relu", "nopeek", "label-dp",
    "gradient-noise", "max-norm", "dp-sgd", "deeper-cut",
)  # fmt: skip
"""The defences whose cells the digests are of; new ones stand beside them."""


@pytest.mark.parametrize("budget", ["smoke", "short", "full"])
def test_cells_of_the_trade_off_are_found_again(budget):
    assert set(FIRST) <= set(STRENGTHS)
    planned = plan_tradeoff(TradeoffSelection(budget=budget, defenses=FIRST))
    assert digest(planned) == CELLS[f"tradeoff {budget}"]
