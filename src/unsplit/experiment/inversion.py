"""One inversion attack on a network cut at one place, and its scores."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unsplit.attacks import Progress, silent, threat_model
from unsplit.attacks.inversion import preset
from unsplit.attacks.registry import ClientForm, named
from unsplit.attacks.settings import AttackSettings
from unsplit.data import Dataset, Splits
from unsplit.defenses import Defense, members
from unsplit.errors import InputError
from unsplit.experiment.orientations import scores_of_orientations
from unsplit.experiment.server_knowledge import ServerKnowledge
from unsplit.knowledge import ClientWeights
from unsplit.metrics import baseline, likeness, mse, mse_scale_free, performance, psnr, skill, ssim, trivial_guesses
from unsplit.models import depth_of, distance, split
from unsplit.protocol import SplitConfig, predicted, split_training
from unsplit.randomness import generator
from unsplit.results import InversionRow
from unsplit.types import Reconstruction, Transcript

_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What scores an inversion: the truth, which no attack sees.

    Args:
        targets: the inputs that are attacked.
        test: inputs that no party trained on, to score the clone with.
        mean_input: mean of the training inputs, a trivial guess.
        others: more inputs of the client, shape [n, ...], that pass through the same weights; their smashed data, and
            nothing else of them, reach the attacks that learn from many samples.
    """

    targets: Dataset
    test: Dataset
    mean_input: Tensor
    others: Tensor | None = None

    @classmethod
    def of(cls, splits: Splits, targets: Dataset, others: int | None = 5000) -> "Evaluation":
        """Some of the test inputs as targets, with so many of the training inputs as the others; None for none."""
        more = None if others is None else more_inputs(splits.train, others)
        return cls(targets=targets, test=splits.test, mean_input=splits.train.images.mean(0), others=more)


def observe_inference(
    model: nn.Sequential,
    cut: int | str,
    targets: Dataset,
    device: torch.device,
    others: Tensor | None = None,
    *,
    defenses: Sequence[Defense] = (),
    seed: int = 0,
) -> Transcript:
    """What the server sees when the client sends the targets, and then `others`, through its bottom of a network cut at
    `cut`, in the end. Of defences, what they do to smashed data counts here, and `seed` is that of what they draw.
    """
    acting = tuple(one for one in members(defenses) if one.changes("smashed"))
    deployed = split_training(
        model,
        targets.images,
        targets.labels,
        SplitConfig(
            cut=depth_of(model, cut) - sum(one.deeper for one in acting), batch_size=len(targets), defenses=acting
        ),
        generator=generator(seed),
        device=device,
    )
    images = targets.images if others is None else torch.cat([targets.images, others])
    return deployed.infer(images.to(device), batch_size=max(len(targets), _BATCH))


def run_inversion(
    model: nn.Sequential,
    cut: int | str,
    name: str,
    evaluation: Evaluation,
    *,
    state: Literal["before", "after"],
    seed: int,
    device: torch.device,
    settings: AttackSettings | None = None,
    defenses: Sequence[Defense] = (),
    server: ServerKnowledge | None = None,
    progress: Progress = silent,
) -> tuple[InversionRow, Tensor]:
    """Attack `model` cut at `cut`; returns the scores and the pictures [n, *input shape].

    Args:
        model: the whole network, with the client's weights as they are in this `state`.
        cut: depth of the cut, or the name of the last module before it.
        name: name of the attack, in `registry.ATTACKS`.
        evaluation: the truth, and more of the client's inputs.
        state: whether the client is attacked before or after its training.
        seed: seed of the attack, and of what the defences draw.
        device: the device on which the attack computes.
        settings: settings of the attack under its name; None for the name's own.
        defenses: what the client does to its smashed data.
        server: what the server knows beside the architecture; one that knows the defence runs the attack's adaptive
            form. None for a server that knows nothing more.
        progress: told how far the attack is.

    Raises:
        InputError: an attack that has no form that knows a defence, or knowledge that the server lacks.
    """
    depth, server = depth_of(model, cut), server or ServerKnowledge()
    (bottom, _), one, targets = split(model, cut), named(name), evaluation.targets
    chosen = settings or one.settings(ClientForm.of(depth, bottom, targets.input_shape))
    attack = one.attack if server.defense is None else one.adaptive
    if attack is None:
        raise InputError(
            f"The preset {name} has no form that knows a defence; use 'joint', 'strong' or another preset that has one."
        )
    others = more_for(chosen, evaluation)
    view = observe_inference(model, cut, targets, device, others, defenses=defenses, seed=seed)
    kinds = threat_model(attack).knows
    none = targets.images[:0]
    inputs = (none if others is None else others, none if evaluation.others is None else evaluation.others)
    knows = server.of_kinds(kinds, model, depth, targets, inputs, device)
    started = time.perf_counter()
    found = attack(view, *knows, chosen, generator=generator(seed), progress=progress)
    seconds = time.perf_counter() - started
    row, pictures = scored(found, model, depth, name, evaluation, state=state, seconds=seconds, device=device)
    told: dict[str, object] = scores_of_orientations(
        pictures, targets.images, evaluation.mean_input, bottom, set(kinds)
    )
    if server.defense is not None:
        told |= {"aware": True, "pictures": row.pictures.replace(".png", "-aware.png")}
    if ClientWeights in kinds and server.published is not None:
        # The client's own may have moved on since.
        told["drift"] = distance(split(server.published, depth)[0], bottom)
    return row.model_copy(update=told), pictures


def scored(
    found: Reconstruction,
    model: nn.Sequential,
    depth: int,
    name: str,
    evaluation: Evaluation,
    *,
    state: Literal["before", "after"],
    seconds: float,
    device: torch.device,
) -> tuple[InversionRow, Tensor]:
    """The row of a reconstruction, by the name of its attack, and the pictures of the targets alone."""
    bottom, top = split(model, depth)
    number = len(evaluation.targets)
    pictures = found.inputs[:number].cpu()
    test = evaluation.test
    reference = predicted(test.images, bottom, top, device=device)
    clones = [predicted(test.images, clone, top, device=device) for clone in found.clones]
    mirrored = [predicted(1 - test.images, clone, top, device=device) for clone in found.clones]
    row = InversionRow(
        depth=depth,
        cut=cut_name(model, depth),
        state=state,
        preset=name,
        **picture_scores(pictures, evaluation),
        **_by_input(pictures, evaluation),
        residual=float(found.residual[:number].mean()),
        sign=found.sign.value,
        agreement=found.agreement,
        decided_by=None if found.decided_by is None else found.decided_by.value,
        sure=found.sure,
        smashed=len(found.inputs),
        clone_accuracy=_mean([performance(outputs, test.labels) for outputs in clones]),
        clone_accuracy_negative=_mean([performance(outputs, test.labels) for outputs in mirrored]),
        clone_agreement=_mean([likeness(outputs, reference, test.labels) for outputs in clones]),
        reference_accuracy=performance(reference, test.labels),
        clone_chance=baseline(test.labels),
        seconds_per_image=seconds / len(found.inputs),
        pictures=f"pictures/depth{depth}-{state}-{name}.png",
    )
    return row, pictures


def cut_name(model: nn.Sequential, depth: int) -> str:
    """The name of the last module before the cut."""
    return [name for name, _ in model.named_children()][depth]


def more_for(settings: AttackSettings, evaluation: Evaluation) -> Tensor | None:
    """As many of the client's other inputs as an attack with these settings learns from; None if from none."""
    if not settings.samples_wanted or evaluation.others is None:
        return None
    return evaluation.others[: settings.samples_wanted]


def picture_scores(pictures: Tensor, evaluation: Evaluation) -> dict[str, Any]:
    """The scores of reconstructions [n, *input shape] of the targets, by their names in `InversionRow`."""
    return scores_against(pictures, evaluation.targets.images, evaluation.mean_input)


def scores_against(pictures: Tensor, truth: Tensor, mean_input: Tensor) -> dict[str, Any]:
    """The scores of reconstructions of `truth`, both [n, *input shape], by their names in `PictureScores`."""
    guesses, error = trivial_guesses(truth, mean_input), mse(pictures, truth)
    return {
        "mse": error,
        "mse_scale_free": mse_scale_free(pictures, truth),
        "mse_best_trivial": min(guesses.values()),
        "guesses": guesses,
        "skill": skill(error, guesses),
        "psnr": psnr(pictures, truth),
        "ssim": ssim(pictures, truth) if pictures.ndim == 4 else None,
    }


def _by_input(pictures: Tensor, evaluation: Evaluation) -> dict[str, Any]:
    """The error of each named part of the inputs by itself, beside that of the best guess at it."""
    truth, errors, guesses = evaluation.targets.images, {}, {}
    for name, (begin, end) in evaluation.targets.parts.items():
        part = slice(begin, end)
        errors[name] = mse(pictures[:, part], truth[:, part])
        guesses[name] = min(trivial_guesses(truth[:, part], evaluation.mean_input[part]).values())
    return {"by_input": errors, "by_input_best_trivial": guesses}


def presets_for(names: tuple[str, ...], shape: tuple[int, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of some presets that can recover inputs of this shape, and what was left out in words.

    Raises:
        InputError: none of them can.
    """
    kept = tuple(name for name in names if preset(name, 1).takes(shape))
    if kept == names:
        return names, ()
    left_out = ", ".join(name for name in names if name not in kept)
    if not kept:
        raise InputError(
            f"The preset {left_out} makes pictures and signals, and inputs here have shape {shape}; use "
            "`presets=('joint',)`."
        )
    return kept, (f"The preset {left_out} makes pictures and signals only and was left out.",)


def without(data: Dataset, targets: Dataset) -> Dataset:
    """The samples of some data whose inputs are none of the targets: what an attacker may have of its own."""
    flat = targets.images.flatten(1)
    foreign = [not bool((flat == image).all(1).any()) for image in data.images.flatten(1)]
    return data.subset(torch.tensor(foreign).nonzero().flatten())


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def more_inputs(train: Dataset, number: int = 5000) -> Tensor:
    """Training inputs drawn at random (the same at every call), for `Evaluation.others`."""
    order = torch.randperm(len(train), generator=generator(0))
    return train.images[order[:number]]
