"""A comparison of two audits as a page and as Markdown."""

from pathlib import Path

from unsplit.files import explained, writable_folder, write_text
from unsplit.report._findings import Level
from unsplit.report.box import STRONGER, TITLES, bands, figure, words
from unsplit.report.compared import AssetChange, Comparison
from unsplit.report.markdown import cell, code, details, table
from unsplit.report.page import template
from unsplit.report.pictures import inline
from unsplit.results import AuditResult
from unsplit.verdict import Score
from unsplit.verdict.assets import named

_LARGEST = 20_000_000
_TONES: dict[str, Level] = {"more": "high", "less": "none"}


def write_comparison(folder: Path, comparison: Comparison) -> Path:
    """Write `compare.html` and `compare.md`; returns the page's path.

    Raises:
        StorageError: the folder cannot be written, or the disk is full.
    """
    page, text = render_comparison(comparison), comparison_markdown(comparison, page="compare.html")
    writable_folder(folder)
    write_text(folder / "compare.md", text)
    write_text(folder / "compare.html", page)
    return folder / "compare.html"


def render_comparison(comparison: Comparison) -> str:
    """The comparison as HTML."""
    return template("compare.html.j2").render(
        comparison=comparison,
        headline=headline(comparison),
        defenses=None if comparison.defenses is None else defenses(comparison),
        assets=[
            {"title": TITLES[asset.before.asset], "tone": _TONES.get(asset.change, "unknown"), "shown": shown(asset),
             "before": side_words(asset.before), "after": side_words(asset.after), "asset": asset}
            for asset in comparison.assets
        ],
        pairs=[
            (by, inline(before), inline(after)) for by, before, after in picture_pairs(comparison)
        ],
        bands=bands(comparison.after.verdict),
        stronger=STRONGER,
    )  # fmt: skip


def comparison_markdown(comparison: Comparison, *, page: str | None = None) -> str:
    """The comparison for a comment on a pull request; `page` is the address of the HTML page, if there is one."""
    lines = [
        (TITLES[asset.before.asset], side_words(asset.before), side_words(asset.after), shown(asset))
        for asset in comparison.assets
    ]
    rows = [(row.attack, row.figure, row.before, row.after, row.guess) for row in comparison.rows if not row.same]
    changed = table(("attack", "figure", "before", "after", "guess"), rows) if rows else "None.\n"
    commands = "\n".join(side.result.provenance.command for side in (comparison.before, comparison.after))
    parts = [
        f"## {headline(comparison)}\n",
        "" if comparison.defenses is None else f"Defences: {cell(defenses(comparison))}.\n",
        table(("asset", "before", "after", "change"), lines),
        table(("cost", "before", "after"), comparison.costs) if comparison.costs else "",
        "".join(f"- **warning**: {cell(warning)}\n" for warning in comparison.warnings),
        f"0 is no better than a guess that saw nothing, 1 is exact: {bands(comparison.after.verdict)}. {STRONGER}\n",
        f"[The page with pictures and all figures]({page})\n" if page is not None else "",
        details(f"Figures that differ ({len(rows)} of {len(comparison.rows)})", changed),
        details("To make the two audits again", code(commands)),
    ]
    return "\n".join(part for part in parts if part)


def headline(comparison: Comparison) -> str:
    """The whole in one sentence."""
    if comparison.unchanged:
        return "Nothing changed: every figure that both audits have is the same"
    found = [
        f"{change} leaks: {', '.join(assets)}"
        for change in ("more", "less")
        if (assets := [asset.before.asset for asset in comparison.assets if asset.change == change])
    ]
    return "; ".join(found).capitalize() if found else "No clear change in what leaks"


def defenses(comparison: Comparison) -> str:
    """What the clients did on their side of the border, before and after, in words."""
    before, after = comparison.defenses or ("the same", "the same")
    return f"{before} before, {after} after"


def shown(asset: AssetChange) -> str:
    """A change in words."""
    before, after = asset.before.score, asset.after.score
    if before is None or after is None:
        return "not measured in both"
    if asset.change == "same":
        return "unchanged"
    difference = after - before
    by = f"{difference:+.2f}" if abs(difference) >= 0.005 else "below 0.01"
    return f"no clear change ({by})" if asset.change == "unclear" else f"{asset.change} leaks ({by})"


def side_words(score: Score) -> str:
    """One side of one asset: score, grade, and the figures with the trivial guess."""
    if score.score is None:
        return score.measured
    return f"{figure(score)}, {words(score)}: {score.measured}"


def picture_pairs(comparison: Comparison) -> list[tuple[str, bytes, bytes]]:
    """Name, before and after of each inversion whose picture both folders hold."""
    before, after = (_paths(side.result) for side in (comparison.before, comparison.after))
    pairs = []
    for by in (name for name in before if name in after):
        was, now = _png(comparison.before.folder, before[by]), _png(comparison.after.folder, after[by])
        if was is not None and now is not None:
            pairs.append((by, was, now))
    return pairs


def _paths(result: AuditResult) -> dict[str, str]:
    found = {named(row): row.pictures for row in result.inversion}
    if result.recorded is not None:
        found |= {f"step {row.step}, {row.preset}": row.pictures for row in result.recorded.inversion}
    return found


def _png(folder: Path, name: str) -> bytes | None:
    """A picture of a report. Its name comes from a file that anyone may have sent, so it must lead to a PNG within."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file() or path.stat().st_size > _LARGEST:
        return None
    with explained(path):
        content = path.read_bytes()
    return content if content.startswith(b"\x89PNG\r\n\x1a\n") else None
