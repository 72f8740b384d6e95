"""Time and weigh Conv2d, forward and backward with all three gradients, against PyTorch.

    python scripts/bench/bench_conv.py [--runs 11] [--threads N] [--json FILE]

Batch 64, 3x3, padding 1. Time: at most 2.0 times PyTorch's. Memory: the peak of one step above what
was resident before it, each in a fresh process after a tiny step that loads what is loaded lazily;
at most 2.5 times PyTorch's.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

from _ratio import Side, Work, compare, finish, import_torch, start

SHAPES = ((3, 32, 32), (32, 64, 32), (64, 128, 16), (128, 256, 8))
BATCH = 64
TIME_LIMIT, MEMORY_LIMIT = 2.0, 2.5


def arrays(channels: int, filters: int, size: int, batch: int) -> tuple[Any, ...]:
    """Images and the gradient of the output, the same on both sides."""
    import numpy as np

    rng = np.random.default_rng(0)
    shapes = (batch, channels, size, size), (batch, filters, size, size)
    return tuple(rng.standard_normal(shape, np.float32) for shape in shapes)


def ours(channels: int, filters: int, size: int, batch: int = BATCH) -> Side:
    """One step of tinytorch."""
    from tinytorch.core.spatial import Conv2d
    from tinytorch.core.tensor import Tensor

    images, gradient = (Tensor(a) for a in arrays(channels, filters, size, batch))
    images.requires_grad_()
    layer = Conv2d(channels, filters, 3, padding=1)

    def step() -> None:
        images.grad = None
        layer.zero_grad()
        layer(images).backward(gradient)

    return lambda: step


def theirs(threads: int, channels: int, filters: int, size: int, batch: int = BATCH) -> Side:
    """The same step of PyTorch."""
    torch = import_torch(threads)
    images, gradient = (torch.from_numpy(a) for a in arrays(channels, filters, size, batch))
    images.requires_grad_()
    layer = torch.nn.Conv2d(channels, filters, 3, padding=1)

    def step() -> None:
        images.grad = None
        layer.zero_grad()
        layer(images).backward(gradient)

    return lambda: step


def status(field: str) -> int:
    """Bytes of a field of /proc/self/status."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}; measure memory on Linux")


def weigh(step: Work) -> int:
    """Bytes at the peak of a step above those resident before it (Linux)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    before = status("VmRSS")
    step()
    return status("VmHWM") - before


def in_fresh_process(side: str, threads: int, shape: tuple[int, int, int]) -> int:
    """Weigh one step in a process of its own."""
    command = [sys.executable, __file__, "--weigh", side, str(threads), *map(str, shape)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout)


def weigh_alone(side: str, threads: str, *shape: str) -> None:
    """What the fresh process runs."""
    start(None, ["--threads", threads])
    make = ours if side == "ours" else lambda *a: theirs(int(threads), *a)
    make(2, 2, 4, 1)()()
    print(weigh(make(*map(int, shape))()))


def main() -> int:
    """Run the comparisons and print them."""
    options = start(__doc__)
    rows = [
        compare(
            f"{c} -> {f} at {size}x{size}",
            ours(c, f, size),
            theirs(options.threads, c, f, size),
            runs=options.runs,
            limit=TIME_LIMIT,
        )
        for c, f, size in SHAPES
    ]
    memory, kept = [], True
    if Path("/proc/self/clear_refs").exists():
        for shape in SHAPES:
            mine, other = (in_fresh_process(s, options.threads, shape) for s in ("ours", "theirs"))
            memory.append({"shape": shape, "ours": mine, "theirs": other, "ratio": mine / other})
            kept &= mine <= MEMORY_LIMIT * other
            print(
                f"memory {shape[0]} -> {shape[1]}: {mine / 1e6:.1f} MB, torch {other / 1e6:.1f} MB,"
                f" ratio {mine / other:.2f} (limit {MEMORY_LIMIT})"
            )
    return finish(rows, options, memory=memory) or int(not kept)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--weigh"]:
        weigh_alone(*sys.argv[2:])
        raise SystemExit(0)
    raise SystemExit(main())
