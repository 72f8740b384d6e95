"""Bad input to modules 14 and 19: what is called, what it must raise, what the message must name.

The callables import the course when they are called, so that the table can be read without it.
"""

from importlib import import_module
from typing import Any


def profiling(name: str, *arguments: Any, **named: Any) -> Any:
    """Call something of module 14."""
    return getattr(import_module("tinytorch.core.profiling"), name)(*arguments, **named)


def benchmarking(name: str, *arguments: Any, **named: Any) -> Any:
    """Call something of module 19."""
    return getattr(import_module("tinytorch.core.benchmarking"), name)(*arguments, **named)


def watched(model: Any) -> None:
    """Watch a model."""
    with profiling("Profiler").watch(model):
        pass


CASES = [
    # Profiling
    ("watching a function", lambda: watched(print), TypeError, ["Module", "print", "Sequential"]),
    ("watching a number", lambda: watched(3), TypeError, ["Module", "int"]),
    ("FLOPs of a function", lambda: profiling("count_flops", abs, 1), TypeError, ["abs"]),
    (
        "a rule that is a number",
        lambda: profiling("Profiler", rules={"Odd": 100}),
        TypeError,
        ["Odd", "100", "layer, inputs, out"],
    ),
    # Benchmarking
    ("no repeats", lambda: benchmarking("measure", int, repeats=0), ValueError, ["repeats is 0"]),
    ("half a call", lambda: benchmarking("measure", int, calls=0.5), ValueError, ["calls is 0.5"]),
    ("warming up -1 times", lambda: benchmarking("measure", int, -1), ValueError, ["warmup is -1"]),
    ("no samples", lambda: benchmarking("summarise", []), ValueError, ["(0,)", "at least one"]),
    ("samples in a table", lambda: benchmarking("summarise", [[1.0]]), ValueError, ["(1, 1)"]),
    (
        "a sample that is NaN",
        lambda: benchmarking("percentile", [1.0, float("nan")], 50),
        ValueError,
        ["sample 1", "finite"],
    ),
    ("percentile -1", lambda: benchmarking("percentile", [1.0], -1), ValueError, ["q is -1"]),
    (
        "confidence in percent",
        lambda: benchmarking("bootstrap_interval", [1.0], confidence=95),
        ValueError,
        ["confidence is 95", "between 0 and 1"],
    ),
    (
        "samples that are no pairs",
        lambda: benchmarking("compare_samples", [1.0], [1.0, 2.0]),
        ValueError,
        ["1 samples with 2"],
    ),
    (
        "a time of 0",
        lambda: benchmarking("compare_samples", [1.0, 1.0], [1.0, 0.0]),
        ValueError,
        ["0 seconds", "calls"],
    ),
    ("a rate of 0", lambda: benchmarking("Server", 0, 1.0), ValueError, ["rate is 0"]),
    ("a bound of 0", lambda: benchmarking("Server", 1.0, 0.0), ValueError, ["bound is 0"]),
    ("no queries", lambda: benchmarking("SingleStream", 0), ValueError, ["queries is 0"]),
    ("empty batches", lambda: benchmarking("Offline", 0), ValueError, ["batch_size is 0"]),
    (
        "no inputs",
        lambda: benchmarking("SingleStream").run(len, []),
        ValueError,
        ["no inputs"],
    ),
    ("a list for a result", lambda: benchmarking("from_json", "[]"), ValueError, ["list"]),
    (
        "a result of a later version",
        lambda: benchmarking("from_json", '{"schema_version": 2}'),
        ValueError,
        ["2", "knows 1"],
    ),
    (
        "half a result",
        lambda: benchmarking("from_json", '{"schema_version": 1, "name": "x"}'),
        ValueError,
        ["lacks", "scenario"],
    ),
]
