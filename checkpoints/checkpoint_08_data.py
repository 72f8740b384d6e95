"""Checkpoint 08: Can I feed real datasets efficiently?

Passing proves that your loader gives every sample once an epoch with its own label, in orders that
differ and that a seed repeats; that its threads keep order, pass on errors and end; that transforms
change images as they say; that files are read or refused; and that batches move, not samples.
"""

import gzip
import struct

import numpy as np

from checkpoints.feedback import (
    asks,
    expect,
    expect_at_most,
    expect_equal,
    expect_raises,
    expect_true,
    probe,
    timed,
    values_of,
)
from tinytorch.core.dataloader import (
    Compose,
    Cutout,
    DataLoader,
    DigitsDataset,
    Normalize,
    PixelArray,
    RandomCrop,
    RandomHorizontalFlip,
    Subset,
    TensorDataset,
    default_collate,
    random_split,
    read_cifar10,
    read_digits,
    read_idx,
)
from tinytorch.core.tensor import Tensor, manual_seed

BESIDE = probe('''
import tempfile
import threading
import time
from pathlib import Path

from tinytorch.core.dataloader import CIFAR10Dataset, DataLoader, Dataset, prefetch

class Slow(Dataset):
    """Samples 0 to n - 1; even ones come late, and one may be broken."""
    def __init__(self, n, seconds, broken=-1):
        self.n, self.seconds, self.broken = n, seconds, broken
    def __len__(self):
        return self.n
    def __getitem__(self, index):
        time.sleep(self.seconds * (index % 2 == 0))
        if index == self.broken:
            raise ValueError(f"sample {index} is broken")
        return float(index), index

def ordered(workers):
    jobs = [lambda n=n: time.sleep(0.02 * (n % 3 == 0)) or n for n in range(12)]
    return list(prefetch(jobs, workers, workers * 2))

def how_far_ahead(ahead):
    begun = []
    results = prefetch((lambda n=n: begun.append(n) for n in range(500)), 2, ahead)
    next(results)
    time.sleep(0.1)
    first = len(begun)
    results.close()
    return first, len(begun)

def threads_left(broken):
    before = threading.active_count()
    seen = 0
    try:
        for batch in DataLoader(Slow(60, 0.002, broken), batch_size=2, num_workers=3):
            seen += 1
            if broken < 0 and seen == 3:
                break
    except ValueError as error:
        seen = str(error)
    del batch
    for _ in range(100):
        if threading.active_count() == before:
            break
        time.sleep(0.02)
    return seen, threading.active_count() - before

def epoch(loader, step=0.0):
    count = 0
    for images, labels in loader:
        count += len(labels)
        if step:
            time.sleep(step)
    return count

def overlap(workers, step):
    return epoch(DataLoader(Slow(12, 0.015), batch_size=2, num_workers=workers), step)

def slow_pairs(n):
    return Slow(n, 0.0)

def count_pairs(samples):
    return [len(samples), type(samples[0]).__name__]

def write_batches(batches):
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"batch_{n}.bin") for n in range(len(batches))]
        for path, data in zip(paths, batches):
            path.write_bytes(data)
        return CIFAR10Dataset.read(paths)
''')


def rows(n, width=3):
    """Data in which row i holds i, and label i is 10 · i: a mix-up shows."""
    x = np.arange(n, dtype=np.float32)[:, None] + np.zeros(width, np.float32)
    return x, np.arange(n) * 10


def one_epoch(loader):
    """The images and labels of an epoch, batch by batch, as arrays."""
    return [(images.numpy(), labels.numpy()) for images, labels in loader]


def labels_of(loader):
    """All labels of an epoch in order."""
    return np.concatenate([labels for _, labels in one_epoch(loader)]).tolist()


def pictures(rng, n=40, channels=3, height=5, width=4):
    """Random images without zeros."""
    return rng.random((n, channels, height, width), dtype=np.float32) + 0.5


def digits_text(rng, n):
    """A digits file of n lines: pixels, labels and text."""
    pixels, labels = rng.integers(0, 17, (n, 64)), rng.integers(0, 10, n)
    lines = [",".join(map(str, [*row, label])) for row, label in zip(pixels, labels, strict=True)]
    return pixels, labels, "\n".join(lines) + "\n"


@asks("imports", step=1, of="TensorDataset", hint="each of them gives a batch of what it was given")
def test_datasets_and_loader_are_there():
    """Make a TensorDataset, a Subset, a split and a DataLoader, and read one batch."""
    data = TensorDataset(*rows(6))
    expect(data[2][1], 20, call="TensorDataset(x, y)[2][1]")
    expect(Subset(data, [4, 5])[0][1], 40, call="Subset(data, [4, 5])[0][1]")
    expect_equal(len(random_split(data, [4, 2], seed=0)), 2, call="len(random_split(data, [4, 2]))")
    expect(default_collate([1, 2]), [1, 2], call="default_collate([1, 2])")
    expect_equal(len(DataLoader(data, batch_size=4)), 2, call="len(DataLoader(data, batch_size=4))")


@asks("imports", step=6, of="Compose", hint="a transform is called on an image or on a batch")
def test_transforms_and_readers_are_there():
    """Call each transform on one image, and each reader on a few bytes."""
    image = np.ones((1, 4, 4), np.float32)
    chain = Compose([RandomHorizontalFlip(), RandomCrop(3), Normalize(1, 1), Cutout(1)])
    expect(chain(image), np.zeros((1, 3, 3)), call="Compose([…])(image)")
    expect(read_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 5, 6])), [5, 6], call="read_idx")
    expect(PixelArray(np.array([255], np.uint8))[0], 1, call="PixelArray(…)[0]")


@asks("functionality", step=1, of="TensorDataset.take", hint="all arrays are read at the same rows")
def test_rows_of_all_arrays_stay_together(rng):
    """Take samples 4, 4, 1 and random ones; images keep float32 and labels int64."""
    x, y = rows(30)
    data = TensorDataset(x, Tensor(y))
    for indices in ([4, 4, 1], rng.permutation(30).tolist()):
        images, labels = data.take(indices)
        expect(images, x[indices], call=f"take({indices[:3]}…)[0]", dtype=np.float32)
        expect(labels, y[indices], call=f"take({indices[:3]}…)[1]", dtype=np.int64)
    image, label = data[-1]
    expect(image, x[29], call="data[-1][0]", dtype=np.float32)
    expect(label, 290, call="data[-1][1]", dtype=np.int64)
    expect_raises(IndexError, lambda: data[30], call="data[30]", mentions=[30])


@asks(
    "functionality", step=1, of="TensorDataset.take", hint="fancy indexing copies, a slice does not"
)
def test_a_batch_can_be_changed_without_changing_the_data():
    """Overwrite a batch and a sample, then read the same rows again."""
    x, y = rows(8)
    data = TensorDataset(x, y)
    batch, sample = data.take([0, 1, 2])[0], data[0][0]
    batch[0] = -1.0
    sample[0] = -1.0
    expect(data.take([0, 1, 2])[0], x[:3] * 0 + [[0], [1], [2]], call="take after a change")


@asks("functionality", step=1, of="TensorDataset", hint="one row per sample in every array")
def test_arrays_that_do_not_fit_are_refused():
    """Make a TensorDataset of 6 and 5 rows, and of data with NaN; a right one still works."""
    expect(TensorDataset(np.arange(6))[5][0], 5, call="TensorDataset(np.arange(6))[5]")
    x, y = rows(6)
    expect_raises(ValueError, TensorDataset, x, y[:5], call="TensorDataset", mentions=[6, 5])
    x[4, 2] = np.nan
    expect_raises(ValueError, TensorDataset, x, y, call="TensorDataset", mentions=["NaN", "(4, 2)"])


@asks("functionality", step=1, of="Subset.take", hint="index i of a subset is indices[i] behind it")
def test_a_subset_of_a_subset_looks_through_both():
    """Read samples one by one and at once from a subset of a subset."""
    subset = Subset(Subset(TensorDataset(*rows(10)), [9, 7, 5, 3]), [2, 0, 3])
    expect([int(subset[i][1].numpy()) for i in range(3)], [50, 90, 30], call="subset[0], [1], [2]")
    expect(subset.take([2, 0])[1], [30, 50], call="subset.take([2, 0])[1]")
    expect_equal(len(subset), 3, call="len(subset)")


@asks(
    "functionality", step=2, of="random_split", hint="cut one permutation, and no index is shared"
)
def test_split_is_a_partition(rng):
    """Split 61 samples by sizes and by fractions: every sample is in exactly one part."""
    n = 61
    for lengths, sizes in (([40, 20, 1], [40, 20, 1]), ([0.5, 0.25, 0.25], [31, 15, 15])):
        parts = random_split(TensorDataset(np.arange(n)), lengths, seed=int(rng.integers(1000)))
        got = [values_of(part.indices, "indices").tolist() for part in parts]
        expect_equal([len(part) for part in got], sizes, call=f"sizes of random_split({lengths})")
        together = [i for part in got for i in part]
        expect_equal(sorted(together), list(range(n)), call="all indices of the parts, sorted")
        expect_true(together != sorted(together), call="random_split", expected="a random order",
                    got="the samples in their old order")  # fmt: skip
    wrong = [40, 20]
    call = f"random_split of 61 samples into {wrong}"
    expect_raises(ValueError, random_split, np.arange(n), wrong, call=call, mentions=[61])


@asks("functionality", step=2, of="random_split", hint="all randomness comes from the seed")
def test_split_follows_its_seed(rng):
    """Split twice with one seed, once with another."""
    data, seed = TensorDataset(np.arange(50)), int(rng.integers(1000))
    a, b, c = (
        values_of(random_split(data, [30, 20], seed=s)[0].indices, "indices").tolist()
        for s in (seed, seed, seed + 1)
    )
    expect_equal(a, b, call="random_split with the same seed")
    expect_true(a != c, call="random_split with another seed", expected="another split", got=c)


@asks("functionality", step=3, of="default_collate", hint="stacking must not change a dtype")
def test_collate_stacks_fields_and_keeps_dtypes(rng):
    """Collate tuples, dictionaries, numbers and texts."""
    images = pictures(rng, 5)
    batch = default_collate([(image, n) for n, image in enumerate(images)])
    expect(batch[0], images, call="default_collate(pairs)[0]", dtype=np.float32)
    expect(batch[1], np.arange(5), call="default_collate(pairs)[1]", dtype=np.int64)
    expect(default_collate([0.5, 2.0]), [0.5, 2], call="of Python floats", dtype=np.float32)
    for dtype in (np.uint8, np.int32, np.float64, np.bool_):
        same = [np.ones(2, dtype), np.zeros(2, dtype)]
        expect(default_collate(same), np.stack(same), call=f"of {dtype.__name__}", dtype=dtype)
    named = default_collate([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}])
    expect(named["a"], [1, 2], call="default_collate(dictionaries)['a']")
    expect_equal(list(named["b"]), ["x", "y"], call="default_collate(dictionaries)['b']")


@asks("functionality", step=3, of="default_collate", hint="compare all shapes with the first")
def test_collate_names_the_shapes_that_do_not_match():
    """Collate two samples of shape (3,) with one of shape (4,)."""
    samples = [np.zeros(3), np.zeros(3), np.zeros(4)]
    call = "default_collate of shapes (3,), (3,), (4,)"
    expect_raises(ValueError, default_collate, samples, call=call, mentions=["(3,)", "(4,)"])


@asks(
    "functionality", step=4, of="prefetch", hint="wait for the oldest job, not the first to finish"
)
def test_prefetch_keeps_the_order_of_its_jobs():
    """Run 12 jobs of which some are slow, in 1 and in 4 threads."""
    for workers in (1, 4):
        expect_equal(BESIDE.ordered(workers), list(range(12)), call=f"prefetch(jobs, {workers})")


@asks("functionality", step=4, of="prefetch", hint="take a new job only when there is room for it")
def test_prefetch_does_not_run_away():
    """Take one result of 500 jobs with ahead=3, wait, then close."""
    first, after = BESIDE.how_far_ahead(3)
    expect_true(1 <= first <= 5, call="jobs begun", expected="between 1 and 5", got=first)
    expect_true(after <= 5, call="jobs begun at close", expected="at most 5", got=after)


@asks(
    "functionality", step=4, of="prefetch", hint="result() raises what the job raised; see finally"
)
def test_errors_and_broken_loops_leave_nothing_behind():
    """Meet a broken sample in a thread; leave a loop half-way: no thread stays."""
    seen, left = BESIDE.threads_left(31)
    expect_equal(seen, "sample 31 is broken", call="the error of a worker thread")
    expect_equal(left, 0, call="threads left after an error")
    seen, left = BESIDE.threads_left(-1)
    expect_equal((seen, left), (3, 0), call="batches seen, threads left after break")


@asks(
    "functionality", step=5, of="DataLoader.batches", hint="the last batch may be smaller, not lost"
)
def test_every_sample_comes_once_with_its_label():
    """Load 23 samples in batches of 5, in order, shuffled, and with threads."""
    x, y = rows(23)
    for options in ({}, {"shuffle": True}, {"shuffle": True, "num_workers": 3}):
        loader = DataLoader(x, y, batch_size=5, **options)
        batches = one_epoch(loader)
        sizes = [len(labels) for _, labels in batches]
        expect_equal(sizes, [5, 5, 5, 5, 3], call=f"sizes of batches, {options}")
        expect_equal(len(loader), 5, call="len(loader)")
        labels = np.concatenate([labels for _, labels in batches])
        images = np.concatenate([images for images, _ in batches])
        expect_equal(sorted(labels.tolist()), y.tolist(), call=f"labels of an epoch, {options}")
        expect(images, x[labels // 10], call=f"images beside labels, {options}", dtype=np.float32)
        expect_equal(labels.dtype, np.dtype(np.int64), call="dtype of labels")
    expect_equal(labels_of(DataLoader(x, y, batch_size=4)), y.tolist(), call="order, shuffle=False")


@asks(
    "functionality",
    step=5,
    of="DataLoader.order",
    hint="seed the order with the seed and the epoch",
)
def test_epochs_differ_and_a_seed_repeats_them(rng):
    """Run two epochs with one seed, again with the same, with another, and resume at epoch 1."""
    x, y = rows(40)
    seed = int(rng.integers(1000))

    def make(seed):
        return DataLoader(x, y, batch_size=7, shuffle=True, seed=seed)

    a, b = make(seed), make(seed)
    first, second = labels_of(a), labels_of(a)
    expect_true(first != y.tolist(), call="shuffle=True", expected="a random order", got=first[:8])
    expect_true(first != second, call="two epochs", expected="different orders", got=second[:8])
    expect_equal([labels_of(b), labels_of(b)], [first, second], call="two epochs, the same seed")
    other = labels_of(make(seed + 1))
    expect_true(other != first, call="another seed", expected="another order", got=other[:8])
    resumed = make(seed)
    resumed.set_epoch(1)
    expect_equal(labels_of(resumed), second, call="epoch 1 after loader.set_epoch(1)")


@asks("functionality", step=5, of="DataLoader.__len__", hint="round down when the rest is dropped")
def test_drop_last_drops_only_a_partial_batch():
    """Load 10, 8 and 3 samples in batches of 4 with drop_last."""
    for n, batches in ((10, 2), (8, 2), (3, 0)):
        loader = DataLoader(*rows(n), batch_size=4, drop_last=True)
        got = [len(loader), [len(labels) for _, labels in one_epoch(loader)]]
        expect_equal(got, [batches, [4] * batches], call=f"batches of {n}, drop_last=True")


@asks("functionality", step=5, of="DataLoader.__iter__", hint="any length and index make a dataset")
def test_loader_takes_any_dataset_and_collate():
    """Load from a dataset of its own class and with a collate_fn; refuse a batch size of 0."""
    data = BESIDE.slow_pairs(5)
    got = one_epoch(DataLoader(data, batch_size=3, num_workers=2))
    expect(got[1][0], [3, 4], call="a dataset of another class", dtype=np.float32)
    expect(got[1][1], [3, 4], call="a dataset of another class", dtype=np.int64)
    counted = list(DataLoader(data, batch_size=3, collate_fn=BESIDE.count_pairs))
    expect_equal(counted, [[3, "tuple"], [2, "tuple"]], call="with a collate_fn")
    expect_equal(len(DataLoader(data, 2, True)), 3, call="len(DataLoader(data, 2, True))")
    for wrong in (0, -1, 2.5):
        call = f"DataLoader(data, batch_size={wrong})"
        expect_raises(ValueError, DataLoader, data, batch_size=wrong, call=call, mentions=[wrong])
    expect_raises(ValueError, DataLoader, [], call="DataLoader([])", mentions=["empty"])


@asks("functionality", step=6, of="Normalize.apply", hint="channels are axis 1 of (N, C, H, W)")
def test_normalize_goes_by_channel(rng):
    """Normalise 3 channels of 3 × 3 images: the wrong axis would fit, and be wrong."""
    images, mean, std = pictures(rng, 6, 3, 3, 3), rng.random(3), rng.random(3) + 0.5
    expected = np.stack([(images[:, c] - mean[c]) / std[c] for c in range(3)], axis=1)
    transform = Normalize(mean.tolist(), std.tolist())
    expect(transform(images), expected, call="Normalize(batch)", dtype=np.float32, rtol=1e-4)
    expect(transform(Tensor(images[0])), expected[0], call="Normalize(image)", rtol=1e-4)
    call = "Normalize of 3 channels on 2"
    expect_raises(ValueError, transform, images[:, :2], call=call, mentions=["2 channels"])


@asks("functionality", step=6, of="RandomHorizontalFlip.apply", hint="each image draws for itself")
def test_flip_mirrors_some_images_left_to_right(rng):
    """Flip 400 images with p=0.25: each is mirrored in its columns or left alone."""
    images = pictures(rng, 400)
    before = images.copy()
    out = expect(RandomHorizontalFlip(1)(images), images[..., ::-1], call="RandomHorizontalFlip(1)")
    out = values_of(
        RandomHorizontalFlip(0.25, seed=int(rng.integers(1000)))(images), "RandomHorizontalFlip"
    )
    mirrored = (out == images[..., ::-1]).all(axis=(1, 2, 3))
    same = (out == images).all(axis=(1, 2, 3))
    expect_true(bool((mirrored ^ same).all()), call="flip", expected="mirrored or same", got=out[0])
    share = float(mirrored.mean())
    expect_true(0.12 < share < 0.4, call="share flipped, p=0.25", expected="near 0.25", got=share)
    expect(images, before, call="the images that were given")


@asks("functionality", step=7, of="RandomCrop.apply", hint="each image has a place of its own")
def test_crop_cuts_every_possible_window(rng):
    """Crop 600 images of 5 × 4 to 4 × 3 with padding 1: each window is one of 16."""
    images = pictures(rng, 600)
    out = values_of(
        RandomCrop((4, 3), padding=1, seed=int(rng.integers(1000)))(images), "RandomCrop"
    )
    expect_equal(out.shape, (600, 3, 4, 3), call="shape after RandomCrop((4, 3), padding=1)")
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    places = [(y, x) for y in range(4) for x in range(4)]
    hits = np.array([(padded[:, :, y : y + 4, x : x + 3] == out).all((1, 2, 3)) for y, x in places])
    expect_equal(sorted(set(hits.sum(axis=0).tolist())), [1], call="windows that each crop equals")
    expect_equal(int((hits.sum(axis=1) > 0).sum()), 16, call="places used by 600 crops")
    expect(RandomCrop(5, padding=1)(images).shape, (600, 3, 5, 5), call="RandomCrop(5, padding=1)")
    call = "RandomCrop(7) of 5 × 4"
    expect_raises(ValueError, RandomCrop(7), images, call=call, mentions=["7 × 7", "5 × 4"])


@asks(
    "functionality", step=7, of="Cutout.apply", hint="a square per image, the same in all channels"
)
def test_cutout_hides_a_square_of_each_image(rng):
    """Cut squares of 3 out of 400 images of 6 × 6; at the border less is hidden."""
    images = pictures(rng, 400, 2, 6, 6)
    out = values_of(Cutout(3, seed=int(rng.integers(1000)))(images), "Cutout")
    hidden = out == 0
    expect(np.where(hidden, images, out), images, call="pixels that were not cut")
    expect_true(bool((hidden[:, 0] == hidden[:, 1]).all()), call="Cutout",
                expected="one square in all channels", got="another one in each")  # fmt: skip
    sizes = sorted(set(hidden[:, 0].sum(axis=(1, 2)).tolist()))
    expect_equal(sizes, [4, 6, 9], call="pixels hidden by Cutout(3) in 6 × 6")


@asks("functionality", step=8, of="read_digits", hint="64 values from 0 to 16, then the label")
def test_digits_are_read_or_refused(rng):
    """Read a digits file made here; refuse a short line and a label of 10."""
    pixels, labels, text = digits_text(rng, 20)
    images, got = read_digits(text)
    expected = pixels.reshape(20, 1, 8, 8) / 16
    expect(images, expected, call="read_digits(text)[0]", dtype=np.float32)
    expect(got, labels, call="read_digits(text)[1]", dtype=np.int64)
    short, eleven = text + "1,2,3\n", text + ",".join(["0"] * 64 + ["10"]) + "\n"
    expect_raises(ValueError, read_digits, short, call="read_digits of a short line")
    expect_raises(ValueError, read_digits, eleven, call="read_digits, label 10", mentions=["10"])


@asks("functionality", step=8, of="read_idx", hint="sizes are four bytes, most significant first")
def test_idx_is_read_or_refused(rng):
    """Read IDX files of one to three axes; refuse one that was cut short, and something else."""
    for shape in ((300,), (5, 7), (2, 3, 4)):
        values = rng.integers(0, 256, shape, dtype=np.uint8)
        data = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
        data += values.tobytes()
        expect(read_idx(data), values, call=f"read_idx of shape {shape}", dtype=np.uint8)
        for wrong in (data[:-1], data + b"x", b"GIF89a" + data, b"", data[:6]):
            expect_raises(ValueError, read_idx, wrong, call=f"read_idx of {wrong[:8]!r}…")


@asks(
    "functionality", step=8, of="read_cifar10", hint="a record is a label, then 3 × 32 × 32 values"
)
def test_cifar_records_are_read_or_refused(rng):
    """Read four CIFAR-10 records made here; refuse half a record and a label of 10."""
    pixels = rng.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    labels = [1, 0, 9, 5]
    records = [bytes([n]) + image.tobytes() for n, image in zip(labels, pixels, strict=True)]
    images, got = read_cifar10(b"".join(records))
    expect(images, pixels, call="read_cifar10(data)[0]", dtype=np.uint8)
    expect(got, labels, call="read_cifar10(data)[1]", dtype=np.int64)
    half, eleven = records[0][:-1], bytes([10]) + records[0][1:]
    expect_raises(ValueError, read_cifar10, half, call="read_cifar10", mentions=[3072])
    expect_raises(ValueError, read_cifar10, eleven, call="read_cifar10, label 10", mentions=["10"])
    images, got = BESIDE.write_batches([records[2] + records[0], records[3]])
    expect(got, [9, 1, 5], call="CIFAR10Dataset.read(paths)[1]", dtype=np.int64)
    expect(images, pixels[[2, 0, 3]], call="CIFAR10Dataset.read(paths)[0]", dtype=np.uint8)


@asks("functionality", step=9, of="PixelArray.__getitem__", hint="convert only what is asked for")
def test_pixels_read_as_float32(rng):
    """Read rows of a PixelArray: float32 from 0 to 1, each value divided by 255."""
    pixels = rng.integers(0, 256, (9, 3, 4, 4), dtype=np.uint8)
    pixels[0, 0, 0, :2] = 0, 255
    array = PixelArray(pixels)
    for index in (0, slice(2, 5), [8, 0, 3]):
        expected = pixels[index].astype(np.float64) / 255
        expect(array[index], expected, call=f"PixelArray(…)[{index}]", dtype=np.float32)
    images, _ = next(iter(DataLoader(array, np.arange(9), batch_size=4)))
    expect(images, pixels[:4] / 255, call="a batch of a PixelArray", dtype=np.float32)


@asks(
    "functionality", step=9, of="DigitsDataset.halves", hint="split indices, and use them for both"
)
def test_digits_split_into_fixed_halves(rng):
    """Split 100 digits into 80 and 20, the same each time, with their own labels."""
    pixels, labels, text = digits_text(rng, 100)
    data = gzip.compress(text.encode())
    train, test = DigitsDataset(data), DigitsDataset(data, train=False)
    expect_equal((len(train), len(test)), (80, 20), call="len of both halves")
    known = {row.tobytes(): label for row, label in zip(pixels, labels.tolist(), strict=True)}
    seen = []
    for images, own in ((train.train_data, train.train_labels), (test.test_data, test.test_labels)):
        images = (
            np.rint(values_of(images, "data") * 16).astype(pixels.dtype).reshape(len(images), 64)
        )
        seen += [row.tobytes() for row in images]
        expect(own, [known[key] for key in seen[-len(images) :]], call="labels of a half")
    expect_equal(len(set(seen)), len(known), call="different digits in both halves")
    expect(
        test.train_data, values_of(train.train_data, "train_data"), call="train_data, made twice"
    )
    expect_equal(tuple(DigitsDataset(data, flatten=True)[0][0].shape), (64,), call="flatten=True")


@asks(
    "integration", step=5, of="DataLoader.__iter__", module="08", hint="a batch is made of Tensors"
)
def test_batches_are_tensors_to_compute_with(rng):
    """Add up xᵀx and xᵀy over shuffled batches: the sums are those of all the data."""
    x = rng.standard_normal((50, 4)).astype(np.float32)
    y = (x @ [1.0, -2.0, 3.0, 0.5]).astype(np.float32)
    gram, moment = Tensor(np.zeros((4, 4), np.float32)), Tensor(np.zeros(4, np.float32))
    for images, targets in DataLoader(x, y, batch_size=8, shuffle=True, num_workers=2):
        gram = gram + images.T @ images
        moment = moment + images.T @ targets
    expect(gram, x.T @ x, call="sum of x.T @ x over batches", rtol=1e-4, atol=1e-4)
    expect(moment, x.T @ y, call="sum of x.T @ y over batches", rtol=1e-4, atol=1e-4)


@asks("integration", step=5, of="DataLoader", hint="without a seed, the course's generator decides")
def test_manual_seed_repeats_a_loader_without_a_seed():
    """Make a shuffling loader after manual_seed(3), twice, and after manual_seed(4)."""
    orders = []
    for seed in (3, 3, 4):
        manual_seed(seed)
        orders.append(labels_of(DataLoader(*rows(30), batch_size=10, shuffle=True)))
    expect_equal(orders[0], orders[1], call="orders after manual_seed(3)")
    expect_true(
        orders[0] != orders[2], call="manual_seed(4)", expected="another order", got=orders[2]
    )


@asks(
    "integration", step=7, of="Compose", hint="a random transform draws from the batch's generator"
)
def test_split_transform_and_threads_work_together(rng):
    """Train on a split with crop and flip: the same batches with 0 and with 3 threads."""
    images, labels = pictures(rng, 60), np.arange(60)
    epochs = []
    for workers in (0, 3):
        chain = Compose([RandomCrop(4, padding=2), RandomHorizontalFlip(), Cutout(2)])
        train, _ = random_split(TensorDataset(images, labels, transform=chain), [45, 15], seed=1)
        loader = DataLoader(train, batch_size=8, shuffle=True, seed=5, num_workers=workers)
        epochs.append(one_epoch(loader))
        wanted = sorted(values_of(train.indices, "indices").tolist())
        got = sorted(int(n) for _, batch in epochs[-1] for n in batch)
        expect_equal(got, wanted, call=f"labels of the split, {workers} threads")
    for (a, x), (b, y) in zip(*epochs, strict=True):
        expect(x, y, call="labels with 0 threads", hint="order must not depend on threads")
        expect(a, b, call="images with 0 threads", hint="randomness must not depend on threads")


@asks("performance", step=1, of="TensorDataset.take", hint="index the arrays once for each batch")
def test_a_batch_is_read_at_once():
    """Load 20,000 small samples in batches of 100, against indexing the arrays in NumPy."""
    x, y = rows(20_000, width=8)
    loader = DataLoader(x, y, batch_size=100)
    order = np.arange(20_000)
    parts = [order[i : i + 100] for i in range(0, 20_000, 100)]
    expect_equal(BESIDE.epoch(loader), 20_000, call="samples of an epoch")
    yours = timed(BESIDE.epoch, loader, repeat=3)
    reference = timed(lambda: [(x[part], y[part]) for part in parts], repeat=3)
    expect_at_most(yours / reference, 50.0, call="an epoch", what="time against NumPy")


@asks("performance", step=4, of="prefetch", hint="the next batches load while this one is used")
def test_threads_load_while_the_model_works():
    """Load 6 batches of 15 ms beside steps of 15 ms: with 2 threads they overlap."""
    alone = timed(BESIDE.overlap, 0, 0.015, repeat=1)
    ahead = timed(BESIDE.overlap, 2, 0.015, repeat=1)
    call = "num_workers=2 against 0"
    expect_at_most(ahead / alone, 0.8, call=call, what="time with threads against without")


@asks("performance", step=9, of="PixelArray.__getitem__", hint="keep bytes, convert what is read")
def test_images_stay_bytes_until_they_are_read(rng):
    """Read 64 of 8,000 images from a PixelArray, against converting all of them."""
    pixels = rng.integers(0, 256, (8_000, 3, 16, 16), dtype=np.uint8)
    array = PixelArray(pixels)
    expect_equal(int(array.nbytes), pixels.nbytes, call="PixelArray.nbytes")
    few = rng.permutation(8_000)[:64]
    yours = timed(array.__getitem__, few, repeat=3)
    reference = timed(lambda: np.divide(pixels, 255, dtype=np.float32), repeat=3)
    call = "PixelArray(…)[64 indices]"
    expect_at_most(yours / reference, 0.4, call=call, what="time against converting everything")
