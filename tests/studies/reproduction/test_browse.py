"""The page to browse: every row with its marks and reasons, its pictures found, foreign text shown and not obeyed."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from helpers.rows import row
from unsplit.studies.grid.markdown import number
from unsplit.studies.grid.rows import paper_verdict, read_rows
from unsplit.studies.reproduction import Selection, Store, page_markdown, picture_grids, plan
from unsplit.studies.reproduction.browse import browse_html
from unsplit.studies.reproduction.browse.strips import Gallery
from unsplit.studies.reproduction.drawing import grid
from unsplit.studies.reproduction.select import title

DOCS = Path(__file__).parents[3] / "docs"


class Page(HTMLParser):
    """The tables by name: each a list of lines, a line by the heading of the column; all tags; the text of scripts."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.tags, self.scripts = {}, [], {}
        self._sheet = self._line = self._script = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append((tag, given))
        if "data-sheet" in given:
            self._sheet, self._head = self.tables.setdefault(given["data-sheet"], []), None
        elif self._sheet is not None and tag == "tr":
            self._line, self._given = [], given
        elif self._line is not None and tag in ("td", "th"):
            self._line.append("")
        elif tag == "script":
            self._script = given.get("id", "page")
            self.scripts[self._script] = ""

    def handle_endtag(self, tag):
        if tag == "tr" and self._line is not None:
            if self._head is None:
                self._head = self._line
            else:
                self._sheet.append({**self._given, **dict(zip(self._head, self._line, strict=True))})
            self._line = None
        elif tag == "table":
            self._sheet = None
        elif tag == "script":
            self._script = None

    def handle_data(self, data):
        if self._script is not None:
            self.scripts[self._script] += data
        elif self._line:
            self._line[-1] += data


def lines_of(rows, folder):
    page = Page(browse_html(rows, folder))
    return [line for table in page.tables.values() for line in table]


@pytest.fixture(scope="module")
def committed():
    rows = read_rows(DOCS / "results.json")
    return rows, browse_html(rows, DOCS / "pictures")


def without_charts(page):
    return re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)


def test_the_committed_page_is_what_its_json_renders_to(committed):
    _, made = committed
    assert without_charts((DOCS / "browse.html").read_text(encoding="utf-8")) == without_charts(made), (
        "Render it again: unsplit reproduce report --update --out docs --readme README.md"
    )


HEADS = {
    "mse": "MSE",
    "clone_accuracy": "clone",
    "ssim": "SSIM",
    "label_accuracy": "labels",
    "queries": "queries",
    "residual": "residual",
    "bytes": "bytes",
}


def test_every_row_of_the_json_is_on_the_page_with_all_that_is_said_of_it(committed):
    rows, made = committed
    found = {}
    for line in (line for table in Page(made).tables.values() for line in table):
        key = (line["data set"], line["depth"], line["state"], line["preset"], line.get("defence", ""), line["note"])
        found.setdefault(key, []).append(line)
    looked_at = 0
    for one in rows:
        depth = "all" if one.depth is None else str(one.depth)
        key = (title(one.dataset), depth, one.state, one.preset, one.defense or "", one.note)
        head = HEADS.get(one.metric)
        if head is None:
            continue
        looked_at += 1
        said = number(one) if one.value is not None else one.note
        assert any(line.get(head) == said and line["seeds"].split(" ")[0] == str(one.seeds) for line in found[key]), one
        if paper_verdict(one):
            assert any(line.get(f"{head}: verdict") == paper_verdict(one) for line in found[key]), one
    assert looked_at > 1500
    lines = [line for table in Page(made).tables.values() for line in table]
    values = [
        text for line in lines for head, text in line.items() if head.split(":")[0] not in LEFT and ":" not in head
    ]
    assert sum(bool(text) for text in values) == len(rows)


LEFT = {"data-c", "data-p", "", "data set", "depth", "state", "preset", "defence", "seeds", "budget", "device",
        "versions", "revision", "note"}  # fmt: skip


def test_a_number_stands_beside_the_papers_and_the_guess_and_where_it_comes_from(tmp_path):
    command = "unsplit reproduce table2 --datasets mnist --seeds 0,1 --budget full"
    told = {"seeds": 2, "command": command, "device": "NVIDIA H200"}
    rows = [
        row(value=0.0512, low=0.04, high=0.08, **told),
        row(metric="clone_accuracy", value=0.98, paper=0.9745, **told),
    ]
    (line,) = lines_of(rows, tmp_path)
    assert line["MSE"] == "0.0512 [0.0400, 0.0800] †"
    assert (line["MSE: paper"], line["MSE: verdict"], line["MSE: best guess"]) == ("0.054", "reproduced", "0.0700")
    assert (line["clone"], line["clone: paper"]) == ("98.0%", "97.45%")
    assert (line["seeds"], line["budget"], line["device"], line["revision"]) == (
        "2 (0, 1)", "full", "NVIDIA H200", str(rows[0].revision)
    )  # fmt: skip


def test_a_number_of_another_device_or_revision_has_a_line_of_its_own(tmp_path):
    rows = [row(), row(metric="ssim", value=0.5, revision=None), row(metric="clone_accuracy", device="a GPU")]
    lines = lines_of(rows, tmp_path)
    assert [(line["MSE"], line["SSIM"], line["clone"]) for line in lines] == [
        ("0.0500", "", ""), ("", "0.50 ‡", ""), ("", "", "5.0% †")
    ]  # fmt: skip
    assert [(line["device"], line["revision"]) for line in lines][1:] == [
        ("processor", "2 or less"), ("a GPU", lines[2]["revision"])
    ]  # fmt: skip


def test_where_versions_are_known_they_tell_numbers_apart(tmp_path):
    lines = lines_of([row(), row(metric="ssim", value=0.5, versions="unsplit 0.1.0, torch 2.13.0")], tmp_path)
    assert [line["versions"] for line in lines] == ["", "unsplit 0.1.0, torch 2.13.0"]
    assert "versions" not in lines_of([row()], tmp_path)[0]


def test_numbers_are_written_in_the_form_of_their_metric(tmp_path):
    told = {"skill": (-0.25, "-0.25"), "bytes": (18432.0, "18432"), "seconds": (0.0263, "0.026"), "ssim": (0.5, "0.50")}
    rows = [row(table="tradeoff", metric=metric, value=value, defense="none") for metric, (value, _) in told.items()]
    (line,) = lines_of(rows, tmp_path)
    assert {metric: line.get(metric, line.get("SSIM")) for metric in told} == {m: said for m, (_, said) in told.items()}
    assert line["defence"] == "none"


def test_what_was_not_measured_says_why_in_place_of_the_number(tmp_path):
    failed = row(value=None, note="failed: no luck", seeds=0)
    short = row(depth=2, note="short budget")
    lines = lines_of([failed, short], tmp_path)
    assert [(line["MSE"], line["MSE: verdict"], line["device"]) for line in lines] == [
        ("failed: no luck", "no number", ""), ("0.0500", "smaller budget", "processor")
    ]  # fmt: skip


def test_the_marks_of_the_page_are_explained_on_it(tmp_path):
    for revision, told in ((None, True), (row().revision, False)):
        page = browse_html([row(revision=revision)], tmp_path)
        assert ("0.0500 ‡" in page, "first weights" in page) == (told, told)
        assert "<strong>†</strong>" in page


def test_foreign_text_is_shown_and_not_obeyed(tmp_path):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    rows = [row(note=evil, device=evil, preset=evil, command=evil), row(depth=2, value=None, note=evil)]
    page = Page(browse_html(rows, tmp_path))
    assert [tag for tag, _ in page.tags].count("script") == 3
    assert not [given for tag, given in page.tags if "onerror" in given or tag == "img"]
    assert [line["note"] for table in page.tables.values() for line in table] == [evil, evil]
    assert "<" not in page.scripts["commands"]


def test_the_page_needs_no_network(committed):
    page = Page(committed[1])
    for tag, given in page.tags:
        assert tag not in ("iframe", "object", "embed", "img")
        assert tag != "script" or "src" not in given
        for name in ("href", "xlink:href", "action"):
            assert not re.match(r"[a-z]+:(?!,)|//", given.get(name, "#").removeprefix("data:")), (tag, given)
    assert "@import" not in committed[1]
    # Those of `clip-path` lead to a part of the same chart.
    assert not re.search(r"url\((?!#)", committed[1])


def test_every_chart_says_what_it_is(committed):
    charts = [given for tag, given in Page(committed[1]).tags if tag == "svg"]
    assert len(charts) >= 10
    assert all(given["role"] == "img" and given["aria-label"].startswith("Chart. ") for given in charts)


def test_a_chart_says_which_of_its_numbers_lack_something(tmp_path):
    rows = [
        row(preset="joint", revision=None),
        row(preset="paper", note="short budget"),
        row(preset="paper", depth=2),
        row(preset="released", note="short budget"),
        row(preset="strong"),
    ]
    page = browse_html(rows, tmp_path)
    labels = [">joint ‡</", ">paper (partly smaller budget)</", ">released (smaller budget)</", ">strong</"]
    assert [label in page for label in labels] == [True] * 4


def strip_of(pixels, strip):
    return pixels[strip.top : strip.top + strip.height, strip.left : strip.left + strip.width]


def test_the_pictures_of_a_row_are_its_line_of_the_grid(tmp_path):
    """Every line has a brightness of its own, and the line of depth 2 was not run."""
    levels = {("before", depth): depth / 20 for depth in range(1, 7)} | {
        ("after", d): 0.5 + d / 20 for d in range(1, 7)
    }
    sides = [
        [("original", torch.zeros(10, 1, 28, 28))]
        + [
            (f"depth {depth}", None if depth == 2 else torch.full((10, 1, 28, 28), levels[state, depth]))
            for depth in range(1, 7)
        ]
        for state in ("before", "after")
    ]
    (tmp_path / "table6-mnist-joint.png").write_bytes(grid(*sides))
    rows = [row(depth=depth, state=state) for state, depth in levels]
    gallery = Gallery(tmp_path, rows)
    places = [gallery.number_of(one) for one in rows]
    assert [place is None for place in places] == [one.depth == 2 for one in rows]
    pixels = gallery._read("table6-mnist-joint.png")
    for one, place in zip(rows, places, strict=True):
        if place is not None:
            middle = strip_of(pixels, gallery.used[place])[30, 30]
            assert int(middle) == pytest.approx(255 * levels[one.state, one.depth], abs=1)


def test_the_pictures_of_he_et_al_are_those_of_their_grid(tmp_path):
    pictures = torch.zeros(10, 1, 28, 28)
    lines = [("original", pictures), *((name, pictures + (number + 1) / 10) for number, name in enumerate("abcdef"))]
    (tmp_path / "table4-mnist.png").write_bytes(grid(lines))
    gallery = Gallery(tmp_path, [])
    for preset, place in (("white box", 1), ("query-free, no data", None), ("query-free, own data", None)):
        assert gallery.number_of(row(table="figure3a", preset=preset, depth=2)) is None
        strip = gallery.used[gallery.number_of(row(table="figure3a", preset=preset, depth=3))]
        assert place is None or strip.top == 60 * place


def test_of_an_attack_seed_by_seed_each_seed_has_a_file_but_the_first(tmp_path):
    sides = [[(name, torch.zeros(10, 1, 28, 28)) for name in ("original", *"123456")]] * 2
    for name in ("strong", "strong-seed2"):
        (tmp_path / f"table6-mnist-{name}.png").write_bytes(grid(*sides))
    rows = [row(table="strong", preset=f"strong, seed {seed}") for seed in (2, 1, 3)]
    gallery = Gallery(tmp_path, rows)
    files = [None if place is None else gallery.used[place].file for place in map(gallery.number_of, rows)]
    assert files == ["table6-mnist-strong-seed2.png", "table6-mnist-strong.png", None]


def test_later_seeds_are_drawn_for_the_page_to_browse_and_not_for_the_overview(tmp_path):
    selection = {"tables": ("table2",), "budget": "smoke", "depths": (1,), "presets": ("strong",), "seeds": (0, 1)}
    with Store(tmp_path) as store:
        for number, cell in enumerate(plan(Selection(**selection))):
            pictures = torch.full((10, 1, 28, 28), (1 + number) / 10)
            store.put(cell.key, cell.config, {"mse": 0.1}, seconds=0.0, tensors={"inputs": pictures})
        drawn = picture_grids(store)
    assert sorted(drawn) == ["table6-digits-strong-seed1.png", "table6-digits-strong.png"]
    assert len(set(drawn.values())) == 2
    section = page_markdown([row()], sorted(drawn))
    assert "table6-digits-strong.png" in section
    assert "seed1" not in section


def test_a_file_that_is_no_grid_has_no_pictures(tmp_path):
    (tmp_path / "table6-mnist-joint.png").write_bytes(b"of an earlier report")
    (tmp_path / "table6-mnist-paper.png").write_bytes(grid([("original", torch.zeros(3, 1, 28, 28))]))
    for preset in ("joint", "paper", "released"):
        assert Gallery(tmp_path, []).number_of(row(preset=preset)) is None
