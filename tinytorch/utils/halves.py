"""Data sets that come in two halves, one to train and one to test: the given part of each.

`sources` is imported when a data set is made: it brings the network's modules along.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinytorch.utils.pixels import ByteArray, Half, read_digits


class Halves:
    """Mixed into a TensorDataset: images to train and to test; as a dataset it is one of them.

    Args:
        train, test: (images, labels) of each half; images (N, C, H, W) uint8, or float32.
        use_train: Which half `len` and the index go to.
        transform: Applied to the images of that half as they are read.
        flatten: Whether each image is one row of C · H · W numbers.
    """

    bytes_as_numbers: type[ByteArray]

    def __init__(self, train: Half, test: Half, use_train: bool, transform: Any, flatten: bool):
        images, labels = train if use_train else test
        super().__init__(self._readable(images), labels, transform=transform)
        self.flatten = flatten
        self.train_data, self.train_labels = self._readable(self.shaped(train[0])), train[1]
        self.test_data, self.test_labels = self._readable(self.shaped(test[0])), test[1]

    def shaped(self, images: np.ndarray) -> np.ndarray:
        """A batch as it is, or with each image as one row."""
        return images.reshape(len(images), -1) if self.flatten else images

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        image, *others = super().__getitem__(index)
        return type(image)._wrap(self.shaped(image.data[None])[0]), *others

    def take(self, indices: Sequence[int], rng: Any = None) -> tuple[Any, ...]:
        """Return many samples at once, each image in the shape that was asked for."""
        images, *others = super().take(indices, rng)
        return type(images)._wrap(self.shaped(images.data)), *others

    def _readable(self, images: np.ndarray) -> Any:
        return self.bytes_as_numbers(images) if images.dtype == np.uint8 else images


class Digits(Halves):
    """The shipped digits; the subclass splits them, in `halves(images, labels)`."""

    halves: Callable[[np.ndarray, np.ndarray], Sequence[Half]]

    def __init__(self, path=None, train=True, transform=None, flatten=False):
        from tinytorch.utils import sources

        halves = self.halves(*read_digits(sources.digits_text(path)))
        super().__init__(*halves, train, transform, flatten)


class Mnist(Halves):
    """MNIST, from the user's cache or another directory."""

    def __init__(self, root=None, train=True, transform=None, download=False, flatten=False):
        from tinytorch.utils import sources

        halves = sources.mnist_halves(root, download=download)
        super().__init__(*halves, train, transform, flatten)


class Cifar10(Halves):
    """CIFAR-10, from the user's cache or another directory; the subclass reads bytes, in `read`."""

    read: Callable[[bytes], Half]
    classes = ("airplane", "automobile", "bird", "cat", "deer")
    classes += ("dog", "frog", "horse", "ship", "truck")
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of the training images

    def __init__(self, root=None, train=True, transform=None, download=False, flatten=False):
        from tinytorch.utils import sources

        batches = sources.cifar10_batches(root, download=download)
        self.published = batches.published
        files = batches.train, [batches.test]
        halves = [self.read(b"".join(path.read_bytes() for path in half)) for half in files]
        super().__init__(*halves, train, transform, flatten)


def download_cifar10(root: str | Path | None = None) -> Path:
    """Bring CIFAR-10 into the cache if it is not there; return the directory of its batches."""
    from tinytorch.utils import sources

    return sources.cifar10_batches(root, download=True).test.parent
