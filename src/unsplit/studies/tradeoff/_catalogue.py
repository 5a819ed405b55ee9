"""The table of defences, from the defences themselves."""

import inspect
import re

from unsplit.defenses import DEFENSES
from unsplit.studies.grid.markdown import markdown_table

BEGIN, END = "<!-- defences: begin -->\n", "<!-- defences: end -->"


def catalogue() -> str:
    """Name with its usual settings, what each protects, its knob and its reference, as Markdown."""
    lines = [
        [f"`{defense()}`", defense.protects, defense.knob, _reference(inspect.getdoc(defense) or "")]
        for defense in DEFENSES.values()
    ]
    return markdown_table(["defence", "protects", "knob", "reference"], lines)


def with_catalogue(page: str) -> str:
    """The page with the table between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{catalogue()}{END}{after}"


def _reference(docstring: str) -> str:
    """The text of the section "Reference", on one line."""
    _, _, rest = docstring.partition("Reference:\n")
    section = re.split(r"\n\s*\n", rest)[0]
    return " ".join(section.split())
