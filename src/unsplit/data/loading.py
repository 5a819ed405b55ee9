"""Data sets by name or by path, told apart by what is there."""

import os
from pathlib import Path

import torch

from unsplit.data.arrays import ENDINGS, read_arrays
from unsplit.data.cells import is_table
from unsplit.data.dataset import Splits
from unsplit.data.dealing import standardised, stratified
from unsplit.data.embedded import digits
from unsplit.data.folder import read_folder
from unsplit.data.sources import SOURCES, published
from unsplit.data.table import read_table
from unsplit.errors import DataError, unknown_name
from unsplit.ranges import InputRange

_TEST_SHARE = 0.2


def load(
    name: str | Path,
    *,
    root: Path | None = None,
    download: bool = False,
    generator: torch.Generator | None = None,
    image_size: tuple[int, ...] | None = None,
    label: str | None = None,
    input_range: InputRange | None = None,
) -> Splits:
    """A data set by name, a folder of images, a table, or arrays.

    Args:
        name: "digits" (embedded), a name in `SOURCES`, or a path: of a folder of pictures (`read_folder`), of a table
            (`read_table`: .csv, .tsv, packed or not, .parquet), or of a .npz, .safetensors or .npy (`read_arrays`).
        root: folder to search first; then `$UNSPLIT_DATA`, then the cache.
        download: whether to fetch a set that is nowhere to be found.
        generator: source of randomness that deals samples out into training (80 %) and test; a fixed one if left out.
        image_size: height and width that a folder's pictures are brought to.
        label: the label's column of a table; the last one if left out.
        input_range: values that become 0 and 1 in a folder's pictures or in arrays; inferred if left out.

    Raises:
        DataError: not to be found, damaged, or of a kind that is not read; the message says how to get or convert it.
    """
    key, path = str(name), Path(name)
    source = generator if generator is not None else torch.Generator().manual_seed(0)
    if image_size is not None and not (path.is_dir() and key not in SOURCES):
        raise DataError(f"`image_size` is for folders of pictures, and '{key}' is not one; leave it out.")
    if label is not None and not is_table(path):
        raise DataError(f"`label` names a column of a table, and '{key}' is not a table; leave it out.")
    arrays = path.suffix.lower() in ENDINGS
    if input_range is not None and not (arrays or (path.is_dir() and key not in SOURCES)):
        raise DataError(
            f"`input_range` is for pictures in a folder and for arrays, and '{key}' is neither; leave it out."
        )
    if key == "digits":
        return digits()
    if key in SOURCES:
        return published(key, root, download=download)
    if is_table(path):
        return read_table(path, label=label, test_share=_TEST_SHARE, generator=source)
    if arrays:
        return read_arrays(path, test_share=_TEST_SHARE, generator=source, input_range=input_range)
    if path.is_dir():
        pictures = read_folder(path, image_size=image_size, input_range=input_range)
        return standardised(stratified(pictures, _TEST_SHARE, generator=source))
    if path.is_file():
        raise DataError(f"{path} is of a kind that unsplit does not read; {_conversion(path)}.")
    if os.sep in key or path.suffix:
        raise DataError(f"There is no folder or file {path}; check the path.")
    raise unknown_name("data set", key, ["digits", *SOURCES])


_CONVERSIONS = {
    ".h5 .hdf5": "read its arrays with h5py, and save them",
    ".mat": "read its arrays with scipy.io.loadmat, and save them",
    ".nii .nii.gz .mgz": "read volumes with nibabel (get_fdata), and save them",
    ".dcm": "read pixels with pydicom (pixel_array), and save them",
    ".pt .pth .pkl .pickle .joblib": "load it yourself, since that can run any code, and save its numbers",
    ".xlsx .xls .ods .feather .json .jsonl .sav .dta": "save it as a table, .csv, for example with pandas",
    ".wav .flac .mp3 .edf .dat": "read the samples, and save them",
    ".zip .tar .tgz .tar.gz .gz .7z": "unpack it",
    ".png .jpg .jpeg .bmp .gif .tif .tiff .webp": "name the folder that holds a subfolder of pictures for each class",
}


def _conversion(path: Path) -> str:
    """What to do with a file that is not read."""
    name = path.name.lower()
    known = (words for endings, words in _CONVERSIONS.items() if any(map(name.endswith, endings.split())))
    words = next(known, "save what it holds")
    arrays = (
        " as inputs x and labels y by numpy.savez" if words.endswith(("save them", "its numbers", "it holds")) else ""
    )
    return f"{words}{arrays} (unsplit reads folders of pictures, .csv, .tsv, .parquet, {', '.join(ENDINGS)})"
