"""Data sets: what is read, and what is refused."""

import gzip
import http.server
import io
import struct
import tarfile
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from unsplit.data import SOURCES, Dataset, Splits, available, fetch, from_tensors, load, locate, read_folder, verify
from unsplit.data.cifar import read_cifar
from unsplit.data.dealing import stratified
from unsplit.data.idx import idx_files, read_idx_set
from unsplit.errors import DataError, StorageError, UnsplitError
from unsplit.randomness import generator


def test_the_embedded_digits(digits):
    assert (len(digits.train), len(digits.test)) == (4000, 1000)
    assert digits.train.input_shape == (1, 28, 28)
    assert digits.train.labels.bincount().tolist() == [400] * 10
    assert digits.test.labels.bincount().tolist() == [100] * 10
    assert (digits.train.images.min(), digits.train.images.max()) == (0, 1)
    assert digits.test.one_per_class().labels.tolist() == list(range(10))
    again = load("digits")
    assert torch.equal(again.test.images, digits.test.images)
    together = torch.cat([digits.train.images, digits.test.images]).flatten(1)
    assert len(together.unique(dim=0)) == 5000


def images(samples=6, shape=(1, 4, 4)):
    return torch.rand(samples, *shape, generator=generator(0))


LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
BAD_TENSORS = {
    "empty": (images(0), LABELS[:0], None, "is empty"),
    "nan": (images().index_put((torch.tensor(4),), torch.tensor(float("nan"))), LABELS, None, "Input 4 .* NaN"),
    "infinite": (images() / 0, LABELS, None, "NaN or infinity"),
    "range": (images() * 255, LABELS, None, "scale them to 0 to 1"),
    "negative": (images() - 1, LABELS, None, "scale them to 0 to 1"),
    "lengths": (images(), LABELS[:5], None, "6 inputs but 5 labels"),
    "label too high": (images(), LABELS + 1, ("a", "b", "c"), "from 1 to 3 for 3 classes"),
    "label too low": (images(), LABELS - 1, ("a", "b", "c"), "from -1 to 1"),
}


@pytest.mark.parametrize("case", BAD_TENSORS)
def test_bad_tensors_are_one_sentence(case):
    inputs, labels, classes, words = BAD_TENSORS[case]
    with pytest.raises(DataError, match=words) as caught:
        from_tensors(inputs, labels, classes=classes)
    assert "\n" not in str(caught.value)


def test_an_empty_class_is_refused_where_one_of_each_is_wanted():
    data = from_tensors(images(), LABELS, classes=("a", "b", "c", "d"))
    with pytest.raises(DataError, match=r"class 'd' .* has 0 samples"):
        data.one_per_class()
    with pytest.raises(DataError, match="3 of each class are needed"):
        from_tensors(images(), LABELS).one_per_class(3)
    with pytest.raises(DataError, match=r"class 'd' .* has 0 samples"):
        stratified(data, 0.2, generator=generator(0))


def test_stratified_parts_are_whole_and_repeatable():
    data = from_tensors(images(30), torch.arange(30) % 3)
    parts, same = (stratified(data, 0.3, generator=generator(4)) for _ in range(2))
    assert parts.test.labels.bincount().tolist() == [3, 3, 3]
    assert torch.equal(parts.train.images, same.train.images)
    joined = torch.cat([parts.train.images, parts.test.images]).flatten(1)
    assert torch.equal(joined.unique(dim=0), data.images.flatten(1).unique(dim=0))
    with pytest.raises(DataError, match="between 0 and 1"):
        stratified(data, 1.0, generator=generator(0))


def test_splits_must_be_alike():
    with pytest.raises(DataError, match="give both parts the same shape"):
        Splits(train=from_tensors(images(), LABELS), test=from_tensors(images(shape=(3, 4, 4)), LABELS))


def idx(array):
    magic = {3: 2051, 1: 2049}[array.ndim]
    return struct.pack(f">{1 + array.ndim}i", magic, *array.shape) + array.tobytes()


def write_idx(folder, pixels, labels, part="test", packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(idx_files(part), (pixels, labels), strict=True):
        content = idx(array)
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


PIXELS = np.arange(3 * 28 * 28, dtype=np.uint8).reshape(3, 28, 28)
DIGITS = np.array([3, 1, 9], dtype=np.uint8)
CLASSES = tuple("0123456789")


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files(tmp_path, packed):
    write_idx(tmp_path, PIXELS, DIGITS, packed=packed)
    data = read_idx_set(tmp_path, "test", name="mnist", classes=CLASSES)
    assert torch.equal((data.images * 255).round().byte().squeeze(1), torch.from_numpy(PIXELS))
    assert data.labels.tolist() == [3, 1, 9]


IMAGES, TAGS = (f"{name}.gz" for name in idx_files("test"))
BAD_IDX = {
    "missing": (IMAGES, None, "has no t10k-images"),
    "bad gzip": (IMAGES, b"\x1f\x8bnonsense", "is damaged"),
    "cut gzip": (IMAGES, gzip.compress(idx(PIXELS))[:-20], "is damaged"),
    "not IDX": (IMAGES, gzip.compress(b"hello, this is text"), "not an IDX file"),
    "labels as images": (IMAGES, gzip.compress(idx(DIGITS)), "not an IDX file"),
    "short": (IMAGES, gzip.compress(idx(PIXELS)[:-5]), "truncated or damaged"),
    "long": (TAGS, gzip.compress(idx(DIGITS) + b"x"), "announces 3 bytes but holds 4"),
    "of another set": (TAGS, gzip.compress(idx(DIGITS[:2])), "not of the same set"),
    "label 10": (TAGS, gzip.compress(idx(np.array([1, 2, 10], dtype=np.uint8))), "from 1 to 10 for 10 classes"),
}


@pytest.mark.parametrize("case", BAD_IDX)
def test_bad_idx_files_are_one_sentence(tmp_path, case):
    name, content, words = BAD_IDX[case]
    write_idx(tmp_path, PIXELS, DIGITS)
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        read_idx_set(tmp_path, "test", name="mnist", classes=CLASSES)
    assert "\n" not in str(caught.value)


def cifar_record(label, value):
    return bytes([label]) + bytes([value]) * 1024 + bytes([0]) * 2048


def test_cifar_files(tmp_path):
    (tmp_path / "test_batch.bin").write_bytes(cifar_record(3, 255) + cifar_record(9, 51))
    data = read_cifar(tmp_path, "test")
    assert data.images.shape == (2, 3, 32, 32)
    assert data.images[:, :, 0, 0].tolist() == [[1, 0, 0], [pytest.approx(0.2), 0, 0]]
    assert [data.classes[label] for label in data.labels] == ["cat", "truck"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "has no test_batch.bin"),
        (b"", "holds 0 bytes"),
        (cifar_record(1, 2)[:-1], "truncated or not CIFAR-10"),
        (cifar_record(10, 2), "labels above 9"),
    ],
)
def test_bad_cifar_files_are_one_sentence(tmp_path, content, words):
    if content is not None:
        (tmp_path / "test_batch.bin").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_cifar(tmp_path, "test")


def picture(path, mode="RGB", size=(6, 5), colour=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour if colour is not None else 0).save(path)


def test_a_folder_of_images(tmp_path):
    for number in range(5):
        picture(tmp_path / "cats" / f"{number}.png", colour=(255, 0, 51))
        picture(tmp_path / "dogs" / f"{number}.jpg", "L", colour=128)
    (tmp_path / "dogs" / "notes.txt").write_text("not a picture")
    data = read_folder(tmp_path)
    assert data.classes == ("cats", "dogs")
    assert data.images.shape == (10, 3, 5, 6)
    assert data.images[0, :, 0, 0].tolist() == [1, 0, pytest.approx(0.2)]
    assert data.labels.tolist() == [0] * 5 + [1] * 5
    parts = load(str(tmp_path))
    assert (len(parts.train), len(parts.test)) == (8, 2)


def test_a_folder_of_grey_images_has_one_channel(tmp_path):
    for name in ("a", "b"):
        picture(tmp_path / name / "1.png", "L", colour=51)
    assert read_folder(tmp_path).images.shape == (2, 1, 5, 6)


def test_cmyk_and_palettes_and_transparency_become_rgb(tmp_path):
    picture(tmp_path / "a" / "1.jpg", "CMYK")
    picture(tmp_path / "b" / "1.gif", "P")
    picture(tmp_path / "b" / "2.png", "RGBA", colour=(255, 0, 0, 10))
    assert read_folder(tmp_path).images.shape == (3, 3, 5, 6)


BAD_FOLDERS = {
    "missing": (lambda f: f / "nowhere", "no folder"),
    "empty": (lambda f: f, "has 0 subfolders"),
    "one class": (lambda f: picture(f / "a" / "1.png"), "has 1 subfolders"),
    "empty class": (lambda f: (picture(f / "a" / "1.png"), (f / "b").mkdir()), "holds no picture"),
    "broken": (lambda f: (picture(f / "a" / "1.png"), picture(f / "b" / "1.png"),
                          (f / "a" / "1.png").write_bytes(b"no picture")), "cannot be read as a picture"),
    "truncated": (lambda f: (picture(f / "a" / "1.png", size=(90, 90)), picture(f / "b" / "1.png", size=(90, 90)),
                             (f / "a" / "1.png").write_bytes((f / "a" / "1.png").read_bytes()[:60])),
                  "cannot be read as a picture"),
    "sizes": (lambda f: (picture(f / "a" / "1.png"), picture(f / "b" / "1.png", size=(7, 5))), "bring all to one size"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_bad_folders_are_one_sentence(tmp_path, case):
    make, words = BAD_FOLDERS[case]
    made = make(tmp_path)
    with pytest.raises(DataError, match=words) as caught:
        read_folder(made if case == "missing" else tmp_path)
    assert "\n" not in str(caught.value)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No data set is on this machine."""
    monkeypatch.delenv("UNSPLIT_DATA", raising=False)
    monkeypatch.setattr("unsplit.data.sources._cache", lambda: tmp_path / "cache")
    return tmp_path


@pytest.mark.usefixtures("nowhere")
def test_a_set_that_is_nowhere_says_how_to_get_it():
    with pytest.raises(DataError, match="unsplit data fetch cifar-10"):
        load("cifar-10")
    assert [entry.place for entry in available()] == ["embedded", None, None, None]


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("call", [load, fetch, verify])
def test_an_unknown_set_suggests_one(call):
    with pytest.raises(UnsplitError, match="did you mean 'fashion-mnist'"):
        call("fashion_mnist")


def test_where_sets_are_looked_for(nowhere, monkeypatch):
    for place in ("cache", "configured", "root"):
        for part in ("train", "test"):
            write_idx(nowhere / place / "mnist", PIXELS, DIGITS, part=part)
    assert locate("mnist") == nowhere / "cache" / "mnist"
    monkeypatch.setenv("UNSPLIT_DATA", str(nowhere / "configured"))
    assert locate("mnist") == nowhere / "configured" / "mnist"
    assert locate("mnist", root=nowhere / "root") == nowhere / "root" / "mnist"
    assert len(load("mnist").train) == 3


def test_verify_tells_published_from_other_and_damaged(nowhere):
    folder = nowhere / "mnist"
    for part in ("train", "test"):
        write_idx(folder, PIXELS, DIGITS, part=part)
    assert {status.status for status in verify("mnist", root=nowhere)} == {"differs from the published file"}
    (folder / IMAGES).write_bytes(gzip.compress(b"text"))
    statuses = {status.file: status.status for status in verify("mnist", root=nowhere)}
    assert statuses[IMAGES].startswith("damaged")
    assert statuses["train-images-idx3-ubyte.gz"] == "differs from the published file"


@pytest.fixture
def served(nowhere, monkeypatch):
    """A server on this machine that has MNIST's files, small ones."""
    for part in ("train", "test"):
        write_idx(nowhere / "served", PIXELS, DIGITS, part=part)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=nowhere / "served"))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def offer(digest):
        base = f"http://127.0.0.1:{server.server_port}/"
        downloads = tuple(
            (base + address.rpartition("/")[2], digest(address)) for address, _ in SOURCES["mnist"].downloads
        )
        monkeypatch.setitem(SOURCES, "mnist", replace(SOURCES["mnist"], downloads=downloads))
        return nowhere

    yield offer
    server.shutdown()
    thread.join()
    server.server_close()


def md5(path):
    import hashlib

    return hashlib.md5(path.read_bytes()).hexdigest()


def test_fetching(served, nowhere):
    served(lambda address: md5(nowhere / "served" / address.rpartition("/")[2]))
    folder = fetch("mnist")
    assert folder == nowhere / "cache" / "mnist"
    assert load("mnist").test.labels.tolist() == [3, 1, 9]
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.gz" for name in SOURCES["mnist"].files)


def test_a_download_that_is_not_what_was_published_is_not_kept(served, nowhere):
    served(lambda _: "0" * 32)
    with pytest.raises(DataError, match="not what was published"):
        fetch("mnist")
    assert [path.name for path in (nowhere / "cache" / "mnist").iterdir()] == []


def test_fetching_an_archive(served, nowhere, monkeypatch):
    """CIFAR-10 comes as one archive that holds its folder."""
    offer_root = served(lambda _: "0" * 32)
    with tarfile.open(offer_root / "served" / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for name in SOURCES["cifar-10"].files:
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            content = cifar_record(3, 255)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    base = SOURCES["mnist"].downloads[0][0].rpartition("/")[0]
    download = (f"{base}/cifar-10-binary.tar.gz", md5(offer_root / "served" / "cifar-10-binary.tar.gz"))
    monkeypatch.setitem(SOURCES, "cifar-10", replace(SOURCES["cifar-10"], downloads=(download,)))
    assert fetch("cifar-10") == nowhere / "cache" / "cifar-10-batches-bin"
    assert (len(load("cifar-10").train), len(load("cifar-10").test)) == (5, 1)


@pytest.mark.usefixtures("nowhere")
def test_no_connection(monkeypatch):
    downloads = (("http://127.0.0.1:9/nothing.gz", "0" * 32),)
    monkeypatch.setitem(SOURCES, "mnist", replace(SOURCES["mnist"], downloads=downloads))
    with pytest.raises(DataError, match="Cannot download"):
        fetch("mnist")


def test_a_folder_that_cannot_be_written(nowhere):
    (nowhere / "file").write_text("in the way")
    with pytest.raises(StorageError, match="choose a place that can be written"):
        fetch("mnist", root=nowhere / "file")


@pytest.mark.full
@pytest.mark.parametrize(("name", "train", "shape"), [
    ("mnist", 60_000, (1, 28, 28)), ("fashion-mnist", 60_000, (1, 28, 28)), ("cifar-10", 50_000, (3, 32, 32)),
])  # fmt: skip
def test_the_full_sets(name, train, shape):
    if locate(name) is None:
        pytest.skip("the full data sets are not here: set UNSPLIT_DATA, or run `unsplit data fetch all`")
    parts = load(name)
    assert (len(parts.train), len(parts.test)) == (train, 10_000)
    assert parts.train.input_shape == shape
    assert isinstance(parts.test.one_per_class(), Dataset)
    assert all(not status.status.startswith(("damaged", "missing")) for status in verify(name))
