"""The inversions of an audit: every state, attack and cut, kept as they end."""

import functools
import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from unsplit.attacks import Progress
from unsplit.attacks.registry import ClientForm, named, passive_with
from unsplit.attacks.settings import AttackSettings
from unsplit.data import Dataset
from unsplit.devices import resolved_precision
from unsplit.experiment.auditing.cache import CachedInversion, InversionCache
from unsplit.experiment.auditing.config import STATES, AuditConfig
from unsplit.experiment.auditing.defended import known_defense
from unsplit.experiment.inversion import Evaluation, run_inversion
from unsplit.experiment.provenance import versions
from unsplit.experiment.server_knowledge import ServerKnowledge
from unsplit.experiment.threats import taken_for_granted
from unsplit.knowledge import AuxiliaryData, ClientWeights, ColumnStatistics, KnownPictures, KnownRows
from unsplit.models import split
from unsplit.results import InversionRow
from unsplit.tensors import fingerprint

Networks = Mapping[str, Mapping[int, nn.Sequential]]
"""By state, and then by the depth of the cut."""


def attacks_beside(config: AuditConfig) -> tuple[str, ...]:
    """The names of the attacks that are run beside the presets, as the server knows more than the architecture."""
    public = () if config.known_weights is None else (config.white_box,)
    own = () if config.auxiliary is None else passive_with(AuxiliaryData)
    known = () if config.known_pictures is None else ("known-pictures",)
    return (*public, *config.row_knowledge, *known, *own)


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
    """Attack the networks at every cut, with every attack; returns the rows and the pictures of each.

    Args:
        config: settings of the audit.
        networks: the trained or untrained networks that are attacked.
        evaluation: targets and test data, by which attacks are scored.
        own: data of the attacker's own, for attacks that use such; None for none.
        seed: seed of the attacks.
        device: the device on which the attacks compute.
        folder: keeps what ended; None keeps nothing.
        stages: receives the progress of each attack.
        tell: told of each attack as it ends: its row, the targets, what it made of them.
    """
    cache = InversionCache(folder / "cells" if folder is not None else None)
    precision = resolved_precision(config.reduced_precision, device)
    defense, targets = known_defense(config), evaluation.targets
    weights = {id(one): fingerprint(one.state_dict()) for of_state in networks.values() for one in of_state.values()}
    of_targets = fingerprint({"images": targets.images})
    of_own = None if own is None else fingerprint({"images": own.images, "labels": own.labels})
    found: list[CachedInversion] = []
    for state in (one for one in STATES if one in config.states):
        here = networks[state]
        for name, depth in itertools.product((*config.presets, *attacks_beside(config)), here):
            network, published = here[depth], networks["before"][depth]
            form = ClientForm.of(depth, split(network, depth)[0], targets.input_shape)
            settings = named(name).settings(form).computing(precision)
            settings = settings.assuming(taken_for_granted(config))
            unaware = ServerKnowledge(
                published=published,
                own=own,
                known_rows=config.known_rows,
                known_pictures=config.known_pictures or 0,
            )
            adaptive = defense is not None and named(name).adaptive is not None
            for server in (unaware, replace(unaware, defense=defense)) if adaptive else (unaware,):
                aware = server.defense is not None
                run = functools.partial(
                    run_inversion,
                    network,
                    depth,
                    name,
                    evaluation,
                    state=state,
                    seed=seed,
                    device=device,
                    settings=settings,
                    defenses=config.defenses,
                    server=server,
                    progress=stages(f"inverting depth {depth}, {state} training, {name}{', aware' if aware else ''}"),
                )
                attack = [state, depth, name, *_told(config, name, settings, seed)]
                if ClientWeights in named(name).knows:
                    attack.append(weights[id(published)])
                if KnownPictures in named(name).knows:
                    attack.append(config.known_pictures)
                if AuxiliaryData in named(name).knows:
                    attack.append(of_own)
                key = _key(config, weights[id(network)], of_targets, attack, aware=aware)
                inversion = cache.get_or_run(key, run)
                found.append(inversion)
                tell(inversion[0], targets.images, inversion[1])
    return [row for row, _ in found], [inputs for _, inputs in found]


def _told(config: AuditConfig, name: str, settings: AttackSettings, seed: int) -> list[object]:
    """What tells an attack of this name from another."""
    of_rows = {KnownRows, ColumnStatistics} & {*named(name).knows}
    return [config.known_rows if of_rows else repr(settings), seed, config.device]


def _key(config: AuditConfig, weights: str, targets: str, attack: list[object], *, aware: bool) -> dict[str, object]:
    """All that determines an inversion."""
    key: dict[str, object] = {
        "weights": weights,
        "targets": targets,
        "attack": attack,
        "version": versions()["unsplit"],
    }
    if config.defenses:
        key |= {"defenses": list(map(repr, config.defenses)), "aware": aware}
    return key
