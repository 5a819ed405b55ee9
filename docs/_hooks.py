"""What the site needs beyond its pages: the commands' page, and links that lead out of `docs/`."""

import posixpath
import re
import subprocess
import sys

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# A link that goes up, such as [loops](../examples/loops).
UPWARDS = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)[^)]*\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page of the commands, which typer writes from the program itself."""
    made = subprocess.run(
        [sys.executable, "-m", "typer", "unsplit.cli.app", "utils", "docs", "--name", "unsplit", "--title", "Commands"],
        capture_output=True,
        text=True,
        check=True,
    )
    files.append(File.generated(config, "reference/cli.md", content=made.stdout))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Show the path in place of a link out of `docs/`: in the site there is nothing for it to lead to."""

    def shown(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page.file.src_uri), link[2]))
        if path.startswith("docs/"):
            return link[0]
        return link[1] if link[1].startswith("`") else f"{link[1]} (`{path}`)"

    return UPWARDS.sub(shown, markdown)
