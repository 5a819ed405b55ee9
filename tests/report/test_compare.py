"""Two audits compared: nothing, something, costs, warnings, pictures, exit codes."""

import re
import shutil
import sys
from html.parser import HTMLParser

import pytest
import typer

from helpers.reports import LABELS, ROWS, Page, inversion, label, pictures, result
from helpers.verdicts import CLAIMS, recorded, tables
from unsplit.cli import compare as command
from unsplit.errors import FormatError, UnsplitError
from unsplit.files import write_text
from unsplit.report import (
    Side,
    compare,
    comparison_markdown,
    headline,
    read_side,
    render_comparison,
    write_comparison,
    write_report,
)
from unsplit.report.compared_page import picture_pairs, shown
from unsplit.results import PictureScores
from unsplit.verdict import verdict

WEAK = tuple(row.model_copy(update={"mse": 0.06, "skill": 0.0, "clone_accuracy": 0.1}) for row in ROWS)
CHANCE = tuple(
    row.model_copy(update={"accuracy": None if row.accuracy is None else 0.112, "low": 0.09, "high": 0.13})
    for row in LABELS
)


def side(tmp_path, *content, **more):
    made = result(*content).model_copy(update=more)
    return Side(folder=tmp_path, result=made, verdict=verdict(made))


def changes(comparison):
    return {asset.before.asset: asset.change for asset in comparison.assets}


def test_identical_audits_did_not_change(tmp_path):
    found = compare(side(tmp_path), side(tmp_path))
    assert found.unchanged
    assert not found.worse
    assert found.warnings == ()
    assert set(changes(found).values()) == {"same"}
    assert all(row.same for row in found.rows)
    assert headline(found).startswith("Nothing changed")
    text = comparison_markdown(found)
    assert "None." in text
    assert "warning" not in text


def test_what_leaks_less_and_more(tmp_path):
    before, after = side(tmp_path), side(tmp_path, WEAK, CHANCE)
    assert changes(compare(before, after)) == dict.fromkeys(("inputs", "model", "labels"), "less")
    back = compare(after, before)
    assert changes(back) == dict.fromkeys(("inputs", "model", "labels"), "more")
    assert back.worse
    assert headline(back) == "More leaks: inputs, model, labels"
    assert shown(back.assets[2]) == "more leaks (+1.00)"
    assert "best trivial guess 0.06" in Page(render_comparison(back)).text


def test_a_difference_within_interval_or_tolerance_is_none(tmp_path):
    one, two = label(accuracy=0.8, low=0.7, high=0.9), label(accuracy=0.9, low=0.85, high=0.95)
    far = label(accuracy=0.99, low=0.97, high=1.0)
    assert changes(compare(side(tmp_path, (), (one,)), side(tmp_path, (), (two,))))["labels"] == "unclear"
    assert changes(compare(side(tmp_path, (), (one,)), side(tmp_path, (), (far,))))["labels"] == "more"
    near = (
        side(tmp_path, (inversion(mse=0.006, skill=0.9),), ()),
        side(tmp_path, (inversion(mse=0.0057, skill=0.905),), ()),
    )
    assert changes(compare(*near))["inputs"] == "unclear"
    assert changes(compare(*near, tolerance=0.001))["inputs"] == "more"
    assert headline(compare(*near)) == "No clear change in what leaks"


def test_what_only_one_measured_is_not_compared(tmp_path):
    found = compare(side(tmp_path), side(tmp_path, ROWS, ()))
    assert changes(found)["labels"] == "not comparable"
    assert "not measured in both" in comparison_markdown(found)


def test_the_cost(tmp_path):
    before = side(tmp_path)
    slow = before.result.training.model_copy(update={"accuracy": 0.9, "seconds": 60.0, "losses": ()})
    found = compare(before, side(tmp_path, training=slow))
    assert {name: (was, now) for name, was, now in found.costs} == {
        "accuracy of the task": ("96.6%", "90.0%"),
        "last training loss": ("0.3000", "—"),
        "seconds of training": ("3.2", "60.0"),
    }
    assert "96.6%" in comparison_markdown(found)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            lambda r: {"provenance": r.provenance.model_copy(update={"seed": 7})},
            "seed is not the same: 0 before, 7",
        ),
        (lambda r: {"provenance": r.provenance.model_copy(update={"versions": {"torch": "1.0"}})}, "version of torch"),
        (lambda r: {"training": r.training.model_copy(update={"dataset": "mnist"})}, "data is not the same: digits"),
        (lambda r: {"training": r.training.model_copy(update={"model": "other"})}, "The model is not the same"),
        (lambda _: {"inversion": ROWS[:2]}, "2 in both, 4 only before, 0 only after"),
        (lambda _: {"labels": LABELS[:1]}, "did not run the same label attacks"),
    ],
)
def test_warnings_if_not_comparable(changed, words, tmp_path):
    found = compare(side(tmp_path), side(tmp_path, **changed(result())))
    assert any(words in warning for warning in found.warnings)
    assert words in Page(render_comparison(found)).text


def test_recorded_audits_are_compared_too(tmp_path):
    scores = PictureScores(**inversion().model_dump(include=set(PictureScores.model_fields)))
    sides = [Side(folder=tmp_path, result=made, verdict=verdict(made)) for made in (recorded(), recorded(scores))]
    found = compare(sides[1], sides[1])
    assert found.unchanged
    assert changes(found)["inputs"] == "same"
    mixed = compare(sides[0], side(tmp_path))
    assert any("kind of audit is not the same: recorded traffic" in warning for warning in mixed.warnings)
    assert mixed.costs == ()
    assert any("truth is known" in warning for warning in compare(*sides).warnings)


@pytest.fixture
def folders(tmp_path):
    write_report(tmp_path / "before", result(), pictures())
    write_report(tmp_path / "after", result(WEAK, CHANCE, dataset="<b>|`x`"), pictures(WEAK))
    return tmp_path / "before", tmp_path / "after"


def test_a_folder_and_its_file_are_the_same(folders):
    assert read_side(folders[0]) == read_side(folders[0] / "report.json")
    assert read_side(folders[0]).verdict == verdict(result(), targets=10)
    (folders[0] / "verdict.json").unlink()  # as an older program left it
    assert read_side(folders[0]).verdict == verdict(result())


def test_pictures_stand_side_by_side(folders):
    found = compare(*map(read_side, folders))
    assert len(picture_pairs(found)) == len(ROWS)
    page = Page(render_comparison(found))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 2 * len(ROWS)
    assert all(image["src"].startswith("data:image/png;base64,") and image["alt"] for image in images)
    shutil.rmtree(folders[1] / "pictures")
    assert picture_pairs(compare(*map(read_side, folders))) == []


def test_no_file_outside_the_report_is_shown(folders, tmp_path):
    """The name of a picture comes from a file that somebody may have sent."""
    shutil.copy(folders[0] / ROWS[0].pictures, tmp_path / "other.png")
    write_text(folders[0] / "secret.txt", "of no concern")
    names = ("../other.png", "secret.txt")
    hostile = [row.model_copy(update={"pictures": name}) for row, name in zip(ROWS[:2], names, strict=True)]
    sides = [Side(folder=folders[0], result=result(tuple(hostile)), verdict=verdict(result(ROWS)))] * 2
    assert picture_pairs(compare(*sides)) == []


def test_the_page_is_one_sound_file(folders, tmp_path):
    page = write_comparison(tmp_path / "out", compare(*map(read_side, folders)))
    text = page.read_text()
    parsed: HTMLParser = Page(text)
    assert "<b>" not in text.replace("<body>", "")
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(attributes.get("src", "data:").startswith("data:") for _, attributes in parsed.tags)
    assert all(attributes.get("href", "#").startswith(("data:", "#")) for _, attributes in parsed.tags)
    assert not CLAIMS.search(parsed.text)
    markdown = (tmp_path / "out" / "compare.md").read_text()
    assets, costs, figures = tables(markdown)
    assert [row[0] for row in assets] == ["asset", "Inputs", "Model", "Labels"]
    assert {len(row) for row in (*assets, *costs, *figures)} == {3, 4, 5}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (None, "", "There is no report"),
        ("report.json", "{", "damaged"),
        ("verdict.json", "{", "not a verdict"),
        ("verdict.json", '{"scale": []}', "not a verdict"),
    ],
)
def test_what_is_no_report_is_one_sentence(name, content, words, folders, tmp_path):
    if name is not None:
        write_text(folders[0] / name, content)
    with pytest.raises(FormatError, match=words) as caught:
        read_side(folders[0] if name else tmp_path / "nothing")
    assert "\n" not in str(caught.value)


def run(capsys, monkeypatch, *arguments):
    """The command: exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["unsplit", *map(str, arguments)])
    program = typer.Typer()
    program.command("compare")(command.compare)
    with pytest.raises((SystemExit, UnsplitError)) as caught:
        program()
    printed = capsys.readouterr()
    if isinstance(caught.value, UnsplitError):
        return 2, printed.out, str(caught.value)
    return caught.value.code or 0, printed.out, printed.err


def test_exit_codes(folders, tmp_path, monkeypatch, capsys):
    before, after = folders
    out = ["--out", tmp_path / "out"]
    code, printed, _ = run(capsys, monkeypatch, before, after, *out, "--fail-if-worse")
    assert code == 0
    assert "Less leaks: inputs, model, labels." in printed
    assert "Warning: The data is not the same" in printed
    code, _, said = run(capsys, monkeypatch, after, before, *out, "--fail-if-worse", "--markdown", tmp_path / "c.md")
    assert code == 1
    assert "More leaks: inputs, model, labels." in said
    assert "(out/compare.html)" in (tmp_path / "c.md").read_text()
    assert run(capsys, monkeypatch, after, before, *out)[0] == 0
    code, printed, _ = run(capsys, monkeypatch, before, before, *out, "--markdown", "-", "--fail-if-worse")
    assert code == 0
    assert printed.startswith("## Nothing changed")
    assert run(capsys, monkeypatch, before, tmp_path / "nothing", *out)[0] == 2


def test_nothing_in_common_cannot_pass(tmp_path, monkeypatch, capsys):
    write_report(tmp_path / "inputs", result(ROWS[::2], ()), pictures(ROWS[::2]))
    write_report(tmp_path / "labels", result((), LABELS), pictures(()))
    both = [tmp_path / "inputs", tmp_path / "labels", "--out", tmp_path / "out"]
    assert run(capsys, monkeypatch, *both)[0] == 0
    code, _, said = run(capsys, monkeypatch, *both, "--fail-if-worse")
    assert code == 2
    assert "no score in common" in said
