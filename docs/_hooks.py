"""What the site needs beyond its pages: the commands' page, and links that lead out of `docs/`."""

import posixpath
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

COMMANDS = "reference/cli.md"
# A link that goes up, such as [loops](../examples/loops).
UPWARDS = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)[^)]*\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Leave pages out of the navigation that are not written yet."""
    config.nav = _written(config.nav or [], Path(config.docs_dir))
    return config


def _written(entry: Any, docs: Path) -> Any:
    if isinstance(entry, list):
        return [kept for inner in entry if (kept := _written(inner, docs))]
    if isinstance(entry, dict):
        return {title: kept for title, inner in entry.items() if (kept := _written(inner, docs))}
    return entry if entry == COMMANDS or (docs / entry).exists() else None


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page of the commands, which typer writes from the program itself."""
    made = subprocess.run(
        [sys.executable, "-m", "typer", "unsplit.cli.app", "utils", "docs", "--name", "unsplit", "--title", "Commands"],
        capture_output=True,
        text=True,
        check=True,
    )
    files.append(File.generated(config, COMMANDS, content=made.stdout))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Show the path in place of a link out of `docs/`: in the site there is nothing for it to lead to."""

    def shown(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page.file.src_uri), link[2]))
        if path.startswith("docs/"):
            return link[0]
        return link[1] if path.endswith(link[1].strip("`")) else f"{link[1]} (`{path}`)"

    return UPWARDS.sub(shown, markdown)
