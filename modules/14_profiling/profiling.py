# ---
# jupyter:
#   jupytext:
#     notebook_metadata_filter: -jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Module 14: Profiling
#
# Before you make a model faster or smaller, you find out where its time and memory go.
#
# - **You build** a `MemoryProfiler`, a `Profiler` that says for every layer how often it ran, how
#   long, on how many FLOPs, parameters and bytes, the counts `count_parameters` and `count_flops`,
#   and a report in the form of a flame graph.
# - **You need** 01 to 07: `Module` and `Sequential` above all; a training step is what you measure.
# - **Time**: about four hours.
#
# "Premature optimization is the root of all evil" (Knuth 1974), but a program has a critical 3 %,
# and people guess wrongly which. So measure first.

# %%
#| default_exp core.profiling

# %%
#| export
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tinytorch.core.autograd import no_grad
from tinytorch.core.layers import Module
from tinytorch.tree import join
from tinytorch.utils import profiles as given
from tinytorch.utils.profiles import Section, Span, StandIn, kind_of, note_peak, spans_within

Rule = Callable[[Any, tuple, Any], int]  # (layer, inputs, out) -> FLOPs of one call

# %% [markdown]
# ## Step 1: How much memory, at the worst moment
#
# What counts is the *peak*: where it does not fit, the process dies. Python's `tracemalloc` keeps
# account of every allocation from `start()` on, NumPy's arrays included:
#
#     get_traced_memory()    (bytes held now, most bytes held since the last reset)
#     reset_peak()           the peak falls to what is held now
#
# A section of a program has a peak, **beyond what was held when it began**, and what it *kept*:
# bytes held at the end less those at the start (below zero if it freed some).
#
# **Nested sections.** There is one peak for the whole process, and the inner section resets it:
#
#     outer begins, holds 8 MB, gives it back      peak 8
#         inner begins: reset_peak()               peak 0: the 8 MB are forgotten
#         inner holds 2 MB                         peak 2
#     outer ends: 2? No, 8.
#
# So before a reset, and again at the end, `note_peak` (given) lets every section in
# `given.open_sections` remember the peak that it saw, as `section.highest`. A section is closed
# even if its code fails: that is what `finally` is for.


# %%
#| export
@contextmanager
def memory_section(name: str) -> Iterator[Section]:
    """Measure a `with` block: peak_bytes and kept_bytes are known when it ends.

    Starts tracemalloc if it is not running, and then stops it again.
    """
    section, started = Section(name), not tracemalloc.is_tracing()
    if started:
        tracemalloc.start()
    ### BEGIN SOLUTION
    note_peak()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    given.open_sections.append(section)
    try:
        yield section
    finally:
        note_peak()
        given.open_sections.pop()
        section.peak_bytes = section.highest - before
        section.kept_bytes = tracemalloc.get_traced_memory()[0] - before
        if started:
            tracemalloc.stop()
    ### END SOLUTION


class MemoryProfiler(given.Sections):
    """Collect named sections; has `sections`, `peak_memory_mb` and `report()`."""

    @contextmanager
    def measure(self, name: str = "section") -> Iterator[Section]:
        """Measure a `with` block under a name, also if it fails."""
        with memory_section(name) as section:
            self.sections.append(section)
            yield section


# %%
import numpy as np

memory = MemoryProfiler()
with memory.measure("outer"):
    np.ones(1_000_000)  # 8 MB, given back at once
    with memory.measure("inner"):
        kept = np.ones(250_000)  # 2 MB
print(memory.report())
print(f"{memory.peak_memory_mb:.2f}")
# Expected output:
# section    peak    kept
# outer      8 MB    2 MB
# inner      2 MB    2 MB
# 8.00


# %%
#| test
import numpy as np


def test_a_peak_is_what_a_section_adds():
    memory = MemoryProfiler()
    with np.testing.assert_raises(ValueError), memory.measure("all"):
        np.ones(100_000)
        with memory.measure("more"):
            np.ones(50_000)
            raise ValueError("on purpose")
    peaks = [section.peak_bytes for section in memory.sections]
    np.testing.assert_allclose(peaks, [800_000, 400_000], atol=10_000)
    assert not tracemalloc.is_tracing()


if __name__ == "__main__":
    test_a_peak_is_what_a_section_adds()

# %% [markdown]
# ## The menu: Profiler (given)
#
# A profile is a tree of *spans*: what ran, within what, how often, how long. A `Span` has `name`,
# `kind`, `calls`, `seconds` (with those of its parts), `flops`, `bytes`, `parameters` (its own) and
# `parts`, a dictionary of spans by name. A profiler has `root`, the span that holds all others,
# `open`, the spans that are open now with the innermost last, `clock()`, the sums `seconds` and
# `flops`, and `uncounted`. Its methods ask the functions you write next.


# %%
#| export
class Profiler(given.Recorder):
    """Say where time goes: `with profiler.span("load"): …`, `with profiler.watch(model): …`.

    Args:
        clock: Returns seconds; tests have one of their own.
        rules: FLOPs of layers of your own, {class name: (layer, inputs, out) -> int}.
    """

    # fmt: off
    def span(self, name): return open_span(self, name)
    def watch(self, model, name=""): return watch_layers(self, given.checked_model(model), name)
    def work(self, *call): return layer_flops(*call, self.rules), layer_bytes(*call)
    def layers(self): return layer_costs(self.root)
    def report(self, width=32): return self.written(flame(self.root, self.seconds, width))
    # fmt: on


# %% [markdown]
# ## Step 2: A clock and a stack
#
# A span that opens belongs to the one that is innermost now, the last of `profiler.open`. If a span
# of that name is there already, this is one more call of it. Time that a span spends in its parts
# is not its *own*:
#
#     step      10 ms = forward 3 + backward 6 + 1 ms of its own
#
# The own times of all spans add up to the total; the times do not, since every level counts all
# that is below.


# %%
#| export
@contextmanager
def open_span(profiler: Profiler, name: str) -> Iterator[Span]:
    """Time a `with` block as a part of the innermost open span, also if the block fails."""
    ### BEGIN SOLUTION
    span = profiler.open[-1].parts.setdefault(name, Span(name))
    profiler.open.append(span)
    start = profiler.clock()
    try:
        yield span
    finally:
        span.seconds += profiler.clock() - start
        span.calls += 1
        profiler.open.pop()
    ### END SOLUTION


def own_seconds(span: Span) -> float:
    """Return the seconds that a span spent outside its parts."""
    ### BEGIN SOLUTION
    return span.seconds - sum(part.seconds for part in span.parts.values())
    ### END SOLUTION


# %%
clock = given.ManualClock()
profiler = Profiler(clock)
for _ in range(2):
    with profiler.span("dinner"):
        with profiler.span("cook"):
            clock.now += 30
        clock.now += 15
for span in spans_within(profiler.root):
    print(f"{span.name}: {span.calls} calls, {span.seconds:.0f}, own {own_seconds(span):.0f}")
# Expected output:
# dinner: 2 calls, 90, own 30
# cook: 2 calls, 60, own 60


# %%
#| test
def test_spans_nest_and_close():
    clock = given.ManualClock()
    profiler = Profiler(clock)
    for _ in range(2):
        with np.testing.assert_raises(ValueError), profiler.span("a"), profiler.span("b"):
            clock.now += 2
            raise ValueError("on purpose")
    outer = profiler.root.parts["a"]
    assert (outer.calls, outer.seconds, own_seconds(outer)) == (2, 4, 0)
    assert profiler.open == [profiler.root]


if __name__ == "__main__":
    test_spans_nest_and_close()

# %% [markdown]
# ## Step 3: How much work
#
# Seconds depend on the machine; work does not. Its measure is the FLOP, one addition or one
# multiplication of floats. Nearly all the work of a network is in products: in a linear layer every
# number of the output is a row of the weight times as many inputs, so
#
# $$\text{FLOPs} = \text{numbers of the output} \cdot (2 \cdot \text{row} + 1
# \text{ for the bias})$$
#
# *Worked:* `Linear(784, 128)` on 64 examples: 64 · 128 · (2 · 784 + 1) = 12,853,248. A convolution
# is the same: its weight is (F, C / groups, kh, kw), and a row of it is all behind the first axis.
# (Some papers count a multiply-add as *one*; ask which, before you compare.)
#
# Work also moves **bytes**: a call reads at least its inputs and weights and writes its output.
# FLOPs per byte, the *arithmetic intensity*, says which of the two is the limit: here 20, for a
# ReLU 1 FLOP for 8 bytes: 0.125.
#
# A rule is found by the name of the layer's class, or of a class that it extends. `RULES` has
# yours; `given.known_rule` has those of activations, norms, pools and attention. A layer made of
# others does no work of its own: 0. For one without parts and without a rule the honest answer is
# None.


# %%
#| export
def count_parameters(model: Module, trainable: bool = False) -> int:
    """Count the numbers in a model's parameters; `trainable`: of those that require a gradient."""
    ### BEGIN SOLUTION
    return sum(p.size for p in model.parameters() if p.requires_grad or not trainable)
    ### END SOLUTION


def product_flops(layer: Any, inputs: tuple, out: Any) -> int:
    """FLOPs of a Linear or Conv2d: `layer.weight` has a row for each feature of the output."""
    ### BEGIN SOLUTION
    row = layer.weight.size // layer.weight.shape[0]
    return out.size * (2 * row + (layer.bias is not None))
    ### END SOLUTION


RULES: dict[str, Rule] = {"linear": product_flops, "conv2d": product_flops}


def layer_flops(
    layer: Any, inputs: tuple, out: Any, rules: dict[str, Rule] | None = None
) -> int | None:
    """Return the FLOPs of one call of a layer, its parts left out; None if nobody knows.

    For each of `given.names_of(layer)`, in order, look in rules, if there are any, in RULES, then
    ask `given.known_rule(name)`, which may be None. `given.has_parts(layer)` tells the rest.
    """
    ### BEGIN SOLUTION
    for name in given.names_of(layer):
        rule = (rules or {}).get(name) or RULES.get(name) or given.known_rule(name)
        if rule is not None:
            return int(rule(layer, inputs, out))
    return 0 if given.has_parts(layer) else None
    ### END SOLUTION


def layer_bytes(layer: Any, inputs: tuple, out: Any) -> int:
    """Return the bytes that a call must move: of all `given.tensors_in(inputs)`, the weights
    (`given.weight_bytes_read(layer, out)`), and all tensors in the output."""
    ### BEGIN SOLUTION
    moved = sum(tensor.nbytes for tensor in given.tensors_in([*inputs, out]))
    return moved + given.weight_bytes_read(layer, out)
    ### END SOLUTION


# %%
from tinytorch.core.activations import ReLU
from tinytorch.core.layers import MLP, Linear, Sequential
from tinytorch.core.tensor import Tensor, manual_seed, rand

x = rand(64, 784)
for layer in (Linear(784, 128), ReLU()):
    flops, moved = layer_flops(layer, (x,), layer(x)), layer_bytes(layer, (x,), layer(x))
    print(f"{kind_of(layer)}: {flops} FLOPs, {moved} bytes, {flops / moved:.3f} FLOPs a byte")
print(count_parameters(MLP(784, 128, 10)), layer_flops(lambda x: x, (x,), x))
# Expected output:
# Linear: 12853248 FLOPs, 635392 bytes, 20.229 FLOPs a byte
# ReLU: 50176 FLOPs, 401408 bytes, 0.125 FLOPs a byte
# 101770 None


# %%
#| test
from tinytorch.core.activations import ReLU
from tinytorch.core.layers import Linear, Sequential
from tinytorch.core.tensor import rand


def test_flops_and_bytes():
    x, layer = rand(2, 5, 3), Linear(3, 4)
    assert layer_flops(layer, (x,), layer(x)) == 2 * 5 * 4 * 7
    assert layer_bytes(layer, (x,), layer(x)) == 4 * (30 + 16 + 40)
    assert layer_flops(Module(), (), None) is None
    assert layer_flops(Sequential(ReLU()), (), None) == 0
    layer.bias.requires_grad = False
    assert (count_parameters(layer), count_parameters(layer, trainable=True)) == (16, 12)


if __name__ == "__main__":
    test_flops_and_bytes()

# %% [markdown]
# ## Step 4: Every layer, for the length of a block
#
# Calling a module calls `self.forward`. Python looks for `forward` first in the object's own
# dictionary, `vars(layer)`, then in its class. So a `forward` put into that dictionary, which times
# the true one, is found instead, for this layer alone; no class changes. And what is put in can be
# taken out:
#
#     vars(layer)["forward"] = timed      layer(x) calls timed(x)
#     del vars(layer)["forward"]          layer(x) calls the class's forward again
#
# Activations are no modules. A Sequential keeps them under their numbers, `vars(net)["1"]`, so a
# `StandIn(original, timed)` takes their place there. All this must end whatever happens: `replaced`
# is a context manager for one name, and an `ExitStack` holds any number of them open,
# `stack.enter_context(replaced(…))`.
#
# `given.timed_call(profiler, path, layer, function)` is the timed function: it opens a span, calls,
# and books the work. A layer that calls its own `forward` again is one call, not two.
#
# With it, `count_flops` needs one forward pass, without gradients and in evaluation mode. Then
# every part gets the mode back that **it** had.


# %%
#| export
@contextmanager
def replaced(namespace: dict[str, Any], name: str, value: Any) -> Iterator[None]:
    """Give a name in a dictionary another value for the length of a `with` block.

    Afterwards, also if the block fails, it has its old value, or is gone if it was not there.
    """
    ### BEGIN SOLUTION
    was_there, old = name in namespace, namespace.get(name)
    namespace[name] = value
    try:
        yield
    finally:
        if was_there:
            namespace[name] = old
        else:
            del namespace[name]
    ### END SOLUTION


@contextmanager
def watch_layers(profiler: Profiler, model: Module, name: str = "") -> Iterator[Profiler]:
    """Time every module of `model.named_modules(name)`, itself included, and of each module the
    pairs (attribute, callable) in `given.plain_callables(module)`.

    Spans are named by their path, `join(path, attribute)`; where it is empty, by the class.
    """
    ### BEGIN SOLUTION
    with ExitStack() as stack:
        for path, part in list(model.named_modules(name)):
            for key, value in given.plain_callables(part):
                timed = StandIn(value, given.timed_call(profiler, join(path, key), value, value))
                stack.enter_context(replaced(vars(part), key, timed))
            timed = given.timed_call(profiler, path or kind_of(model), part, part.forward)
            stack.enter_context(replaced(vars(part), "forward", timed))
        yield profiler
    ### END SOLUTION


def count_flops(model: Module, *inputs: Any, rules: dict[str, Rule] | None = None) -> int:
    """Count the FLOPs of one forward pass, as in evaluation; the model is as before afterwards.

    Warns about layers that have no rule, and are not counted.
    """
    profiler = Profiler(rules=rules)
    modes = [(part, part.training) for part in given.checked_model(model).modules()]
    ### BEGIN SOLUTION
    try:
        with no_grad(), profiler.watch(model.eval()):
            model(*inputs)
    finally:
        for part, mode in modes:
            part.training = mode
    ### END SOLUTION
    if profiler.uncounted:
        missing = ", ".join(sorted(profiler.uncounted))
        warnings.warn(f"not counted: {missing}; give rules={{name: function}}", stacklevel=2)
    return profiler.flops


# %%
net, x = Sequential(Linear(3, 5), ReLU(), Linear(5, 2)), rand(4, 3)
with replaced(vars(net[0]), "forward", lambda x: "somebody else"):
    print(net[0](x), end=", ")
print(net[0](x).shape)
with Profiler().watch(net) as profiler:
    net(x), net(x)
print([(span.name, span.calls, span.flops) for span in spans_within(profiler.root)])
print(profiler.flops, "=", 2 * count_flops(net, x))
# Expected output:
# somebody else, (4, 5)
# [('Sequential', 2, 0), ('0', 2, 280), ('1', 2, 40), ('2', 2, 176)]
# 496 = 496


# %%
#| test
def test_every_layer_is_watched_and_released():
    net = Sequential(Linear(3, 4), ReLU(), Sequential(Linear(4, 2)), lambda x: x * 2)
    before = [list(vars(part).items()) for part in net.modules()]
    with np.testing.assert_raises(ValueError), Profiler().watch(net) as profiler:
        net(rand(5, 3))
        raise ValueError("on purpose")
    assert [list(vars(part).items()) for part in net.modules()] == before
    assert [s.name for s in spans_within(profiler.root)] == ["Sequential", *"012", "2.0", "3"]


def test_counting_leaves_the_modes_alone():
    net = Sequential(Linear(3, 4), Linear(4, 2))
    net[0].eval()
    assert count_flops(net, rand(1, 3)) == 4 * 7 + 2 * 9
    assert [part.training for part in net.modules()] == [True, False, True]


if __name__ == "__main__":
    test_every_layer_is_watched_and_released()
    test_counting_leaves_the_modes_alone()

# %% [markdown]
# ## Step 5: A picture of time
#
# A *flame graph* (Gregg 2016) draws each span as a bar: as long as its share of the time, and
# beginning where the sibling before it ended. A span lies within the columns of the span it is a
# part of; what no part covers is own time. Hung from the top, 10 columns for 10 ms:
#
#     net   10 ms   |##########|        from column 0 to 10
#       a    6 ms   |######    |        from 0 to 6
#       b    3 ms   |      ### |        from 6 to 9; the last is net's own
#
# Where a bar begins and where it ends are both rounded, `round(width * seconds / total)`, and never
# its length, so that neighbours meet.
#
# The picture shows structure. To see which *layer* costs most, sum over the places where it was
# called, and take own seconds: these can be compared, and add up to the whole.


# %%
#| export
def bar(start: float, end: float, total: float, width: int) -> str:
    """Draw seconds start to end of a total as `#` among `width` columns; blank if it is 0."""
    ### BEGIN SOLUTION
    first, last = (round(width * s / total) if total else 0 for s in (start, end))
    return " " * first + "#" * (last - first) + " " * (width - last)
    ### END SOLUTION


def flame(
    span: Span, total: float, width: int, start: float = 0.0, depth: int = 0
) -> Iterator[tuple[int, Span, str]]:
    """Yield (depth, part, its bar) for all spans within one that begins at `start` seconds, depth
    first; its own parts are at the depth given."""
    ### BEGIN SOLUTION
    for part in span.parts.values():
        end = start + part.seconds
        yield depth, part, bar(start, end, total, width)
        yield from flame(part, total, width, start, depth + 1)
        start = end
    ### END SOLUTION


def layer_costs(root: Span) -> list[Span]:
    """Sum up the spans of each name: calls, **own** seconds, FLOPs, bytes; the slowest first.

    The spans returned are new, without parts; kind and parameters are those of the tree.
    """
    ### BEGIN SOLUTION
    costs: dict[str, Span] = {}
    for span in spans_within(root):
        cost = costs.setdefault(span.name, Span(span.name, span.kind, parameters=span.parameters))
        cost.calls += span.calls
        cost.seconds += own_seconds(span)
        cost.flops += span.flops
        cost.bytes += span.bytes
    return sorted(costs.values(), key=lambda cost: -cost.seconds)
    ### END SOLUTION


# %%
profiler = Profiler(clock)
with profiler.span("net"):
    for name, milliseconds in (("a", 6), ("b", 3)):
        with profiler.span(name):
            clock.now += milliseconds / 1000
    clock.now += 1 / 1000
print(profiler.report(width=10))
print([(cost.name, round(cost.seconds, 3)) for cost in profiler.layers()])
# Expected output:
# span   calls      ms   share  FLOPs  bytes  params
# net        1  10.000  100.0%                        |##########|
#   a        1   6.000   60.0%                        |######    |
#   b        1   3.000   30.0%                        |      ### |
# [('a', 0.006), ('b', 0.003), ('net', 0.001)]


# %%
#| test
def test_costs_are_summed_by_name():
    assert bar(0, 1 / 3, 1, 10) + bar(1 / 3, 1, 1, 10) == "###       " + "   #######"
    root, again = Span("total"), Span("b", "ReLU", 1, 0.5, 3, 2, 1)
    first = Span("a", seconds=2.0, parts={"b": Span("b", "ReLU", 2, 1.5, 4, 5, 1)})
    root.parts = {"a": first, "b": again}
    assert layer_costs(root) == [Span("b", "ReLU", 3, 2.0, 7, 7, 1), Span("a", seconds=0.5)]
    marks = [(depth, mark) for depth, _, mark in flame(root, 2.5, 5)]
    assert marks == [(0, "#### "), (1, "###  "), (0, "    #")]


if __name__ == "__main__":
    test_costs_are_summed_by_name()

# %% [markdown]
# ## Systems: where a training step spends time and memory
#
# Theory: the way back through y = xWᵀ computes two products of the size of the one forward, but in
# the first layer, whose input needs no gradient, only one: for this network 1.5 times the work. And
# Adam keeps two averages: with the parameters themselves, three times their memory.

# %%
from timeit import repeat

from tinytorch.core.losses import CrossEntropyLoss
from tinytorch.core.optimizers import SGD, Adam

manual_seed(0)
net, loss_of = MLP(512, [512, 512], 10), CrossEntropyLoss()
x, y = rand(256, 512), Tensor(np.arange(256) % 10)
optimizer, profiler = Adam(net.parameters()), Profiler()
for run in (Profiler(), profiler):  # the first one warms up
    with run.watch(net):
        for _ in range(10):
            with run.span("forward"):
                loss = loss_of(net(x), y)
            with run.span("backward"):
                loss.backward()
            with run.span("update"):
                optimizer.step()
            optimizer.zero_grad()
print(profiler.report())
parts = profiler.root.parts
print(f"backward / forward: {parts['backward'].seconds / parts['forward'].seconds:.1f}")
bends = [cost for cost in profiler.layers() if cost.kind == "ReLU"]
print(f"ReLU: {sum(c.flops for c in bends) / profiler.flops:.2%} of the FLOPs,", end=" ")
print(f"{sum(c.seconds for c in bends) / parts['forward'].seconds:.0%} of the time of forward")
# Expected output:
# span  calls  ms  share  FLOPs  bytes  params
# ...
# backward / forward: ...
# ReLU: 0.10% of the FLOPs, ...% of the time of forward

# %%
memory, net = MemoryProfiler(), MLP(512, [512] * 8, 10)
parameter_bytes = sum(p.nbytes for p in net.parameters())
for kind, options in ((SGD, {}), (SGD, {"momentum": 0.9}), (Adam, {})):
    optimizer = kind(net.parameters(), lr=1e-3, **options)
    loss_of(net(x[:8]), y[:8]).backward()
    with memory.measure("update") as section:
        optimizer.step()
    held = 1 + section.kept_bytes / parameter_bytes
    print(f"{kind.__name__} {options}: {held:.1f} times the parameters")
small, one = Sequential(*[Linear(2, 2) for _ in range(20)]), rand(1, 2)
plain = min(repeat(lambda: small(one), number=1, repeat=20))
with Profiler().watch(small):
    watched = min(repeat(lambda: small(one), number=1, repeat=20))
with memory.measure():
    traced = min(repeat(lambda: small(one), number=1, repeat=20))
print(f"watching a layer: {(watched - plain) / 21 * 1e6:.0f} microseconds;", end=" ")
print(f"tracing memory: {traced / plain:.1f} times as slow")
# Expected output:
# SGD {}: 1.1 times the parameters
# SGD {'momentum': 0.9}: 2.1 times the parameters
# Adam {}: 3.1 times the parameters
# watching a layer: ... microseconds; tracing memory: ... times as slow

# %% [markdown]
# On a machine with two cores: backward took 1.2 to 1.6 times as long as forward. ReLU had 0.1 % of
# the FLOPs and 5 % of the time of forward, because it moves half as many bytes as the layer before
# it: FLOPs are not time. The surprise is Adam: its update took longer than backward, for it walks
# through several arrays of the parameters' size. Tracing memory made small layers 4 times as slow:
# never measure both at once. (The 0.1 above whole numbers is the optimizer's scratch space.)
#
# ## Pitfalls
#
# - **The first run.** It pages memory in and warms caches. Warm up, then measure (module 19).
# - **Own time against time.** A container seems slowest because it holds everything.
# - **Very small layers.** Below some 10 microseconds you measure the profiler.
# - **What no layer does is not seen**: a function called within `forward`, a layer in a plain list.
#   Its time is its container's own; its FLOPs are missing.
#
# ## What PyTorch does differently, and why
#
# - Modules have hooks (`register_forward_hook`), and the profiler listens below them, to every
#   operator and every GPU kernel: a GPU works while Python is already elsewhere, so a clock around
#   a layer would time only the launch.
# - It counts no FLOPs by class, but by operator (`FlopCounterMode`): nothing escapes it.
#
# ## Sources
#
# Knuth 1974, "Structured programming with go to statements" · Graham, Kessler and McKusick 1982,
# "gprof" · Gregg 2016, "The flame graph" · Williams et al. 2009, "Roofline" · Kaplan et al. 2020,
# section 2.1 (two FLOPs a parameter forward, four backward).
#
# ## Reflect (150–300 words)
#
# Take a model of yours, or of module 09 or 13 if you have built them, and profile one training
# step. Before you look at the report, write down which layer you expect to be slowest and where the
# peak of memory lies. Were you right? Which of time, FLOPs and bytes explains what you see, and
# what would you change first? By how much could the whole step become faster at most, if that part
# cost nothing? Write the answer to `reflection.md` beside this file.
#
# Then run the checkpoint: `tito checkpoint run 14`
