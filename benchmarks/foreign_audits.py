"""Networks that other people wrote, audited at two cuts each by the command alone: what worked?

`UNSPLIT_DATA=DIR python benchmarks/foreign_audits.py` runs `unsplit audit foreign:NAME --data pictures.npz --cuts A,B`
for each network of foreign_models.py, on 400 pictures of CIFAR-10, and writes results/foreign_audits.json and the table
of docs/models.md; with `--render` it only writes the table. A network whose result is there already is not run again.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from foreign_models import NETWORKS
from measure import RESULTS, write

from unsplit.data import load
from unsplit.report import read_report
from unsplit.report.numbers import error

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "models.md"
BEGIN, END = "<!-- foreign audits -->\n", "<!-- end of foreign audits -->\n"
OPTIONS = "--states after --presets joint-quick --label-setups none --epochs 1 --batch-size 16"


def main() -> None:
    """Audit all networks, or render what was measured."""
    path = RESULTS / "foreign_audits.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    if "--render" not in sys.argv:
        with tempfile.TemporaryDirectory() as folder:
            pictures = Path(folder) / "pictures.npz"
            splits = load("cifar-10")
            np.savez(
                pictures,
                x=splits.train.images[:400].numpy(),
                y=splits.train.labels[:400].numpy(),
                x_test=splits.test.images[:200].numpy(),
                y_test=splits.test.labels[:200].numpy(),
            )
            for name, (library, places) in NETWORKS.items():
                if not any(row["model"] == name for row in rows):
                    rows += audited(name, library, places, pictures, Path(folder) / name)
                    write("foreign_audits", rows)
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{table(rows)}{END}{rest.partition(END)[2]}")


def audited(name: str, library: str, places: tuple[str, str], pictures: Path, out: Path) -> list[dict[str, object]]:
    """One row for each cut, or one that says why there is none."""
    words = ["audit", f"foreign:{name}", "--data", str(pictures), "--cuts", ",".join(places), *OPTIONS.split()]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", "from unsplit.cli import main; main()", *words, "--quiet", "--out", str(out)],
        cwd=HERE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    shown = " ".join(words).replace(str(pictures), "pictures.npz")
    common: dict[str, object] = {
        "model": name,
        "library": library,
        "audit": f"unsplit {shown}",
        "seconds": round(seconds, 1),
    }
    if done.returncode != 0:
        none: dict[str, object] = {"ratio": None, "ours": None, "peer": None, "unit": ""}
        return [{**common, **none, "cut": ",".join(places), "worked": False, "said": done.stderr.strip()[-300:]}]
    result = read_report(out / "report.json")
    return [
        {
            **common,
            "worked": True,
            "cut": place,
            "after": row.cut,
            "depth": row.depth,
            "ratio": row.mse_best_trivial / row.mse,
            "ours": row.mse,
            "peer": row.mse_best_trivial,
            "unit": "mean squared error of ten pictures; peer: the best trivial guess",
            "clone_agreement": row.clone_agreement,
        }
        for place, row in zip(places, sorted(result.inversion, key=lambda row: row.depth), strict=True)
    ]


def table(rows: list[dict[str, object]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| network | library | cut | audited | MSE | best guess | seconds, both cuts |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        start = f"| {row['model']} | {row['library']} | `{row['cut']}` |"
        if row["worked"]:
            errors = " | ".join(error(float(str(row[key]))) for key in ("ours", "peer"))
            lines.append(f"{start} yes | {errors} | {float(str(row['seconds'])):.0f} |")
        else:
            lines.append(f"{start} no: {row['said']} | | | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
