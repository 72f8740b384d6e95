"""The given part of module 14: what is noted of time and memory, names of layers, known costs.

`tinytorch.core.profiling` builds on this. Nothing here measures: that is in the module.
"""

import inspect
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tinytorch.machinery import ArrayBox
from tinytorch.tree import Branch, LayerList, Trained

PER_ELEMENT = {  # operations for each number of the output; exp, log, tanh and √ count as one
    "relu": 1,
    "leakyrelu": 2,
    "sigmoid": 4,
    "tanh": 1,
    "silu": 5,
    "gelu": 8,
    "softmax": 5,
    "logsoftmax": 5,
    "layernorm": 7,
    "batchnorm2d": 7,
    "positionalencoding": 1,
    "learnedpositionalembedding": 1,
    "flatten": 0,
    "dropout": 0,  # evaluation, where inference takes place
    "embedding": 0,  # rows are copied
}
PER_INPUT = ("maxpool2d", "avgpool2d", "adaptiveavgpool2d", "globalavgpool2d")


@dataclass
class Section:
    """The memory of one named section of a program, in bytes."""

    name: str
    peak_bytes: int = 0  # beyond what was held at the start
    kept_bytes: int = 0  # held at the end, less what was held at the start
    highest: int = 0  # the highest peak of the process that this section saw so far


open_sections: list[Section] = []  # of all profilers, since the process has only one peak


def note_peak() -> None:
    """Let every open section remember the present peak, if it is higher than what it saw."""
    peak = tracemalloc.get_traced_memory()[1]
    for section in open_sections:
        section.highest = max(section.highest, peak)


class Sections:
    """Sections that were measured, in the order in which they ended."""

    def __init__(self) -> None:
        self.sections: list[Section] = []

    @property
    def peak_memory_mb(self) -> float:
        """The largest peak of all sections, in megabytes (10⁶ bytes); 0 before there was any."""
        return max((section.peak_bytes for section in self.sections), default=0) / 1e6

    def report(self) -> str:
        """Return a line for each section: its peak and what it kept."""
        rows = [(s.name, short(s.peak_bytes, "B"), short(s.kept_bytes, "B")) for s in self.sections]
        return table(("section", "peak", "kept"), rows)


@dataclass
class Span:
    """What is known of one place of the call tree; `parts` are the spans within it, by name.

    Seconds include the parts; FLOPs, bytes and parameters are the span's own.
    """

    name: str
    kind: str = ""
    calls: int = 0
    seconds: float = 0.0
    flops: int = 0
    bytes: int = 0
    parameters: int = 0
    parts: dict[str, "Span"] = field(default_factory=dict)


def spans_within(span: Span) -> Iterator[Span]:
    """Yield all spans below a span, depth first."""
    for part in span.parts.values():
        yield part
        yield from spans_within(part)


class Recorder:
    """What a profiler notes.

    Args:
        clock: Returns seconds.
        rules: FLOPs of further layers, {class name: (layer, inputs, out) -> int}.

    Attributes:
        root: The tree of spans; the root itself is never timed.
        open: The spans that are open now, the innermost last.
        uncounted: Kinds of layers that ran, but whose FLOPs nobody knows.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter, rules: Any = None):
        self.clock, self.rules = clock, rules_by_name(rules)
        self.root, self.uncounted = Span("total"), set()
        self.open = [self.root]

    @property
    def seconds(self) -> float:
        """The seconds of all outermost spans together."""
        return sum(part.seconds for part in self.root.parts.values())

    @property
    def flops(self) -> int:
        """The FLOPs of all spans together."""
        return sum(span.flops for span in spans_within(self.root))

    def written(self, rows: Iterable[tuple[int, Span, str]]) -> str:
        """Write a line for each (depth, span, bar), and at the end what was not counted."""
        lines, total = [], self.seconds
        for depth, span, bar in rows:
            kind = f" {span.kind}" if span.kind not in ("", span.name) else ""
            share = f"{100 * span.seconds / total:.1f}%" if total else ""
            counts = (span.flops, span.bytes, span.parameters)
            work = [short(n) if span.kind else "" for n in counts]
            name = "  " * depth + span.name + kind
            milliseconds = f"{span.seconds * 1e3:.3f}"
            lines.append((name, str(span.calls), milliseconds, share, *work, f"|{bar}|"))
        text = table(("span", "calls", "ms", "share", "FLOPs", "bytes", "params", ""), lines)
        missing = ", ".join(sorted(self.uncounted))
        return f"{text}\nnot counted: {missing}" if missing else text


def timed_call(profiler: Any, path: str, layer: Any, function: Any) -> Callable[..., Any]:
    """Return a function that calls `function` within a span, and books the layer's work.

    A layer that calls its own `forward` again is one call, not two.
    """

    def call(*inputs: Any, **settings: Any) -> Any:
        if any(span.name == path for span in profiler.open):
            return function(*inputs, **settings)
        with profiler.span(path) as span:
            out = function(*inputs, **settings)
        flops, moved = profiler.work(layer, in_order(function, inputs, settings), out)
        if flops is None:
            profiler.uncounted.add(kind_of(layer))
        span.kind, span.flops = kind_of(layer), span.flops + (flops or 0)
        span.bytes += moved if flops or not has_parts(layer) else 0
        span.parameters = sum(parameter.size for parameter in own_parameters(layer))
        return out

    return call


class ManualClock:
    """A clock that moves when told: `clock.now += 3`."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class StandIn:
    """A callable in the place of another: calls go to `call`, all else to the original."""

    def __init__(self, original: Any, call: Callable[..., Any]):
        vars(self).update(_original=unmasked(original), _call=call)

    def __call__(self, *inputs: Any, **settings: Any) -> Any:
        return self._call(*inputs, **settings)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._original, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._original, name, value)

    def __repr__(self) -> str:
        return repr(self._original)


def unmasked(layer: Any) -> Any:
    """Return what a stand-in stands for; anything else as it is."""
    return layer._original if isinstance(layer, StandIn) else layer


def plain_callables(module: Any) -> list[tuple[str, Any]]:
    """List (name, value) of a module's attributes that can be called but are no modules.

    Such are the activations in a Sequential. Classes, tensors and `forward` itself are left out.
    """
    return [
        (name, value)
        for name, value in vars(module).items()
        if callable(value) and not isinstance(value, Branch | ArrayBox | type) and name != "forward"
    ]


def names_of(layer: Any) -> list[str]:
    """List the names under which a layer's cost may be known, the most special first.

    Lower case and without underscores: LeakyReLU() and leaky_relu are both "leakyrelu".
    """
    layer = unmasked(layer)
    own = getattr(layer, "__name__", None)
    names = [own] if isinstance(own, str) else [kind.__name__ for kind in type(layer).__mro__]
    return [name.replace("_", "").lower() for name in names]


def kind_of(layer: Any) -> str:
    """Return the class of a layer, or the name of a function."""
    layer = unmasked(layer)
    own = getattr(layer, "__name__", None)
    return own if isinstance(own, str) else type(layer).__name__


def has_parts(layer: Any) -> bool:
    """Say whether a layer is made of others, which are counted by themselves."""
    if not isinstance(layer, Branch):
        return False
    parts = any(isinstance(part, Branch) for part in vars(layer).values())
    return parts or isinstance(layer, LayerList) or bool(plain_callables(layer))


def own_parameters(layer: Any) -> list[Any]:
    """List the parameters that belong to a layer itself, not to its parts."""
    values = vars(layer).values() if isinstance(layer, Branch) else ()
    return [value for value in values if isinstance(value, Trained)]


def weight_bytes_read(layer: Any, out: Any) -> int:
    """Count the bytes of its own parameters that one call of a layer reads: of a table, rows."""
    if "embedding" in names_of(layer):
        return sum(t.nbytes for t in tensors_in(out))
    return sum(parameter.nbytes for parameter in own_parameters(layer))


def in_order(function: Any, inputs: tuple, settings: dict[str, Any]) -> tuple:
    """Return the arguments of a call in the order of the function's parameters, up to a gap."""
    if not settings:
        return inputs
    try:
        return inspect.signature(function).bind(*inputs, **settings).args
    except (TypeError, ValueError):
        return inputs


def tensors_in(value: Any) -> Iterator[Any]:
    """Yield what has bytes: tensors and arrays, also within tuples, lists and dictionaries."""
    if isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))
    elif hasattr(value, "nbytes"):
        yield value


def keys_of(inputs: tuple) -> Any:
    """Return what has the keys, (..., tokens, features): the second input, or else the first."""
    return inputs[1] if len(inputs) > 1 and inputs[1] is not None else inputs[0]


def projection_flops(layer: Any, inputs: tuple, out: Any) -> int:
    """FLOPs by which a MultiHeadAttention makes queries, keys and values: its part aside."""
    made = out.size + 2 * (out.size // inputs[0].shape[-2]) * keys_of(inputs).shape[-2]  # numbers
    return made * (2 * layer.in_proj_weight.shape[1] + (layer.in_proj_bias is not None))


def attention_flops(layer: Any, inputs: tuple, out: Any) -> int:
    """FLOPs of attending: queries (inputs[0]) times keys, weights times values."""
    return 4 * out.size * keys_of(inputs).shape[-2]


def known_rule(name: str) -> Callable[[Any, Any, Any], int] | None:
    """Return the rule (layer, inputs, out) -> FLOPs of a kind of layer, if it is known here."""
    if name in PER_ELEMENT:
        return lambda layer, inputs, out: PER_ELEMENT[name] * out.size
    if name in PER_INPUT:
        return lambda layer, inputs, out: inputs[0].size
    if name == "multiheadattention":
        return lambda *call: attention_flops(*call) + projection_flops(*call)
    if name == "selfattention":  # its projections are parts; its inputs are x, perhaps a mask
        return lambda layer, inputs, out: attention_flops(layer, inputs[:1], out)
    return None


def rules_by_name(rules: Any) -> dict[str, Any]:
    """Return rules of FLOPs under names as `names_of` writes them, or refuse them."""
    for name, rule in (rules or {}).items():
        if not callable(rule):
            raise TypeError(
                f"the rule for {name} is {rule!r}; give a function (layer, inputs, out)"
            )
    return {name.replace("_", "").lower(): rule for name, rule in (rules or {}).items()}


def checked_model(model: Any) -> Any:
    """Return a Module, or refuse what has no parts to look at."""
    if not isinstance(model, Branch):
        kind = kind_of(model) if callable(model) else type(model).__name__
        raise TypeError(f"a model is a Module, got {kind}; wrap a function: Sequential({kind})")
    return model


def short(number: float, unit: str = "") -> str:
    """Write a number with three figures and a prefix: 12_845_056 is "12.8 M"."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= factor:
            return f"{number / factor:.3g} {prefix}{unit}"
    return f"{number:.3g} {unit}".rstrip()


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Lay text out in columns: the first to the left, the others to the right."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    texts = []
    for first, *others in lines:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        texts.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(texts)
