"""The report: right words, right numbers, one file that needs nothing else."""

import itertools
import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from helpers.browsers import opened
from helpers.reports import LABELS, ROWS, Page, inversion, label, pictures, result
from unsplit.errors import FormatError, StorageError
from unsplit.randomness import generator
from unsplit.report import Pictures, findings, read_report, render, schema, write_report
from unsplit.report.numbers import on_scale
from unsplit.verdict.scale import GRADES, grade

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def page():
    return render(result(), pictures())


def test_the_page_needs_no_network(page):
    parsed = Page(page)
    for tag, attributes in parsed.tags:
        for name in ("src", "href", "xlink:href", "action", "poster", "srcset"):
            assert attributes.get(name, "#").startswith(("data:", "#")), (tag, name)
        assert tag not in ("script", "iframe", "object", "embed")
    assert "@import" not in page
    assert not re.search(r"url\((?!['\"]?[#d])", page)


def test_every_picture_has_words(page):
    parsed = Page(page)
    images = [attributes for tag, attributes in parsed.tags if tag == "img"]
    assert len(images) == len(ROWS)
    assert all("mean squared error" in attributes["alt"] for attributes in images)
    bars = [attributes for tag, attributes in parsed.tags if attributes.get("class") == "bar"]
    assert [bar["aria-label"].split(":")[0] for bar in bars] == ["Inputs", "Model", "Labels"]
    assert all(bar["role"] == "img" and "on a scale of 0 to 1" in bar["aria-label"] for bar in bars)
    charts = [attributes for tag, attributes in parsed.tags if tag == "svg"]
    assert len(charts) == 2
    assert all(attributes["role"] == "img" and "Chart of" in attributes["aria-label"] for attributes in charts)


def test_the_page_is_in_order(page):
    parsed = Page(page)
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
    assert ("html", {"lang": "en"}) in parsed.tags
    assert any(attributes.get("name") == "viewport" for _, attributes in parsed.tags)
    tables = [tag for tag, _ in parsed.tags if tag in ("table", "caption")]
    assert tables == ["table", "caption"] * (len(tables) // 2)
    assert (
        page.index("The verdict")
        < page.index("What leaked")
        < page.index("attacker knows")
        < page.index("To make this again")
    )


def test_names_known_and_unknown_are_not_confused(page):
    text = Page(page).text
    assert "names unknown" in text
    assert "unsplit audit --out runs/demo" in text


def test_hostile_names_are_escaped():
    text = render(result(dataset="<script>alert(1)</script>"), pictures())
    assert "<script" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize(
    ("rows", "labels", "words"),
    [
        ((), LABELS, "No inversion was run"),
        (ROWS, (), "No label inference was run"),
        ((), (), "No attack was run"),
    ],
)
def test_a_page_without_some_parts(rows, labels, words):
    assert words in render(result(rows, labels), pictures(rows))


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_in_grey_and_colour(tmp_path, channels):
    write_report(tmp_path, result(), pictures(channels=channels))
    for row in ROWS:
        with Image.open(tmp_path / row.pictures) as image:
            assert image.size == (10 * 88, 2 * 88)
            assert image.convert("RGB").getpixel((0, 0)) == (128, 128, 128)


def test_inputs_that_are_not_pictures_have_numbers_only():
    flat = Pictures(
        originals=torch.rand(4, 7, generator=generator(0)), reconstructions=(torch.zeros(4, 7),) * len(ROWS)
    )
    assert "nothing to show" in render(result(), flat)


@pytest.mark.parametrize(
    ("score", "text"),
    [(1.0, "1.00"), (0.9977, "0.99"), (0.8999, "0.89"), (0.9, "0.90"), (0.29, "0.29"), (0.0, "0.00"), (None, "—")],
)
def test_a_score_is_never_rounded_up(score, text):
    assert on_scale(score) == text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"skill": 0.95}, 0),
        ({"skill": 0.9}, 0),
        ({"skill": 0.6}, 1),
        ({"skill": -1.0, "mse_scale_free": 0.045}, 2),
        ({"skill": 0.2, "mse_scale_free": 0.05}, 3),
        ({"skill": 0.05, "mse_scale_free": 0.05}, 4),
        ({"skill": -2.0, "mse_scale_free": 0.09}, 4),
    ],
)
def test_grades(changes, expected):
    assert grade(inversion(**changes)) == GRADES[expected]


def test_findings_say_what_leaked():
    found = {finding.about: finding for finding in findings(result())}
    assert found["Inputs"].level == "high"
    assert "depths 1, 2 almost exactly (error 4.0e-05 to 0.0009)" in found["Inputs"].text
    assert "negatives were found could not be told at depth 3" in found["Inputs"].text
    assert "96.0% at depth 1" in found["Model"].text
    assert "names unknown: 100.0%" in found["Labels, unnamed"].text
    assert "77.0%" not in "".join(finding.text for finding in found.values())


def test_the_best_of_eight_is_shown_where_it_applies():
    plain = Page(render(result(), pictures())).text
    rows = (inversion(), inversion(depth=6, cut="fc1", mse_best_of_eight=0.0421, mse_best_of_eight_best_trivial=0.0567))
    told = Page(render(result(rows), pictures(rows))).text
    assert "est of eight" not in plain
    assert "Best of eight flips and turns: error 0.0421, best blind guess 0.0567." in told
    assert "Guess: best of eight" in told


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"decided_by": "objective"}, "resolved, by objective"),
        ({"decided_by": "replay", "sure": True}, "By its own estimate the attack is sure of them."),
        ({"sign": "ambiguous", "decided_by": "nothing"}, "nothing decides between them: these are their mean."),
        ({"sign": "ambiguous"}, "The attack could not tell these from their negatives."),
        ({"sign": "assumed", "decided_by": "figures"}, "taken for granted: figures are brighter than their ground."),
    ],
)
def test_the_page_says_what_decided_the_sign_and_whether_the_attack_is_sure(told, words):
    plain, page = (Page(render(result(rows), pictures(rows))).text for rows in ((inversion(),), (inversion(**told),)))
    assert words in page
    assert words not in plain


def test_a_failed_attack_is_never_called_safe():
    rows = (inversion(mse=0.3, mse_scale_free=0.09, clone_accuracy=0.1, skill=-4.0),)
    found = findings(result(rows, (label(accuracy=0.1, accuracy_up_to_names=0.12),)))
    assert {finding.level for finding in found} == {"none"}
    text = render(result(rows, ()), pictures(rows))
    assert "not recovered by these attacks" in text
    assert not re.search(r"\b(safe|secure|private|protected)\b", Page(text).text)


def test_the_json_is_what_the_schema_says(tmp_path):
    write_report(tmp_path, result(), pictures())
    assert read_report(tmp_path / "report.json") == result()
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["inversion"][0].keys() >= {
        "depth", "state", "preset", "mse", "mse_scale_free", "mse_best_trivial", "ssim", "clone_accuracy",
        "reference_accuracy", "seconds_per_image",
    }  # fmt: skip
    assert json.loads((ROOT / "docs" / "report.schema.json").read_text()) == schema()


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "damaged"), ("[]", "damaged"), ("{}", "damaged"), ('{"schema_version": 99}', "update unsplit")],
)
def test_a_report_that_is_none_is_one_sentence(tmp_path, text, words):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(FormatError, match=words):
        read_report(tmp_path / "r.json")
    with pytest.raises(StorageError):
        read_report(tmp_path / "nothing.json")


def test_a_report_that_cannot_be_made_leaves_the_old_one(tmp_path):
    write_report(tmp_path, result(), pictures())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="zip"):
        write_report(tmp_path, result(), pictures(ROWS[:2]))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_the_page_in_a_browser(tmp_path, width, scheme):
    """No message on the console, no request leaving the page, nothing wider than the window, all pictures drawn."""
    path = write_report(tmp_path, result(), pictures())
    with opened(path, width=width, scheme=scheme) as (page, complaints):
        wide = page.evaluate("document.documentElement.scrollWidth")
        undrawn = page.evaluate("[...document.images].filter(image => image.naturalWidth === 0).length")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert complaints == []
    assert wide <= width
    assert undrawn == 0
    assert ground == {"light": "rgb(251, 250, 248)", "dark": "rgb(21, 24, 28)"}[scheme]
