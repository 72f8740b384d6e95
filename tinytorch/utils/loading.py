"""What a DataLoader is told: its arguments, checked, and the batch that each setting leads to."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinytorch.utils import checks
from tinytorch.utils.transforms import generator


class LoaderSettings:
    """The settings of a DataLoader, which says what they mean.

    A subclass names the dataset that `of_arrays` makes of arrays, and the function `take` that
    asks a dataset for a batch.
    """

    of_arrays: Callable[..., Any]
    take: Callable[..., Any]

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
        self.dataset = self.of_arrays(dataset, *arrays) if arrays else dataset
        checks.loadable(self.dataset)
        self.batch_size = checks.whole("batch_size", batch_size, least=1)
        self.num_workers = checks.whole("num_workers", num_workers, least=0)
        self.prefetch_factor = checks.whole("prefetch_factor", prefetch_factor, least=1)
        seed = int(generator(None).integers(2**31)) if seed is None else seed
        self.seed = checks.whole("seed", seed, least=0)
        self.shuffle, self.drop_last, self.collate_fn = shuffle, drop_last, collate_fn
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Make this the next epoch, as a resumed training does."""
        self.epoch = epoch

    def load(self, indices: np.ndarray, epoch: int, number: int) -> Any:
        """Load batch `number` of an epoch, which has the samples at `indices`."""
        if self.collate_fn is not None:
            return self.collate_fn([self.dataset[int(index)] for index in indices])
        rng = np.random.default_rng([self.seed, epoch, 1 + number])
        return self.take(self.dataset, indices, rng)
