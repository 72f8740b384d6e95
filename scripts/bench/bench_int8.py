"""Weigh and time INT8 linear layers against float32 ones, and measure what they get wrong.

    python scripts/bench/bench_int8.py [--runs N] [--threads N] [--json FILE]

Both sides are this course's; needs the exported modules 01 to 15 (tito export --all). Sizes have
the limit of 3.9 times smaller. Times have none: NumPy has no product of bytes, so the codes are
multiplied as float32 (exactly, see module 15), and int8 may well be the slower side. The last row
says what the same sums cost in NumPy's own integers. Errors are root mean squares over those of
the float32 outputs.
"""

from typing import Any

from _ratio import Ratio, compare, finish, start

FEATURES, ROWS = 1024, (1, 16, 256)
SMALLER = 3.9


def layers() -> tuple[Any, Any, Any]:
    """A float layer, its quantized copy, and the inputs of the largest batch."""
    import numpy as np

    from tinytorch.core.layers import Linear
    from tinytorch.core.quantization import Calibrator, QuantizedLinear
    from tinytorch.core.tensor import Tensor, manual_seed

    manual_seed(0)
    layer, seen = Linear(FEATURES, FEATURES), Calibrator()
    x = np.maximum(np.random.default_rng(0).standard_normal((max(ROWS), FEATURES)), 0)
    x = x.astype(np.float32)  # as after a ReLU
    seen.observe(x)
    return layer, QuantizedLinear.from_float(layer, seen), Tensor(x)


def times(layer: Any, small: Any, x: Any, runs: int) -> list[Ratio]:
    """Compare forward passes for each number of rows; then the two ways to add codes up."""
    import numpy as np

    from tinytorch.core.autograd import no_grad
    from tinytorch.core.quantization import integer_matmul

    def side(module: Any, inputs: Any) -> Any:
        def work() -> None:
            with no_grad():
                for _ in range(10):
                    module(inputs)

        return lambda: work

    rows = [
        compare(f"{n} rows, 10 passes", side(small, x[:n]), side(layer, x[:n]), runs=runs)
        for n in ROWS
    ]
    codes, weight = small.encode(x[:16]), small.weight.data.T
    wide = codes.astype(np.int32), weight.astype(np.int32)
    loops = compare(
        "sums of 16 rows, against int32",
        lambda: lambda: integer_matmul(codes, weight),
        lambda: lambda: wide[0] @ wide[1],
        runs=min(runs, 5),
    )
    return [*rows, loops]


def main() -> int:
    """Measure and print; exit 1 if a layer is not small enough."""
    options = start(__doc__)
    import numpy as np

    from tinytorch.core.quantization import model_nbytes

    layer, small, x = layers()
    sizes = model_nbytes(layer), model_nbytes(small)
    exact = layer(x).numpy()
    error = float(np.sqrt(np.mean((small(x).numpy() - exact) ** 2) / np.mean(exact**2)))
    smaller = sizes[0] / sizes[1]
    print(f"bytes: float32 {sizes[0]:,}, int8 {sizes[1]:,}: {smaller:.2f} times smaller", end=" ")
    print(f"(limit {SMALLER} {'kept' if smaller >= SMALLER else 'MISSED'})")
    print(f"error of the outputs: {error:.2%}")
    rows = times(layer, small, x, options.runs)
    status = finish(rows, options, sides=("int8", "float32"), bytes=sizes, error=error)
    return status or int(smaller < SMALLER)


if __name__ == "__main__":
    raise SystemExit(main())
