"""Results and pages made by hand."""

from html.parser import HTMLParser

import torch

from unsplit.randomness import generator
from unsplit.report import Pictures
from unsplit.results import AuditResult, InversionRow, LabelRow, Provenance, ThreatModelRow, TrainingRow

GUESSES = {"half": 0.23, "best constant": 0.09, "black": 0.1, "mean picture": 0.06}


def inversion(**changes):
    row = {
        "depth": 1, "cut": "relu1", "state": "after", "preset": "joint", "mse": 0.0004, "mse_scale_free": 0.0001,
        "mse_best_trivial": 0.06, "guesses": GUESSES, "psnr": 34.0, "ssim": 0.9, "residual": 1e-5, "sign": "resolved",
        "clone_accuracy": 0.96, "clone_agreement": 0.99, "reference_accuracy": 0.966, "clone_chance": 0.1,
        "seconds_per_image": 0.4,
    } | changes  # fmt: skip
    row.setdefault("skill", 1 - row["mse"] / 0.06)
    row.setdefault("pictures", f"pictures/depth{row['depth']}-{row['state']}-{row['preset']}.png")
    return InversionRow(**row)


def label(**changes):
    row = {
        "setup": "b", "depth": 1, "observed": "weight_grad", "known_samples": 0, "optimizer": "sgd, rate 0.01",
        "clone_head": "trained", "samples": 1000, "accuracy": 1.0, "low": 0.996, "high": 1.0,
        "accuracy_up_to_names": 1.0, "chance": 0.112, "head_accuracy": None, "head_reference": None,
    }  # fmt: skip
    return LabelRow(**row | changes)


ROWS = tuple(
    inversion(depth=depth, cut=cut, state=state, mse=mse, mse_scale_free=mse / 2, sign=sign)
    for depth, cut, sign, pair in [
        (1, "relu1", "resolved", (0.0021, 0.00004)),
        (2, "pool1", "resolved", (0.03, 0.0009)),
        (3, "conv2", "ambiguous", (0.27, 0.07)),
    ]
    for state, mse in zip(("before", "after"), pair, strict=True)
)


LABELS = (
    label(),
    label(clone_head="untrained", accuracy=0.77, accuracy_up_to_names=0.77, optimizer="adam, rate 0.001"),
    label(observed="cut_grad", clone_head="none", accuracy=None),
    label(observed="cut_grad", clone_head="none", known_samples=1, setup="c", depth=2, accuracy=0.79),
)


def result(rows=ROWS, labels=LABELS, dataset="digits"):
    return AuditResult(
        training=TrainingRow(
            dataset=dataset, model="mnist-net", setup="a", classes=10, input_shape=(1, 28, 28), training_samples=4000,
            test_samples=1000, clients=1, batch_size=64, epochs=10, steps=630, optimizer="adam, rate 0.001",
            loss="cross-entropy", losses=(0.9, 0.3), accuracy=0.966, seconds=3.2,
        ),
        inversion=rows,
        labels=labels,
        threat_models=(ThreatModelRow(attack="invert_jointly", goal="inputs", reads=("smashed",), knows=("layers",)),),
        provenance=Provenance(
            command="unsplit audit --out runs/demo", seed=0, created="2026-01-01T00:00:00+00:00", seconds=60.0,
            device="cpu", versions={"torch": "2.13.0"}, machine={"cores": "2"},
        ),
    )  # fmt: skip


def pictures(rows=ROWS, channels=1, samples=10):
    source = generator(0)
    made = torch.rand(samples, channels, 28, 28, generator=source)
    return Pictures(originals=made, reconstructions=tuple(made * 0.5 for _ in rows))


class Page(HTMLParser):
    """The tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data
