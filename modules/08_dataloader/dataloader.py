# ---
# jupyter:
#   jupytext:
#     notebook_metadata_filter: -jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Module 08: DataLoader
#
# Training reads every example many times, in another order each time, a small batch at a time. This
# module brings real data to the model, and never lets the model wait for it.
#
# **You will build** datasets (`TensorDataset`, `Subset`, `random_split`), the `DataLoader` with its
# shuffling, batching and prefetching threads, image transforms that work on whole batches, and
# readers for the digits shipped with the course, MNIST and CIFAR-10.
#
# **You need** module 01 (`Tensor`). Given, in `tinytorch/utils/`: downloads, checks of arguments
# (`checks.py`), the loader's settings (`loading.py`), what transforms share (`transforms.py`), the
# data sets' files (`pixels.py`, `halves.py`). **Time**: about four hours.
#
# A model that takes 5 ms per batch of 128 trains on 25,600 images a second, if they are there.
# CIFAR-10 has 50,000 training images. One at a time in Python, at 100 µs each for the index, the
# crop, the flip and the copy, an epoch costs 5 s of pure waiting; a batch at a time, in NumPy, a
# tenth of that. So: **move whole batches, move few bytes, and move them while the model computes.**

# %%
#| default_exp core.dataloader

# %%
#| export
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from tinytorch.core.tensor import Tensor
from tinytorch.utils import checks
from tinytorch.utils.halves import Cifar10, Digits, Half, Halves, Mnist, download_cifar10
from tinytorch.utils.loading import LoaderSettings
from tinytorch.utils.pixels import ByteArray, read_digits, read_idx
from tinytorch.utils.transforms import Compose, Cutout, Generator, Transform, generator, transformed

__all__ = ["CIFAR10Dataset", "Compose", "Cutout", "DataLoader", "Dataset", "DigitsDataset"]
__all__ += ["ImageDataset", "MNISTDataset", "Normalize", "PixelArray", "RandomCrop"]
__all__ += ["RandomHorizontalFlip", "Subset", "TensorDataset", "Transform", "default_collate"]
__all__ += ["download_cifar10", "prefetch", "random_split", "read_cifar10", "read_digits"]
__all__ += ["read_idx"]

# %% [markdown]
# ## Step 1: A dataset is a length and an index
#
# Everything that has `len(dataset)` and `dataset[i]` can be trained on. For data in arrays there is
# a faster question, though: not "give me sample 7", 128 times, but **"give me the samples at these
# 128 indices"**, once. NumPy answers with fancy indexing, one copy in C:
#
#     images[[3, 0, 2]]        rows 3, 0 and 2 of images, in that order, in new memory
#
# `Dataset.take(indices, rng)` is that question. The base class answers it the slow way. Yours
# overrides it. Both must tell the same: row k of every array belongs to sample k.
#
# A `Subset` is a dataset seen through a list of indices. It copies nothing: sample i of the subset
# is sample `indices[i]` of the dataset behind it.


# %%
#| export
class Dataset(checks.Samples):
    """Samples by number. A subclass defines `__len__` and `__getitem__`."""

    def take(self, indices: Sequence[int], rng: Generator | None = None) -> Any:
        """Return the samples at `indices` as one batch; random transforms draw from `rng`."""
        return default_collate([self[int(index)] for index in indices])


class TensorDataset(Dataset):
    """Samples that lie side by side in arrays: row i of each is sample i.

    Args:
        arrays: Arrays, Tensors or lists of one length; nothing is copied.
        transform: Applied to the rows of the first one as they are read.
        allow_nan: Whether NaN in the data is meant to be there.
    """

    def __init__(self, *arrays: Any, transform: Any = None, allow_nan: bool = False):
        self.columns, self.transform = checks.columns(arrays, allow_nan), transform

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        """Return sample `index` as a tuple with one Tensor per array.

        `checks.position(index, length)` makes sense of the index; `self.transform`, if there is
        one, is called on the sample's part of the first array.
        """
        ### BEGIN SOLUTION
        at = checks.position(index, len(self))
        first, *others = (column[at] for column in self.columns)
        if self.transform is not None:
            first = self.transform(first)
        return tuple(Tensor(part) for part in (first, *others))
        ### END SOLUTION

    def take(self, indices: Sequence[int], rng: Generator | None = None) -> tuple[Tensor, ...]:
        """Return many samples at once: one Tensor per array, its rows in the order of `indices`.

        `transformed(self.transform, rows, rng)` transforms rows of the first array, and
        `Tensor._wrap(rows)` makes a Tensor of fresh memory without copying it once more.
        """
        ### BEGIN SOLUTION
        first, *others = (column[np.asarray(indices)] for column in self.columns)
        first = transformed(self.transform, first, rng)
        return tuple(Tensor._wrap(part) for part in (first, *others))
        ### END SOLUTION


class Subset(Dataset):
    """Some samples of a dataset, named by their indices there; nothing is copied."""

    def __init__(self, dataset: Any, indices: Sequence[int]):
        self.dataset, self.indices = dataset, checks.positions(indices, len(dataset))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        """Return the sample that the subset's index stands for."""
        ### BEGIN SOLUTION
        return self.dataset[int(self.indices[checks.position(index, len(self))])]
        ### END SOLUTION

    def take(self, indices: Sequence[int], rng: Generator | None = None) -> Any:
        """Return many samples of the subset at once; `take(dataset, …)` asks any dataset."""
        ### BEGIN SOLUTION
        return take(self.dataset, self.indices[np.asarray(indices)], rng)
        ### END SOLUTION


def take(dataset: Any, indices: Sequence[int], rng: Generator | None = None) -> Any:
    """Ask any dataset for a batch: in one go if it can, sample by sample otherwise."""
    if isinstance(dataset, Dataset):
        return dataset.take(indices, rng)
    return default_collate([dataset[int(index)] for index in indices])


# %%
data = TensorDataset([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]], [10, 11, 12, 13])
print(len(data), data[2])
print(data.take([3, 0]))
print(Subset(data, [3, 1])[1])
# Expected output:
# 4 (Tensor([4., 5.]), Tensor(12))
# (Tensor([[6., 7.],
#         [0., 1.]]), Tensor([13, 10]))
# (Tensor([2., 3.]), Tensor(11))


# %%
#| test
def test_rows_stay_together():
    x, y = np.arange(12, dtype=np.float32).reshape(6, 2), np.arange(6) * 10
    data = TensorDataset(x, y)
    images, labels = data.take([4, 4, 1])
    np.testing.assert_array_equal(images.numpy(), x[[4, 4, 1]])
    np.testing.assert_array_equal(labels.numpy(), [40, 40, 10])
    subset = Subset(Subset(data, [5, 3, 1]), [2, 0])
    assert [subset[i][1].item() for i in (0, -1)] == [10, 50]
    assert subset.take([1, 0])[1].tolist() == [50, 10]
    np.testing.assert_raises(IndexError, data.__getitem__, 6)


if __name__ == "__main__":
    test_rows_stay_together()

# %% [markdown]
# ## Step 2: Split without overlap
#
# A model is judged on samples that it has not trained on. One shared sample and the judgement is
# worth less; so split **one** permutation of all indices, and no index can be in two parts:
#
#     permutation of 0…9   4 0 7 3 9 1 8 | 6 2 5        [7, 3] or [0.7, 0.3]


# %%
#| export
def random_split(dataset: Any, lengths: Sequence[float], seed: int | None = None) -> list[Subset]:
    """Split a dataset at random into parts that share no sample and leave none out.

    Args:
        dataset: What to split.
        lengths: Whole numbers that sum to len(dataset), or fractions that sum to 1.
        seed: The same seed gives the same split; None draws from the course's generator.

    `generator(seed)` gives the generator.
    """
    sizes = checks.part_sizes(len(dataset), lengths)  # whole numbers
    ### BEGIN SOLUTION
    order = generator(seed).permutation(len(dataset))
    ends = np.cumsum(sizes)
    return [Subset(dataset, order[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    ### END SOLUTION


# %%
train, test = random_split(TensorDataset(np.arange(10)), [0.55, 0.45], seed=0)
print(len(train), len(test), sorted([*train.indices, *test.indices]) == list(range(10)))
# Expected output:
# 6 4 True


# %%
#| test
def test_random_split_is_a_partition():
    parts = random_split(np.zeros(103), [0.5, 0.25, 0.25], seed=1)
    together = np.concatenate([part.indices for part in parts])
    assert sorted(together) == list(range(103)) != list(together)
    again = random_split(np.zeros(103), [52, 26, 25], seed=1)
    np.testing.assert_array_equal(again[0].indices, parts[0].indices)


if __name__ == "__main__":
    test_random_split_is_a_partition()

# %% [markdown]
# ## Step 3: Collate: from many samples to one batch
#
# A dataset of your own answers `dataset[i]` with whatever a sample is: a tuple, a dictionary, a
# number. A batch has the same form, with every number stacked along a new first axis:
#
#     [(x₀, y₀), (x₁, y₁), (x₂, y₂)]   →   (stack x, stack y)      x: (2,) → (3, 2),  y: () → (3,)
#
# The dtype must survive. Labels that arrive as float32 cannot index anything. Whole numbers become
# int64 and Python floats float32, as everywhere in the course; what comes from NumPy keeps its own.


# %%
#| export
def default_collate(samples: Sequence[Any]) -> Any:
    """Put samples of one form together: arrays are stacked, tuples and dictionaries go by field.

    Args:
        samples: At least one; Tensors, arrays, numbers, texts, or tuples, lists or dictionaries
            of these.

    Returns:
        A Tensor with a new first axis; a tuple or dictionary of such; a list of texts.

    Raises:
        ValueError: If the samples differ in shape; `checks.unlike` words it.
    """
    ### BEGIN SOLUTION
    first = samples[0]
    if isinstance(first, str | bytes):
        return list(samples)
    if isinstance(first, dict):
        return {key: default_collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, tuple | list):
        return tuple(default_collate(field) for field in zip(*samples, strict=True))
    arrays = [
        sample.data if isinstance(sample, Tensor) else np.asarray(sample) for sample in samples
    ]
    if any(array.shape != arrays[0].shape for array in arrays):
        raise checks.unlike(arrays)
    batch = np.stack(arrays)
    return Tensor._wrap(batch.astype(np.float32) if type(first) is float else batch)
    ### END SOLUTION


# %%
print(default_collate([{"text": "a", "x": (0.5, 3)}, {"text": "b", "x": (0.25, 5)}]))
# Expected output:
# {'text': ['a', 'b'], 'x': (Tensor([0.5 , 0.25]), Tensor([3, 5]))}


# %%
#| test
def test_collate_follows_the_form_and_keeps_dtypes():
    x, y = default_collate([(np.float64(1), 2.0), (np.float64(3), 4.0)])
    assert (x.tolist(), x.dtype, y.dtype) == ([1, 3], np.float64, np.float32)
    assert default_collate([{"id": 7}, {"id": 8}])["id"].dtype == np.int64
    odd = [np.zeros(3), np.zeros(4)]
    np.testing.assert_raises_regex(ValueError, r"\(3,\) and \(4,\)", default_collate, odd)


if __name__ == "__main__":
    test_collate_follows_the_form_and_keeps_dtypes()

# %% [markdown]
# ## Step 4: Prefetch: load the next batch while this one trains
#
# Loading and training take turns if nothing is done about it: 3 ms to load and 5 ms to train make
# 8 ms a step. With a thread that loads ahead they overlap, and a step takes max(3, 5) = 5 ms.
#
# Threads share memory, so a batch is handed over without a copy; and reading files and copying in
# NumPy let go of Python's lock, so that threads really overlap there.
#
# A job here is a function without arguments that returns a batch. Three promises to keep:
#
# - **Order**: batches come out in the order of the jobs, whichever thread is first. So hold the
#   running jobs (`Future`s) in a queue and always wait for the oldest.
# - **Limits**: at most `ahead` jobs are started beyond the one asked for, or a fast loader fills
#   the memory while a slow model trains.
# - **Endings**: an exception in a job appears where the batch would have, with its traceback
#   (`Future.result()` does that). And when the reader stops half-way, with `break` or an error of
#   its own, Python closes the generator. What is not yet started must be cancelled, and no
#   thread may stay behind: `finally` is the place, and `pool.shutdown` can cancel what waits.


# %%
#| export
def prefetch(jobs: Iterable[Callable[[], Any]], workers: int, ahead: int) -> Iterator[Any]:
    """Run jobs in threads and yield their results in order, a bounded number of jobs ahead.

    Args:
        jobs: Functions without arguments; taken one by one, when there is room.
        workers: Threads, at least 1.
        ahead: Jobs to have started beyond the one that is waited for, at least 1.
    """
    ### BEGIN SOLUTION
    pool = ThreadPoolExecutor(workers, thread_name_prefix="dataloader")
    started: deque = deque()
    try:
        for job in jobs:
            started.append(pool.submit(job))
            if len(started) > ahead:
                yield started.popleft().result()
        while started:
            yield started.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
    ### END SOLUTION


# %%
import threading
import time


def slow_square(n):
    """A job that takes longest when it starts first."""
    time.sleep(0.05 - 0.01 * n)
    return n * n


before = threading.active_count()
results = prefetch([partial(slow_square, n) for n in range(5)], workers=3, ahead=3)
print(next(results), next(results), "with", threading.active_count() - before, "threads at work")
results.close()
print(threading.active_count() - before, "threads left behind")
# Expected output:
# 0 1 with 3 threads at work
# 0 threads left behind


# %%
#| test
def test_prefetch_is_in_order_bounded_and_clean():
    import threading
    import time

    jobs = [lambda n=n: time.sleep(0.01 * (n % 3 == 0)) or n for n in range(12)]
    assert list(prefetch(jobs, 4, 6)) == list(range(12))
    np.testing.assert_raises(ZeroDivisionError, list, prefetch([lambda: 1 // 0], 2, 4))
    begun, before = [], threading.active_count()
    results = prefetch((partial(begun.append, n) for n in range(1000)), 2, 3)
    next(results)
    results.close()
    assert threading.active_count() == before
    assert 1 <= len(begun) <= 4


if __name__ == "__main__":
    test_prefetch_is_in_order_bounded_and_clean()

# %% [markdown]
# ## Step 5: The DataLoader
#
# An epoch is one order of all samples, cut into batches:
#
#     order   3 0 4 1 2      batch_size 2      →   [3 0] [4 1] [2]       drop_last: [3 0] [4 1]
#     number of batches = ⌈N / B⌉, or ⌊N / B⌋ when the last, partial one is dropped
#
# Without shuffling, a file sorted by label trains on nothing but cats, then nothing but dogs; with
# the same order each time, batches become a fixed set of their own. So the order of epoch e is
# drawn from a generator seeded with the pair `[seed, e]`: different for every e, reproducible, and
# the same whether you run epochs 0 to 9 or resume at 5 (`loader.set_epoch(5)`, as module 07 does).
#
# One permutation of indices orders images *and* labels; shuffle them apart and every label is
# wrong. Random transforms get a generator of their own per batch, `[seed, e, 1 + b]`, so that the
# batches do not depend on how many threads make them.


# %%
#| export
class DataLoader(LoaderSettings):
    """Iterate over a dataset in batches of Tensors, in a new random order each epoch if asked.

        DataLoader(dataset, batch_size=32, shuffle=True)
        DataLoader(images, labels, batch_size=32)

    Settings, all of them attributes: batch_size; shuffle; seed, which fixes the orders and the
    random transforms (None draws one from the course's generator); drop_last, to leave out a last
    batch that is not full; collate_fn, to make a batch of a list of samples in place of `take`;
    num_workers, threads that load ahead (0: load when asked); prefetch_factor, batches ahead of
    each. `epoch` is the number of the next epoch, and `set_epoch` changes it.
    """

    of_arrays, take = TensorDataset, staticmethod(take)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        ### BEGIN SOLUTION
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (1 if rest and not self.drop_last else 0)
        ### END SOLUTION

    def order(self, epoch: int) -> np.ndarray:
        """Return the indices of all samples in the order of an epoch."""
        ### BEGIN SOLUTION
        if not self.shuffle:
            return np.arange(len(self.dataset))
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset))
        ### END SOLUTION

    def batches(self, epoch: int) -> list[np.ndarray]:
        """Return the indices of each batch of an epoch."""
        ### BEGIN SOLUTION
        order, size = self.order(epoch), self.batch_size
        return [order[b * size : (b + 1) * size] for b in range(len(self))]
        ### END SOLUTION

    def __iter__(self) -> Iterator[Any]:
        """Begin the next epoch: count it, and yield its batches in order.

        `self.load(indices, epoch, number)` loads a batch. With threads, hand `prefetch` one job per
        batch and `num_workers * prefetch_factor` as the number of batches ahead.
        """
        ### BEGIN SOLUTION
        epoch = self.epoch
        self.epoch += 1
        numbered = enumerate(self.batches(epoch))
        jobs = (partial(self.load, indices, epoch, number) for number, indices in numbered)
        if self.num_workers:
            return prefetch(jobs, self.num_workers, self.num_workers * self.prefetch_factor)
        return (job() for job in jobs)
        ### END SOLUTION


# %%
loader = DataLoader(np.arange(5) / 10, np.arange(5), batch_size=2, shuffle=True, seed=1)
for _ in range(2):
    print([y.tolist() for x, y in loader])
print(len(loader), len(DataLoader(np.arange(5), batch_size=2, drop_last=True)))
# Expected output:
# [[4, 0], [1, 2], [3]]
# [[1, 4], [0, 3], [2]]
# 3 2


# %%
#| test
def test_every_sample_comes_once_and_with_its_label():
    x, y = np.arange(23, dtype=np.float32) * 2, np.arange(23)
    for options in ({}, {"num_workers": 3, "shuffle": True}):
        batches = list(DataLoader(x, y, batch_size=5, **options))
        assert [len(labels) for _, labels in batches] == [5, 5, 5, 5, 3]
        assert sorted(int(v) for _, labels in batches for v in labels.numpy()) == list(range(23))
        assert all((images.numpy() == labels.numpy() * 2).all() for images, labels in batches)
    assert len(list(DataLoader(x, batch_size=5, drop_last=True))) == 4


def test_epochs_differ_and_seeds_repeat_them():
    first, again = (DataLoader(np.arange(9), np.arange(9), 9, True, seed=7) for _ in range(2))
    orders = [labels.tolist() for _ in range(2) for _, labels in first]
    assert orders[0] != orders[1]
    again.set_epoch(1)
    assert next(iter(again))[1].tolist() == orders[1]


if __name__ == "__main__":
    test_every_sample_comes_once_and_with_its_label()
    test_epochs_differ_and_seeds_repeat_them()

# %% [markdown]
# ## Step 6: Transforms
#
# A `Transform` (given) has `apply(images, rng)`, which gets a whole batch (N, C, H, W) and a
# generator. **Each image draws for itself**: one draw for the batch would flip all or none. The
# batch may be someone else's: return a new array.
#
# **Normalise.** Gradients flow best when inputs have mean 0 and variance 1. Each colour channel has
# its own mean and deviation over the training set:
#
#     y = (x − mean_c) / std_c          images are (N, C, H, W), so mean_c must be (C, 1, 1)
#
# A mean of shape (C,) would broadcast against the *last* axis, the columns. With a 3 × 3 image that
# even runs, and is wrong.
#
# **Flip.** A cat seen in a mirror is a cat. The columns are the last axis: `images[..., ::-1]`. (A
# mirrored 3 is no 3. Flip photographs, not digits.)
#
# **Random crop.** Pad an image with zeros, then cut a window of the old size at a random place: the
# model stops caring where exactly an object is. A window of size S in a padded height P = H + 2p
# can start in P − S + 1 rows, 9 for S = 32, p = 4. Each image has its own window, so one slice
# cannot cut them all. `sliding_window_view` gives *all* windows as a view, and fancy indexing
# copies the N that are wanted:
#
#     padded                (N, C, P_h, P_w)
#     all windows           (N, C, P_h − S + 1, P_w − S + 1, S, S)       a view: no memory
#     [arange(N), :, top, left]                                          → (N, C, S, S)


# %%
#| export
class Normalize(Transform):
    """Subtract each channel's mean and divide by its standard deviation.

    Args:
        mean, std: One number per channel, or one for all; std above 0.
    """

    def __init__(self, mean: Any, std: Any):
        super().__init__()
        self.mean, self.std = checks.scale(mean, std)

    def apply(self, images: np.ndarray, rng: Generator) -> np.ndarray:
        """Return (images - mean) / std, per channel, float32; shape (N, C, H, W) stays."""
        checks.per_channel(images, mean=self.mean, std=self.std)
        ### BEGIN SOLUTION
        return (images - self.mean[:, None, None]) / self.std[:, None, None]
        ### END SOLUTION


class RandomHorizontalFlip(Transform):
    """Mirror each image left to right with probability p."""

    def __init__(self, p: float = 0.5, seed: int | None = None):
        super().__init__(seed)
        self.p = checks.probability(p)

    def apply(self, images: np.ndarray, rng: Generator) -> np.ndarray:
        """Return the batch with a random choice of its images mirrored."""
        ### BEGIN SOLUTION
        chosen = rng.random(len(images)) < self.p
        flipped = images.copy()
        flipped[chosen] = images[chosen][..., ::-1]
        return flipped
        ### END SOLUTION


# %%
#| export
class RandomCrop(Transform):
    """Cut a window at a random place of each image, after padding with zeros.

    Args:
        size: Height and width of the window, in pixels: one number, or two.
        padding: Pixels to add on all four sides.
    """

    def __init__(self, size: int | tuple[int, int], padding: int = 0, seed: int | None = None):
        super().__init__(seed)
        self.height, self.width = checks.both("size", size)
        self.padding = checks.whole("padding", padding, least=0)

    def apply(self, images: np.ndarray, rng: Generator) -> np.ndarray:
        """Return a window of each image, shape (N, C, height, width)."""
        count, channels, rows, columns = images.shape
        p = self.padding
        checks.fits((self.height, self.width), rows, columns, p)
        ### BEGIN SOLUTION
        padded = np.zeros((count, channels, rows + 2 * p, columns + 2 * p), images.dtype)
        padded[:, :, p : p + rows, p : p + columns] = images
        window = (self.height, self.width)
        windows = np.lib.stride_tricks.sliding_window_view(padded, window, axis=(2, 3))
        top = rng.integers(0, windows.shape[2], count)
        left = rng.integers(0, windows.shape[3], count)
        return windows[np.arange(count), :, top, left]
        ### END SOLUTION


# %%
image = np.arange(1, 10, dtype=np.float32).reshape(1, 3, 3)
print(Normalize([5], [2])(image)[0, 0], RandomHorizontalFlip(p=1)(image)[0, 0])
print(RandomCrop(3, padding=1, seed=2)(image)[0])
# Expected output:
# [-2.  -1.5 -1. ] [3. 2. 1.]
# [[0. 4. 5.]
#  [0. 7. 8.]
#  [0. 0. 0.]]


# %%
#| test
def test_normalize_and_flip_know_their_axes():
    images = np.random.default_rng(0).random((200, 3, 3, 3), dtype=np.float32)
    out = Normalize([0.1, 0.2, 0.3], [1, 2, 4])(images)
    np.testing.assert_allclose(out[:, 2], (images[:, 2] - 0.3) / 4, rtol=1e-4, atol=1e-6)
    out = RandomHorizontalFlip(0.25, seed=1)(images)
    mirrored = (out == images[..., ::-1]).all(axis=(1, 2, 3))
    assert (mirrored ^ (out == images).all(axis=(1, 2, 3))).all()
    assert 20 < mirrored.sum() < 80


def test_crop_draws_a_place_for_each_image():
    images = np.random.default_rng(0).random((200, 2, 4, 3), dtype=np.float32) + 1
    out, padded = RandomCrop((4, 3), padding=1, seed=0)(images), np.pad(images, 1)[1:-1, 1:-1]
    hits = [(padded[:, :, y : y + 4, x : x + 3] == out).all((1, 2, 3)) for y, x in np.ndindex(3, 3)]
    assert (np.sum(hits, axis=0) == 1).all(), "each result is one window of its image"
    assert np.any(hits, axis=1).all(), "every place occurs"


if __name__ == "__main__":
    test_normalize_and_flip_know_their_axes()
    test_crop_draws_a_place_for_each_image()

# %% [markdown]
# ## Step 7: Bytes until the last moment
#
# Real data come as bytes. A file of CIFAR-10 is records of 3,073 of them: a label, then 1,024 red,
# 1,024 green and 1,024 blue values, each row by row. As one array of shape (N, 3073), the label is
# column 0, and the rest is already (3, 32, 32). A file can be cut short or be something else, so
# check sizes and labels *before* you trust them. Nothing here can run code when it is read. A
# pickle can: CIFAR-10 also exists as pickles, which is one reason why we take the binary version.
# (`read_digits` and `read_idx`, for the digits and MNIST, are given.)
#
# A pixel is one byte; as float32 it is four. CIFAR-10 takes 184 MB as bytes and 737 MB as float32,
# and a batch only ever needs 128 images of it. So keep bytes, and convert **what is read, when it
# is read**. A `PixelArray` looks like a float32 array from 0 to 1, and is a quarter of its size.
#
# The three data sets share one form: `train_data`, `train_labels`, `test_data` and `test_labels` to
# hand to a `DataLoader`, and the dataset itself gives the half that `train=` chose. Images are
# float32 from 0 to 1, (N, C, H, W), or (N, C · H · W) with `flatten=True`; labels are int64.
#
# The digits have no official halves. They get fixed ones here: a fifth of them, drawn once with
# seed 0, is for the test. (The same 13 people wrote both halves. On strangers' writing a model
# does a little worse.)


# %%
#| export
def read_cifar10(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return the images, (N, 3, 32, 32) uint8, and the labels, (N,) int64, of a binary batch.

    Raises:
        ValueError: If the size is no multiple of 3,073 bytes, or a label is not 0 to 9.
    """
    ### BEGIN SOLUTION
    if not data or len(data) % 3073:
        raise ValueError(
            f"a CIFAR-10 batch of {len(data)} bytes is no multiple of 3073; get it again"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, 3073)
    return records[:, 1:].reshape(-1, 3, 32, 32), checks.labels_below_ten(records[:, 0])
    ### END SOLUTION


class PixelArray(ByteArray):
    """Bytes in memory that read as float32 numbers from 0 to 1, a few rows at a time."""

    def __getitem__(self, index: Any) -> np.ndarray:
        """Return the selected pixels as float32, each divided by 255."""
        ### BEGIN SOLUTION
        return np.divide(self.pixels[index], 255, dtype=np.float32)
        ### END SOLUTION


class ImageDataset(Halves, TensorDataset):
    """Images and labels in a training and a test half; as a dataset it is one of them.

    Every data set takes: train, which half it is itself; transform, applied to its images as they
    are read; flatten, whether an image is one row of numbers. MNIST and CIFAR-10 also: root, the
    directory of their files (by default the user's cache), and download, to fetch what is missing.
    """

    bytes_as_numbers = PixelArray
    classes: tuple[str, ...] = tuple("0123456789")


class DigitsDataset(Digits, ImageDataset):
    """The 1,797 handwritten digits shipped with the course: (1, 8, 8), 1,438 of them to train."""

    @staticmethod
    def halves(images: np.ndarray, labels: np.ndarray) -> list[Half]:
        """Split into 80% to train and 20% to test, with seed 0: [(images, labels), (…, …)].

        `random_split` draws the indices; images and labels must stay together.
        """
        ### BEGIN SOLUTION
        parts = random_split(labels, [0.8, 0.2], seed=0)
        return [(images[part.indices], labels[part.indices]) for part in parts]
        ### END SOLUTION


class MNISTDataset(Mnist, ImageDataset):
    """70,000 handwritten digits, (1, 28, 28), 60,000 of them to train; 11.6 MB to download."""


class CIFAR10Dataset(Cifar10, ImageDataset):
    """60,000 photographs, (3, 32, 32), 50,000 of them to train; 170 MB to download."""

    read = staticmethod(read_cifar10)


# %%
images, labels = read_cifar10(bytes([9] + [255] * 1024 + [0] * 2048))
print(images.shape, images.mean(axis=(0, 2, 3)), labels, PixelArray(images)[0].max())
digits = DigitsDataset()
print(digits.train_data.shape, digits.test_data.shape, np.bincount(digits.test_labels))
for row in digits[0][0].numpy()[0]:
    print("".join(" .:-=+*#%"[int(value * 8)] for value in row).rstrip())
print("a", digits[0][1].item())
# Expected output:
# (1, 3, 32, 32) [255.   0.   0.] [9] 1.0
# (1438, 1, 8, 8) (359, 1, 8, 8) [38 37 47 28 42 32 37 27 30 41]
#    *-
#   -#.
#   *:
#   %.
#  .%+**.
#  .%+:=*
#   *+:*+
#    *%+.
# a 6


# %%
#| test
def test_cifar_is_read_as_bytes_and_checked():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    data = b"".join(bytes([n]) + image.tobytes() for n, image in zip((1, 9), pixels, strict=True))
    images, labels = read_cifar10(data)
    np.testing.assert_array_equal(images, pixels)
    assert (labels.tolist(), labels.dtype) == ([1, 9], np.int64)
    np.testing.assert_raises_regex(ValueError, "6145", read_cifar10, data[:-1])
    np.testing.assert_allclose(PixelArray(images)[[1]], pixels[1:] / 255, rtol=1e-6)
    assert PixelArray(images)[1].dtype == np.float32


def test_digits_split_once_and_for_all():
    labels = np.arange(100) % 10
    (train, own), (test, other) = DigitsDataset.halves(np.arange(100), labels)
    assert (len(train), len(test), len({*train, *test})) == (80, 20, 100)
    np.testing.assert_array_equal([*own, *other], labels[[*train, *test]])


if __name__ == "__main__":
    test_cifar_is_read_as_bytes_and_checked()
    test_digits_split_once_and_for_all()

# %% [markdown]
# ## Systems: measure the claims
#
# **Move whole batches**: 4,096 samples of CIFAR-10's shape, one index at a time with the base
# class's `take`, and with yours. **Move them while the model computes**: a dataset that waits 2 ms
# for a disk, and a training step of 5 ms, without threads and with two.

# %%
pixels = np.random.default_rng(0).integers(0, 256, (4096, 3, 32, 32), dtype=np.uint8)
augment = Compose([RandomCrop(32, padding=4, seed=0), RandomHorizontalFlip(seed=0)])
fast = TensorDataset(PixelArray(pixels), np.arange(4096) % 10, transform=augment)


class OneByOne(Dataset):
    """Samples asked for one at a time, each of which may take a while to arrive."""

    def __init__(self, samples, seconds=0.0):
        self.samples, self.seconds = samples, seconds

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        if self.seconds:
            time.sleep(self.seconds)
        return self.samples[index]


def epoch_ms(loader, step=0.0):
    """How long an epoch takes when each step of training takes `step` seconds."""
    start = time.perf_counter()
    for _ in loader:
        time.sleep(step)
    return (time.perf_counter() - start) * 1e3


single, batched = (epoch_ms(DataLoader(data, batch_size=128)) for data in (OneByOne(fast), fast))
print(f"one by one {single:.0f} ms, a batch at a time {batched:.0f} ms")
print("at least 3 times faster:", single > 3 * batched)
for workers in (0, 2):
    loader = DataLoader(OneByOne(range(80), 0.002), batch_size=4, num_workers=workers)
    print(f"{workers} threads: {epoch_ms(loader, step=0.005):.0f} ms")
# Expected output:
# one by one ... ms, a batch at a time ... ms
# at least 3 times faster: True
# 0 threads: ... ms
# 2 threads: ... ms

# %% [markdown]
# 20 batches of 4 × 2 ms + 5 ms are 260 ms; with two threads, 20 × 5 ms and a beginning of 8 ms are
# about 110 ms.
#
# ## Pitfalls
#
# - *Shuffling images and labels apart.* Training then goes nowhere, and no error tells you why.
# - *The same order each epoch*, from a generator that is seeded anew each time.
# - *Augmenting the test set.* A random crop there measures another problem.
# - *Handing out views.* A batch that shares memory with the data changes it when it is changed.
# - *Swallowing a worker's exception*: the loop waits for a batch that will never come.
#
# ## What PyTorch does differently
#
# Its workers are processes, because its transforms are often Python code that holds the lock;
# batches then travel through shared memory, and the program must guard its main module. Its seeds
# come from a `generator` argument, and its fast path is called `__getitems__`. `torchvision` has
# the transforms and the data sets; its images pass through one by one, as PIL objects. Its
# `default_collate` makes float64 of Python floats, ours float32.
#
# ## Sources
#
# Alpaydin and Kaynak, *Optical Recognition of Handwritten Digits*, UCI, 1998 (digits) · LeCun et
# al., *Gradient-Based Learning Applied to Document Recognition*, 1998 (MNIST) · Krizhevsky,
# *Learning Multiple Layers of Features from Tiny Images*, 2009 (CIFAR-10) · DeVries and Taylor,
# *Improved Regularization of Convolutional Neural Networks with Cutout*, 2017 · Bottou, *Stochastic
# Gradient Descent Tricks*, 2012, section 4.1 (shuffling).
#
# ## Reflect
#
# A colleague reports 99.4% on a test set that was split off at random from one big file. Name three
# ways in which samples on the two sides can be related although no index occurs twice (think of the
# 13 writers of the digits, of videos, of patients). How would you split instead, and what would you
# expect to happen to the figure? Write 150 to 300 words in `modules/08_dataloader/reflection.md`.
#
# ## Check yourself
#
#     tito checkpoint run 08       can I feed real datasets efficiently?
