"""Time training steps of a small network against PyTorch's on the CPU.

    python scripts/bench/bench_mlp.py [--runs N] [--threads N] [--json FILE]

An MLP 784-128-10 with ReLU, batch 64, cross-entropy; needs the exported modules 01 to 06 (tito
export --all). The step with Adam has the limit of 1.5 times PyTorch's; its parts and the other
optimizers are printed without one.
"""

from collections.abc import Callable
from typing import Any

from _ratio import Ratio, Side, compare, finish, import_torch, start

BATCH, SIZES, STEPS = 64, (784, 128, 10), 50
LIMIT = 1.5
OPTIMIZERS = {
    "SGD": {"lr": 0.01},
    "SGD with momentum": {"lr": 0.01, "momentum": 0.9},
    "RMSprop": {"lr": 1e-3},
    "AdamW": {"lr": 1e-3},
}


def ours() -> tuple[Any, ...]:
    """The network, the loss, the optimizers, and a function that makes a tensor of an array."""
    from tinytorch.core import optimizers
    from tinytorch.core.activations import ReLU
    from tinytorch.core.layers import Linear, Sequential
    from tinytorch.core.losses import CrossEntropyLoss
    from tinytorch.core.tensor import Tensor

    model = Sequential(Linear(SIZES[0], SIZES[1]), ReLU(), Linear(SIZES[1], SIZES[2]))
    return model, CrossEntropyLoss(), optimizers, Tensor


def theirs(torch: Any) -> tuple[Any, ...]:
    """The same from PyTorch."""
    nn = torch.nn
    model = nn.Sequential(nn.Linear(SIZES[0], SIZES[1]), nn.ReLU(), nn.Linear(SIZES[1], SIZES[2]))
    return model, nn.CrossEntropyLoss(), torch.optim, torch.from_numpy


def batch(tensor: Callable[[Any], Any]) -> tuple[Any, Any]:
    """One batch of random images and labels."""
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.random((BATCH, SIZES[0]), dtype=np.float32)
    return tensor(x), tensor(rng.integers(0, SIZES[2], BATCH))


def whole_step(side: tuple[Any, ...], name: str, options: dict[str, float]) -> Side:
    """Clear, forward, loss, backward, step."""
    model, loss, optimizers, tensor = side
    optimizer = getattr(optimizers, name)(model.parameters(), **options)
    x, y = batch(tensor)

    def work() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()

    return lambda: work


def gradients_only(side: tuple[Any, ...]) -> Side:
    """Everything but the optimizer."""
    model, loss, _, tensor = side
    x, y = batch(tensor)
    parameters = list(model.parameters())

    def work() -> None:
        for _ in range(STEPS):
            for p in parameters:
                p.grad = None
            loss(model(x), y).backward()

    return lambda: work


def update_only(side: tuple[Any, ...]) -> Side:
    """Nothing but the optimizer: Adam on gradients that are there."""
    model, loss, optimizers, tensor = side
    optimizer = optimizers.Adam(model.parameters(), lr=1e-3)
    x, y = batch(tensor)

    def prepare() -> Callable[[], None]:
        optimizer.zero_grad()
        loss(model(x), y).backward()
        return lambda: [optimizer.step() for _ in range(STEPS)] and None

    return prepare


def main() -> int:
    """Compare, print the table, and fail if the step with Adam is too slow."""
    options = start(__doc__)
    torch = import_torch(options.threads)
    sides = ours(), theirs(torch)

    def row(name: str, make: Callable[..., Side], *arguments: Any, limit: Any = None) -> Ratio:
        mine, other = (make(side, *arguments) for side in sides)
        return compare(name, mine, other, runs=options.runs, limit=limit)

    rows = [row(f"{STEPS} steps, Adam", whole_step, "Adam", {"lr": 1e-3}, limit=LIMIT)]
    rows.append(row("  forward and backward", gradients_only))
    rows.append(row("  update", update_only))
    for name, given in OPTIMIZERS.items():
        rows.append(row(f"{STEPS} steps, {name}", whole_step, name.split()[0], given))
    return finish(rows, options)


if __name__ == "__main__":
    raise SystemExit(main())
