"""An audit of recorded traffic: the right scores with the truth, none without, and a recording that is left alone."""

import itertools
import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.programs import program
from helpers.reports import Page
from helpers.traffic import shorten
from unsplit.attacks.inversion import presets
from unsplit.attacks.labels import (
    LABEL_ATTACKS,
    LabelAttack,
    SurrogateConfig,
    infer_by_surrogate,
    infer_from_handed_weights,
)
from unsplit.errors import FormatError, InputError, UnsplitError
from unsplit.experiment.traffic.audit import RecordedConfig, audit_recorded
from unsplit.experiment.traffic.inversion import NEAR_STEPS, near
from unsplit.experiment.traffic.truth import read_truth
from unsplit.knowledge import ClientLoss, HeadArchitecture, LabelSpace
from unsplit.metrics import accuracy_up_to_names, chance, mse, psnr, skill, ssim, trivial_guesses
from unsplit.models import build, split_head
from unsplit.protocol import Recorder, SplitConfig, load_transcript, save_transcript, split_training
from unsplit.protocol.averaging import splitfed_training
from unsplit.randomness import generator
from unsplit.report import read_report, render_recorded, write_recorded_report
from unsplit.types import Kind, Message, Setup, Transcript

STEPS, BATCH = 24, 32
SCORES = {"mse", "mse_scale_free", "mse_best_trivial", "guesses", "skill", "psnr", "ssim", "accuracy", "chance",
          "accuracy_up_to_names", "low", "high"}  # fmt: skip


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Attacks with next to no steps: what is tested here is everything around them."""
    shorten(monkeypatch)


@pytest.fixture
def thorough(monkeypatch):
    """Label inference as it is."""
    monkeypatch.setitem(LABEL_ATTACKS, "surrogate", LabelAttack(infer_by_surrogate, lambda _: SurrogateConfig()))


@pytest.fixture(scope="module")
def recordings(digits, tmp_path_factory):
    """By setup: a folder with `transcript`, and the truth of the last step of either client's last turn."""
    folders = {}
    for setup in Setup:
        folder = folders[setup.value] = tmp_path_factory.mktemp(setup.value)
        config = SplitConfig(setup=setup, cut=1, clients=2, turn=4, batch_size=BATCH)
        training = split_training(
            build("mnist-net", generator=generator(0)), digits.train.images, digits.train.labels, config,
            generator=generator(1),
        )  # fmt: skip
        training.record(Recorder(observer="server", folder=folder / "transcript"))
        training.run(STEPS, checkpoint=folder / "checkpoint")
        for client, step in enumerate((STEPS - 5, STEPS - 1)):
            inputs, labels = training.active(step).inputs_of(step), training.active(step).labels_of(step)
            tensors = {"labels": labels, "steps": torch.full((len(labels),), step)}
            save_file(tensors if inputs is None else tensors | {"inputs": inputs}, folder / f"truth{client}")
    return folders


def contents(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def keys(value):
    """All names in a JSON value that have something."""
    if isinstance(value, dict):
        return {name for name, part in value.items() if part not in (None, [])} | keys(list(value.values()))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("setup", ["a", "b", "c"])
def test_scores_are_those_of_the_metrics(setup, recordings):
    folder = recordings[setup]
    truth = read_truth(folder / "truth1")
    found = audit_recorded(folder / "transcript", RecordedConfig(), truth=folder / "truth1")
    recorded = found.result.recorded
    assert (recorded.setup, recorded.steps, recorded.others, recorded.truth) == (setup, STEPS, 2, True)
    assert [row.preset for row in recorded.inversion] == ([] if setup == "b" else ["strong-quick", "joint"])
    for row, pictures in zip(recorded.inversion, found.reconstructions, strict=True):
        assert (row.step, row.samples) == (STEPS - 1, BATCH)
        guesses = trivial_guesses(truth.inputs, truth.inputs.mean(0))
        error = mse(pictures, truth.inputs)
        assert row.scores.mse == error
        assert (row.scores.skill, row.scores.guesses) == (skill(error, guesses), guesses)
        assert (row.scores.ssim, row.scores.psnr) == (ssim(pictures, truth.inputs), psnr(pictures, truth.inputs))
    assert setup == "b" or torch.equal(found.originals, truth.inputs)


def test_labels_that_are_sent_need_no_attack(recordings):
    found = audit_recorded(recordings["a"] / "transcript", RecordedConfig(), truth=recordings["a"] / "truth1")
    (row,) = found.result.recorded.labels
    assert (row.attack, row.samples, sum(row.counts), row.undecided) == ("sent", STEPS * BATCH, STEPS * BATCH, 0)
    assert [score.accuracy for score in row.scores] == [1.0]


@pytest.mark.usefixtures("thorough")
@pytest.mark.parametrize("setup", ["b", "c"])
@pytest.mark.parametrize(("client", "step"), [(0, STEPS - 5), (1, STEPS - 1)])
def test_label_scores_are_those_of_the_metrics(setup, client, step, recordings):
    folder = recordings[setup]
    found = audit_recorded(folder / "transcript", RecordedConfig(presets=()), truth=folder / f"truth{client}")
    groups, read = found.result.recorded.labels
    labels = load_file(folder / f"truth{client}")["labels"]
    head = HeadArchitecture.of(split_head(build("mnist-net", generator=generator(0)), 1)[1])
    view = load_transcript(folder / "transcript")
    inferred = infer_by_surrogate(
        view, head, LabelSpace(classes=10), ClientLoss(), SurrogateConfig(), generator=generator(0)
    ).labels[step * BATCH : (step + 1) * BATCH]
    unnamed, named = groups.scores
    assert (unnamed.known_samples, unnamed.samples, unnamed.accuracy) == (0, BATCH, None)
    assert unnamed.accuracy_up_to_names == accuracy_up_to_names(inferred, labels, 10).value
    assert unnamed.chance == chance(labels)
    assert unnamed.accuracy_up_to_names >= 0.8
    assert (named.known_samples, named.samples) == (1, BATCH - len(labels.unique()))
    assert named.accuracy >= 0.8
    assert not groups.named
    # Heads were handed over after every fourth step, so that their weights are known from then on.
    assert (read.attack, read.named, read.undecided) == ("infer_from_handed_weights", True, 4 * BATCH)
    assert read.scores[0].accuracy >= 0.9


def test_the_step_of_which_the_truth_is_known_is_attacked(recordings):
    folder = recordings["c"]
    found = audit_recorded(folder / "transcript", RecordedConfig(presets=("joint",)), truth=folder / "truth0")
    (row,) = found.result.recorded.inversion
    assert row.step == STEPS - 5
    assert row.scores.mse == mse(found.reconstructions[0], load_file(folder / "truth0")["inputs"])


@pytest.mark.parametrize("setup", ["a", "c"])
def test_the_truth_changes_no_attack(setup, recordings):
    folder = recordings[setup]
    without = audit_recorded(folder / "transcript", RecordedConfig())
    scored = audit_recorded(folder / "transcript", RecordedConfig(), truth=folder / "truth1")
    assert without.originals is None
    for one, other in zip(without.reconstructions, scored.reconstructions, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(without.result.recorded.labels, scored.result.recorded.labels, strict=True):
        assert one.counts == other.counts


@pytest.mark.usefixtures("thorough")
def test_labels_of_a_shuffled_truth_are_not_found(recordings, tmp_path):
    tensors = load_file(recordings["b"] / "truth1")
    order = torch.randperm(BATCH, generator=generator(0))
    save_file(tensors | {"labels": tensors["labels"][order]}, tmp_path / "truth")
    found = audit_recorded(recordings["b"] / "transcript", RecordedConfig(), truth=tmp_path / "truth")
    assert all(row.scores[-1].accuracy <= 0.4 for row in found.result.recorded.labels)


@pytest.mark.parametrize("setup", ["a", "b", "c"])
def test_without_the_truth_no_score_appears(setup, recordings, tmp_path):
    found = audit_recorded(recordings[setup] / "transcript", RecordedConfig())
    page = write_recorded_report(tmp_path, found).read_text()
    written = json.loads((tmp_path / "report.json").read_text())
    assert not keys(written) & SCORES
    assert read_report(tmp_path / "report.json") == found.result
    for row in written["recorded"]["inversion"]:
        assert row["residual"] > 0
        assert (row["agreement"] is None) == (row["preset"] == "joint")
        assert (tmp_path / row["pictures"]).stat().st_size > 500
    assert all(sum(row["counts"]) + row["undecided"] == row["samples"] for row in written["recorded"]["labels"])
    text = Page(page).text
    assert "Nothing here is a score" in text
    assert "--truth" in text
    assert not re.search(r"MSE|SSIM|skill|right up to|\d % right", text.partition("How to read this")[0])


@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("setup", ["a", "b", "c"])
def test_the_page_needs_no_network_and_every_picture_has_words(setup, scored, recordings):
    truth = recordings[setup] / "truth1" if scored else None
    parsed = Page(render_recorded(audit_recorded(recordings[setup] / "transcript", RecordedConfig(), truth=truth)))
    for tag, attributes in parsed.tags:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("data:", "#")), (tag, name)
        assert tag != "script"
    images = [attributes for tag, attributes in parsed.tags if tag == "img"]
    assert len(images) == (0 if setup == "b" else 2)
    assert all(("mean squared error" if scored else "originals are not known") in image["alt"] for image in images)
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
    knowing = {"a": "the client's first layers", "b": "the client's last layers", "c": "the client's last layers"}
    assert knowing[setup] in parsed.text


def test_a_recording_is_left_as_it_was(recordings):
    before = contents(recordings["c"] / "transcript")
    audit_recorded(recordings["c"] / "transcript", RecordedConfig(), truth=recordings["c"] / "truth1")
    assert contents(recordings["c"] / "transcript") == before


@pytest.mark.parametrize("setup", ["b", "c"])
def test_a_recording_that_ends_within_a_step(setup, recordings, tmp_path):
    view = load_transcript(recordings[setup] / "transcript")
    last = max(index for index, header in enumerate(view.headers) if header.kind is Kind.FEATURE_GRAD)
    save_transcript(Transcript(observer="server", messages=view.messages[:last]), tmp_path / "t")
    found = audit_recorded(tmp_path / "t", RecordedConfig(presets=("joint",)))
    assert {row.samples for row in found.result.recorded.labels} == {(STEPS - 1) * BATCH}
    assert all(row.step == STEPS - 1 for row in found.result.recorded.inversion)


@pytest.mark.parametrize(
    ("batch", "name", "expected"),
    [(32, "joint", 1), (32, "strong-quick", 1), (8, "strong-quick", 2), (2, "strong-quick", 8), (1, "joint", 1),
     (1, "strong-quick", 16)],
)  # fmt: skip
def test_what_attacks_see_of_a_client_that_moves(batch, name, expected):
    messages = [
        Message(
            step=step, sender="c", receiver="server", kind=Kind.SMASHED, payload=torch.full((batch, 3), float(step))
        )
        for step in range(30)
    ]
    view = Transcript(observer="server", messages=messages)
    seen = near(view, 25, presets.PRESETS[name](1).samples_wanted)
    assert seen.steps == tuple(range(26 - expected, 26))
    assert expected <= NEAR_STEPS
    assert bool((seen.tensor(Kind.SMASHED)[-batch:] == 25).all())


def test_a_network_that_is_only_used(digits, recordings, tmp_path):
    """Smashed data and nothing else, as a recording of inferences holds them."""
    view = load_transcript(recordings["a"] / "transcript").of(Kind.SMASHED)
    save_transcript(view, tmp_path / "t")
    found = audit_recorded(tmp_path / "t", RecordedConfig(presets=("joint",)))
    assert (found.result.recorded.setup, found.result.recorded.labels) == (None, ())
    assert "rather than trained" in render_recorded(found)
    assert digits is not None


def altered(**changes):
    def write(path, tensors):
        save_file({name: value for name, value in (tensors | changes).items() if value is not None}, path)

    return write


BAD_TRUTHS = {
    "no steps": (altered(steps=None), FormatError, "lacks steps or labels"),
    "steps that are no numbers": (altered(steps=torch.ones(BATCH)), FormatError, "whole numbers, one for each"),
    "fewer labels": (altered(labels=torch.ones(3, dtype=torch.int64)), FormatError, "as many inputs and labels"),
    "infinite": (altered(inputs=torch.full((BATCH, 1, 28, 28), float("inf"))), FormatError, "NaN or infinity"),
    "damaged": (lambda path, _: path.write_bytes(b"x" * 40), FormatError, "damaged"),
    "missing": (lambda _path, _: None, FormatError, "There is no truth file"),
    "another step": (altered(steps=torch.full((BATCH,), 900)), InputError, "a client of this same training"),
    "fewer samples": (
        lambda path, tensors: save_file({name: value[:5].clone() for name, value in tensors.items()}, path),
        InputError, f"5 samples of step {STEPS - 1} and the recording {BATCH}",
    ),
    "other labels": (altered(labels=torch.full((BATCH,), 77)), InputError, "not classes from 0 to 9"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TRUTHS)
def test_a_truth_that_is_none_is_one_sentence(case, recordings, tmp_path):
    write, kind, words = BAD_TRUTHS[case]
    write(tmp_path / "truth", load_file(recordings["c"] / "truth1"))
    with pytest.raises(kind, match=words) as caught:
        audit_recorded(recordings["c"] / "transcript", RecordedConfig(presets=("joint",)), truth=tmp_path / "truth")
    assert "\n" not in str(caught.value)


BAD = {
    "--epochs 3": "--epochs is for an audit that trains",
    "--data digits": "--data is for an audit that trains",
    "--checkpoint x": "--checkpoint is for an audit that trains",
    "--label-setups b": "--label-setups is for an audit that trains",
    "--u-shape 1:1": "--u-shape is for an audit that trains",
    "--cuts 1,2": "--cuts takes one value with --transcript",
    "--cuts none": "--cuts takes one value with --transcript",
    "--cuts conv2": "that shape crosses at 0 (conv1), 1 (relu1)",
    "--label-heads 1,2": "--label-heads takes one value",
    "--label-heads 2": "The head does not take features of shape (84,)",
    "--label-heads 9": "no head of 9 layers",
    "--presets jiont": "did you mean 'joint'",
    "--input-shape 3,32,32": "--input-shape says",
    "--input-shape one": "whole numbers",
    "--loss mae": "did you mean 'mse'",
    "--model nothing": "Unknown model",
    "--truth nothing": "There is no truth file",
    "--device cuda:99": "use --device cpu",
}


@pytest.mark.parametrize("more", BAD)
def test_options_that_do_not_fit_are_one_sentence(more, recordings, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = recordings["c"]
    truth = () if "--truth" in more else ("--truth", folder / "truth1")
    code, printed = program(
        monkeypatch, capsys, "audit", "--transcript", folder / "transcript", *truth, *more.split(), "--out", "out"
    )
    assert code == 2
    assert BAD[more] in printed.err
    assert printed.err.startswith("unsplit: ")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("line", ["--truth x", "--input-shape 1,28,28"])
def test_what_reads_recordings_is_refused_without_one(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, printed = program(monkeypatch, capsys, "audit", *line.split())
    assert code == 2
    assert "is for recorded traffic only; name the recording's folder with --transcript" in printed.err


def test_a_report_is_not_written_into_the_recording(recordings, monkeypatch, capsys):
    folder = recordings["b"] / "transcript"
    code, printed = program(monkeypatch, capsys, "audit", "--transcript", folder, "--out", folder / "report")
    assert code == 2
    assert "only read" in printed.err
    assert not (folder / "report").exists()


@pytest.mark.parametrize("kinds", [(), (Kind.CUT_GRAD,)])
def test_a_recording_without_anything_to_attack(kinds, recordings, tmp_path):
    save_transcript(load_transcript(recordings["a"] / "transcript").of(*kinds), tmp_path / "t")
    with pytest.raises(UnsplitError, match="neither smashed data nor cut gradients"):
        audit_recorded(tmp_path / "t", RecordedConfig())


def test_the_command(recordings, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["unsplit"])
    folder = recordings["c"]
    common = ["audit", "--transcript", folder / "transcript", "--presets", "joint", "--cuts", "relu1"]
    code, printed = program(monkeypatch, capsys, *common, "--truth", folder / "truth1", "--out", tmp_path / "scored")
    assert code == 0
    assert "32 inputs of step 23" in printed.out
    assert "surrogate" in printed.out
    code, printed = program(monkeypatch, capsys, *common, "--out", tmp_path / "plain", "--json")
    assert code == 0
    assert json.loads(printed.out) == json.loads((tmp_path / "plain" / "report.json").read_text())
    assert (tmp_path / "plain" / "report.html").exists()
    assert "unsplit audit --transcript" in json.loads(printed.out)["provenance"]["command"]


def test_averaged_heads_are_read_as_clients_go_on_from_them(digits):
    """In SplitFed a client goes on from the average that it is sent, not from the weights that it handed in."""
    config = SplitConfig(setup=Setup.C, cut=1, clients=2, turn=3, batch_size=8)
    model, train = build("mnist-net", generator=generator(0)), digits.train
    together = splitfed_training(model, train.images, train.labels, config, generator=generator(1))
    recorder = together.pairs[0].record(Recorder(observer="server"))
    together.run(9)
    view = recorder.transcript()
    head = HeadArchitecture.of(split_head(model, 1)[1])
    found = infer_from_handed_weights(view, head, LabelSpace(classes=10), ClientLoss())
    sent = view.where(lambda header: header.kind is Kind.WEIGHTS and header.sender == "server").messages[-1].tensors
    for name, value in found.clone.state_dict().items():
        assert torch.equal(value, sent[f"head.{name}"])
    truth = torch.cat([together.pairs[0].truth(step).labels for step in (3, 6)])
    assert torch.equal(torch.cat([found.labels[24:32], found.labels[48:56]]), truth)
