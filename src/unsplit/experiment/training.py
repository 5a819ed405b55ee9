"""A training on its own: what `unsplit train` does, and the transcript that `unsplit attack` reads."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from unsplit.attacks import Progress, silent
from unsplit.data import Splits, as_read, load
from unsplit.devices import device as checked_device
from unsplit.errors import InputError, check_at_least_one
from unsplit.files import writable_folder, write_text
from unsplit.metrics import accuracy
from unsplit.models import build_for
from unsplit.protocol import SERVER, Recorder, SplitConfig, save_transcript, split_training
from unsplit.randomness import generator
from unsplit.results import Row


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a training.

    Args:
        data: name of a data set, or path of a folder of images.
        model: name of a model, "module:function", or None for the paper's net for such pictures.
        split: how the network is split and trained.
        steps: number of training steps, at least 1; None for `epochs` passes over all data.
        epochs: number of passes over the training data where `steps` is None, at least 1.
        observer: the party whose transcript is kept: "server", "client0", ...
        keep_last: number of last steps whose messages the transcript keeps, at least 1; None keeps all.
        checkpoint_every: number of steps between two checkpoints, at least 1.
        seed: seed of everything that is drawn at random.
        device: name of the device where tensors live, such as "cpu" or "cuda:1".

    Raises:
        InputError: a number out of its range.
    """

    data: str = "digits"
    model: str | None = None
    split: SplitConfig = field(default_factory=SplitConfig)
    steps: int | None = None
    epochs: int = 1
    observer: str = SERVER
    keep_last: int | None = None
    checkpoint_every: int = 1000
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_at_least_one(self, "steps", "epochs", "keep_last", "checkpoint_every")


class TrainingSummary(Row):
    """The contents of `training.json`."""

    data: str
    model: str
    setup: str
    steps: int
    loss: float | None
    accuracy: float
    messages: int
    seconds: float
    transcript: str
    checkpoint: str


def train(config: TrainConfig, folder: Path, *, resume: bool = False, progress: Progress = silent) -> TrainingSummary:
    """Train split and leave `transcript/`, `checkpoint.safetensors` and `training.json` in `folder`.

    Args:
        config: the settings of the training.
        folder: folder for the results, which must not hold a run yet, unless `resume`.
        resume: whether to go on from the folder's checkpoint; the result is that of an undisturbed run, bit for bit.
        progress: function that is told the progress after every step.

    Raises:
        UnsplitError: a configuration or data that cannot be used, or a folder that holds another run.
    """
    device = checked_device(config.device)
    splits = load(config.data)
    shape, classes = splits.train.input_shape, len(splits.train.classes)
    model, name = build_for(config.model, shape, classes, generator=generator(config.seed))
    train_set, test_set = as_read(model, splits.train, splits.test)
    splits = Splits(train=train_set, test=test_set)
    training = split_training(
        model, splits.train.images, splits.train.labels, config.split, generator=generator(config.seed), device=device
    )
    checkpoint, transcript = writable_folder(folder) / "checkpoint.safetensors", folder / "transcript"
    if not resume and (checkpoint.exists() or transcript.exists()):
        raise InputError(f"{folder} holds a run already; go on with `resume`, or name another folder.")
    recorder = training.record(
        Recorder(observer=config.observer, last=config.keep_last)
        if config.keep_last
        else Recorder(observer=config.observer, folder=transcript)
    )
    if resume:
        training.resume(checkpoint)
    batches = -(-len(splits.train) // config.split.batch_size)
    started = time.perf_counter()
    loss = training.run(
        config.steps or config.epochs * batches,
        progress=progress,
        checkpoint=checkpoint,
        checkpoint_every=config.checkpoint_every,
    )
    seconds = time.perf_counter() - started
    if config.keep_last:
        save_transcript(recorder.transcript(), transcript)
    summary = TrainingSummary(
        data=splits.train.name,
        model=name,
        setup=config.split.setup.value,
        steps=training.steps_done,
        loss=loss if loss == loss else None,
        accuracy=accuracy(training.predict(splits.test.images.to(device)).cpu(), splits.test.labels),
        messages=len(recorder.transcript()),
        seconds=seconds,
        transcript=transcript.name,
        checkpoint=checkpoint.name,
    )
    write_text(folder / "training.json", summary.model_dump_json(indent=1) + "\n")
    return summary
