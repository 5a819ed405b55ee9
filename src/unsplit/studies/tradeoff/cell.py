"""One training under one defence, with all that its server gets out of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from unsplit.attacks.inversion import AmortisedConfig, JointConfig, LearningConfig
from unsplit.attacks.labels import correct_labels
from unsplit.data import Splits
from unsplit.defenses import Defense, parse_defenses
from unsplit.errors import InputError, check_at_least_one, unknown_name
from unsplit.experiment.auditing.label_watch import head_of, true_labels
from unsplit.experiment.inversion import Evaluation, more_inputs, scores_against
from unsplit.experiment.label_attacker import LabelAttacker
from unsplit.knowledge import ClientArchitecture, KnownDefense
from unsplit.metrics import accuracy, accuracy_up_to_names, chance
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SERVER, Recorder, SplitConfig, SplitTraining, predicted, split_training
from unsplit.randomness import generator
from unsplit.studies.grid.cell import Cell, Tensors, Values
from unsplit.studies.targets import data, network
from unsplit.types import Kind, Reconstruction, Setup, Transcript

ATTACKS_ON_INPUTS = ("joint", "decoder")


@dataclass(frozen=True, kw_only=True)
class Work:
    """How much is done in each cell.

    Args:
        steps: steps of training.
        batch_size: samples a step.
        training_samples: train on the first so many samples; None for all.
        optimizer: the optimiser of both parties.
        attacks: the attacks on the inputs: "joint", "decoder" or both.
        few: samples whose smashed data the joint attack sees beside the targets.
        joint: settings of the joint attack.
        smashed: samples whose smashed data the decoder sees beside the targets.
        decoder: settings of the amortised attack, which learns the decoder.
        judged_steps: the number of steps at the end whose labels are judged.
        tested: test samples, from the first on, that networks and clones are scored on.
    """

    steps: int = 300
    batch_size: int = 64
    training_samples: int | None = 20_000
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    attacks: tuple[str, ...] = ("joint", "decoder")
    few: int = 22
    joint: JointConfig = field(default_factory=lambda: JointConfig(steps=600))
    smashed: int = 600
    decoder: AmortisedConfig = field(
        default_factory=lambda: AmortisedConfig(
            candidates=2, trial=0.3, steps=200, refit_steps=50, learning=LearningConfig(batch=32)
        )
    )
    judged_steps: int = 30
    tested: int = 2000

    def __post_init__(self) -> None:
        check_at_least_one(self, "steps", "batch_size", "training_samples", "few", "smashed", "judged_steps", "tested")
        for name in self.attacks:
            if name not in ATTACKS_ON_INPUTS:
                raise unknown_name("attack on inputs", name, ATTACKS_ON_INPUTS)
        if not self.attacks:
            raise InputError("Name an attack on inputs: joint, decoder or both.")


@dataclass(frozen=True, kw_only=True)
class TradeoffCell(Cell):
    """A training in the U-shape under a defence, and attacks that do and do not know the defence.

    Args:
        defense: text that `parse_defense` takes, several with " + " between them; "none" for none.
        model: name of a model in the registry, or "module:function"; None for the paper's.
        cut: where the client's first layers end, by depth or name.
        head: layers with weights in the client's head.
        work: how much training and attacking is done.
    """

    kind = "tradeoff"
    defense: str
    model: str | None = None
    cut: int | str = 1
    head: int = 1
    work: Work = field(default_factory=Work)

    @property
    def label(self) -> str:
        return f"{self.dataset}, {self.defense}, seed {self.seed}"

    @property
    def defenses(self) -> tuple[Defense, ...]:
        """The defences."""
        return parse_defenses(self.defense)

    def run(self, needed: Mapping[str, Tensor]) -> tuple[Values, Tensors]:  # noqa: ARG002
        splits, work = limited(data(self.dataset), self.work), self.work
        model = network(splits, self.seed, self.model)
        config = SplitConfig(
            setup=Setup.C,
            cut=self.cut,
            head=self.head,
            batch_size=work.batch_size,
            client_optimizer=work.optimizer,
            server_optimizer=work.optimizer,
            defenses=self.defenses,
        )
        train = splits.train
        training = split_training(
            model, train.images, train.labels, config, generator=generator(self.seed), device=self.device
        )
        recorder = training.record(Recorder(observer=SERVER, kinds=(Kind.FEATURES, Kind.FEATURE_GRAD)))
        started = time.perf_counter()
        training.run(work.steps)
        seconds = (time.perf_counter() - started) / work.steps
        outputs = training.predict(splits.test.images.to(self.device)).cpu()
        row: Values = {
            "depth": config.depth(model),
            "accuracy": accuracy(outputs, splits.test.labels),
            "chance": chance(splits.test.labels),
            "seconds": seconds,
            **_labels(training, recorder.transcript(), work, len(train.classes), self.seed),
        }
        inputs, pictures = _inputs(training, splits, work, config.defense or Defense(), self.seed)
        return {**row, **inputs}, pictures


def limited(splits: Splits, work: Work) -> Splits:
    """The data that the work is done on."""
    train, test = splits.train, splits.test
    if work.training_samples is not None:
        train = train.subset(torch.arange(min(work.training_samples, len(train))))
    return Splits(train=train, test=test.subset(torch.arange(min(work.tested, len(test)))))


def _inputs(training: SplitTraining, splits: Splits, work: Work, defense: Defense, seed: int) -> tuple[Values, Tensors]:
    """What attacks on the inputs get when the trained network is used, and how many bytes that is.

    Of the attacks, the one that comes closest to the truth counts: what leaks is at least that.
    """
    bottom = training.active().segments()["bottom"].module
    targets, device = splits.test.one_per_class(), next(bottom.parameters()).device
    judged = Evaluation.of(splits, targets, None)
    others = more_inputs(splits.train, max(work.smashed, work.few))
    architecture = ClientArchitecture.of(bottom, targets.input_shape)
    known = KnownDefense(misfit=defense.misfit, noise=defense.noise)
    scores: dict[str, Values] = {}
    pictures: Tensors = {}
    for attack in work.attacks:
        number = work.few if attack == "joint" else work.smashed
        view = training.infer(torch.cat([targets.images, others[:number]]).to(device))
        found = _attacked(attack, view, architecture, known, work, seed + 1)
        for name, one in found.items():
            score = {**_scores(one, training, judged), "attack": attack}
            if name not in scores or score["mse"] < scores[name]["mse"]:
                scores[name], pictures[name] = score, one.inputs[: len(targets)].cpu()
    sent = training.infer(targets.images.to(device)).tensor(Kind.SMASHED)
    return {**scores, "bytes": defense.packed_bytes(sent) / len(sent)}, pictures


def _attacked(
    attack: str, view: Transcript, architecture: ClientArchitecture, known: KnownDefense, work: Work, seed: int
) -> dict[str, Reconstruction]:
    """What the attack makes of the view without and with knowing the defence."""
    settings: JointConfig | AmortisedConfig = work.joint if attack == "joint" else work.decoder
    return {
        "unaware": settings.attack(view, architecture, settings, generator=generator(seed)),
        "aware": settings.adaptive_attack(view, architecture, known, settings, generator=generator(seed)),
    }


def _scores(found: Reconstruction, training: SplitTraining, judged: Evaluation) -> Values:
    scores = scores_against(found.inputs[: len(judged.targets)].cpu(), judged.targets.images, judged.mean_input)
    rest: list[nn.Module] = [training.server.body.module, head_of(training)]
    device = next(rest[0].parameters()).device
    outputs = predicted(judged.test.images, found.clones[0], *rest, device=device)
    chosen = {name: scores[name] for name in ("mse", "mse_best_trivial", "skill", "ssim")}
    return {**chosen, "clone_accuracy": accuracy(outputs, judged.test.labels), "agreement": found.agreement}


def _labels(training: SplitTraining, view: Transcript, work: Work, classes: int, seed: int) -> Values:
    """How many labels of the last steps are read, up to the classes' names."""
    last = min(work.judged_steps, work.steps)
    truth = true_labels(training, range(work.steps - last, work.steps))
    found = LabelAttacker(view=view, head=lambda: head_of(training), classes=classes, seed=seed + 2).infer("surrogate")
    read = {"unaware": found.labels[-len(truth) :]}
    read["aware"] = read["unaware"] if found.clone is None else correct_labels(view, found, last=last).labels
    shares = {name: accuracy_up_to_names(labels, truth, classes).value for name, labels in read.items()}
    return {"labels": shares, "label_chance": chance(truth)}


def smaller(work: Work) -> Work:
    """Enough work to see that everything runs."""
    return replace(
        work,
        steps=30,
        training_samples=2000,
        few=10,
        joint=replace(work.joint, steps=60),
        smashed=100,
        decoder=replace(work.decoder, steps=40, candidates=2, finalists=1, refit_steps=5),
        judged_steps=10,
        tested=300,
    )
