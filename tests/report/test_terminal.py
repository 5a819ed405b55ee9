"""What an audit prints: it fits a terminal of 80 x 24, and says what the page says."""

import itertools

import pytest
import torch
from rich.console import Console

from helpers.reports import inversion, label, pictures, result
from helpers.verdicts import whole
from unsplit.cli import summary
from unsplit.randomness import generator
from unsplit.report import render
from unsplit.report.box import TITLES
from unsplit.report.longer import longer
from unsplit.results import AuditResult
from unsplit.verdict import verdict

CUTS = ("conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "fc1", "relu3", "fc2", "relu4")


def audited(depths: range) -> AuditResult:
    """As of `make demo`: two presets and states at each depth, 32 settings of label inference, the U-shape."""
    rows = [
        inversion(depth=depth, cut=CUTS[depth % 10], state=state, preset=preset, mse=10.0 ** (depth - 8))
        for depth, state, preset in itertools.product(depths, ("before", "after"), ("strong-quick", "joint"))
    ]
    seen = (("weight_grad", 0, 0.7), ("weight_grad", 0, 1.0), ("cut_grad", 0, None), ("cut_grad", 1, 0.98))
    labels = [
        label(setup=setup, depth=head, optimizer=optimizer, observed=observed, known_samples=known, accuracy=accuracy)
        for setup, head, optimizer in itertools.product("bc", (1, 2), ("sgd,lr=0.01", "adam"))
        for observed, known, accuracy in seen
    ]
    return result(tuple(rows), tuple(labels)).model_copy(update={"whole": whole()})


@pytest.fixture
def printed(capsys):
    """What an audit with these depths prints on a terminal of 80 columns."""

    def lines(depths, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        found = audited(depths)
        summary.print_summary(found)
        summary.print_verdict(verdict(found, targets=10))
        return capsys.readouterr().out.splitlines()

    return lines


def test_the_summary_of_the_demo_fits_80_by_24(printed, monkeypatch):
    lines = printed(range(1, 7), monkeypatch)
    assert len(lines) <= 23  # and one line that says where the page is
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "…" not in text
    for cut in CUTS[1:7]:
        assert f"({cut})" in text
    assert "70.0% to 100.0%" in text


def test_a_longer_table_leaves_the_verdict_within_the_last_screen(printed, monkeypatch):
    lines = printed(range(1, 40), monkeypatch)
    last = "\n".join(lines[-23:])
    assert all(f"{title}: " in last for title in TITLES.values())
    assert "Labels: worst to best" in last


def test_the_verdict_is_as_sure_as_on_the_page(printed, monkeypatch):
    lines = printed(range(1, 3), monkeypatch)
    for score in verdict(audited(range(1, 3)), targets=10).scores:
        at = max(number for number, line in enumerate(lines) if line.startswith(f"{TITLES[score.asset]}: "))
        assert f"sure: {score.sure}; attacker: {score.self_estimate}" in lines[at + 1]


def test_small_errors_are_not_zero_and_what_was_not_measured_says_so(printed, monkeypatch):
    text = "\n".join(printed(range(1, 3), monkeypatch))
    assert "1.0e-07" in text
    assert "0.0000" not in text
    row = inversion(state="before", clone_accuracy=float("nan"))
    summary.print_summary(result((row,), ()))


def test_pictures_are_drawn_of_half_blocks():
    text = summary.blocks(torch.zeros(2, 1, 28, 28), torch.ones(2, 1, 28, 28))
    lines = text.plain.split("\n")
    assert len(lines) == 16  # eight lines for originals, eight for reconstructions
    assert {len(line) for line in lines} == {34}
    assert set(text.plain) == {"▀", "\n"}
    assert text.spans[0].style == "rgb(0,0,0) on rgb(0,0,0)"
    assert text.spans[-2].style == "rgb(255,255,255) on rgb(255,255,255)"


def test_each_attack_is_told_as_it_ends_and_the_first_is_shown(monkeypatch):
    """In a terminal in pictures; where output is kept in a file, in plain lines."""
    originals = torch.rand(3, 1, 28, 28, generator=generator(0))
    for terminal in (True, False):
        said = []
        monkeypatch.setattr(summary, "err", Console(force_terminal=terminal))
        follow = summary.Following(said.append)
        for mse in (3e-7, 0.3):
            follow(inversion(mse=mse, skill=1 - mse / 0.06, mse_scale_free=0.09), originals, originals)
        lines = [content for content in said if isinstance(content, str)]
        assert len(lines) == 3
        assert "3.0e-07  0.0600  almost exactly" in lines[1]
        assert "0.3000  0.0600  not recovered" in lines[2]
        assert max(map(len, lines)) <= 80
        assert len(said) - len(lines) == terminal


def test_the_page_says_what_a_longer_run_adds():
    rows = (inversion(preset="strong"), inversion(preset="sdar"))
    assert [option for option, _ in longer(audited(range(1, 3)))][:2] == ["--presets strong", "--cuts"]
    left = {option for option, _ in longer(result(rows, ()))}
    assert not left & {"--presets strong", "--auxiliary test"}
    assert "--u-shape 1:1" in left
    page = render(result((inversion(),), ()), pictures((inversion(),)))
    assert "A longer run adds" in page
    assert "<code>--presets strong</code>" in page
