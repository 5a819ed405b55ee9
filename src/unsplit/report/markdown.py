"""The verdict as Markdown, short enough for a comment on a pull request."""

import re
from collections.abc import Sequence
from urllib.parse import quote

from unsplit.report.box import STRONGER, TITLES, bands, figure, words
from unsplit.results import AuditResult
from unsplit.verdict import Verdict


def as_markdown(result: AuditResult, verdict: Verdict, *, page: str) -> str:
    """The verdict's table, the conditions, and the rest folded away.

    Args:
        result: the numbers of the audit.
        verdict: the verdict on these numbers.
        page: the address of the report, relative to where the Markdown will lie.
    """
    training = result.training
    about = "recorded traffic" if training is None else f"{training.dataset} with {training.model}"
    about += "" if result.defended is None else f", defended by {result.defended}"
    parts = [
        f"## What leaked: {cell(about)}\n",
        table(
            ("asset", "score", "verdict", "figures", "attacker's confidence", "our confidence"),
            [
                (TITLES[score.asset], figure(score), words(score), score.measured, score.self_estimate, score.sure)
                for score in verdict.scores
            ],
        ),
        *[f"**{TITLES[score.asset]}**: {cell(score.disagreement)}\n" for score in verdict.scores if score.disagreement],
        conditions(verdict),
        f"0 is no better than a guess that saw nothing, 1 is exact: {bands(verdict)}. {STRONGER}\n",
        f"[The page with pictures and all numbers]({quote(page)})\n",
        details("Which attack, and how it is known", _reasons(verdict)),
        details("To make this again", code(result.provenance.command)),
    ]
    return "\n".join(part for part in parts if part)


def conditions(verdict: Verdict) -> str:
    """What the conditions of `--fail-if` came to."""
    signs = {True: "failed", False: "passed", None: "not judged"}
    return "".join(f"- **{signs[outcome.holds]}**: {cell(outcome.words)}\n" for outcome in verdict.thresholds)


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table; its cells may hold anything."""
    rows = [list(map(cell, header)), ["---"] * len(header), *(list(map(cell, line)) for line in lines)]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def cell(text: str) -> str:
    """Text that stays one cell and plain words, whatever it holds."""
    text = re.sub(r"([\\`*_\[\]|~#])", r"\\\1", " ".join(text.split()))
    return text.replace("&", "&amp;").replace("<", "&lt;")


def details(title: str, body: str) -> str:
    """A part that is folded away at first."""
    return f"<details><summary>{cell(title)}</summary>\n\n{body}\n</details>\n"


def code(text: str) -> str:
    """A block of code, fenced by more ticks than the text has in a row."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}\n"


def _reasons(verdict: Verdict) -> str:
    lines = [
        f"- **{TITLES[score.asset]}**: {cell(score.by)}; attacker's confidence: {score.self_estimate} "
        f"({cell(score.self_estimate_why)}); ours: {score.sure} ({cell(score.sure_why)})\n"
        for score in verdict.scores
        if score.by is not None
    ]
    return "".join(lines) or "No attack was scored.\n"
