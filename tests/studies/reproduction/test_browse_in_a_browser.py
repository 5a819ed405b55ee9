"""The page to browse in a real browser: sorting, filtering, pictures, keyboard, screen reader, phone."""

import itertools
import shutil
from pathlib import Path

import pytest
import torch

from helpers.browsers import opened
from helpers.rows import row
from unsplit.studies.reproduction.browse import browse_html
from unsplit.studies.reproduction.drawing import grid

pytestmark = pytest.mark.browser

DOCS = Path(__file__).parents[3] / "docs"
VALUES = {1: 0.0512, 2: 3.9e-05, 3: None, 4: 0.2, 5: 0.0069}


@pytest.fixture
def path(tmp_path):
    """Two tables, one with pictures, in a folder of their own."""
    rows = [
        row(depth=depth, value=value, note="" if value else "not run", command=f"unsplit reproduce {depth}")
        for depth, value in VALUES.items()
    ]
    rows += [row(dataset="cifar-10", preset="strong", state="before", value=0.01, device="a GPU")]
    rows += [row(table="table3", metric="label_accuracy", value=0.9, paper=1.0, preset="sgd <b>bold</b>")]
    rows += [row(table="figure2", depth=None, state="epoch 3", value=0.1)]
    (tmp_path / "pictures").mkdir()
    sides = [[(name, torch.zeros(10, 1, 28, 28)) for name in ("original", *"123456")]] * 2
    (tmp_path / "pictures" / "table6-mnist-joint.png").write_bytes(grid(*sides))
    (tmp_path / "browse.html").write_text(browse_html(rows, tmp_path / "pictures"), encoding="utf-8")
    return tmp_path / "browse.html"


def column(page, heading, sheet=0):
    """The texts of a column in the rows that are shown, from above."""
    return page.evaluate(
        """([heading, sheet]) => {
            const section = document.querySelectorAll(".sheet")[sheet];
            const at = [...section.querySelectorAll("thead tr > *")].findIndex((one) => one.textContent === heading);
            return [...section.querySelectorAll("tbody tr:not(.detail)")].filter((one) => one.checkVisibility())
                .map((one) => one.cells[at].textContent);
        }""",
        [heading, sheet],
    )


def head(page, name):
    return page.locator(".sheet").first.get_by_role("button", name=name, exact=True)


def test_a_table_is_sorted_by_number_and_says_so(path):
    with opened(path) as (page, complaints):
        order = ["3.9e-05", "0.0069", "0.0100", "0.0512", "0.2000 †"]
        sort = head(page, "MSE")
        heads = page.locator(".sheet").first.locator("th[aria-sort]")
        assert {one.get_attribute("aria-sort") for one in heads.all()} == {"none"}
        for way, expected in (("ascending", order), ("descending", order[::-1])):
            sort.click()
            # What has no number stands last, whichever way.
            assert column(page, "MSE") == [*expected, "not run"]
            assert [one.get_attribute("aria-sort") for one in heads.all()].count(way) == 1
            assert page.locator("#sorted").inner_text().endswith(f"sorted by MSE, {way}.")
        head(page, "data set").click()
        assert column(page, "data set") == ["CIFAR-10", *["MNIST"] * 5]
        # A row's other columns go with it.
        assert column(page, "MSE")[0] == "0.0100"
        assert complaints == []


def test_rows_are_filtered_and_counted(path):
    with opened(path) as (page, complaints):
        shown, total = page.get_by_role("status").first, len(VALUES) + 3
        assert shown.inner_text() == f"{total} of {total} rows are shown."
        page.get_by_label("Preset").select_option("strong")
        assert shown.inner_text() == f"1 of {total} rows are shown."
        assert page.locator(".sheet:visible").count() == 1
        page.get_by_role("button", name="Clear filters").click()
        page.get_by_label("State").select_option("other")
        assert column(page, "state", sheet=2) == ["epoch 3"]
        page.get_by_label("Verdict").select_option("better")
        assert shown.inner_text() == f"None of {total} rows fits."
        page.get_by_role("button", name="Clear filters").click()
        page.get_by_label("Search").fill("GPU cifar")
        assert column(page, "device") == ["a GPU"]
        page.get_by_label("Search").fill("unsplit 2e-05")
        assert shown.inner_text() == f"None of {total} rows fits."
        page.get_by_label("Search").fill("reproduce 3.9E-05")
        assert column(page, "depth") == ["2"]
        page.get_by_label("Search").fill("<b>")
        assert column(page, "preset", sheet=1) == ["sgd <b>bold</b>"]
        page.get_by_label("Search").fill("")
        page.get_by_label("with pictures").check()
        assert column(page, "depth") == ["1", "2", "4", "5"]
        # There is nothing to choose where all rows are of one budget.
        assert page.get_by_label("Budget").is_hidden()
        assert complaints == []


def test_pictures_are_loaded_when_they_are_asked_for(path):
    with opened(path) as (page, complaints):
        asked = []
        page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
        rows = page.locator(".sheet").first.locator("tbody tr")
        button = rows.nth(0).get_by_role("button")
        assert button.get_attribute("aria-expanded") == "false"
        assert button.get_attribute("aria-label") == "Pictures and command: MNIST, depth 1, after, joint"
        assert asked == []
        button.click()
        assert button.get_attribute("aria-expanded") == "true"
        page.wait_for_function("document.querySelectorAll('.detail image').length === 2")
        assert set(asked) == {"table6-mnist-joint.png"}
        detail = page.locator(".detail")
        assert "unsplit reproduce 1" in detail.inner_text()
        assert detail.get_by_role("img", name="Reconstructions: MNIST, depth 1, after, joint").is_visible()
        button.click()
        assert detail.count() == 0
        rows.nth(2).get_by_role("button", name="Command: MNIST, depth 3, after, joint").click()
        assert "No pictures of this cell were kept." in detail.inner_text()
        assert complaints == []


def test_a_picture_that_is_gone_is_said_to_be(path):
    shutil.rmtree(path.parent / "pictures")
    with opened(path) as (page, _):
        page.locator("tbody button").first.click()
        page.wait_for_function("!document.querySelector('.detail svg')")
        assert "pictures/table6-mnist-joint.png is not beside this page" in page.locator(".detail").inner_text()


def test_all_is_done_by_keyboard(path):
    with opened(path) as (page, complaints):
        focused = "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
        page.get_by_label("Search").focus()
        reached = []
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.append(page.evaluate(focused).strip())
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", reached[-1]
            if reached[-1] == "MSE":
                page.keyboard.press("Enter")
            elif reached[-1].startswith("Pictures and command"):
                page.keyboard.press("Space")
                break
        assert "Table 2: inversion and stealing, scrolls" in reached
        assert column(page, "MSE")[0] == "3.9e-05"
        assert page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"
        assert page.locator(".detail").is_visible()
        assert complaints == []


def test_a_screen_reader_finds_names_for_all(path):
    with opened(path) as (page, _):
        assert page.evaluate("document.documentElement.lang") == "en"
        unnamed = """[...document.querySelectorAll("button, input, select, svg, table")].filter((one) => !(
            one.ariaLabel || one.textContent.trim() || one.labels?.[0]?.textContent.trim() || one.caption))"""
        assert page.evaluate(f"{unnamed}.map((one) => one.outerHTML)") == []
        assert (
            page.locator("table:not(:has(caption))").locator("visible=true").count()
            == page.locator(".prose table").count()
        )
        assert page.evaluate("[...document.querySelectorAll('.sheet th')].every((one) => one.scope)")
        assert page.locator(".sheet tbody tr").count() == page.locator(".sheet tbody th[scope=row]").count()
        for role in ("main", "banner", "contentinfo", "navigation", "search"):
            assert page.get_by_role(role).count() == 1
        levels = [int(one.evaluate("one => one.tagName[1]")) for one in page.get_by_role("heading").all()]
        assert levels[0] == 1
        assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
        ids = page.evaluate("[...document.querySelectorAll('h1, h2, h3, section, form')].map((one) => one.id)")
        ids = [one for one in ids if one]
        assert len(ids) == len(set(ids))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_the_committed_page_fits(width, scheme):
    """Nothing is wider than the window, with rows open and scrolled, and the colours are those that were asked for."""
    with opened(DOCS / "browse.html", width=width, scheme=scheme) as (page, complaints):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for place in (0, 3):
            page.locator(".sheet tbody button").nth(place).click()
        for box in page.locator(".wide").all():
            box.evaluate("box => { box.scrollLeft = 400; box.scrollTop = 200; }")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.evaluate("scrollTo(200, 0)")
        assert page.evaluate("scrollX") == 0
        detail = page.locator(".detail > td > div").first.bounding_box()
        assert detail["x"] >= 0
        assert detail["x"] + detail["width"] <= width
        # What a row is of stays in sight.
        first = page.locator(".sheet tbody th").first.bounding_box()
        assert 0 <= first["x"] < width / 3
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(251, 250, 248)", "dark": "rgb(21, 24, 28)"}[scheme]
        assert complaints == []


def test_nothing_moves_for_who_wants_no_motion(path):
    for motion, expected in (("reduce", "auto"), ("no-preference", "smooth")):
        with opened(path, reduced_motion=motion) as (page, _):
            assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == expected


def test_without_a_script_the_rows_are_there(path):
    with opened(path, java_script_enabled=False) as (page, _):
        assert "no sorting" in page.locator("noscript").inner_text()
        assert page.locator("#filters").is_hidden()
        assert page.get_by_text("3.9e-05").first.is_visible()
