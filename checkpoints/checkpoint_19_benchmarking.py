"""Checkpoint 19: can I compare systems fairly, with statistics?

Passing proves that samples are taken after a warm-up and all kept, that percentiles, intervals
and p-values are what their definitions say, that a drift of the machine fools no comparison, that
the three MLPerf scenarios measure what they claim, and that a machine can read the result.
"""

import itertools
import json
import math

import numpy as np

from checkpoints.feedback import (
    asks,
    expect,
    expect_at_most,
    expect_equal,
    expect_raises,
    probe,
    timed,
)
from tinytorch.core.benchmarking import (
    Offline,
    Server,
    SingleStream,
    arrival_times,
    benchmark,
    bootstrap_interval,
    compare,
    compare_samples,
    from_json,
    measure,
    percentile,
    queue_latencies,
    sign_flip_p,
    summarise,
    to_json,
)

WORK = probe('''
import gc
import math
import tracemalloc

import numpy as np
from tinytorch.core import benchmarking
from tinytorch.core.autograd import no_grad
from tinytorch.core.layers import MLP
from tinytorch.core.tensor import Tensor


class Clock:
    """Moves when told."""

    now = 0.0

    def __call__(self):
        return self.now


def nothing():
    pass


def measured(warmup, repeats, calls, costs):
    """Measure work of these costs; return the samples, the calls, and what the collector did."""
    clock, done, collecting = Clock(), [], []

    def work():
        clock.now += costs[len(done)]
        done.append(1)
        collecting.append(gc.isenabled())

    samples = benchmarking.measure(work, warmup, repeats, calls, clock)
    return samples, len(done), collecting[warmup:], gc.isenabled()


def intervals(rows, mean, confidence=0.95, seed=0):
    """The interval of each row."""
    statistic = np.mean if mean else np.median
    found = [benchmarking.bootstrap_interval(r, statistic, confidence, 400, seed) for r in rows]
    return np.array(found)


def p_values(rows, seed=0):
    return np.array([benchmarking.sign_flip_p(row, seed=seed) for row in rows])


def drifting(cost_a, cost_b, repeats, warmup=0):
    """Compare two systems on a machine that slows down with every call; also give the order."""
    clock, order = Clock(), []

    def system(name, cost):
        def run():
            order.append(name)
            clock.now += cost * (1 + 0.05 * len(order))

        return run

    a, b = system("a", cost_a), system("b", cost_b)
    found = benchmarking.compare(a, b, warmup, repeats, clock=clock)
    return figures(found), "".join(order)


def figures(found):
    return (found.speedup, found.low, found.high, found.p_value, found.verdict)


def scenario(name, inputs, **settings):
    """Run a scenario on a system that takes inputs[i] seconds for each input, and 1 per call."""
    clock, batches = Clock(), []

    def system(batch):
        batches.append([float(x) for x in batch])
        clock.now += 1 + float(sum(batch))

    made = getattr(benchmarking, name)(**settings, clock=clock)
    result = made.run(system, np.array(inputs))
    record = (result.scenario, result.metric, result.value, result.valid)
    return record, batches, [float(s) for s in result.seconds], result.settings


def traced():
    """Benchmark a function that looks whether memory is being traced while it is timed."""
    seen, clock = [], Clock()

    def work():
        seen.append(tracemalloc.is_tracing())
        clock.now += 0.25
        np.ones(250_000)

    result = benchmarking.benchmark("work", work, warmup=2, repeats=6, calls=2, clock=clock)
    return seen, result.peak_memory_mb, benchmarking.to_json(result)


def broken_results():
    """Try to write a NaN; return the error."""
    result = benchmarking.benchmark("x", nothing, repeats=2)
    result.value = math.nan
    return result


def numpy_settings():
    """Write a result that holds NumPy's numbers, and read it again."""
    result = benchmarking.benchmark("x", nothing, repeats=2)
    result.settings = {"seed": np.int64(3), "rate": np.float64(0.1)}
    again = benchmarking.from_json(benchmarking.to_json(result))
    return again.settings, again == benchmarking.from_json(benchmarking.to_json(again))


def models(swap):
    """Compare a deep model with a shallow one."""
    x = Tensor(np.ones((2, 64), np.float32))
    deep, shallow = MLP(64, [64] * 12, 10), MLP(64, [], 10)

    def run(model):
        with no_grad():
            model(x)

    pair = [lambda: run(deep), lambda: run(shallow)]
    a, b = pair[::-1] if swap else pair
    return figures(benchmarking.compare(a, b, 2, 15, 3))
''')


def bootstrap_by_loops(samples, statistic, confidence, rng):
    """The interval from 1000 resamples, by NumPy's percentiles."""
    found = [statistic(rng.choice(samples, len(samples))) for _ in range(1000)]
    tail = 50 * (1 - confidence)
    return np.percentile(found, [tail, 100 - tail])


def p_by_loops(differences):
    """The share of all signs whose mean is as far from 0."""
    signs = itertools.product((-1, 1), repeat=len(differences))
    sums = [abs(np.dot(s, differences)) for s in signs]
    return np.mean(np.array(sums) >= abs(sum(differences)) - 1e-9)


def queue_by_loops(arrivals, service):
    """A server that looks at its watch."""
    free, latencies = 0.0, []
    for arrival, seconds in zip(arrivals, service, strict=True):
        free = max(free, arrival) + seconds
        latencies.append(free - arrival)
    return np.array(latencies)


@asks("imports", step=5, of="SingleStream", hint="each name comes from one step; run tito test 19")
def test_names_are_there():
    """Use each name of the module once."""
    expect_equal(measure(WORK.nothing, repeats=4).shape, (4,), call="measure(f, repeats=4).shape")
    expect_equal(percentile([1.0, 2.0, 3.0], 50), 2.0, call="percentile([1, 2, 3], 50)")
    expect_equal(bootstrap_interval([2.0]), (2.0, 2.0), call="bootstrap_interval([2.0])")
    expect_equal(summarise([1.0])["count"], 1, call="summarise([1.0])['count']")
    possible = compare(WORK.nothing, WORK.nothing, repeats=3).p_value >= 0.05
    expect_equal(possible, True, call="p_value of three pairs >= 0.05")
    for made in (SingleStream(2), Offline(2), Server(1.0, 1.0, 2)):
        expect_equal(made.warmup >= 0, True, call="warmup of the scenario")
    result = benchmark("nothing", WORK.nothing, repeats=2)
    expect_equal(from_json(to_json(result)).name, "nothing", call="from_json(to_json(r)).name")


@asks("functionality", step=1, of="measure", hint="warm-up calls are made, but not timed")
def test_samples(rng):
    """Measure work of known costs: 2 calls to warm up, then 3 samples of 4 calls."""
    costs = rng.uniform(1, 2, 14).round(3)
    samples, calls, collecting, after = WORK.measured(2, 3, 4, costs.tolist())
    expect_equal(calls, 14, call="number of calls")
    expect(samples, costs[2:].reshape(3, 4).mean(axis=1), call="measure(work, 2, 3, 4)")
    expect_equal((any(collecting), after), (False, True), call="gc.isenabled() during, after")
    none, calls, _, _ = WORK.measured(0, 1, 1, [7.0])
    expect(none, [7.0], call="measure(work, warmup=0, repeats=1)")


@asks(
    "functionality",
    step=2,
    of="percentile",
    hint="place q/100 · (n - 1) may lie between two samples",
)
def test_percentiles(rng):
    """Take percentiles of [40, 10, 20] and of random samples, from 0 to 100."""
    expect(percentile([40, 10, 20], 90), 36, call="percentile([40, 10, 20], 90)")
    for size in (1, 2, 30, 101):
        samples = rng.exponential(size=size)
        for q in (0, 12.5, 50, 99, 100):
            call = f"percentile({size} samples, {q})"
            expect(percentile(samples, q), np.percentile(samples, q), call=call)


@asks("functionality", step=2, of="bootstrap_interval", hint="n of n, drawn with replacement")
def test_intervals(rng):
    """Compare intervals of the mean and the median with a bootstrap by loops."""
    samples = rng.normal(10, 2, (1, 60))
    for mean, confidence in ((True, 0.95), (True, 0.5), (False, 0.95)):
        statistic = np.mean if mean else np.median
        wanted = bootstrap_by_loops(samples[0], statistic, confidence, rng)
        call = f"bootstrap_interval(60 samples, np.{statistic.__name__}, {confidence})"
        got = WORK.intervals(samples, mean, confidence)[0]
        width = wanted[1] - wanted[0]
        expect(got, wanted, call=call, atol=(0.3 if mean else 0.5) * width)
        expect(WORK.intervals(samples, mean, confidence)[0], got, call=call + ", the same seed")
    other = WORK.intervals(samples, True, 0.95, 9)[0]
    same = np.array_equal(other, WORK.intervals(samples, True)[0])
    expect_equal(same, False, call="seeds 0 and 9 give the same interval")


@asks("functionality", step=2, of="summarise", hint="name each figure as the docstring does")
def test_summary(rng):
    """Summarise 25 samples."""
    samples = rng.exponential(size=25)
    found = summarise(samples)
    wanted = {"count": 25, "mean": samples.mean(), "min": samples.min()}
    wanted |= {"median": np.median(samples)}
    wanted |= {f"p{q}": np.percentile(samples, q) for q in (90, 99)}
    for name, value in wanted.items():
        expect(found[name], value, call=f"summarise(samples)[{name!r}]")
    inside = found["low"] <= found["median"] <= found["high"]
    expect_equal(inside, True, call="low <= median <= high")


@asks("functionality", step=3, of="sign_flip_p", hint="how many signs give a mean as far from 0?")
def test_p_values_of_all_signs(rng):
    """Compare with all signs: [1, 2, 3] gives 2/8; random differences; some of them equal."""
    expect(sign_flip_p([1, 2, 3]), 0.25, call="sign_flip_p([1, 2, 3])")
    expect(sign_flip_p([-3, -2, -1]), 0.25, call="sign_flip_p([-3, -2, -1])")
    expect(sign_flip_p([2, -2]), 1, call="sign_flip_p([2, -2])")
    rows = [rng.normal(0.4, 1, 9) for _ in range(4)] + [np.array([0.1] * 7 + [-0.1, 0.3])]
    wanted = [p_by_loops(row) for row in rows]
    expect(WORK.p_values(rows), wanted, call="sign_flip_p(9 differences)")


@asks("functionality", step=3, of="sign_flip_p", hint="draw signs, and count ours as one more")
def test_p_values_of_random_signs(rng):
    """Try 40 differences: all equal to 1, and such that the normal distribution tells p."""
    expect(sign_flip_p([1.0] * 40), 1 / 10_001, call="sign_flip_p([1.0] * 40)")
    d = rng.normal(0, 1, 40)
    d += 1.8 * math.sqrt((d**2).mean() / 40) - d.mean()
    wanted = math.erfc(abs(d.sum()) / math.sqrt(2 * (d**2).sum()))
    expect(sign_flip_p(d), wanted, call="sign_flip_p(40 differences)", atol=0.02)


@asks("functionality", step=3, of="measure_pairs", hint="pairs 0, 2, 4 … begin with a")
def test_a_drift_fools_nobody():
    """Compare equal systems, and one of 3 seconds with one of 2, while the machine slows down."""
    found, order = WORK.drifting(1.0, 1.0, 12)
    expect_equal(order, "abba" * 6, call="order of the calls")
    expect_equal(found[4], "no difference shown", call="verdict on equal systems")
    found, _ = WORK.drifting(3.0, 2.0, 12)
    expect(found[0], 1.5, call="speedup of 3 seconds against 2", rtol=0.03)
    expect_equal(found[4], "b is faster", call="verdict on 3 seconds against 2")
    expect_equal(WORK.drifting(2.0, 3.0, 12)[0][4], "a is faster", call="verdict, sides swapped")
    expect_equal(len(WORK.drifting(1.0, 1.0, 5, 3)[1]), 16, call="calls: 3 to warm up, 5 pairs")


@asks("functionality", step=3, of="compare_samples", hint="log a - log b, median, back by exp")
def test_figures_of_a_comparison(rng):
    """Compare paired samples whose ratios are known; swapping the sides inverts the speedup."""
    b = rng.uniform(1, 5, 101)
    ratios = np.exp(rng.normal(0.3, 0.2, 101))
    one, other = compare_samples(b * ratios, b), compare_samples(b, b * ratios)
    expect(one.speedup, np.median(ratios), call="compare_samples(a, b).speedup")
    expect(other.speedup, 1 / np.median(ratios), call="compare_samples(b, a).speedup")
    expect(one.seconds_b, np.median(b), call="compare_samples(a, b).seconds_b")
    wanted = bootstrap_by_loops(np.log(ratios), np.median, 0.95, rng)
    width = wanted[1] - wanted[0]
    got = [math.log(one.low), math.log(one.high)]
    expect(got, wanted, call="logarithms of low and high", atol=0.5 * width)
    expect(one.p_value, 1 / 10_001, call="compare_samples(a, b).p_value", atol=3e-4)


@asks("functionality", step=4, of="arrival_times", hint="exponential gaps, of mean 1 / rate")
def test_arrivals(rng):
    """Let 4000 queries arrive at 8 a second: mean and spread of the gaps, and their tail."""
    seed = int(rng.integers(1 << 30))
    times = arrival_times(8.0, 4000, seed)
    gaps = np.diff(np.asarray(times), prepend=0)
    wanted = np.random.default_rng(seed).exponential(1 / 8, 4000)
    expect(gaps, wanted, call=f"gaps of arrival_times(8.0, 4000, {seed})", atol=1e-8)


@asks(
    "functionality",
    step=4,
    of="queue_latencies",
    hint="a query begins when it is there and the server is free",
)
def test_queue(rng):
    """Serve 4 queries by hand, then 300 at random, nearly as many as the server can."""
    by_hand = queue_latencies(np.array([0.0, 1, 2, 9]), np.array([3.0, 1, 1, 1]))
    expect(by_hand, [3, 3, 3, 1], call="queue_latencies([0, 1, 2, 9], [3, 1, 1, 1])")
    arrivals, service = np.cumsum(rng.exponential(1, 300)), rng.exponential(0.9, 300)
    wanted = queue_by_loops(arrivals, service)
    expect(queue_latencies(arrivals, service), wanted, call="queue_latencies(300 queries)")


@asks("functionality", step=5, of="SingleStream.latencies", hint="one input a call, round")
def test_single_stream(rng):
    """Ask 7 queries of 3 inputs, after 2 to warm up; input x takes 1 + x seconds."""
    inputs = rng.uniform(1, 9, 3).round(2).tolist()
    record, batches, seconds, settings = WORK.scenario("SingleStream", inputs, queries=7, warmup=2)
    asked = [inputs[k % 3] for k in range(7)]
    wanted = [[inputs[0]]] * 2 + [[x] for x in asked]
    expect_equal(batches, wanted, call="batches that the system saw")
    expect(seconds, np.add(asked, 1), call="seconds of the queries")
    expect_equal(record[:2], ("SingleStream", "latency_p90_s"), call="scenario and metric")
    expect(record[2], np.percentile(np.add(asked, 1), 90), call="value")
    expect_equal(settings, {"queries": 7, "warmup": 2}, call="settings")


@asks("functionality", step=5, of="Offline.run", hint="batches; the last may be smaller")
def test_offline(rng):
    """Answer 5 inputs in batches of 2, three times over."""
    inputs = rng.uniform(1, 9, 5).round(2).tolist()
    settings = {"batch_size": 2, "repeats": 3, "warmup": 1}
    record, batches, seconds, _ = WORK.scenario("Offline", inputs, **settings)
    once = [inputs[0:2], inputs[2:4], inputs[4:]]
    expect_equal(batches, [inputs[0:2], *once * 3], call="batches that the system saw")
    expect(seconds, [3 + sum(inputs)] * 3, call="seconds of each time")
    expect_equal(record[:2], ("Offline", "throughput_per_s"), call="scenario and metric")
    expect(record[2], 5 / (3 + sum(inputs)), call="value")


@asks("functionality", step=5, of="Server.run", hint="latency is wait and service; compare its p99")
def test_server(rng):
    """Ask 200 queries at a rate near the capacity, within a bound just above and below the p99."""
    inputs, seed = rng.uniform(0, 2, 50).tolist(), int(rng.integers(1 << 30))
    service = np.add([inputs[k % 50] for k in range(200)], 1)
    arrivals = np.cumsum(np.random.default_rng(seed).exponential(1 / 0.45, 200))
    latencies = queue_by_loops(arrivals, service)
    tail = np.percentile(latencies, 99)
    for factor, valid in ((1.01, True), (0.99, False)):
        settings = {"rate": 0.45, "bound": float(tail * factor), "queries": 200, "seed": seed}
        record, _, seconds, kept = WORK.scenario("Server", inputs, **settings)
        expect(seconds, latencies, call="seconds from arrival to answer")
        expect(record[2], tail, call="value, the 99th percentile")
        expect_equal(record[3], valid, call=f"valid, with a bound of {factor} times the p99")
        expect_equal(kept, settings | {"warmup": 3}, call="settings")


@asks("functionality", step=6, of="to_json", hint="json.dumps can refuse NaN, and ask")
def test_a_machine_can_read_it():
    """Write a result and read it with a strict reader; refuse NaN, and a version from later."""
    text = to_json(benchmark("nothing", WORK.nothing, repeats=3))
    record = json.loads(text, parse_constant=lambda name: f"not JSON: {name}")
    expect_equal(record["schema_version"], 1, call="schema_version")
    expect_equal(len(record["seconds"]), 3, call="number of samples in the record")
    expect_equal(sorted(record["machine"]), ["cores", "numpy", "python", "system"], call="machine")
    expect_equal(to_json(from_json(text)), text, call="to_json(from_json(text))")
    got = WORK.numpy_settings()
    expect_equal(got, ({"seed": 3, "rate": 0.1}, True), call="settings of NumPy's numbers")
    expect_raises(ValueError, to_json, WORK.broken_results(), call="to_json(a result with NaN)")
    later = json.dumps(record | {"schema_version": 2})
    expect_raises(ValueError, from_json, later, call="from_json(version 2)", mentions=["2"])


@asks("integration", step=6, of="benchmark", hint="time first, then memory, in a run of its own")
def test_time_and_memory():
    """Benchmark work of 0.25 seconds and 2 MB, which looks whether memory is traced."""
    seen, peak, text = WORK.traced()
    expect_equal(seen, [False] * 14 + [True], call="memory is traced, call by call")
    expect(peak, 2, call="peak_memory_mb", atol=0.05)
    record = json.loads(text)
    expect(record["seconds"], [0.25] * 6, call="seconds")
    wanted = {"warmup": 2, "repeats": 6, "calls": 2}
    expect_equal(record["settings"], wanted, call="settings")
    got = (record["name"], record["scenario"], record["metric"], record["value"], record["valid"])
    expect_equal(got, ("work", "Function", "median_s", 0.25, True), call="the record")


@asks("integration", step=3, of="compare_samples", hint="seconds of a over seconds of b")
def test_two_models():
    """Compare a model of 13 layers with a model of one, and the other way round."""
    found, swapped = WORK.models(False), WORK.models(True)
    expect_equal(found[4], "b is faster", call="verdict: 13 layers against 1")
    expect_equal(swapped[4], "a is faster", call="verdict: 1 layer against 13")


@asks("performance", step=2, of="bootstrap_interval", hint="all resamples at once, as rows")
def test_the_bootstrap_is_quick():
    """Resample 20 samples 2000 times, against plain NumPy."""
    samples = np.random.default_rng(0).random(20)

    def reference():
        rng = np.random.default_rng(0)
        return np.percentile(np.median(samples[rng.integers(0, 20, (2000, 20))], axis=1), 5)

    cost = timed(bootstrap_interval, samples, repeat=3) / timed(reference, repeat=3)
    expect_at_most(cost, 7, call="bootstrap of 20 samples", what="time against NumPy")


@asks("performance", step=4, of="queue_latencies", hint="one pass over the queries")
def test_the_queue_is_quick():
    """Serve 500 and 5000 queries: ten times the work, not a hundred times."""
    arrivals = np.arange(5000.0)
    few, many = (timed(queue_latencies, arrivals[:n], arrivals[:n], repeat=3) for n in (500, 5000))
    expect_at_most(many / few, 40, call="10 times as many queries", what="growth of the time")
