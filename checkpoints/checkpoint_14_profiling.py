"""Checkpoint 14: can I say where time and memory go?

Passing proves that peaks of memory are right even when sections are nested, that times add up
over the tree of calls, that every layer of a model is seen for the length of a block and released
after it, that work is counted and what is not counted is said, and that the picture shows it.
"""

import itertools
import math

import numpy as np

from checkpoints.feedback import (
    asks,
    expect,
    expect_at_most,
    expect_equal,
    expect_true,
    probe,
    timed,
)
from tinytorch.core.layers import MLP, Linear
from tinytorch.core.profiling import (
    MemoryProfiler,
    Profiler,
    bar,
    count_flops,
    count_parameters,
)
from tinytorch.core.tensor import Tensor

WORK = probe('''
import tracemalloc
import warnings

import numpy as np
from tinytorch.core.activations import ReLU
from tinytorch.core.layers import MLP, Dropout, Linear, Module, Parameter, Sequential
from tinytorch.core.losses import CrossEntropyLoss
from tinytorch.core.optimizers import SGD, Adam
from tinytorch.core.profiling import MemoryProfiler, Profiler, count_flops, count_parameters
from tinytorch.core.tensor import Tensor


class Clock:
    """Moves when told."""

    now = 0.0

    def __call__(self):
        return self.now


def seen(profiler):
    """Write the tree down: (depth, name, kind, calls, seconds, flops, bytes, parameters)."""
    found = []

    def walk(span, depth):
        for key, part in span.parts.items():
            row = (key, part.kind, part.calls, part.seconds, part.flops, part.bytes)
            found.append((depth, *row, part.parameters))
            walk(part, depth + 1)

    walk(profiler.root, 0)
    return found


def costs(profiler):
    return [(c.name, c.calls, round(c.seconds, 9), c.flops) for c in profiler.layers()]


def sections():
    """Nest and repeat sections; return each name with its peak and what it kept."""
    memory, held = MemoryProfiler(), []
    with memory.measure("outer"):
        np.ones(500_000)
        with memory.measure("inner"):
            held.append(np.ones(100_000))
            np.ones(50_000)
        with memory.measure("frees"):
            held.clear()
    with memory.measure("last"):
        pass
    rows = {s.name: (s.peak_bytes, s.kept_bytes) for s in memory.sections}
    return rows, memory.peak_memory_mb, tracemalloc.is_tracing()


def broken_section():
    """Fail within a section, then measure a good one."""
    memory = MemoryProfiler()
    try:
        with memory.measure("outer"), memory.measure("fails"):
            raise ValueError("on purpose")
    except ValueError as error:
        caught = str(error)
    with memory.measure("good"):
        np.ones(100_000)
    return caught, len(memory.sections), memory.peak_memory_mb, tracemalloc.is_tracing()


def already_tracing():
    """Measure while the caller traces memory itself; say whether it still does."""
    tracemalloc.start()
    held, memory = np.ones(200_000), MemoryProfiler()
    with memory.measure():
        np.ones(100_000)
    still = tracemalloc.is_tracing()
    tracemalloc.stop()
    return memory.peak_memory_mb, still, held.nbytes


def evening(rounds, fail=False):
    """Cook and eat by a clock of our own."""
    clock = Clock()
    profiler = Profiler(clock)
    for _ in range(rounds):
        try:
            with profiler.span("dinner"):
                clock.now += 1
                with profiler.span("cook"):
                    clock.now += 30
                    with profiler.span("wait"):
                        clock.now += 5
                    if fail:
                        raise ValueError("burnt")
                with profiler.span("eat"):
                    clock.now += 15
        except ValueError:
            pass
    with profiler.span("walk"), profiler.span("wait"):
        clock.now += 2
    return profiler


class Sleeper(Module):
    """Takes its time, by the clock, before its parts take theirs."""

    def __init__(self, clock, seconds, *parts):
        self.clocks, self.time, self.weight = [clock], seconds, Parameter([1.0])
        self.parts = Sequential(*parts)

    def forward(self, x):
        self.clocks[0].now += self.time
        return self.parts(x)


class Odd(Module):
    """A layer that nobody has a rule for."""

    def forward(self, x):
        return x


def attributes(model):
    """What every part of a model holds, in its order."""
    return [list(vars(part).items()) for part in model.modules()]


def changed(model, before):
    """Name the attributes that are not what they were, or not where they were."""
    if attributes(model) == before:
        return []
    found = []
    for part, old in zip(model.modules(), map(dict, before)):
        now = vars(part)
        names = [n for n in old | now if n not in now or n not in old or now[n] is not old[n]]
        found += [f"{type(part).__name__}.{n}" for n in names]
    return found or ["their order"]


def sleepers():
    """Watch a model of sleepers and of plain functions, called twice; say if all came back."""
    clock = Clock()

    def nap(x):
        clock.now += 4
        return x

    twin = Sleeper(clock, 2)
    model = Sequential(Sleeper(clock, 1, nap, twin), twin, nap, ReLU())
    before = attributes(model)
    profiler = Profiler(clock)
    with profiler.watch(model):
        for _ in range(2):
            model(Tensor([1.0]))
    left = changed(model, before)
    model(Tensor([1.0]))
    return profiler, left, sorted(profiler.uncounted)


def broken_model():
    """Watch a model whose second layer does not fit; say what is left of the watching."""
    model = Sequential(Linear(3, 4), ReLU(), Linear(5, 2))
    before, profiler = attributes(model), Profiler()
    for _ in range(2):
        try:
            with profiler.watch(model):
                model(Tensor([[1.0, 2.0, 3.0]]))
        except ValueError:
            pass
    return changed(model, before), [row[1] for row in seen(profiler)], len(profiler.open)


class Conv2d(Module):
    """A layer of that name: 6 filters of 2 x 3 x 5; its output is zeros."""

    def __init__(self, bias):
        self.weight = Parameter(np.zeros((6, 2, 3, 5), np.float32))
        self.bias = Parameter(np.zeros(6, np.float32)) if bias else None

    def forward(self, x):
        return Tensor(np.zeros((len(x), 6, 7, 8), np.float32))


class Mine(Linear):
    """A subclass of a known layer."""


def flops_of():
    """Those of a convolution with and without bias, and of a subclass of Linear."""
    image, rows = Tensor(np.zeros((3, 4, 9, 12))), Tensor(np.zeros((5, 7)))
    convolutions = [count_flops(Conv2d(bias), image) for bias in (True, False)]
    return [*convolutions, count_flops(Mine(7, 3), rows)]


def uncounted():
    """Count a model with a layer of no known cost, without a rule for it and with one."""
    model, x = Sequential(Linear(3, 2), Odd()), Tensor([[1.0, 2.0, 3.0]])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        without = count_flops(model, x)
        said = [str(warning.message) for warning in caught]
        rule = lambda layer, inputs, out: 100 * inputs[0].size
        ruled = count_flops(model, x, rules={"Odd": rule})
    return without, said, ruled, len(caught)


def modes():
    """Count with parts in different modes; return the modes, and whether dropout was drawn."""
    class Spy(Module):
        def forward(self, x):
            drawn.append((self.training, x.requires_grad))
            return x

    drawn, model = [], Sequential(Linear(3, 2), Dropout(0.5), Spy())
    model[1].eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        count_flops(model, Tensor([[1.0, 2.0, 3.0]]))
    return [part.training for part in model.modules()], drawn


def parameters():
    """Count those of a model with a shared and a frozen parameter."""
    model = Sequential(Linear(4, 4), Linear(4, 4), MLP(4, 3, 2))
    model[1].weight = model[0].weight
    model[1].bias.requires_grad = False
    return count_parameters(model), count_parameters(model, trainable=True)


def training_step(kind):
    """Measure the memory of one update in copies of the parameters, and the tree of a step."""
    model = MLP(64, [128] * 8, 10)
    optimizer = {"SGD": SGD, "Adam": Adam}[kind](model.parameters(), lr=0.01)
    x = Tensor(np.ones((4, 64), np.float32))
    profiler, memory = Profiler(), MemoryProfiler()
    with profiler.watch(model), profiler.span("step"):
        loss = CrossEntropyLoss()(model(x), Tensor(np.arange(4)))
        with profiler.span("backward"):
            loss.backward()
    with memory.measure("update") as section:
        optimizer.step()
    size = sum(p.nbytes for p in model.parameters())
    return section.kept_bytes / size, [(r[0], r[1], r[3]) for r in seen(profiler)], memory.report()


def many_calls(count, watched):
    """Return a function that calls a model of one small layer, watched or not."""
    model, x = Sequential(Linear(2, 2)), Tensor([[1.0, 2.0]])

    def run():
        if watched:
            with Profiler().watch(model):
                for _ in range(count):
                    model(x)
        else:
            for _ in range(count):
                model(x)

    return run


def places(calls):
    """Return how many spans a model leaves that was called so often."""
    model, profiler = MLP(2, [2, 2], 2), Profiler()
    with profiler.watch(model):
        for _ in range(calls):
            model(Tensor([[1.0, 2.0]]))
    return len(seen(profiler))
''')


def span_rows(profiler):
    """Depth, name, calls and seconds of every span."""
    return [(row[0], row[1], row[3], row[4]) for row in WORK.seen(profiler)]


@asks(
    "imports", step=3, of="count_parameters", hint="each name comes from one step; run tito test 14"
)
def test_names_are_there():
    """Use each name of the module once."""
    expect_equal(count_parameters(Linear(3, 2)), 8, call="count_parameters(Linear(3, 2))")
    flops = count_flops(Linear(3, 2), Tensor([[1, 2, 3]]))
    expect_true(flops > 0, call="count_flops(Linear, x)", expected="more than 0", got=flops)
    expect_equal(bar(0, 1, 2, 4), "##  ", call="bar(0, 1, 2, 4)")
    expect_equal(MemoryProfiler().peak_memory_mb, 0, call="MemoryProfiler().peak_memory_mb")
    expect_equal(Profiler().layers(), [], call="Profiler().layers()")
    with MemoryProfiler().measure(), Profiler().span("a"), Profiler().watch(Linear(1, 1)):
        pass


@asks("functionality", step=1, of="memory_section", hint="peak and end, less what the start held")
def test_peaks_and_what_is_kept():
    """Hold and free 0.4, 0.8 and 4 MB within nested sections: 8 bytes for each number."""
    rows, peak, tracing = WORK.sections()
    wanted = {"outer": (4e6, 0), "inner": (1.2e6, 0.8e6), "frees": (0, -0.8e6), "last": (0, 0)}
    for name, figures in wanted.items():
        expect(rows[name], figures, call=f"peak and kept bytes of {name!r}", atol=30_000)
    expect(peak, 4, call="peak_memory_mb", atol=0.03)
    expect_equal(tracing, False, call="tracemalloc.is_tracing() afterwards")


@asks("functionality", step=1, of="memory_section", hint="what must happen stands in finally")
def test_a_failing_section_is_closed():
    """Raise a ValueError within two sections, and measure 0.8 MB in a third."""
    caught, sections, peak, tracing = WORK.broken_section()
    expect_equal(caught, "on purpose", call="the error that reaches the caller")
    expect_equal(sections, 3, call="number of sections")
    expect(peak, 0.8, call="peak_memory_mb after a failed section", atol=0.03)
    expect_equal(tracing, False, call="tracemalloc.is_tracing() afterwards")


@asks("functionality", step=1, of="memory_section", hint="stop only what you started yourself")
def test_a_running_trace_goes_on():
    """Measure 0.8 MB while the caller traces memory, and holds 1.6 MB, already."""
    peak, still, _ = WORK.already_tracing()
    expect(peak, 0.8, call="peak_memory_mb", atol=0.03)
    expect_equal(still, True, call="tracemalloc.is_tracing() afterwards")


@asks("functionality", step=2, of="open_span", hint="the innermost is the parent; always close")
def test_spans_nest():
    """Time two dinners, cooked, eaten or burnt, then a short walk, which is no part of them."""
    rows = [(0, "dinner", 2, 102), (1, "cook", 2, 70), (2, "wait", 2, 10), (1, "eat", 2, 30)]
    got = span_rows(WORK.evening(2))
    walk, call = [(0, "walk", 1, 2), (1, "wait", 1, 2)], "depth, name, calls, seconds of the spans"
    expect_equal(got, rows + walk, call=call)
    rows = [(0, "dinner", 2, 72), (1, "cook", 2, 70), (2, "wait", 2, 10)]
    expect_equal(span_rows(WORK.evening(2, True)), rows + walk, call=call + ", burnt")


@asks(
    "functionality",
    step=3,
    of="product_flops",
    hint="a weight multiplies and adds once, a bias only adds",
)
def test_flops_of_linear(rng):
    """Count Linear(7, 3) on inputs of several shapes, with and without a bias."""
    for shape in ((7,), (5, 7), (2, 4, 7)):
        x, numbers = Tensor(rng.random(shape)), math.prod(shape[:-1]) * 3
        for bias in (True, False):
            call = f"count_flops(Linear(7, 3, bias={bias}), x of shape {shape})"
            expect_equal(count_flops(Linear(7, 3, bias), x), numbers * (14 + bias), call=call)


@asks("functionality", step=3, of="product_flops", hint="a row is all behind the first axis")
def test_flops_of_convolution_and_subclass():
    """Count a convolution of weight (6, 2, 3, 5) and output (3, 6, 7, 8), and a class of Linear."""
    numbers = 3 * 6 * 7 * 8
    wanted = [numbers * 61, numbers * 60, 15 * 15]
    expect_equal(WORK.flops_of(), wanted, call="count_flops of Conv2d, without bias; of a subclass")


@asks("functionality", step=3, of="layer_flops", hint="what nobody knows is None, and is said")
def test_what_is_not_counted_is_said():
    """Count a model with a layer that has no rule, then with a rule of 100 FLOPs a number."""
    without, said, ruled, warned = WORK.uncounted()
    expect_equal(without, 14, call="count_flops(Sequential(Linear(3, 2), Odd()), x)")
    expect_equal(warned, 1, call="number of warnings, without the rule and with it")
    expect_true("Odd" in said[0], call="the warning", expected="it names Odd", got=said[0])
    expect_equal(ruled, 214, call="count_flops(…, rules={'Odd': …})")


@asks("functionality", step=3, of="count_parameters", hint="frozen ones on request")
def test_parameters_are_counted():
    """Count a model that shares a weight and has a frozen bias."""
    counts = WORK.parameters()
    expect_equal(counts, (16 + 4 + 4 + 15 + 8, 43), call="count_parameters(model), trainable")
    expect_equal(count_parameters(MLP(784, 128, 10)), 101_770, call="parameters of MLP")


@asks("functionality", step=4, of="watch_layers", hint="modules and plain callables, by their path")
def test_every_layer_is_seen():
    """Watch a model of sleepers, functions and a ReLU, called twice; one part is in two places."""
    profiler, _, uncounted = WORK.sleepers()
    rows = [(0, "Sequential", 2, 26), (1, "0", 2, 14), (2, "0.parts", 2, 12)]
    rows += [(3, "0.parts.0", 2, 8), (3, "0.parts.1", 2, 4), (4, "0.parts.1.parts", 2, 0)]
    rows += [(1, "0.parts.1", 2, 4), (2, "0.parts.1.parts", 2, 0), (1, "2", 2, 8), (1, "3", 2, 0)]
    call = "depth, name, calls, seconds of the spans"
    expect_equal(span_rows(profiler), rows, call=call)
    expect_true("nap" in uncounted, call="profiler.uncounted", expected="nap in it", got=uncounted)


@asks("functionality", step=4, of="replaced", hint="the old value, in its old place, or none")
def test_everything_is_released():
    """Look into a model before and after it was watched, and after watching it fail."""
    _, left, _ = WORK.sleepers()
    expect_equal(left, [], call="attributes changed after watching")
    left, names, open_spans = WORK.broken_model()
    hint = "what must be undone even if the block fails?"
    expect_equal(left, [], call="attributes changed after an error", hint=hint)
    expect_equal(names, ["Sequential", "0", "1", "2"], call="spans of a model that fails twice")
    expect_equal(open_spans, 1, call="open spans after an error, the root included")


@asks("functionality", step=4, of="count_flops", hint="every part gets the mode back that it had")
def test_counting_leaves_no_trace():
    """Count a model whose Dropout alone is in evaluation; a spy says in which mode it ran."""
    modes, drawn = WORK.modes()
    expect_equal(drawn, [(False, False)], call="training and requires_grad while counting")
    expect_equal(modes, [True, True, False, True], call="modes after counting")


@asks("functionality", step=5, of="bar", hint="round where it begins and ends, never its length")
def test_bars_meet():
    """Draw bars that follow each other, an empty one, and one of a total of 0."""
    for parts in ((1, 2), (1, 1, 1), (0.26, 0.26, 0.26), (3, 0, 4)):
        ends = np.cumsum((0, *parts)).tolist()
        for start, end in itertools.pairwise(ends):
            first, last = round(10 * start / ends[-1]), round(10 * end / ends[-1])
            wanted = " " * first + "#" * (last - first) + " " * (10 - last)
            call = f"bar({start:.3g}, {end:.3g}, {ends[-1]:.3g}, 10)"
            expect_equal(bar(start, end, ends[-1], 10), wanted, call=call)
    expect_equal(bar(0, 0, 0, 3), "   ", call="bar(0, 0, 0, 3)")


@asks("functionality", step=5, of="flame", hint="parts begin where the span does, in turn")
def test_the_picture():
    """Report two dinners of 51 minutes and a walk of 2 in 52 columns."""
    lines = WORK.evening(2).report(52).splitlines()[1:]
    bars = [line.partition("|")[2].rstrip("|") for line in lines]
    spans = ((0, 102), (0, 70), (0, 10), (70, 100), (102, 104), (102, 104))
    wanted = []
    for start, end in spans:
        first, last = round(52 * start / 104), round(52 * end / 104)
        wanted.append(" " * first + "#" * (last - first) + " " * (52 - last))
    for line, got, want in zip(lines, bars, wanted, strict=True):
        expect_equal(got, want, call=f"bar of {line.split()[0]}")
    indents = [len(line) - len(line.lstrip()) for line in lines]
    expect_equal(indents, [0, 2, 4, 2, 0, 2], call="indentation of the lines")


@asks("functionality", step=5, of="layer_costs", hint="own seconds, summed by name, slowest first")
def test_costs_by_layer():
    """Ask for the costs of two dinners and a walk: the waits at both places are one row."""
    wanted = [("cook", 2, 60, 0), ("eat", 2, 30, 0), ("wait", 3, 12, 0), ("dinner", 2, 2, 0)]
    wanted.append(("walk", 1, 0, 0))
    expect_equal(WORK.costs(WORK.evening(2)), wanted, call="name, calls, own seconds, FLOPs")


@asks("integration", step=3, of="layer_bytes", hint="inputs, own weights and output, 4 bytes each")
def test_a_model_is_accounted(rng):
    """Watch MLP(6, [5], 3) on (4, 6), twice: FLOPs, bytes and parameters of each layer."""
    model, profiler = MLP(6, 5, 3), Profiler()
    with profiler.watch(model):
        for _ in range(2):
            model(Tensor(rng.random((4, 6), np.float32)))
    rows = [(row[1], row[2], *row[5:]) for row in WORK.seen(profiler)]
    wanted = [("MLP", "MLP", 0, 0, 0), ("0", "Linear", 2 * 20 * 13, 2 * 4 * (24 + 35 + 20), 35)]
    wanted += [("1", "ReLU", 2 * 20, 2 * 4 * 40, 0)]
    wanted += [("2", "Linear", 2 * 12 * 11, 2 * 4 * (20 + 18 + 12), 18)]
    expect_equal(rows, wanted, call="name, kind, FLOPs, bytes, parameters")
    expect_equal(profiler.flops, 2 * (260 + 20 + 132), call="profiler.flops")


@asks("integration", step=1, of="memory_section", hint="Adam's two averages stay")
def test_a_training_step_is_measured():
    """Measure what a first update keeps, in copies of the parameters, and where a step goes."""
    for kind, copies in (("SGD", 0), ("Adam", 2)):
        kept, rows, report = WORK.training_step(kind)
        call = f"memory kept by {kind}'s first step, in copies of the parameters"
        expect(kept, copies, call=call, atol=0.35)
        expect_true("update" in report, call="memory.report()", expected="update", got=report)
    layers = [(2, str(i), 1) for i in range(17)]
    wanted = [(0, "step", 1), (1, "MLP", 1), *layers, (1, "backward", 1)]
    expect_equal(rows, wanted, call="depth, name and calls of a watched step")


@asks("performance", step=4, of="watch_layers", hint="two readings of the clock, no more")
def test_watching_is_cheap():
    """Call a small layer 150 times, watched and not."""
    plain, watched = (timed(WORK.many_calls(150, w), repeat=5) for w in (False, True))
    expect_at_most(watched / plain, 25, call="150 watched calls", what="time against unwatched")
    spans = WORK.places(2), WORK.places(50)
    expect_equal(spans, (6, 6), call="spans after 2 and after 50 calls")
