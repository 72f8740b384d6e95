"""Checkpoint 08: Can I feed real datasets efficiently?

Passing proves that your loader gives every sample once an epoch with its own label, in orders that
differ and that a seed repeats; that its threads keep order, pass on errors and end; that transforms
change images as they say; that files are read or refused; and that batches move, not samples.
"""

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
)
from tinytorch.core.tensor import Tensor, manual_seed

BESIDE = probe('''
import threading
import time

from tinytorch.core.dataloader import DataLoader, Dataset, prefetch

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
    """Random images without zeros, (N, C, H, W)."""
    return rng.random((n, channels, height, width), dtype=np.float32) + 0.5


@asks("imports", step=1, of="TensorDataset", hint="each name comes from one step; run tito test 08")
def test_everything_is_there():
    """Make one of everything that the module exports, and use it."""
    data, image = TensorDataset(*rows(6)), np.ones((1, 4, 4), np.float32)
    expect(Subset(data, [4, 5])[0][1], 40, call="Subset(data, [4, 5])[0][1]")
    expect_equal(len(random_split(data, [4, 2], seed=0)), 2, call="len(random_split(data, [4, 2]))")
    expect(default_collate([1, 2]), [1, 2], call="default_collate([1, 2])")
    expect_equal(len(DataLoader(data, batch_size=3)), 2, call="len(DataLoader(data, batch_size=3))")
    chain = Compose([RandomHorizontalFlip(), RandomCrop(3), Normalize(1, 1)])
    expect(chain(image), np.zeros((1, 3, 3)), call="Compose([…])(image)")
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
    expect(data[-1][0], x[29], call="data[-1][0]", dtype=np.float32)
    expect_raises(IndexError, lambda: data[30], call="data[30]", mentions=[30])


@asks("functionality", step=1, of="TensorDataset.take", hint="fancy indexing copies, slices do not")
def test_a_batch_can_be_changed_without_changing_the_data():
    """Overwrite a batch, then read the same rows again."""
    data = TensorDataset(*rows(8))
    batch = data.take([0, 1, 2])[0]
    batch[0] = -1.0
    expect(data.take([0, 1, 2])[0], rows(3)[0], call="take after a change")


@asks("functionality", step=1, of="Subset.take", hint="index i of a subset is indices[i] behind it")
def test_a_subset_of_a_subset_looks_through_both():
    """Read samples one by one and at once from a subset of a subset."""
    subset = Subset(Subset(TensorDataset(*rows(10)), [9, 7, 5, 3]), [2, 0, 3])
    expect([int(subset[i][1].numpy()) for i in range(3)], [50, 90, 30], call="subset[0], [1], [2]")
    expect(subset.take([2, 0])[1], [30, 50], call="subset.take([2, 0])[1]")


@asks("functionality", step=2, of="random_split", hint="cut one permutation into parts")
def test_split_is_a_partition(rng):
    """Split 61 samples by fractions: every sample is in exactly one part."""
    lengths, seed = [0.5, 0.25, 0.25], int(rng.integers(1000))
    parts = random_split(TensorDataset(np.arange(61)), lengths, seed=seed)
    got = [values_of(part.indices, "indices").tolist() for part in parts]
    expect_equal([len(part) for part in got], [31, 15, 15], call="sizes of random_split(…)")
    together = [i for part in got for i in part]
    expect_equal(sorted(together), list(range(61)), call="all indices of the parts, sorted")
    call = "random_split"
    expect_true(together != sorted(together), call=call, expected="a random order", got=together)


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
    same = [np.ones(2, np.float64), np.zeros(2, np.float64)]
    expect(default_collate(same), np.stack(same), call="of float64", dtype=np.float64)
    named = default_collate([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}])
    expect(named["a"], [1, 2], call="default_collate(dictionaries)['a']")
    expect_equal(list(named["b"]), ["x", "y"], call="default_collate(dictionaries)['b']")


@asks(
    "functionality", step=3, of="default_collate", hint="compare all shapes; checks.unlike words it"
)
def test_collate_names_the_shapes_that_do_not_match():
    """Collate two samples of shape (3,) with one of shape (4,)."""
    samples = [np.zeros(3), np.zeros(3), np.zeros(4)]
    call = "default_collate of shapes (3,), (3,), (4,)"
    expect_raises(ValueError, default_collate, samples, call=call, mentions=["(3,)", "(4,)"])


@asks("functionality", step=4, of="prefetch", hint="wait for the oldest job, not the first")
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


@asks("functionality", step=4, of="prefetch", hint="result() raises the job's error; finally")
def test_errors_and_broken_loops_leave_nothing_behind():
    """Meet a broken sample in a thread; leave a loop half-way: no thread stays."""
    expected = ["sample 31 is broken", 0]
    expect_equal(
        list(BESIDE.threads_left(31)), expected, call="the error of a thread, threads left"
    )
    expect_equal(list(BESIDE.threads_left(-1)), [3, 0], call="batches, threads left after break")


@asks("functionality", step=5, of="DataLoader.batches", hint="the last may be smaller, not lost")
def test_every_sample_comes_once_with_its_label():
    """Load 23 samples in batches of 5, in order, shuffled, and with threads."""
    x, y = rows(23)
    for options in ({}, {"shuffle": True, "num_workers": 3}):
        loader = DataLoader(x, y, batch_size=5, **options)
        batches = one_epoch(loader)
        sizes = [len(labels) for _, labels in batches]
        words = "".join(f", {name}={value}" for name, value in options.items())
        call = f"sizes of batches, batch_size=5{words}"
        expect_equal(sizes, [5, 5, 5, 5, 3], call=call)
        expect_equal(len(loader), 5, call="len(loader)")
        labels = np.concatenate([labels for _, labels in batches])
        images = np.concatenate([images for images, _ in batches])
        expect_equal(sorted(labels.tolist()), y.tolist(), call=f"labels of an epoch, {options}")
        expect(images, x[labels // 10], call=f"images beside labels, {options}", dtype=np.float32)
    expect_equal(labels_of(DataLoader(x, y, batch_size=4)), y.tolist(), call="order, shuffle=False")


@asks(
    "functionality",
    step=5,
    of="DataLoader.order",
    hint="an order follows from the seed, and from what else?",
)
def test_epochs_differ_and_a_seed_repeats_them(rng):
    """Run two epochs with one seed, again with the same, with another, and resume at epoch 1."""
    x, y = rows(40)
    seed = int(rng.integers(1000))
    a, b, resumed, other = (
        DataLoader(x, y, batch_size=7, shuffle=True, seed=s) for s in (seed, seed, seed, seed + 1)
    )
    first, second, third = labels_of(a), labels_of(a), labels_of(other)
    expect_true(first != y.tolist(), call="shuffle=True", expected="a random order", got=first[:8])
    expect_true(
        first != second,
        call="DataLoader",
        expected="different orders",
        got=f"{second[:5]} … in both",
    )
    expect_equal(
        [labels_of(b), labels_of(b)],
        [first, second],
        call="two epochs of DataLoader, the same seed",
    )
    expect_true(
        third != first, call="DataLoader, another seed", expected="another order", got=third[:8]
    )
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
    """Load from a dataset of its own class, and with a collate_fn."""
    data = BESIDE.slow_pairs(5)
    got = one_epoch(DataLoader(data, batch_size=3, num_workers=2))
    expect(got[1][0], [3, 4], call="a dataset of another class", dtype=np.float32)
    expect(got[1][1], [3, 4], call="a dataset of another class", dtype=np.int64)
    counted = list(DataLoader(data, batch_size=3, collate_fn=BESIDE.count_pairs))
    expect_equal(counted, [[3, "tuple"], [2, "tuple"]], call="with a collate_fn")


@asks("functionality", step=6, of="Normalize.apply", hint="channels are axis 1 of (N, C, H, W)")
def test_normalize_goes_by_channel(rng):
    """Normalise 3 channels of 3 × 3 images: the wrong axis would fit, and be wrong."""
    images, mean, std = pictures(rng, 6, 3, 3, 3), rng.random(3), rng.random(3) + 0.5
    expected = np.stack([(images[:, c] - mean[c]) / std[c] for c in range(3)], axis=1)
    transform = Normalize(mean.tolist(), std.tolist())
    expect(transform(images), expected, call="Normalize(batch)", dtype=np.float32, rtol=1e-4)
    expect(transform(Tensor(images[0])), expected[0], call="Normalize(image)", rtol=1e-4)


@asks("functionality", step=6, of="RandomHorizontalFlip.apply", hint="each image draws for itself")
def test_flip_mirrors_some_images_left_to_right(rng):
    """Flip 400 images with p=0.25: each is mirrored in its columns or left alone."""
    images = pictures(rng, 400)
    expect(RandomHorizontalFlip(1)(images), images[..., ::-1], call="RandomHorizontalFlip(1)")
    flip = RandomHorizontalFlip(0.25, seed=int(rng.integers(1000)))
    out = values_of(flip(images), "RandomHorizontalFlip(0.25)")
    mirrored = (out == images[..., ::-1]).all(axis=(1, 2, 3))
    same = (out == images).all(axis=(1, 2, 3))
    expect_true(bool((mirrored ^ same).all()), call="flip", expected="mirrored or same", got=out[0])
    share = float(mirrored.mean())
    expect_true(0.12 < share < 0.4, call="share flipped, p=0.25", expected="near 0.25", got=share)


@asks("functionality", step=6, of="RandomCrop.apply", hint="each image has a place of its own")
def test_crop_cuts_every_possible_window(rng):
    """Crop 600 images of 5 × 4 to 4 × 3 with padding 1: each window is one of 16."""
    images = pictures(rng, 600)
    crop = RandomCrop((4, 3), padding=1, seed=int(rng.integers(1000)))
    out = values_of(crop(images), "RandomCrop")
    expect_equal(out.shape, (600, 3, 4, 3), call="shape after RandomCrop((4, 3), padding=1)")
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    places = [(y, x) for y in range(4) for x in range(4)]
    hits = np.array([(padded[:, :, y : y + 4, x : x + 3] == out).all((1, 2, 3)) for y, x in places])
    expect_equal(sorted(set(hits.sum(axis=0).tolist())), [1], call="windows that each crop equals")
    expect_equal(int((hits.sum(axis=1) > 0).sum()), 16, call="places used by 600 crops")


@asks("functionality", step=7, of="read_cifar10", hint="a label, then 3 × 32 × 32 values")
def test_cifar_records_are_read_or_refused(rng):
    """Read four CIFAR-10 records made here; refuse half a record and a label of 10."""
    pixels, labels = rng.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8), [1, 0, 9, 5]
    records = [bytes([n]) + image.tobytes() for n, image in zip(labels, pixels, strict=True)]
    images, got = read_cifar10(b"".join(records))
    expect(images, pixels, call="read_cifar10(data)[0]", dtype=np.uint8)
    expect(got, labels, call="read_cifar10(data)[1]", dtype=np.int64)
    half, ten = records[0][:-1], bytes([10]) + records[0][1:]
    expect_raises(ValueError, read_cifar10, half, call="read_cifar10", mentions=[3072])
    expect_raises(ValueError, read_cifar10, ten, call="read_cifar10, label 10", mentions=["10"])


@asks("functionality", step=7, of="PixelArray.__getitem__", hint="convert only what is asked for")
def test_pixels_read_as_float32(rng):
    """Read rows of a PixelArray: float32 from 0 to 1, each value divided by 255."""
    pixels = rng.integers(0, 256, (9, 3, 4, 4), dtype=np.uint8)
    array = PixelArray(pixels)
    for index in (0, [8, 0, 3]):
        expected = pixels[index].astype(np.float64) / 255
        expect(array[index], expected, call=f"PixelArray(…)[{index}]", dtype=np.float32)
    images, _ = next(iter(DataLoader(array, np.arange(9), batch_size=4)))
    expect(images, pixels[:4] / 255, call="a batch of a PixelArray", dtype=np.float32)


@asks("functionality", step=7, of="DigitsDataset.halves", hint="split indices, use them for both")
def test_digits_split_into_fixed_halves(rng):
    """Split 100 digits into 80 and 20, the same each time, with their own labels."""
    labels = rng.integers(0, 10, 100)
    grey = np.arange(100)[:, None] // 10 + 6 * (np.arange(64) == np.arange(100)[:, None] % 64)
    lines = [",".join(map(str, [*row, n])) for row, n in zip(grey, labels, strict=True)]
    known = {row.tobytes(): n for row, n in zip(grey, labels.tolist(), strict=True)}
    data = "\n".join(lines).encode()
    train, test = DigitsDataset(data), DigitsDataset(data, train=False)
    expect_equal((len(train), len(test)), (80, 20), call="len of both halves")
    seen = []
    for images, own in ((train.train_data, train.train_labels), (test.test_data, test.test_labels)):
        found = np.rint(values_of(images, "data") * 16).astype(grey.dtype).reshape(-1, 64)
        seen += [row.tobytes() for row in found]
        expect(own, [known[key] for key in seen[-len(found) :]], call="labels of a half")
    expect_equal(len(set(seen)), 100, call="different digits in both halves")


@asks("integration", step=5, of="DataLoader.__iter__", hint="a batch is made of Tensors")
def test_batches_are_tensors_to_compute_with(rng):
    """Add up xᵀx over shuffled batches: the sum is that of all the data."""
    x = rng.standard_normal((50, 4)).astype(np.float32)
    gram = Tensor(np.zeros((4, 4), np.float32))
    for images, _ in DataLoader(x, x[:, 0], batch_size=8, shuffle=True, num_workers=2):
        gram = gram + images.T @ images
    expect(gram, x.T @ x, call="sum of x.T @ x over batches", rtol=1e-4, atol=1e-4)


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


@asks("integration", step=6, of="RandomCrop.apply", hint="draw from the generator that is given")
def test_split_transform_and_threads_work_together(rng):
    """Train on a split with crop and flip: the same batches with 0 and with 3 threads."""
    images, epochs = pictures(rng, 60), []
    for workers in (0, 3):
        chain = Compose([RandomCrop(4, padding=2), RandomHorizontalFlip()])
        data = TensorDataset(images, np.arange(60), transform=chain)
        train, _ = random_split(data, [45, 15], seed=1)
        loader = DataLoader(train, batch_size=8, shuffle=True, seed=5, num_workers=workers)
        epochs.append(one_epoch(loader))
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


@asks("performance", step=7, of="PixelArray.__getitem__", hint="keep bytes, convert what is read")
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
