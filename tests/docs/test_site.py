"""The site builds without a warning and fetches nothing; the tutorial's commands do what it says."""

import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import unsplit
from unsplit.cli.app import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TUTORIAL = (DOCS / "tutorial.md").read_text()
needs_mkdocs = pytest.mark.skipif(
    not all(find_spec(name) for name in ("mkdocs", "material", "mkdocstrings")), reason="needs the extra docs"
)


class Page(HTMLParser):
    """What a page fetches as it opens (`assets`), what it links to, and the places that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.assets: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids |= {found["id"]} if "id" in found else set()
        if tag == "a":
            self.links += [found["href"]] if found.get("href") else []
        elif tag != "link" or found.get("rel") not in {"next", "prev", "canonical"}:
            self.assets += [found[key] for key in ("src", "href", "data", "srcset", "poster") if found.get(key)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages by their path in the site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    ours = [page for page in site.rglob("*.html") if "reports" not in page.relative_to(site).parts]
    return {page.relative_to(site).as_posix(): Page(page.read_text()) for page in ours}


@needs_mkdocs
@pytest.mark.slow
def test_no_page_fetches_anything_from_elsewhere(site, pages):
    for name, page in pages.items():
        for asset in page.assets:
            address = urlsplit(asset)
            assert address.scheme in {"", "data"}, (name, asset)
            assert not address.netloc, (name, asset)
            if name != "404.html" and address.path and not address.scheme:
                assert (site / name).parent.joinpath(address.path).exists(), (name, asset)
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet.read_text()), sheet


@needs_mkdocs
@pytest.mark.slow
def test_every_page_is_in_the_site_and_in_its_navigation(site, pages):
    written = {page.relative_to(DOCS).with_suffix(".html").as_posix() for page in DOCS.rglob("*.md")}
    # Rendered from results.json, not from Markdown.
    assert (DOCS / "browse.html").read_bytes() == (site / "browse.html").read_bytes()
    assert written | {"reference/cli.html"} == set(pages) - {"404.html", "browse.html"}
    listed = {link.partition("#")[0] for link in pages["index.html"].links}
    assert written | {"reference/cli.html"} <= listed | {"index.html"}


@needs_mkdocs
@pytest.mark.slow
def test_every_link_between_pages_leads_somewhere(site, pages):
    for name, page in pages.items():
        for link in page.links:
            address = urlsplit(link)
            if name == "404.html" or address.scheme or address.netloc:
                continue
            target = (site / name).parent.joinpath(address.path).resolve() if address.path else site / name
            assert target.exists(), (name, link)
            other = pages.get(target.relative_to(site.resolve()).as_posix()) if target.suffix == ".html" else None
            if other and address.fragment:
                assert address.fragment in other.ids, (name, link)


@needs_mkdocs
@pytest.mark.slow
def test_the_reference_has_every_public_name_and_every_command(pages):
    ids = set().union(*(page.ids for name, page in pages.items() if name.startswith("reference/")))
    missing = [name for name in unsplit.__all__ if f"unsplit.{name}" not in ids]
    assert not missing
    commands = [command.name for command in app.registered_commands]
    assert {f"unsplit-{name}" for name in commands} <= pages["reference/cli.html"].ids


def tutorial_commands():
    shown = re.sub(r"<!-- not run: begin -->.*?<!-- not run: end -->", "", TUTORIAL, flags=re.S)
    return [line.strip() for line in re.findall(r"^    (unsplit .*)$", shown, re.M)]


TINY = {"--epochs": "1", "--cuts": "1", "--presets": "joint-quick", "--label-steps": "20", "--steps": "4"}
"""What makes an audit of the tutorial short; its own options stay where this names none."""


def shortened(line: str) -> list[str]:
    words = shlex.split(line)[1:]
    return [TINY.get(before, word) for before, word in zip(["", *words], words, strict=False)]


@pytest.mark.slow
def test_the_commands_of_the_tutorial_run_in_their_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    module, source = re.search(r"<!-- path: (\S+) -->\n```python\n(.*?)```", TUTORIAL, re.S).groups()
    Path(module).write_text(source)
    noise = torch.Generator().manual_seed(0)
    for kind in ("cats", "dogs"):
        Path("photos", kind).mkdir(parents=True)
        for number in range(50):
            pixels = torch.randint(256, (28, 28), generator=noise, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(Path("photos", kind, f"{number}.png"))
    lines = tutorial_commands()
    assert len(lines) >= 9
    for line in lines:
        done = CliRunner().invoke(app, shortened(line))
        assert done.exit_code == (1 if "--fail-if" in line else 0), (line, done.output, done.exception)
    for shown in re.findall(r"`(runs/[^`]+)`", TUTORIAL):
        assert Path(shown).exists(), shown
    sys.modules.pop(Path(module).stem, None)


def test_pictures_of_the_pages_are_small_and_all_are_shown():
    pages = "".join(page.read_text() for page in DOCS.rglob("*.md"))
    for picture in (DOCS / "gallery").iterdir():
        assert picture.stat().st_size < 150_000, picture
        assert f"gallery/{picture.name}" in pages, picture


@needs_mkdocs
def test_a_link_out_of_the_pages_becomes_the_path_that_it_names():
    sys.path.insert(0, str(DOCS))
    try:
        from _hooks import on_page_markdown
    finally:
        sys.path.pop(0)
    guide, reference = (SimpleNamespace(file=SimpleNamespace(src_uri=name)) for name in ("guide.md", "reference/x.md"))
    outside = "see [loops](../examples/loops), now"
    assert on_page_markdown(outside, page=guide) == "see loops (`examples/loops`), now"
    assert on_page_markdown("[`a.py`](../src/a.py)", page=guide) == "`a.py`"
    for kept, page in [("[page](deploy.md#here)", guide), ("[page](../deploy.md)", reference)]:
        assert on_page_markdown(kept, page=page) == kept
