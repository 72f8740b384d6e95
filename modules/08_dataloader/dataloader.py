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
# readers for three real data sets: the digits shipped with the course, MNIST and CIFAR-10.
#
# **You need** module 01 (`Tensor`). Given to you: downloading (`tinytorch/utils/download.py`) and
# the checks of arguments (`tinytorch/utils/checks.py`).
#
# **Time**: about four hours.
#
# ## The budget
#
# A model that takes 5 ms per batch of 128 trains on 25,600 images a second, if they are there.
# CIFAR-10 has 50,000 training images of 3 × 32 × 32 bytes. One at a time in Python, at 100 µs each
# for the index, the crop, the flip and the copy, an epoch costs 5 s of pure waiting. A batch at a
# time, in NumPy, it costs a tenth of that. So the theme is: **move whole batches, move few bytes,
# and move them while the model computes.**

# %%
#| default_exp core.dataloader

# %%
#| export
import gzip
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinytorch.core.tensor import Tensor, default_generator
from tinytorch.utils import checks

__all__ = ["CIFAR10Dataset", "Compose", "Cutout", "DataLoader", "Dataset", "DigitsDataset"]
__all__ += ["ImageDataset", "MNISTDataset", "Normalize", "PixelArray", "RandomCrop"]
__all__ += ["RandomHorizontalFlip", "Subset", "TensorDataset", "Transform", "default_collate"]
__all__ += ["download_cifar10", "prefetch", "random_split", "read_cifar10", "read_digits"]
__all__ += ["read_idx"]

Generator = np.random.Generator

# %% [markdown]
# ## Step 1: A dataset is a length and an index
#
# Everything that has `len(dataset)` and `dataset[i]` can be trained on. The rest of the module
# needs no more than that. For data that lie in arrays there is a faster question, though: not "give
# me sample 7", 128 times, but **"give me the samples at these 128 indices"**, once. NumPy answers
# with fancy indexing, one copy in C:
#
#     images[[3, 0, 2]]        rows 3, 0 and 2 of images, in that order, in new memory
#
# `Dataset.take(indices, rng)` is that question. The base class answers it the slow way. Yours
# overrides it. Both ways must tell the same: row k of every array belongs to sample k.
#
# A `Subset` is a dataset seen through a list of indices. It copies nothing: sample i of the subset
# is sample `indices[i]` of the dataset behind it.


# %%
#| export
class Dataset:
    """Samples by number. A subclass defines `__len__` and `__getitem__`."""

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__} has no length; define __len__")

    def __getitem__(self, index: int) -> Any:
        raise TypeError(f"{type(self).__name__} has no samples; define __getitem__")

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
        plain = [array.data if isinstance(array, Tensor) else array for array in arrays]
        self.columns = [checks.column(a, f"array {i}", allow_nan) for i, a in enumerate(plain)]
        self.transform = transform
        checks.same_length(self.columns)

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

        `transformed(self.transform, rows, rng)` transforms the rows of the first array, and
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
        self.dataset = dataset
        self.indices = np.asarray(indices, dtype=np.int64)
        for index in (self.indices.min(), self.indices.max()) if len(self.indices) else ():
            checks.position(index, len(dataset))

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


def transformed(transform: Any, rows: np.ndarray, rng: Generator | None) -> np.ndarray:
    """Transform a batch: a `Transform` at once, any other function row by row, None not at all."""
    if transform is None:
        return rows
    if isinstance(transform, Transform):
        return transform(rows, rng)
    return np.stack([np.asarray(transform(row)) for row in rows])


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
def raises(kind, function, *arguments, **named):
    """The message of the error that a call must end in."""
    try:
        function(*arguments, **named)
    except kind as error:
        return str(error)
    raise AssertionError(f"expected {kind.__name__}")


def test_tensor_dataset_keeps_rows_together():
    x, y = np.arange(12, dtype=np.float32).reshape(6, 2), np.arange(6) * 10
    data = TensorDataset(x, y)
    for i in (0, 5, -1):
        np.testing.assert_array_equal(data[i][0].numpy(), x[i])
        assert data[i][1].item() == y[i]
    images, labels = data.take([4, 4, 1])
    np.testing.assert_array_equal(images.numpy(), x[[4, 4, 1]])
    np.testing.assert_array_equal(labels.numpy(), [40, 40, 10])
    assert (images.dtype, labels.dtype) == (np.float32, np.int64)
    images.numpy()[:] = -1
    assert x.min() == 0, "a batch must not share memory with the data"


def test_tensor_dataset_refuses_what_does_not_fit():
    assert "6, 5 rows" in raises(ValueError, TensorDataset, np.zeros(6), np.zeros(5))
    assert "(1,)" in raises(ValueError, TensorDataset, np.array([0.0, np.nan]))
    assert "6" in raises(IndexError, TensorDataset(np.zeros(6)).__getitem__, 6)


def test_subset_looks_through_its_indices():
    data = TensorDataset(np.arange(10))
    subset = Subset(Subset(data, [9, 7, 5, 3]), [2, 0])
    assert [subset[i][0].item() for i in range(2)] == [5, 9]
    np.testing.assert_array_equal(subset.take([1, 0])[0].numpy(), [9, 5])
    assert "10" in raises(IndexError, Subset, data, [0, 10])


if __name__ == "__main__":
    test_tensor_dataset_keeps_rows_together()
    test_tensor_dataset_refuses_what_does_not_fit()
    test_subset_looks_through_its_indices()

# %% [markdown]
# ## Step 2: Split without overlap
#
# A model is judged on samples that it has not trained on. One shared sample and the judgement is
# worth less; so split **one** permutation of all indices, and no index can be in two parts:
#
#     permutation of 0…9   4 0 7 3 9 1 8 | 6 2 5        [7, 3] or [0.7, 0.3]
#
# Fractions rarely give whole numbers. PyTorch's rule: round each part down, and deal the samples
# left over to the parts in turn, from the first. 10 samples in [0.55, 0.45] give 5 and 4, and the
# one left over goes to the first: 6 and 4.


# %%
#| export
def random_split(dataset: Any, lengths: Sequence[float], seed: int | None = None) -> list[Subset]:
    """Split a dataset at random into parts that share no sample and leave none out.

    Args:
        dataset: What to split.
        lengths: Whole numbers that sum to len(dataset), or fractions that sum to 1.
        seed: The same seed gives the same split; None draws from the course's generator.

    Raises:
        ValueError: If the lengths do not sum to what they must; `part_sizes` checks it.
    """
    ### BEGIN SOLUTION
    sizes = part_sizes(len(dataset), lengths)
    order = generator(seed).permutation(len(dataset))
    ends = np.cumsum(sizes)
    return [Subset(dataset, order[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    ### END SOLUTION


def part_sizes(length: int, lengths: Sequence[float]) -> list[int]:
    """Return whole sizes that sum to `length`, from sizes or from fractions."""
    ### BEGIN SOLUTION
    if any(isinstance(part, float) for part in lengths) and abs(sum(lengths) - 1) < 1e-6:
        sizes = [int(length * part) for part in lengths]
        for extra in range(length - sum(sizes)):
            sizes[extra % len(sizes)] += 1
        return sizes
    sizes = [int(part) for part in lengths]
    if sizes != list(lengths) or sum(sizes) != length or min(sizes) < 0:
        raise checks.wrong_lengths(lengths, length)
    return sizes
    ### END SOLUTION


def generator(seed: int | None) -> Generator:
    """A generator of random numbers: fresh from a seed, or the one that `manual_seed` restarts."""
    return default_generator if seed is None else np.random.default_rng(seed)


# %%
train, test = random_split(TensorDataset(np.arange(10)), [0.55, 0.45], seed=0)
print(len(train), len(test), sorted([*train.indices, *test.indices]) == list(range(10)))
# Expected output:
# 6 4 True


# %%
#| test
def test_random_split_is_a_partition():
    data = TensorDataset(np.arange(103))
    for lengths in ([100, 3], [0.5, 0.25, 0.25], [103, 0], [0.9, 0.1]):
        parts = random_split(data, lengths, seed=1)
        together = np.concatenate([part.indices for part in parts])
        np.testing.assert_array_equal(np.sort(together), np.arange(103))
        assert not np.array_equal(together, np.arange(103)), "nothing was shuffled"


def test_fractions_deal_the_rest_from_the_first():
    assert part_sizes(10, [0.55, 0.45]) == [6, 4]
    assert part_sizes(11, [0.5, 0.25, 0.25]) == [6, 3, 2]
    assert part_sizes(5, [2, 3]) == [2, 3]
    for wrong in ([2, 2], [0.5, 0.4], [6, -1]):
        assert "5 samples" in raises(ValueError, part_sizes, 5, wrong)


def test_random_split_follows_its_seed():
    data = TensorDataset(np.arange(50))
    a, b, c = (random_split(data, [25, 25], seed=s)[0].indices.tolist() for s in (3, 3, 4))
    assert a == b != c


if __name__ == "__main__":
    test_random_split_is_a_partition()
    test_fractions_deal_the_rest_from_the_first()
    test_random_split_follows_its_seed()

# %% [markdown]
# ## Step 3: Collate: from many samples to one batch
#
# A dataset of your own answers `dataset[i]` with whatever a sample is: a tuple of image and label,
# a dictionary, a number. A batch has the same form, with every number stacked along a new first
# axis:
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
print(default_collate([(np.zeros(2, np.float32), 3), (np.ones(2, np.float32), 5)]))
print(default_collate([{"text": "a", "score": 0.5}, {"text": "b", "score": 0.25}]))
# Expected output:
# (Tensor([[0., 0.],
#         [1., 1.]]), Tensor([3, 5]))
# {'text': ['a', 'b'], 'score': Tensor([0.5 , 0.25])}


# %%
#| test
def test_collate_stacks_and_keeps_dtypes():
    x, y = default_collate([(Tensor([1.0, 2.0]), 0), (Tensor([3.0, 4.0]), 9)])
    np.testing.assert_array_equal(x.numpy(), [[1, 2], [3, 4]])
    assert (x.dtype, y.dtype, y.shape) == (np.float32, np.int64, (2,))
    assert default_collate([0.5, 1.5]).dtype == np.float32
    assert default_collate([np.uint8(1), np.uint8(2)]).dtype == np.uint8
    assert default_collate([np.float64(1), np.float64(2)]).dtype == np.float64


def test_collate_follows_the_form_of_a_sample():
    batch = default_collate([{"x": (1, 2.0), "name": "a"}, {"x": (3, 4.0), "name": "b"}])
    np.testing.assert_array_equal(batch["x"][1].numpy(), [2, 4])
    assert batch["name"] == ["a", "b"]


def test_collate_refuses_samples_of_two_shapes():
    message = raises(ValueError, default_collate, [np.zeros(3), np.zeros(3), np.zeros(4)])
    assert "(3,)" in message
    assert "(4,)" in message


if __name__ == "__main__":
    test_collate_stacks_and_keeps_dtypes()
    test_collate_follows_the_form_of_a_sample()
    test_collate_refuses_samples_of_two_shapes()

# %% [markdown]
# ## Step 4: Prefetch: load the next batch while this one trains
#
# Loading and training take turns if nothing is done about it: 3 ms to load and 5 ms to train make
# 8 ms a step. With a thread that loads ahead they overlap, and a step takes max(3, 5) = 5 ms.
#
# Threads share memory, so a batch is handed over without a copy. Python runs one thread's bytecode
# at a time, but reading files and copying in NumPy let go of that lock: exactly what loading does.
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


jobs = [partial(slow_square, n) for n in range(5)]
print(list(prefetch(jobs, workers=3, ahead=3)))
before = threading.active_count()
results = prefetch(jobs, workers=3, ahead=3)
print(next(results), "with", threading.active_count() - before, "threads at work")
results.close()
print(threading.active_count() - before, "threads left behind")
# Expected output:
# [0, 1, 4, 9, 16]
# 0 with 3 threads at work
# 0 threads left behind


# %%
#| test
def test_prefetch_keeps_the_order():
    import time

    jobs = [lambda n=n: time.sleep(0.01 * (n % 3 == 0)) or n for n in range(12)]
    assert list(prefetch(jobs, 4, 6)) == list(range(12))
    assert list(prefetch([], 2, 2)) == []


def test_prefetch_passes_on_exceptions_in_their_place():
    results = prefetch([lambda: 1, lambda: 1 // 0, lambda: 3], 2, 4)
    assert next(results) == 1
    assert "zero" in raises(ZeroDivisionError, next, results)


def test_prefetch_runs_only_so_far_ahead_and_cleans_up():
    import threading
    import time

    begun = []
    before = threading.active_count()
    results = prefetch((partial(begun.append, n) for n in range(1000)), 2, 3)
    next(results)
    time.sleep(0.05)
    assert 1 <= len(begun) <= 4
    results.close()
    assert threading.active_count() == before
    assert len(begun) <= 4


if __name__ == "__main__":
    test_prefetch_keeps_the_order()
    test_prefetch_passes_on_exceptions_in_their_place()
    test_prefetch_runs_only_so_far_ahead_and_cleans_up()

# %% [markdown]
# ## Step 5: The DataLoader
#
# An epoch is one order of all samples, cut into batches:
#
#     order   3 0 4 1 2      batch_size 2      →   [3 0] [4 1] [2]       drop_last: [3 0] [4 1]
#     number of batches = ⌈N / B⌉, or ⌊N / B⌋ when the last, partial one is dropped
#
# Shuffling matters: without it, a file sorted by label trains on nothing but cats, then nothing but
# dogs. And each epoch needs *another* order, or batches become a fixed set of their own. Both
# should repeat exactly when asked to, so the order of epoch e is drawn from a generator seeded with
# the pair `[seed, e]`: reproducible, different for every e, and the same whether you run epochs 0
# to 9 or resume at 5 (`loader.set_epoch(5)`; module 07's Trainer does it).
#
# One permutation of indices orders images *and* labels; shuffle them apart and every label is
# wrong. Random transforms get a generator of their own per batch, `[seed, e, 1 + b]`, so that the
# batches do not depend on how many threads make them.


# %%
#| export
class DataLoader:
    """Iterate over a dataset in batches of Tensors, in a new random order each epoch if asked.

        DataLoader(dataset, batch_size=32, shuffle=True)
        DataLoader(images, labels, batch_size=32)

    Args:
        dataset: Anything with a length and an integer index; or arrays, the samples in their rows.
        batch_size: Samples per batch, at least 1.
        shuffle: Whether each epoch has a random order.
        seed: Fixes the orders and the random transforms; None draws one from the course's
            generator, which `manual_seed` restarts.
        drop_last: Whether to leave out a last batch that is not full.
        collate_fn: Makes a batch of a list of samples; by default `default_collate`, or the
            dataset's own `take`, which is faster.
        num_workers: Threads that load ahead; 0 loads when asked.
        prefetch_factor: Batches to load ahead per thread.

    Attributes:
        epoch: The number of the next epoch.
    """

    def __init__(
        self,
        dataset: Any,
        *more: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        seed: int | None = None,
        drop_last: bool = False,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        num_workers: int = 0,
        prefetch_factor: int = 2,
    ):
        arrays, batch_size, shuffle = checks.read_places(more, batch_size, shuffle)
        self.dataset = TensorDataset(dataset, *arrays) if arrays else dataset
        checks.loadable(self.dataset)
        self.batch_size = checks.whole("batch_size", batch_size, least=1)
        self.num_workers = checks.whole("num_workers", num_workers, least=0)
        self.prefetch_factor = checks.whole("prefetch_factor", prefetch_factor, least=1)
        seed = int(default_generator.integers(2**31)) if seed is None else seed
        self.seed = checks.whole("seed", seed, least=0)
        self.shuffle, self.drop_last, self.collate_fn = shuffle, drop_last, collate_fn
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Make this the next epoch, as a resumed training does."""
        self.epoch = epoch

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

    def load(self, indices: np.ndarray, epoch: int, number: int) -> Any:
        """Load batch `number` of an epoch, which has the samples at `indices`."""
        if self.collate_fn is not None:
            return self.collate_fn([self.dataset[int(index)] for index in indices])
        return take(self.dataset, indices, np.random.default_rng([self.seed, epoch, 1 + number]))

    def __iter__(self) -> Iterator[Any]:
        """Begin the next epoch: count it, and yield its batches in order.

        With threads, hand `prefetch` one job per batch and `num_workers * prefetch_factor` as the
        number of batches ahead.
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
def labels_of(loader):
    """All labels of an epoch, in order."""
    return [int(label) for _, labels in loader for label in labels.numpy()]


def test_every_sample_comes_once_and_with_its_label():
    x, y = np.arange(23, dtype=np.float32) * 2, np.arange(23)
    for options in ({}, {"shuffle": True}, {"num_workers": 3, "shuffle": True}):
        loader = DataLoader(x, y, batch_size=5, **options)
        batches = list(loader)
        assert [len(labels) for _, labels in batches] == [5, 5, 5, 5, 3]
        assert len(loader) == 5
        assert sorted(int(v) for _, labels in batches for v in labels.numpy()) == list(range(23))
        for images, labels in batches:
            np.testing.assert_array_equal(images.numpy(), labels.numpy() * 2)
            assert (images.dtype, labels.dtype) == (np.float32, np.int64)


def test_epochs_differ_and_seeds_repeat_them():
    def loader(seed):
        return DataLoader(np.zeros(40), np.arange(40), batch_size=8, shuffle=True, seed=seed)

    a, b, c = loader(7), loader(7), loader(8)
    first, second = labels_of(a), labels_of(a)
    assert first != second != list(range(40))
    assert (labels_of(b), labels_of(b)) == (first, second)
    assert labels_of(c) != first
    resumed = loader(7)
    resumed.set_epoch(1)
    assert labels_of(resumed) == second


def test_drop_last_drops_only_the_partial_batch():
    for n, kept in ((10, 8), (8, 8), (3, 0)):
        loader = DataLoader(np.zeros(n), np.arange(n), batch_size=4, drop_last=True)
        assert (len(loader), len(labels_of(loader))) == (kept // 4, kept)


def test_loader_takes_any_dataset_and_collate():
    pairs = [(float(n), n) for n in range(6)]
    x, y = next(iter(DataLoader(pairs, batch_size=6)))
    assert (x.dtype, y.tolist()) == (np.float32, [0, 1, 2, 3, 4, 5])
    assert list(DataLoader(pairs, batch_size=3, collate_fn=len)) == [3, 3]
    assert len(DataLoader(pairs, 4, True)) == 2, "batch size and shuffle by place, as in PyTorch"
    for wrong in (0, -1, 2.5, True):
        assert "batch_size" in raises(ValueError, DataLoader, pairs, batch_size=wrong)
    assert "empty" in raises(ValueError, DataLoader, [])


if __name__ == "__main__":
    test_every_sample_comes_once_and_with_its_label()
    test_epochs_differ_and_seeds_repeat_them()
    test_drop_last_drops_only_the_partial_batch()
    test_loader_takes_any_dataset_and_collate()

# %% [markdown]
# ## Step 6: Transforms: normalise and flip
#
# **Normalise.** Gradients flow best when inputs have mean 0 and variance 1. Each colour channel has
# its own mean and deviation over the training set:
#
#     y = (x − mean_c) / std_c          images are (N, C, H, W), so mean_c must be (C, 1, 1)
#
# A mean of shape (C,) would broadcast against the *last* axis, the columns. With a 3 × 3 image that
# even runs, and is wrong.
#
# **Flip.** A cat seen in a mirror is a cat. Flipping a random half of the images shows the model
# twice as many. The columns are the last axis: `images[..., ::-1]`. (A mirrored 3 is no 3. Flip
# photographs, not digits.)
#
# A transform gets a whole batch and a generator, and **each image draws for itself**. One draw for
# the batch would flip all or none. The batch it gets may be someone else's: return a new array.


# %%
#| export
class Transform:
    """Something done to images: one of shape (C, H, W), or a batch (N, C, H, W).

    A subclass defines `apply(images, rng)`, which gets a batch as an array and returns a new one.

    Args:
        seed: Of the generator that is used when the caller brings none; None takes the course's.
    """

    def __init__(self, seed: int | None = None):
        self.rng = generator(seed)

    def __call__(self, images: Any, rng: Generator | None = None) -> Any:
        """Transform an array or a Tensor; the same kind comes back."""
        array = images.data if isinstance(images, Tensor) else np.asarray(images)
        checks.image_axes(array.shape)
        batch = self.apply(array if array.ndim == 4 else array[None], rng or self.rng)
        batch = batch if array.ndim == 4 else batch[0]
        return Tensor._wrap(batch) if isinstance(images, Tensor) else batch

    def apply(self, images: np.ndarray, rng: Generator) -> np.ndarray:
        """Transform a batch of images (N, C, H, W)."""
        raise TypeError(f"{type(self).__name__} does nothing; define apply")


class Compose(Transform):
    """Several transforms, one after the other."""

    def __init__(self, transforms: Iterable[Any]):
        super().__init__()
        self.transforms = list(transforms)

    def apply(self, images: np.ndarray, rng: Generator) -> np.ndarray:
        for transform in self.transforms:
            images = transformed(transform, images, rng)
        return images


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
        if not 0 <= p <= 1:
            raise ValueError(f"p is {p}; a probability is between 0 and 1")
        self.p = p

    def apply(self, images: np.ndarray, rng: Generator) -> np.ndarray:
        """Return the batch with a random choice of its images mirrored."""
        ### BEGIN SOLUTION
        chosen = rng.random(len(images)) < self.p
        flipped = images.copy()
        flipped[chosen] = images[chosen][..., ::-1]
        return flipped
        ### END SOLUTION


# %%
image = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
print(image[0], RandomHorizontalFlip(p=1)(image)[0], sep="\n")
print(Normalize([2.5], [0.5])(image)[0])
# Expected output:
# [[0. 1. 2.]
#  [3. 4. 5.]]
# [[2. 1. 0.]
#  [5. 4. 3.]]
# [[-5. -3. -1.]
#  [ 1.  3.  5.]]


# %%
#| test
def test_normalize_goes_by_channel():
    images = np.random.default_rng(0).random((4, 3, 3, 3), dtype=np.float32)
    out = Normalize([0.1, 0.2, 0.3], [1, 2, 4])(images)
    for c, (mean, std) in enumerate(((0.1, 1), (0.2, 2), (0.3, 4))):
        np.testing.assert_allclose(out[:, c], (images[:, c] - mean) / std, rtol=1e-5, atol=1e-6)
    assert out.dtype == np.float32
    assert "3 channels" in raises(ValueError, Normalize([0, 0], 1), images)


def test_flip_mirrors_each_image_or_leaves_it():
    images = np.random.default_rng(0).random((200, 2, 3, 4), dtype=np.float32)
    before = images.copy()
    out = RandomHorizontalFlip(0.25, seed=1)(images)
    mirrored = (out == images[..., ::-1]).all(axis=(1, 2, 3))
    same = (out == images).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert 20 < mirrored.sum() < 80
    np.testing.assert_array_equal(images, before)


def test_transforms_keep_the_kind_of_what_they_get():
    twice = Compose([RandomHorizontalFlip(1), RandomHorizontalFlip(1)])
    image = Tensor(np.arange(12.0).reshape(1, 3, 4))
    np.testing.assert_array_equal(twice(image).numpy(), image.numpy())
    assert "(12,)" in raises(ValueError, twice, np.zeros(12))


if __name__ == "__main__":
    test_normalize_goes_by_channel()
    test_flip_mirrors_each_image_or_leaves_it()
    test_transforms_keep_the_kind_of_what_they_get()

# %% [markdown]
# ## Step 7: Transforms: crop and cut out
#
# **Random crop.** Pad an image with zeros, then cut a window of the old size at a random place: the
# object moves by a few pixels, and the model stops caring where exactly it is. A window of size S
# in a padded height P = H + 2p can start in rows 0 to P − S: P − S + 1 places, 9 for S = 32, p = 4.
#
# Each image has its own window, so one slice cannot cut them all. `sliding_window_view` gives *all*
# windows as a view, without copying, and fancy indexing copies the N that are wanted:
#
#     padded                (N, C, P_h, P_w)
#     all windows           (N, C, P_h − S + 1, P_w − S + 1, S, S)       a view: no memory
#     [arange(N), :, top, left]                                          → (N, C, S, S)
#
# **Cutout** (DeVries and Taylor 2017) hides a random square, so that the model cannot rely on one
# detail. The square's centre is any pixel of the image; what falls outside is not cut.


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
        both = size if isinstance(size, tuple | list) else (size, size)
        self.height, self.width = (checks.whole("size", n, least=1) for n in both)
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


class Cutout(Transform):
    """Set a square of each image, centred on a random pixel, to zero.

    Args:
        size: Side of the square, in pixels.
    """

    def __init__(self, size: int, seed: int | None = None):
        super().__init__(seed)
        self.size = checks.whole("size", size, least=1)

    def apply(self, images: np.ndarray, rng: Generator) -> np.ndarray:
        """Return the images with rows top … top + size - 1 of columns left … left + size - 1 zero.

        The square of a centre (y, x) begins at top = y - size // 2 and left = x - size // 2.
        """
        ### BEGIN SOLUTION
        count, _, rows, columns = images.shape
        top = rng.integers(0, rows, count)[:, None] - self.size // 2  # (N, 1)
        left = rng.integers(0, columns, count)[:, None] - self.size // 2
        row, column = np.arange(rows), np.arange(columns)
        in_rows = (row >= top) & (row < top + self.size)  # (N, H)
        in_columns = (column >= left) & (column < left + self.size)  # (N, W)
        hidden = in_rows[:, None, :, None] & in_columns[:, None, None, :]  # (N, 1, H, W)
        return np.where(hidden, images.dtype.type(0), images)
        ### END SOLUTION


# %%
image = np.arange(1, 10, dtype=np.float32).reshape(1, 3, 3)
print(RandomCrop(3, padding=1, seed=2)(image)[0])
print(Cutout(2, seed=0)(image)[0])
# Expected output:
# [[0. 4. 5.]
#  [0. 7. 8.]
#  [0. 0. 0.]]
# [[1. 2. 3.]
#  [0. 0. 6.]
#  [0. 0. 9.]]


# %%
#| test
def test_crop_cuts_a_window_of_each_image():
    images = np.random.default_rng(0).random((50, 2, 5, 6), dtype=np.float32) + 1
    out = RandomCrop((4, 3), padding=1, seed=0)(images)
    assert (out.shape, out.dtype) == ((50, 2, 4, 3), np.float32)
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    places = set()
    for image, window in zip(padded, out, strict=True):
        found = [
            (y, x)
            for y in range(4)
            for x in range(6)
            if np.array_equal(image[:, y : y + 4, x : x + 3], window)
        ]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) > 12, "each image needs a place of its own"
    assert "6 × 6" in raises(ValueError, RandomCrop(6), np.zeros((1, 5, 5)))


def test_cutout_hides_a_square():
    images = np.ones((300, 2, 6, 6), np.float32)
    out = Cutout(3, seed=0)(images)
    hidden = (out == 0).sum(axis=(1, 2, 3)) // 2
    assert set(hidden.tolist()) == {4, 6, 9}, "full squares, and those cut off by the border"
    assert (out[:, 0] == out[:, 1]).all(), "all channels lose the same square"
    assert images.min() == 1


if __name__ == "__main__":
    test_crop_cuts_a_window_of_each_image()
    test_cutout_hides_a_square()

# %% [markdown]
# ## Step 8: Read three file formats
#
# Real data come as bytes. Three formats, from the plainest to the most packed:
#
# - **Digits** are text: each line 64 grey values from 0 to 16, row by row, then the label.
# - **MNIST** uses IDX: two zero bytes, a type byte (8 = unsigned bytes), the number of axes, then
#   each size as four bytes, most significant first, then the values. `00 00 08 03 · 00 00 EA 60 ·
#   00 00 00 1C · 00 00 00 1C · …` is 60,000 × 28 × 28. (`struct.unpack(">I", …)` reads a size.)
# - **CIFAR-10** is records of 3,073 bytes: a label, then 1,024 red, 1,024 green and 1,024 blue
#   values, each row by row. As one array of shape (N, 3073), the label is column 0, and the rest
#   is already (3, 32, 32).
#
# None of them can run code when it is read. A pickle can: CIFAR-10 also exists in a "python
# version" made of pickles, which is one reason why we take the binary one.
#
# A file can be cut short or be something else. Check sizes and labels *before* you trust them.


# %%
#| export
def read_digits(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images, (N, 1, 8, 8) float32 from 0 to 1, and the labels, (N,) int64.

    Raises:
        ValueError: If a line has not 65 numbers, or a label is not 0 to 9.
    """
    ### BEGIN SOLUTION
    rows = [line.split(",") for line in text.splitlines() if line.strip()]
    if not rows or any(len(row) != 65 for row in rows):
        wrong = next((n for n, row in enumerate(rows, 1) if len(row) != 65), 1)
        raise ValueError(f"line {wrong} of the digits has not 65 numbers; restore the file")
    numbers = np.array(rows, dtype=np.int64)
    images = numbers[:, :64].reshape(-1, 1, 8, 8).astype(np.float32) / 16
    return images, checks.labels_below_ten(numbers[:, 64])
    ### END SOLUTION


def read_idx(data: bytes) -> np.ndarray:
    """Return the uint8 array of an unpacked IDX file.

    Raises:
        ValueError: If it does not begin as IDX does, or its size is not what its header says.
    """
    ### BEGIN SOLUTION
    if len(data) < 4 or data[:3] != b"\x00\x00\x08" or len(data) < 4 + 4 * data[3]:
        raise ValueError(
            f"not an IDX file: it begins with {data[:4].hex(' ') or 'nothing'}; get it again"
        )
    shape = struct.unpack(f">{data[3]}I", data[4 : 4 + 4 * data[3]])
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
    if values.size != np.prod(shape, dtype=np.int64):
        raise ValueError(f"an IDX file of shape {shape} has {values.size} values; get it again")
    return values.reshape(shape)
    ### END SOLUTION


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


# %%
images, labels = read_digits(",".join(["0"] * 63 + ["8", "7"]))
print(images.shape, images[0, 0, 7], labels)
print(read_idx(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])))
images, labels = read_cifar10(bytes([9] + [255] * 1024 + [0] * 2048))
print(images.shape, images.mean(axis=(0, 2, 3)), labels)
# Expected output:
# (1, 1, 8, 8) [0.  0.  0.  0.  0.  0.  0.  0.5] [7]
# [[1 2 3]
#  [4 5 6]]
# (1, 3, 32, 32) [255.   0.   0.] [9]


# %%
#| test
def test_digits_are_read_and_checked():
    text = "\n".join(",".join(map(str, [*range(16), *[0] * 48, n])) for n in (3, 0, 9))
    images, labels = read_digits(text)
    assert (images.shape, images.dtype, labels.dtype) == ((3, 1, 8, 8), np.float32, np.int64)
    np.testing.assert_allclose(images[1, 0, 1], np.arange(8, 16) / 16)
    assert labels.tolist() == [3, 0, 9]
    for wrong, word in ((text + "\n1,2", "line 4"), (text.replace(",9", ",10"), "label 10")):
        assert word in raises(ValueError, read_digits, wrong)


def test_idx_is_read_and_checked():
    data = bytes([0, 0, 8, 3, *[0, 0, 0, 2] * 3]) + bytes(range(8))
    np.testing.assert_array_equal(read_idx(data), np.arange(8).reshape(2, 2, 2))
    for wrong in (data[:-1], data + b"x", b"", b"GIF89a", data[:9], b"\x00\x00\x0d" + data[3:]):
        raises(ValueError, read_idx, wrong)


def test_cifar_is_read_and_checked():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    records = [bytes([n]) + image.tobytes() for n, image in zip((1, 0, 9, 5), pixels, strict=True)]
    images, labels = read_cifar10(b"".join(records))
    np.testing.assert_array_equal(images, pixels)
    assert (labels.tolist(), labels.dtype) == ([1, 0, 9, 5], np.int64)
    assert "3072" in raises(ValueError, read_cifar10, records[0][:-1])
    assert "label 10" in raises(ValueError, read_cifar10, bytes([10]) + bytes(3072))


if __name__ == "__main__":
    test_digits_are_read_and_checked()
    test_idx_is_read_and_checked()
    test_cifar_is_read_and_checked()

# %% [markdown]
# ## Step 9: Bytes until the last moment, and the data sets themselves
#
# A pixel is one byte; as float32 it is four. CIFAR-10 takes 184 MB as bytes and 737 MB as float32,
# and a batch only ever needs 128 images of it. So keep bytes, and convert **what is read, when it
# is read**. `PixelArray` looks like a float32 array from 0 to 1: it has its `shape`, its `dtype`
# and its rows, and is a quarter of its size.
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
class PixelArray:
    """Bytes in memory that read as float32 numbers from 0 to 1, a few rows at a time.

    Anything but indexing is done on the whole array as float32, which then exists for a moment.

    Args:
        pixels: uint8 array.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, pixels: np.ndarray):
        if pixels.dtype != np.uint8:
            raise TypeError(f"pixels have dtype {pixels.dtype}; give uint8 values from 0 to 255")
        self.pixels = pixels

    shape = property(lambda self: self.pixels.shape, doc="Sizes of the axes.")
    ndim = property(lambda self: self.pixels.ndim, doc="Number of axes.")
    size = property(lambda self: self.pixels.size, doc="Number of elements.")
    nbytes = property(lambda self: self.pixels.nbytes, doc="Bytes held, one per element.")

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Return the selected pixels as float32, each divided by 255."""
        ### BEGIN SOLUTION
        return np.divide(self.pixels[index], 255, dtype=np.float32)
        ### END SOLUTION

    def numpy(self) -> np.ndarray:
        """Return everything as float32: four times the memory."""
        return self[:]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "pixels":
            raise AttributeError(name)
        return getattr(self[:], name)

    def __repr__(self) -> str:
        return f"PixelArray(shape={self.shape}, {self.nbytes:,} bytes)"


class ImageDataset(TensorDataset):
    """Images and labels in a training and a test half; as a dataset it is one of them.

    Args:
        train, test: (images, labels) of each half; images (N, C, H, W) uint8, or float32.
        use_train: Which half `len` and the index go to.
        transform: Applied to the images of that half as they are read.
        flatten: Whether each image is one row of C · H · W numbers.
    """

    classes: tuple[str, ...] = tuple("0123456789")

    def __init__(self, train: Any, test: Any, use_train: bool, transform: Any, flatten: bool):
        images, labels = train if use_train else test
        super().__init__(readable(images), labels, transform=transform)
        self.flatten = flatten
        self.train_data, self.train_labels = readable(self.shaped(train[0])), train[1]
        self.test_data, self.test_labels = readable(self.shaped(test[0])), test[1]

    def shaped(self, images: np.ndarray) -> np.ndarray:
        """A batch as it is, or with each image as one row."""
        return images.reshape(len(images), -1) if self.flatten else images

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        image, label = super().__getitem__(index)
        return Tensor._wrap(self.shaped(image.data[None])[0]), label

    def take(self, indices: Sequence[int], rng: Generator | None = None) -> tuple[Tensor, ...]:
        images, labels = super().take(indices, rng)
        return Tensor._wrap(self.shaped(images.data)), labels


def readable(images: np.ndarray) -> Any:
    """Bytes as a PixelArray, numbers as they are."""
    return PixelArray(images) if images.dtype == np.uint8 else images


class DigitsDataset(ImageDataset):
    """The 1,797 handwritten digits shipped with the course: (1, 8, 8), 1,438 of them to train.

    Args:
        path: Another copy of digits.csv.gz, or its bytes, compressed or not.
        train, transform, flatten: As in ImageDataset.

    Source: Alpaydin and Kaynak 1998, UCI Machine Learning Repository.
    """

    def __init__(self, path=None, train=True, transform=None, flatten=False):
        if path is None:
            from tinytorch.utils.sources import shipped

            path = shipped("digits.csv.gz")
        data = path if isinstance(path, bytes) else Path(path).read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        halves = self.halves(*read_digits(data.decode("utf-8")))
        super().__init__(*halves, train, transform, flatten)

    @staticmethod
    def halves(images: np.ndarray, labels: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Split into 80% to train and 20% to test, with seed 0: [(images, labels), (…, …)].

        `random_split` draws the indices; images and labels must stay together.
        """
        ### BEGIN SOLUTION
        parts = random_split(labels, [0.8, 0.2], seed=0)
        return [(images[part.indices], labels[part.indices]) for part in parts]
        ### END SOLUTION


class MNISTDataset(ImageDataset):
    """70,000 handwritten digits, (1, 28, 28), 60,000 of them to train.

    Args:
        root: Directory of the four files; by default the user's cache.
        train, transform, flatten: As in ImageDataset.
        download: Whether to fetch files that are missing (11.6 MB).

    Source: LeCun, Bottou, Bengio and Haffner 1998.
    """

    def __init__(self, root=None, train=True, transform=None, download=False, flatten=False):
        from tinytorch.utils.sources import mnist_files

        files = mnist_files(root, download=download)
        parts = {name: read_idx(gzip.decompress(path.read_bytes())) for name, path in files.items()}
        halves = [
            (parts[f"{half}_images"][:, None], checks.labels_below_ten(parts[f"{half}_labels"]))
            for half in ("train", "test")
        ]
        super().__init__(*halves, train, transform, flatten)


class CIFAR10Dataset(ImageDataset):
    """60,000 colour photographs of ten kinds of things, (3, 32, 32), 50,000 of them to train.

    Args:
        root: Directory of the batches; by default the user's cache.
        train, transform, flatten: As in ImageDataset.
        download: Whether to fetch the archive if it is missing (170 MB).

    Attributes:
        published: Whether the bytes are known to be the publisher's.

    Source: Krizhevsky 2009.
    """

    classes = ("airplane", "automobile", "bird", "cat", "deer")
    classes += ("dog", "frog", "horse", "ship", "truck")
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of the training images

    def __init__(self, root=None, train=True, transform=None, download=False, flatten=False):
        from tinytorch.utils.sources import cifar10_batches

        batches = cifar10_batches(root, download=download)
        self.published = batches.published
        halves = [self.read(batches.train), self.read([batches.test])]
        super().__init__(*halves, train, transform, flatten)

    @staticmethod
    def read(paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
        """Read batch files and put them together, in order: (images, labels)."""
        ### BEGIN SOLUTION
        images, labels = zip(
            *(read_cifar10(Path(path).read_bytes()) for path in paths), strict=True
        )
        return np.concatenate(images), np.concatenate(labels)
        ### END SOLUTION


def download_cifar10(root: str | Path | None = None) -> Path:
    """Bring CIFAR-10 into the cache if it is not there; return the directory of its batches."""
    from tinytorch.utils.sources import cifar10_batches

    return cifar10_batches(root, download=True).test.parent


# %%
digits = DigitsDataset()
print(digits.train_data.shape, digits.test_data.shape, np.bincount(digits.test_labels))
image, label = digits[0]
for row in image.numpy()[0]:
    print("".join(" .:-=+*#%"[int(value * 8)] for value in row).rstrip())
print("a", label.item())
# Expected output:
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
def test_pixels_read_as_float32_and_stay_bytes():
    pixels = np.arange(256, dtype=np.uint8).reshape(4, 1, 8, 8)
    array = PixelArray(pixels)
    assert (array.shape, array.dtype, len(array), array.nbytes) == (
        (4, 1, 8, 8),
        np.float32,
        4,
        256,
    )
    np.testing.assert_allclose(array[[3, 0]], pixels[[3, 0]] / 255, rtol=1e-6)
    assert array[3].dtype == np.float32
    assert array[3].max() == 1
    assert abs(array.mean() - 0.5) < 1e-6
    images, _ = next(iter(DataLoader(array, np.arange(4), batch_size=3)))
    assert (images.shape, images.dtype) == ((3, 1, 8, 8), np.float32)


def test_digits_split_once_and_for_all():
    lines = [",".join(map(str, [n % 17] * 64 + [n % 10])) for n in range(100)]
    digits, other = (DigitsDataset("\n".join(lines).encode(), train=t) for t in (True, False))
    assert (len(digits), len(other)) == (80, 20)
    np.testing.assert_array_equal(digits.train_data, other.train_data)
    seen = np.concatenate([digits.train_labels, digits.test_labels])
    np.testing.assert_array_equal(np.bincount(seen), [10] * 10)
    image, label = other[3]
    np.testing.assert_array_equal(image.numpy(), other.test_data[3])
    assert label.item() == other.test_labels[3]
    assert DigitsDataset("\n".join(lines).encode(), flatten=True)[0][0].shape == (64,)


def test_cifar_batches_are_put_together_in_order():
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{n}.bin") for n in (7, 2)]
        for n, path in zip((7, 2), paths, strict=True):
            path.write_bytes((bytes([n]) + bytes([n * 10]) * 3072) * 2)
        images, labels = CIFAR10Dataset.read(paths)
    assert labels.tolist() == [7, 7, 2, 2]
    np.testing.assert_array_equal(images[:, 0, 0, 0], [70, 70, 20, 20])


if __name__ == "__main__":
    test_pixels_read_as_float32_and_stay_bytes()
    test_digits_split_once_and_for_all()
    test_cifar_batches_are_put_together_in_order()

# %% [markdown]
# ## Systems: measure the three claims
#
# **Move whole batches.** The same 4,096 samples of CIFAR-10's shape, in batches of 128: one index
# at a time with the base class's `take`, and with yours.

# %%
pixels = np.random.default_rng(0).integers(0, 256, (4096, 3, 32, 32), dtype=np.uint8)
augment = Compose([RandomCrop(32, padding=4, seed=0), RandomHorizontalFlip(seed=0)])
fast = TensorDataset(PixelArray(pixels), np.arange(4096) % 10, transform=augment)


class OneByOne(Dataset):
    """The same samples, asked for one at a time."""

    def __len__(self):
        return len(fast)

    def __getitem__(self, index):
        return fast[index]


def epoch_seconds(loader, step=0.0):
    """How long an epoch takes when each step of training takes `step` seconds."""
    start = time.perf_counter()
    for _ in loader:
        time.sleep(step)
    return time.perf_counter() - start


single = epoch_seconds(DataLoader(OneByOne(), batch_size=128))
batched = epoch_seconds(DataLoader(fast, batch_size=128))
print(f"one by one {single * 1e3:.0f} ms, a batch at a time {batched * 1e3:.0f} ms")
print("at least 3 times faster:", single > 3 * batched)
# Expected output:
# one by one ... ms, a batch at a time ... ms
# at least 3 times faster: True

# %% [markdown]
# **Move few bytes.** What the images of CIFAR-10 take in memory, as bytes and as float32.

# %%
share = 60_000 / len(pixels)
print(f"{PixelArray(pixels).nbytes * share / 1e6:.0f} MB", end=" or ")
print(f"{PixelArray(pixels).numpy().nbytes * share / 1e6:.0f} MB")
# Expected output:
# 184 MB or 737 MB

# %% [markdown]
# **Move them while the model computes.** A dataset that waits 2 ms for a disk, and a training step
# of 5 ms: without threads the two add up, with threads the longer one remains.


# %%
class OnDisk(Dataset):
    """Samples that take two milliseconds to arrive."""

    def __len__(self):
        return 80

    def __getitem__(self, index):
        time.sleep(0.002)
        return index


for workers in (0, 2):
    loader = DataLoader(OnDisk(), batch_size=4, num_workers=workers)
    print(f"{workers} threads: {epoch_seconds(loader, step=0.005) * 1e3:.0f} ms")
# Expected output:
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
# - *Losing the last batch*: 50,000 samples in batches of 128 leave 80 over, never seen again.
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
# LeCun et al., *Gradient-Based Learning Applied to Document Recognition*, 1998 (MNIST) ·
# Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009 (CIFAR-10) · DeVries
# and Taylor, *Improved Regularization of Convolutional Neural Networks with Cutout*, 2017 ·
# Bottou, *Stochastic Gradient Descent Tricks*, 2012, section 4.1 (shuffling).
#
# ## Reflect
#
# Write 150 to 300 words in `modules/08_dataloader/reflection.md`:
#
# A colleague reports 99.4% on a test set that was split off at random from one big file. Name three
# ways in which samples on the two sides can be related although no index occurs twice (think of the
# 13 writers of the digits, of videos, of patients). How would you split instead, and what would you
# expect to happen to the figure?
#
# ## Check yourself
#
#     tito test 08                 the unit tests of this file
#     tito checkpoint run 08       can I feed real datasets efficiently?
