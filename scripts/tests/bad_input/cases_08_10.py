"""Bad input to modules 08 and 10: what is called, what it must raise, what the message must name.

The callables import the course when they are called, so that the table can be read without it.
"""

import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np


def data(name: str, *arguments: Any, **named: Any) -> Any:
    """Call something of module 08."""
    return getattr(import_module("tinytorch.core.dataloader"), name)(*arguments, **named)


def text(name: str, *arguments: Any, **named: Any) -> Any:
    """Call something of module 10."""
    return getattr(import_module("tinytorch.core.tokenization"), name)(*arguments, **named)


def trained() -> Any:
    """A tokenizer of 258 tokens: the bytes, ab, and abab."""
    return text("BPETokenizer").train("abababab", 258)


def digits(line: str) -> Any:
    """Read a digits file of one line."""
    return data("read_digits", line)


def with_nan() -> np.ndarray:
    """Six samples, of which the fourth holds a NaN."""
    array = np.ones((6, 2), np.float32)
    array[3, 1] = np.nan
    return array


def loaded(content: str) -> Any:
    """Load a tokenizer file with this content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokenizer.json")
        path.write_text(content)
        return text("BPETokenizer").load(path)


def cifar_of(size: int) -> Any:
    """Open CIFAR-10 in a directory whose batches have this many bytes."""
    with tempfile.TemporaryDirectory() as folder:
        batches = Path(folder, "cifar-10-batches-bin")
        batches.mkdir()
        for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4"):
            (batches / f"{name}.bin").write_bytes(bytes(size))
        return data("CIFAR10Dataset", folder)


def missing(name: str) -> Any:
    """Open a data set in an empty directory, without leave to download."""
    with tempfile.TemporaryDirectory() as folder:
        return data(name, folder)


IMAGES, LABELS = np.zeros((6, 3, 8, 8), np.float32), np.arange(6)

CASES = [
    # Datasets
    ("no arrays", lambda: data("TensorDataset"), TypeError, ["at least one array"]),
    (
        "mismatched lengths",
        lambda: data("TensorDataset", IMAGES, LABELS[:5]),
        ValueError,
        ["6, 5 rows", "as many rows"],
    ),
    (
        "mismatched lengths in a loader",
        lambda: data("DataLoader", IMAGES, LABELS[:5], batch_size=2),
        ValueError,
        ["6, 5 rows"],
    ),
    (
        "a number as data",
        lambda: data("TensorDataset", 3.5),
        TypeError,
        ["array 0", "float", "a row per sample"],
    ),
    ("text as data", lambda: data("TensorDataset", ["a", "b"]), TypeError, ["array 0"]),
    (
        "NaN in data",
        lambda: data("TensorDataset", with_nan(), LABELS),
        ValueError,
        ["NaN", "(3, 1)", "np.nan_to_num"],
    ),
    (
        "NaN in labels",
        lambda: data("DataLoader", LABELS, with_nan()[:, 1]),
        ValueError,
        ["array 1", "NaN", "(3,)"],
    ),
    (
        "index out of range",
        lambda: data("TensorDataset", LABELS)[6],
        IndexError,
        ["6", "6 samples"],
    ),
    (
        "negative index out of range",
        lambda: data("TensorDataset", LABELS)[-7],
        IndexError,
        ["-7", "6 samples"],
    ),
    (
        "index beyond the data in take",
        lambda: data("TensorDataset", LABELS).take([0, 9]),
        IndexError,
        ["9"],
    ),
    (
        "subset of samples that are not there",
        lambda: data("Subset", LABELS, [0, 6]),
        IndexError,
        ["6 is out of range", "6 samples"],
    ),
    ("a dataset without samples", lambda: data("Dataset")[0], TypeError, ["define __getitem__"]),
    ("a dataset without length", lambda: len(data("Dataset")), TypeError, ["define __len__"]),
    (
        "split into too few",
        lambda: data("random_split", LABELS, [2, 3]),
        ValueError,
        ["6 samples", "[2, 3]", "sum to 6"],
    ),
    (
        "split into fractions above 1",
        lambda: data("random_split", LABELS, [0.8, 0.3]),
        ValueError,
        ["[0.8, 0.3]", "sum to 1"],
    ),
    (
        "split into a negative part",
        lambda: data("random_split", LABELS, [7, -1]),
        ValueError,
        ["-1"],
    ),
    (
        "samples of two shapes",
        lambda: data("default_collate", [np.zeros(3), np.zeros(4)]),
        ValueError,
        ["(3,)", "(4,)", "collate_fn"],
    ),
    # The loader
    ("empty dataset", lambda: data("DataLoader", []), ValueError, ["empty", "check its path"]),
    ("empty arrays", lambda: data("DataLoader", IMAGES[:0], LABELS[:0]), ValueError, ["empty"]),
    ("empty subset", lambda: data("DataLoader", data("Subset", LABELS, [])), ValueError, ["empty"]),
    (
        "batch size 0",
        lambda: data("DataLoader", LABELS, batch_size=0),
        ValueError,
        ["batch_size is 0", "at least 1"],
    ),
    ("batch size 0 by place", lambda: data("DataLoader", IMAGES, LABELS, 0), ValueError, ["is 0"]),
    (
        "negative batch size",
        lambda: data("DataLoader", LABELS, batch_size=-4),
        ValueError,
        ["batch_size is -4"],
    ),
    (
        "fractional batch size",
        lambda: data("DataLoader", LABELS, batch_size=2.5),
        ValueError,
        ["batch_size is 2.5", "whole number"],
    ),
    (
        "negative workers",
        lambda: data("DataLoader", LABELS, num_workers=-1),
        ValueError,
        ["num_workers is -1"],
    ),
    ("a seed of text", lambda: data("DataLoader", LABELS, seed="x"), ValueError, ["seed is 'x'"]),
    ("a generator as dataset", lambda: data("DataLoader", iter([1])), TypeError, ["__getitem__"]),
    (
        "settings before arrays",
        lambda: data("DataLoader", IMAGES, 32, LABELS),
        TypeError,
        ["arrays first"],
    ),
    # Transforms
    (
        "a flat image",
        lambda: data("RandomHorizontalFlip")(np.zeros(64)),
        ValueError,
        ["(64,)", "(channels, height, width)", "reshape"],
    ),
    (
        "probability above 1",
        lambda: data("RandomHorizontalFlip", 1.5),
        ValueError,
        ["1.5", "between 0 and 1"],
    ),
    (
        "crop larger than the image",
        lambda: data("RandomCrop", 11, padding=1)(IMAGES),
        ValueError,
        ["11 × 11", "8 × 8", "padding 1"],
    ),
    ("crop of no pixels", lambda: data("RandomCrop", 0), ValueError, ["size is 0"]),
    ("negative padding", lambda: data("RandomCrop", 4, -1), ValueError, ["padding is -1"]),
    ("cutout of no pixels", lambda: data("Cutout", 0), ValueError, ["size is 0", "at least 1"]),
    (
        "deviation of 0",
        lambda: data("Normalize", [0.5], [0.0]),
        ValueError,
        ["[0.0]", "above 0"],
    ),
    ("mean that is NaN", lambda: data("Normalize", [np.nan], [1.0]), ValueError, ["nan"]),
    (
        "two means for three channels",
        lambda: data("Normalize", [0.5, 0.5], [1.0])(IMAGES),
        ValueError,
        ["(2,)", "3 channels"],
    ),
    (
        "pixels that are no bytes",
        lambda: data("PixelArray", np.zeros(3)),
        TypeError,
        ["float64", "uint8"],
    ),
    # Files
    ("a short line of digits", lambda: digits("1,2,3"), ValueError, ["line 1", "65 numbers"]),
    ("no digits", lambda: digits(""), ValueError, ["65 numbers"]),
    ("a digit of 11", lambda: digits(",".join(["0"] * 64 + ["11"])), ValueError, ["label 11"]),
    (
        "an IDX file cut short",
        lambda: data("read_idx", b"\0\0\x08\x01\0\0\0\x05abc"),
        ValueError,
        ["(5,)", "3 values"],
    ),
    ("no IDX file", lambda: data("read_idx", b"GIF89a"), ValueError, ["47 49 46 38", "IDX"]),
    (
        "half a CIFAR record",
        lambda: data("read_cifar10", bytes(3072)),
        ValueError,
        ["3072", "3073"],
    ),
    (
        "a CIFAR label of 10",
        lambda: data("read_cifar10", bytes([10]) + bytes(3072)),
        ValueError,
        ["sample 0", "label 10", "0 to 9"],
    ),
    (
        "CIFAR-10 that is not there",
        lambda: missing("CIFAR10Dataset"),
        FileNotFoundError,
        ["download=True", "copy it to", "cifar-10-batches-bin"],
    ),
    (
        "MNIST that is not there",
        lambda: missing("MNISTDataset"),
        FileNotFoundError,
        ["train-images-idx3-ubyte.gz", "download=True", "copy it to"],
    ),
    (
        "a CIFAR batch cut short",
        lambda: cifar_of(3073),
        ValueError,
        ["data_batch_1.bin", "3073 bytes", "30730000"],
    ),
    # Tokenizers
    ("no text for characters", lambda: text("CharTokenizer", ""), ValueError, ["empty"]),
    ("a number for text", lambda: text("CharTokenizer", 5), TypeError, ["int", "give a str"]),
    (
        "an unknown character",
        lambda: text("CharTokenizer", "abc").encode("abxc"),
        ValueError,
        ["'x'", "position 2", "3 characters"],
    ),
    (
        "a character id out of range",
        lambda: text("CharTokenizer", "abc").decode([0, 3]),
        ValueError,
        ["id 3", "position 1", "0 to 2"],
    ),
    ("no text for pairs", lambda: text("BPETokenizer").train("", 300), ValueError, ["empty"]),
    (
        "a vocabulary below the bytes",
        lambda: text("BPETokenizer").train("ab", 255),
        ValueError,
        ["255", "256"],
    ),
    (
        "a vocabulary below bytes and specials",
        lambda: text("BPETokenizer").train("ab", 256, ["<e>"]),
        ValueError,
        ["256", "257", "special"],
    ),
    (
        "a vocabulary that is no number",
        lambda: text("BPETokenizer").train("ab", "many"),
        ValueError,
        ["'many'"],
    ),
    ("a token id out of range", lambda: trained().decode([258]), ValueError, ["258", "0 to 257"]),
    ("a negative token id", lambda: trained().decode([97, -1]), ValueError, ["-1", "position 1"]),
    ("a token id of 1.5", lambda: trained().decode([1.5]), TypeError, ["1.5", "whole numbers"]),
    ("one id without a list", lambda: trained().decode(97), TypeError, ["97", "[97]"]),
    (
        "ids in two axes",
        lambda: trained().decode(np.array([[97, 98]])),
        TypeError,
        ["[97, 98]", "one sequence"],
    ),
    (
        "a lone surrogate",
        lambda: trained().encode("ab\ud83d"),
        ValueError,
        ["position 2", "surrogate", "'ignore'"],
    ),
    (
        "a lone surrogate in training",
        lambda: text("BPETokenizer").train("ab\ud83d", 300),
        ValueError,
        ["surrogate"],
    ),
    ("no text to encode", lambda: trained().encode(None), TypeError, ["NoneType", "give a str"]),
    ("bytes to encode", lambda: trained().encode(b"ab"), TypeError, ["bytes", "give a str"]),
    (
        "one special token twice",
        lambda: text("BPETokenizer").train("ab", 300, ["<e>", "<e>"]),
        ValueError,
        ["'<e>'", "twice"],
    ),
    (
        "an empty special token",
        lambda: text("BPETokenizer").train("ab", 300, [""]),
        ValueError,
        ["special token", "empty"],
    ),
    (
        "special tokens as one text",
        lambda: text("BPETokenizer").train("ab", 300, "<e>"),
        TypeError,
        ["'<e>'", "list"],
    ),
    ("a tokenizer file of something else", lambda: loaded("{}"), ValueError, ["tinytorch-bpe"]),
    ("a tokenizer file that is no JSON", lambda: loaded("{"), ValueError, ["JSON"]),
    (
        "a merge of tokens to come",
        lambda: loaded('{"format": "tinytorch-bpe", "version": 1, "merges": [[97, 256]]}'),
        ValueError,
        ["[97, 256]", "merge 0", "256"],
    ),
]
