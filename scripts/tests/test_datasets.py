"""Modules 08 and 10 on data as it comes: the shipped files, the real ones where they are, any text.

The cases on real files run where TINYTORCH_TEST_DATA names a directory that holds them.
"""

import json
import os
import shutil
import string
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import importable, load_course

from tinytorch.utils import sources
from tinytorch.utils.archive import unpack

M = load_course("10")
lent = importable(M)
D, T = M.dataloader, M.tokenization
TEST_DATA = Path(os.environ.get("TINYTORCH_TEST_DATA") or "/nonexistent")
TEXT = "It was the best of times, it was the worst of times. naïve 日本語 🙂🙂 " * 4


def real(name):
    """Skip unless TINYTORCH_TEST_DATA holds this file."""
    reason = f"TINYTORCH_TEST_DATA names no directory with {name}"
    return pytest.mark.skipif(not (TEST_DATA / name).is_file(), reason=reason)


def test_shipped_digits_are_the_ones_described():
    """All 1,797 digits, in two fixed halves, from 0 to 1, with the counts of their source."""
    digits = D.DigitsDataset()
    labels = np.concatenate([digits.train_labels, digits.test_labels])
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    np.testing.assert_array_equal(np.bincount(labels), counts)
    assert (len(digits), len(D.DigitsDataset(train=False))) == (1438, 359)
    assert digits.train_data.shape == (1438, 1, 8, 8)
    assert (digits.train_data.dtype, digits.train_data.min(), digits.train_data.max()) == (
        np.float32,
        0,
        1,
    )


def test_nearest_mean_reads_the_digits():
    """Images and labels belong together: the nearest class mean is right nine times in ten."""
    digits = D.DigitsDataset(flatten=True)
    train, test = digits.train_data, digits.test_data
    means = np.stack([train[digits.train_labels == n].mean(axis=0) for n in range(10)])
    nearest = ((test[:, None] - means) ** 2).sum(axis=-1).argmin(axis=1)
    assert (nearest == digits.test_labels).mean() > 0.85


@real("train-images-idx3-ubyte.gz")
def test_real_mnist():
    """60,000 and 10,000 digits with the published counts and mean."""
    mnist = D.MNISTDataset(TEST_DATA, flatten=False)
    assert mnist.train_data.shape == (60_000, 1, 28, 28)
    assert mnist.test_data.shape == (10_000, 1, 28, 28)
    np.testing.assert_array_equal(mnist.train_labels[:5], [5, 0, 4, 1, 9])
    np.testing.assert_array_equal(np.bincount(mnist.test_labels)[:3], [980, 1135, 1032])
    assert mnist.train_data.mean() == pytest.approx(0.1307, abs=1e-4)


@pytest.mark.slow
@real("cifar-10-binary.tar.xz")
def test_real_cifar_placed_by_hand(tmp_path):
    """60,000 photographs with the published means and deviations of the channels."""
    members = {f"cifar-10-batches-bin/{n}": 30_730_000 for n in sources.CIFAR10_BATCHES}
    unpack(TEST_DATA / "cifar-10-binary.tar.xz", members, tmp_path / "cifar-10-batches-bin")
    sources._note.cache_clear()
    with pytest.warns(UserWarning, match="not known to be the published bytes"):
        cifar = D.CIFAR10Dataset(tmp_path, download=True, flatten=False)
    assert not cifar.published
    assert cifar.train_data.nbytes + cifar.test_data.nbytes == 184_320_000
    np.testing.assert_array_equal(np.bincount(cifar.train_labels), [5000] * 10)
    pixels = cifar.train_data.pixels
    np.testing.assert_allclose(pixels.mean(axis=(0, 2, 3)) / 255, cifar.mean, atol=1e-4)
    np.testing.assert_allclose(pixels[::10].std(axis=(0, 2, 3)) / 255, cifar.std, atol=5e-3)
    loader = D.DataLoader(cifar.train_data, cifar.train_labels, batch_size=32)
    images, labels = next(iter(loader))
    assert (images.shape, images.dtype) == ((32, 3, 32, 32), np.float32)
    assert (labels.dtype, len(loader)) == (np.int64, 1563)
    shutil.rmtree(tmp_path)  # pytest would keep these 184 MB


def small_cifar(folder, monkeypatch):
    """Six batches of four images, placed by hand."""
    batches = folder / "cifar-10-batches-bin"
    batches.mkdir()
    rng = np.random.default_rng(0)
    for n, name in enumerate(sources.CIFAR10_BATCHES):
        records = [bytes([n, *rng.integers(0, 256, 3072).tolist()]) for _ in range(4)]
        (batches / name).write_bytes(b"".join(records))
    monkeypatch.setattr(sources, "CIFAR10_BATCH_BYTES", 4 * 3073)


@pytest.mark.filterwarnings("ignore:the CIFAR-10 batches")
def test_cifar_as_the_course_script_uses_it(tmp_path, monkeypatch):
    """`.train_data` and its labels go to a loader as they are; both forms of image."""
    small_cifar(tmp_path, monkeypatch)
    monkeypatch.setenv("TINYTORCH_DATA", str(tmp_path))
    data = D.CIFAR10Dataset(download=True, flatten=False)
    assert data.train_data.shape == (20, 3, 32, 32)
    assert data.train_labels.tolist() == [n for n in range(5) for _ in range(4)]
    assert data.test_labels.tolist() == [5] * 4
    batches = list(D.DataLoader(data.train_data, data.train_labels, batch_size=8))
    assert [images.shape for images, _ in batches] == [(8, 3, 32, 32)] * 2 + [(4, 3, 32, 32)]
    flat = D.CIFAR10Dataset(train=False, flatten=True)
    assert (flat[0][0].shape, flat.take([3, 1])[0].shape) == ((3072,), (2, 3072))
    np.testing.assert_array_equal(flat[2][0].numpy(), data.test_data[2].ravel())
    assert D.download_cifar10() == tmp_path / "cifar-10-batches-bin"


@pytest.mark.parametrize("shape", [(300,), (5, 7), (2, 3, 4)])
def test_idx_is_read_or_refused(shape):
    """Sizes are four bytes, most significant first; nothing is missing or left over."""
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    sizes = b"".join(size.to_bytes(4, "big") for size in shape)
    data = bytes([0, 0, 8, len(shape)]) + sizes + values.tobytes()
    np.testing.assert_array_equal(D.read_idx(data), values)
    for wrong in (data[:-1], data + b"x", b"", data[:6], b"\x00\x00\x0d" + data[3:]):
        with pytest.raises(ValueError, match="get it again"):
            D.read_idx(wrong)


def test_fractions_deal_the_rest_from_the_first():
    """PyTorch's rule: round down, then deal what is left over."""
    for lengths, sizes in (([0.55, 0.45], [6, 4]), ([2, 8], [2, 8]), ([0.0, 1.0], [0, 10])):
        parts = D.random_split(np.arange(10), lengths, seed=0)
        assert [len(part) for part in parts] == sizes


def test_cutout_hides_a_square_of_each_image():
    """Each image loses a square of its own, the same in all channels; the border cuts some off."""
    images = np.random.default_rng(0).random((400, 2, 6, 6), dtype=np.float32) + 1
    out = D.Cutout(3, seed=0)(images)
    hidden = out == 0
    np.testing.assert_array_equal(np.where(hidden, images, out), images)
    assert (hidden[:, 0] == hidden[:, 1]).all()
    assert set(hidden[:, 0].sum(axis=(1, 2)).tolist()) == {4, 6, 9}


def test_a_pixel_array_behaves_like_the_array_it_stands_for():
    """Arithmetic methods, conversion and indexing see float32 numbers from 0 to 1."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 2, 2), dtype=np.uint8)
    array, plain = D.PixelArray(pixels), pixels.astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(np.asarray(array), plain)
    np.testing.assert_array_equal(M.tensor.Tensor(array).numpy(), plain)
    np.testing.assert_array_equal(array.reshape(5, -1), plain.reshape(5, -1))
    np.testing.assert_array_equal(array[1:3, 0], plain[1:3, 0])
    assert array.std(axis=0).shape == (3, 2, 2)
    with pytest.raises(AttributeError):
        _ = array.no_such_thing
    with pytest.raises(TypeError, match="float64"):
        D.PixelArray(plain.astype(np.float64))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 60),
    size=st.integers(1, 20),
    workers=st.integers(0, 3),
    shuffle=st.booleans(),
    drop=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_an_epoch_is_a_permutation(n, size, workers, shuffle, drop, seed):
    """Every sample comes at most once, all of them unless the last batch is dropped."""
    loader = D.DataLoader(
        np.arange(n) * 2.0,
        np.arange(n),
        batch_size=size,
        shuffle=shuffle,
        drop_last=drop,
        num_workers=workers,
        seed=seed,
    )
    batches = [(x.numpy(), y.numpy()) for x, y in loader]
    seen = np.concatenate([y for _, y in batches]) if batches else np.zeros(0, int)
    assert len(loader) == len(batches) == (n // size if drop else -(-n // size))
    assert len(seen) == (n // size * size if drop else n)
    assert len(set(seen.tolist())) == len(seen)
    assert all((x == y * 2).all() for x, y in batches)
    assert shuffle or seen.tolist() == list(range(len(seen)))


def test_many_loaders_in_many_threads_agree():
    """The same loader read in several threads at once gives each its own whole epoch."""
    data = D.TensorDataset(np.arange(500))
    loader = D.DataLoader(data, batch_size=7, shuffle=True, num_workers=2)
    sums: list[int] = []

    def read():
        sums.append(sum(int(x.numpy().sum()) for (x,) in loader))

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == [sum(range(500))] * 6


def test_an_abandoned_loader_stops_its_threads_promptly():
    """Leaving a loop half-way waits for the batches in flight, not for the epoch."""

    class Slow:
        def __len__(self):
            return 1000

        def __getitem__(self, index):
            time.sleep(0.005)
            return index

    before, start = threading.active_count(), time.perf_counter()
    for _ in D.DataLoader(Slow(), batch_size=4, num_workers=2):
        break
    assert time.perf_counter() - start < 1
    assert threading.active_count() == before


# Tokenizers


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_text_round_trips(text):
    """Bytes, merges and pieces lose nothing, whatever the text."""
    assert "".join(T.split_words(text)) == text
    assert TRAINED.decode(TRAINED.encode(text), errors="strict") == text
    if text:
        chars = T.CharTokenizer(text)
        assert chars.decode(chars.encode(text)) == text


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 399), max_size=50))
def test_any_ids_decode(ids):
    """A model may say anything: decoding never fails on ids of the vocabulary."""
    assert isinstance(TRAINED.decode([i % TRAINED.vocab_size for i in ids]), str)


@settings(max_examples=150, deadline=None)
@given(
    words=st.dictionaries(
        st.text("abc", max_size=20).map(str.encode), st.integers(1, 4), max_size=6
    ),
    number=st.integers(0, 30),
)
def test_fast_training_is_slow_training(words, number):
    """The linked list and the heap learn what counting again and again learns."""
    assert T.learn_merges(words, number) == T.learn_merges_slowly(words, number)


@settings(max_examples=60, deadline=None)
@given(st.text(string.ascii_letters + " <|>e", max_size=60), st.integers(0, 3))
def test_special_tokens_survive_any_surroundings(text, times):
    """Each special token is one id, wherever it stands; the rest is encoded as if alone."""
    marks = ["<|e|>", "<|e|>e", "|"]
    tokenizer = T.BPETokenizer().train(TEXT, 330, special_tokens=marks)
    joined = "<|e|>".join([text] * (times + 1))
    assert tokenizer.decode(tokenizer.encode(joined)) == joined
    plain = tokenizer.encode(joined, allow_special=False)
    assert max(plain, default=0) < 330 - len(marks)
    assert tokenizer.decode(plain) == joined


def test_every_character_of_unicode_is_split_and_encoded():
    """All 1.1 million code points that are characters, in one text."""
    everything = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)
    assert "".join(T.split_words(everything)) == everything
    assert len(T.to_bytes(everything)) == 4_382_592


def test_training_does_not_depend_on_hash_order(tmp_path, root):
    """The same file, byte for byte, from words in any order."""
    words = T.word_counts([TEXT])
    backwards = dict(reversed(words.items()))
    assert T.learn_merges(words, 80) == T.learn_merges(backwards, 80)
    for name in ("a", "b"):
        T.BPETokenizer().train(TEXT, 300, special_tokens=["<s>"]).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    """A crash while writing leaves the last good tokenizer, and nothing beside it."""
    path = tmp_path / "t.json"
    TRAINED.save(path)
    old = path.read_bytes()

    def crash(*_arguments, **_named):
        raise OSError("disk full")

    monkeypatch.setattr(json, "dump", crash)
    with pytest.raises(OSError, match="disk full"):
        T.BPETokenizer().save(path)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["t.json"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json", "is not a JSON file"),
        ("[]", "is no tokenizer of the format"),
        ('{"format": "tinytorch-bpe", "version": 2}', "is no tokenizer of the format"),
        ('{"format": "tinytorch-bpe", "version": 1, "merges": [[1]]}', "merge 0"),
        ('{"format": "tinytorch-bpe", "version": 1, "merges": [[1, 300]]}', "merge 0"),
        ('{"format": "tinytorch-bpe", "version": 1, "merges": [[true, 2]]}', "merge 0"),
        ('{"format": "tinytorch-bpe", "version": 1, "special_tokens": ["a", "a"]}', "twice"),
        ('{"format": "tinytorch-bpe", "version": 1, "special_tokens": [""]}', "empty"),
        ('{"format": "tinytorch-bpe", "version": 1, "special_tokens": [3]}', "int"),
    ],
)
def test_a_damaged_tokenizer_file_is_refused(tmp_path, text, words):
    """Nothing that is read is believed."""
    (tmp_path / "t.json").write_text(text)
    with pytest.raises((ValueError, TypeError), match=words):
        T.BPETokenizer.load(tmp_path / "t.json")


TRAINED = T.BPETokenizer().train(TEXT, 400)
