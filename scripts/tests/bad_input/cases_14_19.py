"""Bad input to modules 14 and 19: what is called, what it must raise, what the message must name.

The callables import the course when they are called, so that the table can be read without it.
"""

from importlib import import_module
from typing import Any


def profiling(name: str, *arguments: Any, **named: Any) -> Any:
    """Call something of module 14."""
    return getattr(import_module("tinytorch.core.profiling"), name)(*arguments, **named)


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
]
