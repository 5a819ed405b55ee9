"""Writing the pages of a reproduction to a folder."""

from pathlib import Path

from unsplit.files import explained, replacing, writable_folder, write_text
from unsplit.studies.grid.markdown import page_html
from unsplit.studies.grid.rows import dump_rows, read_rows, updated
from unsplit.studies.grid.store import Store
from unsplit.studies.reproduction.browse import browse_html
from unsplit.studies.reproduction.front import with_front_table
from unsplit.studies.reproduction.page import page_markdown
from unsplit.studies.reproduction.tables import TABLES, collect, picture_grids, plots


def write_results(store: Store | None, folder: Path, readme: Path | None = None, *, update: bool = False) -> Path:
    """Write `results.json`, `results.md`, `results.html`, `browse.html` and `pictures/`; returns the path of
    `results.html`.

    Args:
        store: the store of what was run; None to render again what an earlier `results.json` of the folder has.
        folder: the folder of the pages, which is made if need be.
        readme: a Markdown file that gets the front table between its marks, too; None for none.
        update: keep what an earlier `results.json` of the folder has and this store did not run, and its pictures.

    Raises:
        StorageError: the folder or the file cannot be written, or the disk is full.
        FormatError: the file has no place for the table.
    """
    front = None
    if readme is not None:
        with explained(readme):
            front = readme.read_text(encoding="utf-8")
        with_front_table(front, [])
    writable_folder(folder)
    rows, update = [] if store is None else collect(store), update or store is None
    if update and (folder / "results.json").exists():
        rows = updated(read_rows(folder / "results.json"), rows)
    write_text(folder / "results.json", dump_rows(rows))
    # The page is made from what the file says, so that it can be made from it again.
    rows = read_rows(folder / "results.json")
    pictures = {**({} if store is None else picture_grids(store)), **plots(rows)}
    gallery = writable_folder(folder / "pictures")
    for name, content in pictures.items():
        with replacing(gallery / name) as temporary:
            temporary.write_bytes(content)
    # Of an earlier report, whose cells are no longer there.
    earlier = {path.name for name in TABLES for path in gallery.glob(f"{name}*.png")} - set(pictures)
    for stale in set() if update else earlier:
        (gallery / stale).unlink()
    markdown = page_markdown(rows, sorted({*pictures, *(earlier if update else ())}))
    write_text(folder / "results.md", markdown)
    write_text(folder / "results.html", page_html(markdown))
    write_text(folder / "browse.html", browse_html(rows, gallery))
    if readme is not None and front is not None:
        write_text(readme, with_front_table(front, rows))
    return folder / "results.html"
