"""Time an epoch of CIFAR-10 batches, with random crop and flip, against torch.utils.data.

    python scripts/bench/bench_dataloader.py [--runs 5] [--threads N] [--json FILE]

Export the modules first: `tito export --all`. The images are random bytes in CIFAR-10's shape
(50,000 × 3 × 32 × 32; what they show costs nothing), kept as uint8 by both sides, shuffled, in
batches of 128, delivered as float32 from 0 to 1. Neither side has workers, but for the last row.

The first row is the figure: each library as it is meant to be used, ours a batch at a time,
PyTorch's by a `Dataset` whose `__getitem__` pads, crops and flips one image. The other rows say
where it comes from: without transforms, sample by sample on both sides, PyTorch helped by a
`__getitems__` that works on whole batches as ours does, and our threads beside a step that waits.
"""

import time
from typing import Any

from _ratio import compare, finish, import_torch, start

IMAGES = 50_000
BATCH = 128
PAD = 4
LIMIT = 1.0


def ours(pixels: Any, labels: Any) -> dict[str, Any]:
    """Our loaders by name: augmented, plain, sample by sample, and with threads."""
    from tinytorch.core import dataloader as course

    array = course.PixelArray(pixels)
    chain = course.Compose([course.RandomCrop(32, padding=PAD), course.RandomHorizontalFlip()])
    augmented = course.TensorDataset(array, labels, transform=chain)

    class OneByOne:
        """The augmented samples without the way to ask for many."""

        def __len__(self) -> int:
            return len(augmented)

        def __getitem__(self, index: int) -> Any:
            return augmented[index]

    options = {"batch_size": BATCH, "shuffle": True, "seed": 0}
    return {
        "augmented": course.DataLoader(augmented, **options),
        "plain": course.DataLoader(array, labels, **options),
        "single": course.DataLoader(OneByOne(), **options),
        "threads": course.DataLoader(augmented, num_workers=2, **options),
    }


def theirs(torch: Any, pixels: Any, labels: Any) -> dict[str, Any]:
    """PyTorch's loaders by name: augmented, plain, and augmented a batch at a time."""
    images, targets = torch.from_numpy(pixels), torch.from_numpy(labels)
    pad = torch.nn.functional.pad

    class Plain(torch.utils.data.Dataset):
        """Bytes to float32, one image at a time."""

        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> Any:
            return images[index].float().div_(255), targets[index]

    class Augmented(Plain):
        """The usual recipe, one image at a time: pad, crop at random, flip at random."""

        def __getitem__(self, index: int) -> Any:
            image = pad(images[index], (PAD,) * 4)
            top, left = torch.randint(0, 2 * PAD + 1, (2,)).tolist()
            image = image[:, top : top + 32, left : left + 32]
            if torch.rand(()) < 0.5:
                image = image.flip(-1)
            return image.float().div_(255), targets[index]

    class Batched(Plain):
        """The recipe for a batch at a time, which PyTorch takes through `__getitems__`."""

        def __getitems__(self, indices: list[int]) -> Any:
            rows = torch.tensor(indices)
            windows = pad(images[rows], (PAD,) * 4).unfold(2, 32, 1).unfold(3, 32, 1)
            top, left = torch.randint(0, 2 * PAD + 1, (2, len(rows)))
            batch = windows[torch.arange(len(rows)), :, top, left]
            chosen = torch.rand(len(rows)) < 0.5
            batch[chosen] = batch[chosen].flip(-1)
            return batch.float().div_(255), targets[rows]

    loader, options = torch.utils.data.DataLoader, {"batch_size": BATCH, "shuffle": True}
    return {
        "augmented": loader(Augmented(), **options),
        "plain": loader(Plain(), **options),
        "batched": loader(Batched(), collate_fn=lambda batch: batch, **options),
    }


def epoch(loader: Any, step: float = 0.0) -> int:
    """Read all batches; `step` seconds pass after each, as if a model were trained."""
    count = 0
    for _, labels in loader:
        count += len(labels)
        if step:
            time.sleep(step)
    return count


def main() -> int:
    """Run the comparisons and print them."""
    options = start(__doc__)
    torch = import_torch(options.threads)
    import numpy as np

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (IMAGES, 3, 32, 32), dtype=np.uint8)
    labels = rng.integers(0, 10, IMAGES)
    a, b = ours(pixels, labels), theirs(torch, pixels, labels)
    pairs = [
        ("epoch with crop and flip", a["augmented"], b["augmented"], 0.0, LIMIT),
        ("without transforms", a["plain"], b["plain"], 0.0, None),
        ("crop and flip, ours one by one", a["single"], b["augmented"], 0.0, None),
        ("crop and flip, torch in batches", a["augmented"], b["batched"], 0.0, None),
        ("2 threads for none (ours), 1 ms steps", a["threads"], a["augmented"], 0.001, None),
    ]
    rows = [
        compare(
            name,
            lambda x=x, step=step: lambda: epoch(x, step),
            lambda y=y, step=step: lambda: epoch(y, step),
            runs=options.runs,
            limit=limit,
        )
        for name, x, y, step, limit in pairs
    ]
    print(f"{IMAGES:,} images, batches of {BATCH}")
    return finish(rows, options, images=IMAGES, batch=BATCH)


if __name__ == "__main__":
    raise SystemExit(main())
