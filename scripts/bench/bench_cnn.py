"""Time a training step of a small CIFAR CNN against the same in PyTorch.

    python scripts/bench/bench_cnn.py [--runs 11] [--threads N] [--json FILE]

Three blocks of convolution, batch norm, ReLU and pooling (32, 64, 128 channels), batch 64, images
3x32x32, Adam: forward, loss, backward and update. At most 2.0 times PyTorch's.
"""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from _ratio import Side, compare, finish, import_torch, start

LIMIT = 2.0
BATCH, CLASSES, WIDTHS = 64, 10, (3, 32, 64, 128)


def step_with(nn: Any, images: Any, labels: Any, adam: Any) -> Side:
    """Make the network of either framework and return its training step."""
    layers = []
    for inside, outside in pairwise(WIDTHS):
        layers += [nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(WIDTHS[-1] * 16, CLASSES))
    optimizer, loss_of = adam(model.parameters(), lr=1e-3), nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        loss_of(model(images), labels).backward()
        optimizer.step()

    return lambda: step


def main() -> int:
    """Run the comparison and print it."""
    options = start(__doc__)
    import numpy as np

    from tinytorch.core import layers, losses, spatial
    from tinytorch.core.activations import ReLU
    from tinytorch.core.optimizers import Adam
    from tinytorch.core.tensor import Tensor

    torch = import_torch(options.threads)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((BATCH, 3, 32, 32), np.float32)
    labels = rng.integers(0, CLASSES, BATCH)
    names = vars(layers) | vars(losses) | vars(spatial) | {"ReLU": ReLU}
    ours = step_with(SimpleNamespace(**names), Tensor(images), Tensor(labels), Adam)
    there = torch.from_numpy(images), torch.from_numpy(labels)
    theirs = step_with(torch.nn, *there, torch.optim.Adam)
    rows = [compare("CNN training step", ours, theirs, runs=options.runs, limit=LIMIT)]
    return finish(rows, options)


if __name__ == "__main__":
    raise SystemExit(main())
