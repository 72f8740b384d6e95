"""Where the course's data sets come from, and where they are on this machine.

MNIST and CIFAR-10 are downloaded into `data_directory()` when asked for, and checked against their
publishers' checksums. The digits and Tiny Shakespeare are shipped in milestones/data. No format
read here can execute anything: CIFAR-10 is taken in its binary version, which has no pickles.

Without a network, either place the published files in the data directory (an error names them),
or place the six unpacked batches of CIFAR-10 there, in `cifar-10-batches-bin/`. Batches that were
not unpacked here from the published archive are checked for size and labels only, and noted so.
"""

import gzip
import hashlib
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tinytorch.utils.archive import unpack
from tinytorch.utils.checks import labels_below_ten
from tinytorch.utils.download import (
    Progress,
    Remote,
    by_hand,
    data_directory,
    fetch,
    locked,
    require_published,
    sha256_of,
    writable,
)
from tinytorch.utils.pixels import Half, read_idx

MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def _mnist(name: str, md5: str, sha256: str) -> Remote:
    urls = tuple(mirror + name for mirror in MNIST_MIRRORS)
    return Remote(name, urls, md5, sha256, most=16 << 20)


MNIST = {
    "train_images": _mnist(
        "train-images-idx3-ubyte.gz",
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "train_labels": _mnist(
        "train-labels-idx1-ubyte.gz",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    "test_images": _mnist(
        "t10k-images-idx3-ubyte.gz",
        "9fb629c4189551a2d022fa330f9573f3",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "test_labels": _mnist(
        "t10k-labels-idx1-ubyte.gz",
        "ec29112dd5afa0611ce80d1b7f02629c",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
}

CIFAR10 = Remote(
    "cifar-10-binary.tar.gz",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    most=256 << 20,
)
CIFAR10_FOLDER = "cifar-10-batches-bin"
CIFAR10_BATCHES = (*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin")
CIFAR10_RECORD = 1 + 3 * 32 * 32  # bytes: a label, then 1,024 red, green and blue values
CIFAR10_BATCH_BYTES = 10_000 * CIFAR10_RECORD
CHECKSUMS = "SHA256SUMS"  # written beside the batches that were unpacked here

SHAKESPEARE_MD5 = "6fb458f1232090904fb40fe944165e91"  # of the unpacked text


@dataclass(frozen=True)
class Batches:
    """CIFAR-10 on this machine: five training batches and the test batch.

    `published` is True if they are known to be the publisher's bytes.
    """

    train: tuple[Path, ...]
    test: Path
    published: bool


def mnist_files(
    root: str | Path | None = None, *, download: bool = False, progress: Progress | None = None
) -> dict[str, Path]:
    """Return the four files of MNIST by part: train_images, train_labels, test_images, test_labels.

    Raises:
        FileNotFoundError: If one is missing and `download` is False.
        DownloadError: If no mirror gives the published bytes.
        ValueError: If a file is there but is not the published one.
    """
    folder = Path(root) if root else data_directory()
    return {part: _present(MNIST[part], folder, download, progress) for part in MNIST}


def mnist_halves(root: str | Path | None = None, *, download: bool = False) -> list[Half]:
    """Return MNIST to train and to test: each half's images, (N, 1, 28, 28) uint8, and labels."""
    files = mnist_files(root, download=download)
    parts = {part: read_idx(gzip.decompress(path.read_bytes())) for part, path in files.items()}
    return [
        (parts[f"{half}_images"][:, None], labels_below_ten(parts[f"{half}_labels"]))
        for half in ("train", "test")
    ]


def digits_text(path: str | Path | bytes | None = None) -> str:
    """Return the shipped digits as text; `path` is another copy, or its bytes, packed or not."""
    path = shipped("digits.csv.gz") if path is None else path
    data = path if isinstance(path, bytes) else Path(path).read_bytes()
    return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8")


def _present(remote: Remote, folder: Path, download: bool, progress: Progress | None) -> Path:
    """A file from the cache, from the network if that is wanted, or an error that helps."""
    path = folder / remote.name
    if path.exists():
        return require_published(path, remote)
    if not download:
        raise FileNotFoundError(
            f"{remote.name} is not in {folder}; pass download=True, or {by_hand(remote, path)}"
        )
    return fetch(remote, folder, progress=progress)


def cifar10_batches(
    root: str | Path | None = None, *, download: bool = False, progress: Progress | None = None
) -> Batches:
    """Return the batches of CIFAR-10, unpacked; download the archive if they are missing.

    Raises:
        FileNotFoundError: If they are missing and `download` is False.
        DownloadError: If no mirror gives the published bytes.
        ValueError: If a file is there but is not what it should be.
    """
    folder = Path(root) if root else data_directory()
    batches = folder / CIFAR10_FOLDER
    if not batches.exists():
        _unpack_cifar10(folder, batches, download, progress)
    for name in CIFAR10_BATCHES:
        _check_batch(batches / name)
    published = _check_sums(batches)
    if not published:
        _note(
            f"the CIFAR-10 batches in {batches} were placed by hand: their sizes and labels are"
            " right, but they are not known to be the published bytes; say so beside any figure"
        )
    *train, test = (batches / name for name in CIFAR10_BATCHES)
    return Batches(tuple(train), test, published)


def _unpack_cifar10(folder: Path, batches: Path, download: bool, progress: Progress | None) -> None:
    """Make the directory of batches from the archive, by one rename; then drop the archive."""
    archive = folder / CIFAR10.name
    if not archive.exists() and not download:
        raise FileNotFoundError(
            f"CIFAR-10 is not in {folder}; pass download=True, or {by_hand(CIFAR10, archive)};"
            f" or place its six unpacked batches in {batches}"
        )
    fetch(CIFAR10, folder, progress=progress)
    with locked(writable(folder) / f".{CIFAR10_FOLDER}.lock"):
        if batches.exists():
            return
        members = {f"{CIFAR10_FOLDER}/{name}": CIFAR10_BATCH_BYTES for name in CIFAR10_BATCHES}
        unpack(archive, members, batches, sums=CHECKSUMS)
        archive.unlink()


def _check_batch(path: Path) -> None:
    """Require the size of a batch, and that each record begins with a label from 0 to 9."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.name} is missing from {path.parent}; place all six batches there,"
            " or remove the directory to download it again"
        )
    size = path.stat().st_size
    if size != CIFAR10_BATCH_BYTES:
        raise ValueError(
            f"{path} has {size} bytes, a batch has {CIFAR10_BATCH_BYTES};"
            " place the whole file, or remove the directory to download it again"
        )
    largest = max(path.read_bytes()[::CIFAR10_RECORD])
    if largest > 9:
        raise ValueError(
            f"{path} has label {largest}, the labels are 0 to 9; it is not a batch of the"
            " binary version of CIFAR-10"
        )


def _check_sums(folder: Path) -> bool:
    """Whether the batches were unpacked here; their bytes must then be unchanged."""
    sums = folder / CHECKSUMS
    if not sums.is_file():
        return False
    known = dict(reversed(line.split("  ", 1)) for line in sums.read_text().splitlines())
    for name in CIFAR10_BATCHES:
        if sha256_of(folder / name) != known.get(name):
            raise ValueError(
                f"{folder / name} has changed since it was unpacked;"
                f" remove {folder} to download it again"
            )
    return True


@cache
def _note(text: str) -> None:
    """Warn once a process."""
    warnings.warn(text, stacklevel=4)


def shipped(name: str) -> Path:
    """Return the path of a file shipped in milestones/data, or of a copy in the data directory.

    Raises:
        FileNotFoundError: If it is in none of the places; they are named.
    """
    places = [data_directory(), Path.cwd() / "milestones" / "data"]
    places += [parent / "milestones" / "data" for parent in Path(__file__).resolve().parents[2:3]]
    for place in places:
        if (place / name).is_file():
            return place / name
    raise FileNotFoundError(
        f"{name} is in none of {', '.join(map(str, places))};"
        " run from the course's folder, or copy the file to one of these"
    )


def tiny_shakespeare(path: str | Path | None = None) -> str:
    """Return Tiny Shakespeare, 1,115,394 characters; `path` names another copy of the file.

    Raises:
        ValueError: If the text is not the published one.
    """
    source = Path(path) if path else shipped("tinyshakespeare.txt.gz")
    data = source.read_bytes()
    if source.suffix == ".gz":
        data = gzip.decompress(data)
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != SHAKESPEARE_MD5:
        raise ValueError(
            f"{source} has MD5 {found}, Tiny Shakespeare has {SHAKESPEARE_MD5};"
            " restore it with: git checkout HEAD -- milestones/data"
        )
    return data.decode("utf-8")
