"""What the defences of an audit do in it: the parts in which they act, and what knowing them changes."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from unsplit.attacks.registry import named
from unsplit.defenses import Defense, members
from unsplit.errors import InputError
from unsplit.experiment.auditing.config import AuditConfig
from unsplit.experiment.inversion import cut_name
from unsplit.knowledge import KnownDefense
from unsplit.results import CostRow, DefendedRow, DefenseRow

_ABOUT = {
    "smashed": "smashed data",
    "labels": "the labels that clients train on",
    "gradients": "the cut gradients that clients send in setups (b) and (c)",
    "penalty": "the training of the client's layers",
    "privacy": "the training of the client's layers",
    "deeper": "the depth of the cut",
}


def per_cut(defense: Defense | None) -> bool:
    """Whether a defence acts where the network is cut, so that every cut is a training of its own."""
    return defense is not None and any(defense.changes(hook) for hook in ("smashed", "penalty", "privacy"))


def label_batch(config: AuditConfig) -> int:
    """Samples a step of the trainings whose labels are inferred."""
    if config.label_batch_size is not None:
        return config.label_batch_size
    return config.batch_size if _grouping(config) else 1


def _grouping(config: AuditConfig) -> list[str]:
    """The defences of cut gradients that do nothing in steps of one sample."""
    return [str(one) for one in members(config.defenses) if one.within_batches and one.changes("gradients")]


def known_defense(config: AuditConfig) -> KnownDefense | None:
    """What the attacker knows of the defences; None where it knows of none, or where there is nothing to adapt to in
    what an inversion reads.
    """
    defense = config.defense
    if not config.aware or defense is None or not defense.changes("smashed"):
        return None
    return KnownDefense(misfit=defense.misfit, noise=defense.noise)


def corrects_labels(config: AuditConfig) -> bool:
    """Whether the attacker knows of a defence of the labels, and corrects them by what the head has learned."""
    defense = config.defense
    return config.aware and defense is not None and (defense.changes("labels") or defense.changes("gradients"))


def acts_in(defense: Defense, config: AuditConfig, *, trains: bool) -> tuple[str, ...]:
    """The parts of an audit in which a defence changes anything; `trains` if the network that is inverted is trained
    there, and not that of a checkpoint.
    """
    inverts = bool(config.cuts and config.presets and config.states)
    trained = inverts and trains and "after" in config.states
    setups = config.label_setups if config.label_heads and config.label_optimizers else ()
    alone = defense.within_batches and label_batch(config) == 1
    in_training = any(defense.changes(hook) for hook in ("labels", "penalty", "privacy"))
    in_use = defense.changes("smashed")
    parts = {
        "inversion": (inverts and (in_use or defense.changes("deeper"))) or (trained and in_training),
        "labels in setup (b)": "b" in setups
        and not alone
        and any(defense.changes(hook) for hook in ("gradients", "labels", "privacy")),
        "labels in setup (c)": "c" in setups and not alone and (defense.changes("gradients") or in_training or in_use),
        "U-shape": config.u_shape is not None,
    }
    return tuple(name for name, acts in parts.items() if acts)


def _adapted(defense: Defense) -> tuple[Literal["inputs", "model", "labels"], ...]:
    """What the attacks that know a defence are after."""
    inputs: tuple[Literal["inputs", "model", "labels"], ...] = ("inputs", "model")
    found = inputs if defense.changes("smashed") else ()
    return (*found, "labels") if defense.changes("labels") or defense.changes("gradients") else found


def check_defenses(config: AuditConfig, *, trains: bool) -> None:
    """Refuse defences that change nothing of what is audited.

    Raises:
        InputError: there is one.
    """
    for defense in members(config.defenses):
        if not acts_in(defense, config, trains=trains):
            about = next((words for hook, words in _ABOUT.items() if defense.changes(hook)), "nothing")  # type: ignore[arg-type]
            steps = ", in steps of several samples" if defense.within_batches else ""
            taken = "" if trains else " (the checkpoint's training is over)"
            raise InputError(
                f"The defence {defense} acts on {about}{steps}, and nothing of that is audited here{taken}; audit "
                "what it protects (for labels `label_setups=('b', 'c')` or `u_shape=(1, 1)`, for inputs `cuts=(1,)`), "
                "or leave it out."
            )


def defense_notes(config: AuditConfig) -> tuple[str, ...]:
    """What there is to say of the defences, in sentences."""
    found = []
    if label_batch(config) > 1 and config.label_setups:
        why = ", ".join(_grouping(config))
        found.append(
            f"Labels were inferred from steps of {label_batch(config)} samples"
            + (f", since {why} changes nothing in steps of one" if why and config.label_batch_size is None else "")
            + "; attacks on single-sample weight gradients were left out."
        )
    if not config.aware:
        return tuple(found)
    if known_defense(config) is not None:
        plain = [name for name in config.presets if named(name).adaptive is None]
        if plain and config.cuts:
            found.append(
                f"The preset {', '.join(plain)} has no form that knows a defence, and was run without that knowledge."
            )
    unused = [
        str(one)
        for one in members(config.defenses)
        if not any(one.changes(hook) for hook in ("smashed", "labels", "gradients"))
    ]
    if unused:
        found.append(
            f"No attack here adapts to {', '.join(unused)}: the messages are the plain outputs of the client's layers."
        )
    return tuple(found)


def defended_row(config: AuditConfig, costs: Sequence[CostRow], *, trains: bool) -> DefendedRow | None:
    """The defences and what they cost; None without defences."""
    if not config.defenses:
        return None
    rows = [
        DefenseRow(
            defense=str(one), protects=one.protects, acts=acts_in(one, config, trains=trains), adapted=_adapted(one)
        )
        for one in members(config.defenses)
    ]
    return DefendedRow(defenses=tuple(rows), aware=config.aware, costs=tuple(costs))


def cost_row(
    setup: Literal["a", "c"],
    network: nn.Sequential,
    depth: int,
    accuracy: float,
    sent: Tensor,
    defense: Defense | None,
    seconds: float,
) -> CostRow:
    """What defences cost a training of so many seconds, whose clients have `sent` smashed data [n, ...]."""
    return CostRow(
        setup=setup,
        depth=depth,
        cut=cut_name(network, depth),
        accuracy=accuracy,
        bytes=(4.0 * sent.numel() if defense is None else defense.packed_bytes(sent)) / len(sent),
        seconds=seconds,
    )
