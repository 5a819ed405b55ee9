"""What an audit found, as data: the contents of `report.json`.

The JSON schema that these classes generate is the documented format of that file (`docs/report.schema.json`).
Accuracies and skills run from 0 to 1, times are in seconds, squared errors are on the data's own range (0 to 1).
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1

_DecidedBy = Annotated[
    Literal["agreement", "objective", "replay", "figures", "nothing"] | None,
    Field(
        description="what decided between the pictures and their negative: restarts agree, one of two signs explains "
        "the smashed data better, the client's steps taken again, figures taken to be brighter than their ground, or "
        "nothing; null where the attack does not say"
    ),
]
_Sure = Annotated[
    bool | None,
    Field(
        description="whether by what it sees of itself the attack has less than half of the best blind guess's error; "
        "null where it does not say"
    ),
]


class Row(BaseModel):
    """Base of all records here: unknown fields are refused, so that a typing slip cannot pass for a result."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PictureScores(Row):
    """How well the targets were redrawn, beside guesses that have seen nothing."""

    mse: float = Field(description="mean squared error over the targets, no use of the truth in the attack")
    mse_scale_free: float = Field(description="error after the best single a*x+b over the set; a diagnostic")
    mse_best_trivial: float = Field(description="error of the best guess that has seen no message")
    guesses: dict[str, float] = Field(description="error of each trivial guess, by name")
    skill: float = Field(description="1 - mse / mse_best_trivial: 1 is perfect, 0 no better than guessing")
    psnr: float = Field(description="peak signal-to-noise ratio in dB")
    ssim: float | None = Field(description="structural similarity, 1 for identical pictures; null for other inputs")


class InversionRow(PictureScores):
    """One inversion attack: one cut, one state of the client, one preset, over all targets."""

    depth: int = Field(description="depth of the cut: modules 0 to depth are the client's")
    cut: str = Field(description="name of the last module before the cut")
    state: Literal["before", "after"] = Field(description="client attacked before or after training")
    preset: str = Field(description="settings of the attack")
    aware: bool = Field(default=False, description="whether the attack knows the client's defences")
    drift: float | None = Field(
        default=None,
        description="how far the client's first layers are from the weights that the attack knows, relative to these; "
        "null for attacks that know no weights",
    )
    residual: float = Field(description="relative squared error with which the attack fits the smashed data")
    sign: Literal["resolved", "assumed", "ambiguous", "untested"] = Field(
        description="could the negative be ruled out, by evidence or by what is taken for granted about inputs"
    )
    agreement: float | None = Field(
        default=None, description="correlation of the pictures of the attack's two best restarts; null without restarts"
    )
    decided_by: _DecidedBy = None
    sure: _Sure = None
    smashed: int = Field(default=0, description="smashed samples that the attack saw, the targets among them")
    by_input: dict[str, float] = Field(
        default_factory=dict, description="error of each named input, or column of a table, by itself"
    )
    by_input_best_trivial: dict[str, float] = Field(
        default_factory=dict, description="error of the best guess that has seen no message, at each of them"
    )
    mse_best_of_eight: float | None = Field(
        default=None,
        description="error under the best of the eight flips and quarter turns of the whole set; null but for square "
        "pictures behind a dense layer, where an attack that knows only the architecture cannot tell these apart",
    )
    mse_best_of_eight_best_trivial: float | None = Field(
        default=None, description="error of the best guess that has seen no message, scored in the same way"
    )
    clone_accuracy: float = Field(
        description="test accuracy (R² for a regression) of the stolen bottom through the server's own top"
    )
    clone_accuracy_negative: float | None = Field(
        default=None,
        description="the same of the negatives of the test inputs, of which a clone of the wrong sign is one; null if "
        "not measured",
    )
    clone_agreement: float = Field(description="share of test inputs on which clone and client agree")
    reference_accuracy: float = Field(
        description="test accuracy of the client's own bottom, same top, nothing being done to what crosses"
    )
    clone_chance: float = Field(description="accuracy of always naming the commonest class")
    seconds_per_image: float
    pictures: str = Field(description="PNG of originals above reconstructions, relative to report.json")

    @property
    def mirrored(self) -> bool:
        """Whether the clone is one of the negatives of inputs: it does better with those, and its sign is open, or by
        its accuracy far below chance is known to be wrong.
        """
        other, own = self.clone_accuracy_negative, self.clone_accuracy
        return other is not None and other > own and (self.sign != "resolved" or self.below_chance)

    @property
    def below_chance(self) -> bool:
        """Whether the clone classifies so much worse than chance that it must know something."""
        return self.clone_chance > 0 and self.clone_accuracy < self.clone_chance / 2

    @property
    def stolen_accuracy(self) -> float:
        """What the clone is worth to whoever has it: its accuracy, with negatives where it is a clone of those."""
        negative = self.clone_accuracy_negative
        return negative if self.mirrored and negative is not None else self.clone_accuracy

    @property
    def attack(self) -> str:
        """The attack's name: its preset, and whether it knows the client's defences."""
        return f"{self.preset}, aware" if self.aware else self.preset


class LabelRow(Row):
    """One label inference attack on one transcript."""

    setup: Literal["b", "c"]
    depth: int = Field(description="layers with weights in the client's head")
    observed: Literal["weight_grad", "cut_grad"] = Field(description="gradient that the server sees")
    known_samples: int = Field(description="labels known to the server for each class")
    aware: bool = Field(default=False, description="whether the attack knows the client's defences")
    batch_size: int = Field(default=1, description="samples of each observed step")
    optimizer: str = Field(description="the client's optimiser")
    clone_head: Literal["trained", "untrained", "none"] = Field(description="the attacker's copy of the head")
    samples: int = Field(description="samples judged")
    accuracy: float | None = Field(description="share of labels right, names included; null if names are unknown")
    low: float = Field(description="lower end of the 95 % interval of the accuracy reported")
    high: float = Field(description="upper end of it")
    accuracy_up_to_names: float = Field(description="share right after the best renaming of the groups")
    chance: float = Field(description="accuracy of always naming the commonest class")
    head_accuracy: float | None = Field(description="test accuracy of the clone head trained on the inferred labels")
    head_reference: float | None = Field(description="test accuracy of the client's own head")


class UShapeRow(PictureScores):
    """Inputs, model and labels taken from one training in the U-shape, setup (c)."""

    depth: int = Field(description="depth of the cut between bottom and body")
    cut: str = Field(description="name of the last module of the bottom")
    head: int = Field(description="layers with weights in the client's head")
    preset: str = Field(description="settings of the inversion")
    aware: bool = Field(default=False, description="whether the attacks know the client's defences")
    steps: int = Field(description="training steps that the server saw")
    known_samples: int = Field(description="labels known to the server for each class")
    label_accuracy: float = Field(description="share of the training's labels read right, names included")
    label_chance: float = Field(description="accuracy of always naming the commonest class")
    reference_accuracy: float = Field(description="test accuracy of the client's own network")
    bottom_accuracy: float = Field(description="with the stolen bottom and the client's own head")
    head_accuracy: float = Field(description="with the client's own bottom and the stolen head")
    whole_accuracy: float = Field(description="with both parts stolen, so without the client")
    whole_agreement: float = Field(description="share of test inputs on which that and the client's own agree")
    chance: float = Field(description="accuracy of always naming the commonest class")
    pictures: str = Field(description="PNG of originals above reconstructions, relative to report.json")


class RecordedInversionRow(Row):
    """One inversion of what a recording holds of one step's batch."""

    depth: int = Field(description="depth of the cut: modules 0 to depth are the client's")
    cut: str = Field(description="name of the last module before the cut")
    preset: str = Field(description="settings of the attack")
    step: int = Field(description="training step whose batch was attacked")
    samples: int = Field(description="inputs in that batch")
    steps: int = Field(description="steps whose smashed data the attack saw, the attacked one among them")
    smashed: int = Field(description="smashed samples that the attack saw, the batch among them")
    residual: float = Field(description="relative squared error with which the attack fits the batch's smashed data")
    sign: Literal["resolved", "assumed", "ambiguous", "untested"] = Field(
        description="could the negative be ruled out, by evidence or by what is taken for granted about inputs"
    )
    agreement: float | None = Field(
        description="correlation of the pictures of the attack's two best restarts; null without restarts"
    )
    decided_by: _DecidedBy = None
    sure: _Sure = None
    seconds: float
    pictures: str = Field(description="PNG of the reconstructions, relative to report.json; below originals if known")
    scores: PictureScores | None = Field(description="null without the truth")


class LabelScores(Row):
    """How many labels were read right, as far as the truth is known."""

    known_samples: int = Field(description="labels known to the server for each class that occurs, to name groups by")
    samples: int = Field(description="samples judged")
    accuracy: float | None = Field(description="share of labels right, names included; null if names are unknown")
    low: float = Field(description="lower end of the 95 % interval of the accuracy reported")
    high: float = Field(description="upper end of it")
    accuracy_up_to_names: float = Field(description="share right after the best renaming of the groups")
    chance: float = Field(description="accuracy of always naming the commonest class")


class RecordedLabelRow(Row):
    """The labels that a recording gives away in one way."""

    attack: str = Field(description="name of the attack, or `sent` where the client sends its labels")
    head: int | None = Field(description="layers with weights in the client's head; null where labels are sent")
    steps: int
    samples: int
    undecided: int = Field(description="samples of which the attack says nothing")
    named: bool = Field(description="whether numbers are classes, or groups whose classes are unknown")
    counts: tuple[int, ...] = Field(description="samples of each class or group")
    margin: float | None = Field(description="mean of the attack's own certainty, 0 to 2; null where it gives none")
    seconds: float
    scores: tuple[LabelScores, ...] = Field(description="none without the truth; of groups, without and with names")


class RecordedRow(Row):
    """An audit of recorded traffic: what the attacks made of a transcript that a party kept."""

    transcript: str
    observer: str = Field(description="the party that kept it")
    model: str
    setup: Literal["a", "b", "c"] | None = Field(description="as its messages show; null if they do not")
    others: int = Field(description="parties that it exchanged messages with")
    messages: int
    steps: int
    first_step: int
    last_step: int
    truth: bool = Field(description="whether the truth was known, and so whether there are scores")
    input_range: tuple[tuple[float, float], ...] = Field(
        default=((0.0, 1.0),),
        description="what 0 and 1 stand for in the client's units, for all inputs or by channel; errors are in 0 to 1",
    )
    notes: tuple[str, ...] = Field(default=(), description="what was left out, and what to bear in mind")
    inversion: tuple[RecordedInversionRow, ...]
    labels: tuple[RecordedLabelRow, ...]


class ThreatModelRow(Row):
    """What one attack reads and knows, taken from its signature."""

    attack: str
    goal: str
    reads: tuple[str, ...] = Field(description="kinds of message it reads")
    knows: tuple[str, ...] = Field(description="what else it knows")
    assumes: tuple[str, ...] = Field(default=(), description="what it takes for granted of the inputs, right or wrong")


class InputRow(Row):
    """A named part of the inputs: a column of a table, or one of several inputs."""

    name: str
    numbers: int = Field(description="how many numbers it consists of")
    low: float | None = Field(description="what 0 stands for, in the data's own units; null for several numbers")
    high: float | None = Field(description="what 1 stands for; null for several numbers")


class TrainingRow(Row):
    """The split training that was audited."""

    dataset: str
    model: str
    setup: Literal["a", "b", "c"]
    classes: int
    input_shape: tuple[int, ...]
    inputs: tuple[InputRow, ...] = Field(default=(), description="parts of an input that have names, in their order")
    training_samples: int
    test_samples: int
    clients: int
    batch_size: int
    epochs: float
    steps: int
    optimizer: str
    loss: str
    score: Literal["accuracy", "r2"] = Field(
        default="accuracy",
        description="what stands where accuracies of networks do: R² of a regression",
    )
    losses: tuple[float, ...] = Field(description="mean training loss of each epoch")
    accuracy: float = Field(description="test accuracy after training")
    notes: tuple[str, ...] = Field(default=(), description="what was left out, and what to bear in mind")
    seconds: float


class DefenseRow(Row):
    """A defence of the clients."""

    defense: str = Field(description="as the command line takes it")
    protects: str
    acts: tuple[str, ...] = Field(description="the parts of the audit in which it changes anything")
    adapted: tuple[Literal["inputs", "model", "labels"], ...] = Field(
        description="what attacks that know it are after; none where knowing it changes nothing"
    )


class CostRow(Row):
    """What the defences cost one training."""

    setup: Literal["a", "c"]
    depth: int = Field(description="depth of its cut")
    cut: str = Field(description="name of the last module before the cut")
    accuracy: float = Field(description="test accuracy (R² for a regression) with the defences in use")
    bytes: float = Field(description="of one sample's smashed data, packed as the defences allow")
    seconds: float = Field(description="of training; 0 where none was done for this cut")


class DefendedRow(Row):
    """What the clients did on their side of the border in every training of the audit, and what that cost."""

    defenses: tuple[DefenseRow, ...]
    aware: bool = Field(description="whether attacks that know the defences were run beside those that do not")
    costs: tuple[CostRow, ...]

    def __str__(self) -> str:
        """The defences in order, and whether attacks knew them."""
        names = " + ".join(row.defense for row in self.defenses)
        return f"{names} (attacked with and without knowing it)" if self.aware else names


class Provenance(Row):
    """What it takes to make the report again."""

    command: str
    seed: int
    created: str = Field(description="UTC time, ISO 8601")
    seconds: float
    device: str
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="in which decoders computed their convolutions"
    )
    versions: dict[str, str]
    machine: dict[str, str]


class AuditResult(Row):
    """The whole of `report.json`."""

    schema_version: int = SCHEMA_VERSION
    training: TrainingRow | None = Field(default=None, description="null where recorded traffic was audited")
    defended: DefendedRow | None = Field(default=None, description="null where the clients do nothing")
    inversion: tuple[InversionRow, ...]
    labels: tuple[LabelRow, ...]
    whole: UShapeRow | None = Field(default=None, description="everything at once, in the U-shape")
    whole_aware: UShapeRow | None = Field(default=None, description="the same by attacks that know the defences")
    recorded: RecordedRow | None = Field(default=None, description="recorded traffic, where that was audited")
    threat_models: tuple[ThreatModelRow, ...]
    provenance: Provenance

    @property
    def u_shapes(self) -> tuple[UShapeRow, ...]:
        """The attacks on the U-shape that were run."""
        return tuple(row for row in (self.whole, self.whole_aware) if row is not None)
