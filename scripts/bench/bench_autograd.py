"""Time the reverse pass against PyTorch's, and print how far our numbers are from its.

    python scripts/bench/bench_autograd.py [--runs N] [--threads N] [--json FILE]

First the backward pass of graphs of 10,000 nodes (limit: 3 times PyTorch's on the CPU), forward
and backward of a small network without a limit; then the largest relative errors of every
operation, from the property tests that compare with PyTorch.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _ratio import Side, compare, finish, import_torch, start

ROOT = Path(__file__).resolve().parents[2]
ORACLE = sorted((ROOT / "scripts" / "tests").glob("test_oracle_*.py"))
NODES = 10_000
LIMIT = 3.0


def chain(x: Any, w: Any) -> Any:
    """A recurrence y = y * w + x: two nodes a step, x and w used by all of them."""
    y = x
    for _ in range(NODES // 2):
        y = y * w + x
    return y.sum()


def diamonds(x: Any, w: Any) -> Any:
    """y = (y + y) * w: every value is used twice, 2 ** 5000 paths."""
    y = x
    for _ in range(NODES // 2):
        y = (y + y) * w
    return y.sum()


def tree(x: Any, w: Any) -> Any:
    """A balanced sum of products: wide instead of deep."""
    level = [x * w for _ in range(NODES // 2)]
    while len(level) > 1:
        level = [a + b for a, b in zip(level[::2], level[1::2], strict=False)] + level[
            len(level) & ~1 :
        ]
    return level[0].sum()


def backward_of(graph: Callable[..., Any], leaf: Callable[[float], Any]) -> Side:
    """Prepare a fresh graph; its backward pass is the work."""
    return lambda: graph(leaf(1.0), leaf(0.5)).backward


def graphs(torch: Any, runs: int) -> list[Any]:
    """The backward passes of 10,000 nodes, for scalars and for small arrays."""
    import numpy as np

    from tinytorch.core.tensor import Tensor

    rows = []
    for name, graph in (("chain", chain), ("diamonds", diamonds), ("tree", tree)):
        for shape in ((), (64,), (32, 32)):

            def ours(value: float, shape: Any = shape) -> Any:
                return Tensor(np.full(shape, value, np.float32), requires_grad=True)

            def theirs(value: float, shape: Any = shape) -> Any:
                return torch.full(shape, value, requires_grad=True)

            title = f"backward, {NODES:,} nodes, {name} of {shape}"
            sides = backward_of(graph, ours), backward_of(graph, theirs)
            rows.append(compare(title, *sides, runs=runs, limit=LIMIT))
    return rows


def network(torch: Any, runs: int) -> list[Any]:
    """Forward and backward of 784-128-10 with batch 64, ten at a time."""
    import numpy as np

    from tinytorch.core.activations import relu
    from tinytorch.core.losses import cross_entropy
    from tinytorch.core.tensor import Tensor

    rng = np.random.default_rng(0)
    shapes = [(784, 128), (128,), (128, 10), (10,)]
    arrays = [rng.standard_normal(shape, dtype=np.float32) * 0.05 for shape in shapes]
    x, labels = rng.standard_normal((64, 784), dtype=np.float32), rng.integers(0, 10, 64)

    def ours() -> Callable[[], None]:
        inputs, (a, b, c, d) = Tensor(x), (Tensor(p, requires_grad=True) for p in arrays)

        def work() -> None:
            for _ in range(10):
                cross_entropy(relu(inputs @ a + b) @ c + d, labels).backward()

        return work

    def theirs() -> Callable[[], None]:
        inputs, targets = torch.from_numpy(x), torch.from_numpy(labels)
        a, b, c, d = (torch.tensor(p, requires_grad=True) for p in arrays)

        def work() -> None:
            for _ in range(10):
                out = torch.relu(inputs @ a + b) @ c + d
                torch.nn.functional.cross_entropy(out, targets).backward()

        return work

    return [compare("forward and backward, 784-128-10, batch 64, x10", ours, theirs, runs=runs)]


def oracle_table() -> str:
    """Run the property tests against PyTorch; return their table of errors, or what went wrong."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, ORACLE)]
    environment = {k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    table = re.search(
        r"^=+ (PyTorch as the oracle.*?) =+\n(.*?)^(?==|\d)", done.stdout, re.MULTILINE | re.DOTALL
    )
    return f"{table[1]}\n{table[2].rstrip()}" if table and not done.returncode else done.stdout


def main() -> int:
    """Print both tables; exit 1 if a limit is missed."""
    options = start(__doc__)
    torch = import_torch(options.threads)
    try:
        import tinytorch.core.autograd  # noqa: F401
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error.name} is not exported yet; run: tito export --all") from None
    status = finish(graphs(torch, options.runs) + network(torch, options.runs), options)
    print(f"\n{oracle_table()}")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
