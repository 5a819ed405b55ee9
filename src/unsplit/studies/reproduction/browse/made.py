"""The page from the rows and the files of pictures."""

from collections.abc import Sequence
from pathlib import Path

from unsplit.report.page import template
from unsplit.studies.grid.markdown import as_html, markdown_table
from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.reproduction._claims import claims
from unsplit.studies.reproduction.browse.figures import figures
from unsplit.studies.reproduction.browse.sheets import sheets
from unsplit.studies.reproduction.browse.strips import Gallery
from unsplit.studies.reproduction.page import HOW_TO_READ, overview


def browse_html(rows: Sequence[ResultRow], pictures: Path) -> str:
    """The page as HTML.

    Args:
        rows: the rows of `results.json`.
        pictures: the folder of pictures that is beside the page, which need not be there.
    """
    gallery = Gallery(pictures, rows)
    commands: dict[str, int] = {}
    made = sheets(rows, gallery, commands)
    own = [row for row in rows if row.defense is None]
    told = [[claim.text, claim.outcome, claim.seen] for claim in claims(own)]
    *notices, glance = overview(own)
    words = markdown_table(["what the paper says", "here", "what we saw"], told) if told else ""
    return template("browse.html.j2").render(
        sheets=made,
        cells=sum(len(sheet.lines) for sheet in made),
        numbers=sum(row.value is not None for row in rows),
        how_to_read=as_html(HOW_TO_READ),
        notices=as_html("\n".join(notices)),
        glance=as_html(glance),
        claims=as_html(words),
        figures=figures(own),
        commands=list(commands),
        strips=[strip.placed for strip in gallery.used],
    )
