"""The inversions of an audit: every state, preset and cut, kept as they end."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from unsplit.attacks import Progress
from unsplit.attacks.he2019 import WHITE_BOX
from unsplit.attacks.inversion import adaptive_attack_of, preset
from unsplit.data import Dataset
from unsplit.devices import resolved_precision
from unsplit.experiment.auditing.auxiliary import ATTACKS as AUXILIARY_ATTACKS
from unsplit.experiment.auditing.auxiliary import run_with_auxiliary
from unsplit.experiment.auditing.cache import Cell, Cells, fingerprint
from unsplit.experiment.auditing.config import STATES, AuditConfig, State
from unsplit.experiment.auditing.defended import known_defense
from unsplit.experiment.auditing.rows import run_on_rows
from unsplit.experiment.inversion import Evaluation, run_inversion
from unsplit.experiment.known_weights import run_white_box
from unsplit.experiment.provenance import versions
from unsplit.results import InversionRow

Networks = Mapping[str, Mapping[int, nn.Sequential]]
"""By state, and then by the depth of the cut."""


def invert_networks(
    config: AuditConfig,
    networks: Networks,
    evaluation: Evaluation,
    own: Dataset | None,
    seed: int,
    device: torch.device,
    folder: Path | None,
    stages: Callable[[str], Progress],
    tell: Callable[[InversionRow, Tensor, Tensor], None],
) -> tuple[list[InversionRow], list[Tensor]]:
    """Attack the networks at every cut, with every preset; returns the rows and the pictures of each.

    Args:
        config: of the audit.
        networks: what is attacked.
        evaluation: the truth.
        own: data of the attacker's own, for attacks that use such; None for none.
        seed: of the attacks.
        device: where they compute.
        folder: keeps what ended; None keeps nothing.
        stages: follows the progress.
        tell: told of each attack as it ends: its row, the targets, what it made of them.
    """
    cells = Cells(folder / "cells" if folder is not None else None)
    known = known_defense(config)
    found: list[Cell] = []

    def ended(cell: Cell) -> None:
        found.append(cell)
        tell(cell[0], evaluation.targets.images, cell[1])

    for state in STATES:
        if state not in config.states:
            continue
        here = networks[state]
        weights = {id(network): fingerprint(network.state_dict()) for network in here.values()}
        for name, depth in itertools.product(config.presets, here):
            settings = preset(name, depth, precision=resolved_precision(config.reduced_precision, device))
            adaptive = known is not None and adaptive_attack_of(settings) is not None
            for aware in (False, True) if adaptive else (False,):
                run = functools.partial(
                    run_inversion,
                    here[depth],
                    depth,
                    name,
                    evaluation,
                    state=state,
                    seed=seed,
                    device=device,
                    settings=settings,
                    defenses=config.defenses,
                    known=known if aware else None,
                    progress=stages(f"inverting depth {depth}, {state} training, {name}{', aware' if aware else ''}"),
                )
                attack = [state, depth, name, repr(settings), seed, config.device]
                key = _key(config, weights[id(here[depth])], evaluation, attack, aware=aware)
                ended(cells.get_or_run(key, run))
        for depth in here if config.known_weights is not None else ():
            run = functools.partial(
                run_white_box,
                here[depth],
                networks["before"][depth],
                depth,
                config.white_box,
                evaluation,
                state=state,
                seed=seed,
                device=device,
                defenses=config.defenses,
                progress=stages(f"inverting depth {depth}, {state} training, {config.white_box}"),
            )
            attack = [state, depth, config.white_box, repr(WHITE_BOX[config.white_box](1, colour=False)), seed]
            known_from = fingerprint(networks["before"][depth].state_dict())
            key = _key(config, weights[id(here[depth])], evaluation, [*attack, config.device, known_from], aware=False)
            ended(cells.get_or_run(key, run))
        for name, depth in itertools.product(config.row_knowledge, here):
            run = functools.partial(
                run_on_rows,
                here[depth],
                depth,
                name,
                evaluation,
                state=state,
                known_rows=config.known_rows,
                seed=seed,
                device=device,
                defenses=config.defenses,
                progress=stages(f"inverting depth {depth}, {state} training, {name}"),
            )
            attack = [state, depth, name, config.known_rows, seed, config.device]
            ended(cells.get_or_run(_key(config, weights[id(here[depth])], evaluation, attack, aware=False), run))
        if own is not None:
            for cell in _with_auxiliary(config, state, here, own, evaluation, seed, device, stages):
                ended(cell)
    return [row for row, _ in found], [inputs for _, inputs in found]


def _key(
    config: AuditConfig, weights: str, evaluation: Evaluation, attack: Sequence[object], *, aware: bool
) -> dict[str, object]:
    """All that determines a cell."""
    key: dict[str, object] = {
        "weights": weights,
        "targets": fingerprint({"images": evaluation.targets.images}),
        "attack": list(attack),
        "version": versions()["unsplit"],
    }
    if config.defenses:
        key |= {"defenses": list(map(repr, config.defenses)), "aware": aware}
    return key


def _with_auxiliary(
    config: AuditConfig,
    state: State,
    networks: Mapping[int, nn.Sequential],
    own: Dataset,
    evaluation: Evaluation,
    seed: int,
    device: torch.device,
    stages: Callable[[str], Progress],
) -> list[Cell]:
    """The attacks of a server with data of its own."""
    return [
        run_with_auxiliary(
            networks[depth],
            depth,
            name,
            own,
            evaluation,
            state=state,
            seed=seed,
            device=device,
            defenses=config.defenses,
            precision=config.reduced_precision,
            progress=stages(f"inverting depth {depth}, {state} training, {name}"),
        )
        for name, depth in itertools.product(AUXILIARY_ATTACKS, networks)
    ]
