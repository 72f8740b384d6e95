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
# # Module 19: Benchmarking
#
# "It is faster" is a claim about the next run, made from the last ones: statistics, then.
#
# - **You build** `measure` (warm-up, repeats), percentiles and bootstrap intervals, `compare(a, b)`
#   with a paired test, the MLPerf scenarios `SingleStream`, `Offline` and `Server`, and results
#   that a machine can read.
# - **You need** 14 (`MemoryProfiler`), and models of 03 to measure.
# - **Time**: about four hours.

# %%
#| default_exp core.benchmarking

# %%
#| export
import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tinytorch.core.profiling import MemoryProfiler
from tinytorch.utils import measured as given
from tinytorch.utils.measured import Comparison, Result

Array = np.ndarray
Samples = Sequence[float] | np.ndarray
Clock = Callable[[], float]
System = Callable[[Any], Any]  # answers a batch of inputs

# %% [markdown]
# ## Step 1: Warm up, then repeat
#
# The first calls are slower: memory is new, caches are cold, threads are not started. So they are
# made and thrown away. Then repeat, and keep **every** sample; a single number hides how much it
# varies.
#
# A clock has a resolution. What takes 1 µs cannot be timed in steps of 0.1 µs; call it 1000 times
# within one sample, and divide. *Worked:* two readings 0.25 s apart around 5 calls: 0.05 s a call.
#
# `given.quiet()` keeps the garbage collector out of a `with` block.


# %%
#| export
def time_call(function: Callable[[], Any], calls: int, clock: Clock) -> float:
    """Return the seconds of one call: the clock is read before and after `calls` calls."""
    ### BEGIN SOLUTION
    start = clock()
    for _ in range(calls):
        function()
    return (clock() - start) / calls
    ### END SOLUTION


def measure(function: Callable[[], Any], warmup: int = 3, repeats: int = 30, calls: int = 1,
            clock: Clock = time.perf_counter) -> Array:  # fmt: skip
    """Return the seconds of one call of a function, `repeats` samples in the order of measurement.

    Each sample is the mean of `calls` calls; `warmup` calls before them are not timed.
    """
    given.checked_counts(warmup, repeats=repeats, calls=calls)
    ### BEGIN SOLUTION
    for _ in range(warmup):
        function()
    with given.quiet():
        return np.array([time_call(function, calls, clock) for _ in range(repeats)])
    ### END SOLUTION


# %%
from tinytorch.utils.profiles import ManualClock

clock, costs = ManualClock(), iter([9.0, 5.0, 1.0, 2.0, 1.0, 4.0])


def work():
    clock.now += next(costs)


print(measure(work, warmup=2, repeats=2, calls=2, clock=clock))
# Expected output:
# [1.5 2.5]


# %%
#| test
from tinytorch.utils.profiles import ManualClock


def test_warm_up_is_not_measured():
    ticks = []
    samples = measure(lambda: ticks.append(1), 2, 3, 4, clock=lambda: float(len(ticks) ** 2))
    np.testing.assert_allclose(samples, [8, 16, 24])


if __name__ == "__main__":
    test_warm_up_is_not_measured()

# %% [markdown]
# ## Step 2: The middle, the tail, and how sure you are
#
# Times are skewed: never faster than the work allows, now and then much slower. One interruption of
# 100 ms among 29 samples of 1 ms makes the **mean** 4.3 ms, a time that never occurred. The
# **median** is 1 ms. And users feel the tail: of 20 calls to build a page, one on average is beyond
# the 95th percentile.
#
# The q-th *percentile* of n sorted samples is at place $q/100 \cdot (n - 1)$, counted from 0, and
# between two samples it is interpolated. *Worked:* the 90th of [10, 20, 40] is at place 1.8:
# 20 + 0.8 · (40 − 20) = 36.
#
# How far could the median be off? The **bootstrap** (Efron 1979) repeats the experiment on paper:
# draw n of the n samples *with replacement*, take the median; do this 2000 times. The middle 95 %
# of these medians are the interval: the 2.5th to the 97.5th percentile. It needs no bell curve,
# only samples that do not depend on each other.


# %%
#| export
def percentile(samples: Samples, q: float) -> float:
    """Return the value below which q percent of the samples lie, interpolated linearly."""
    values = np.sort(given.checked_samples(samples))
    given.checked_percent(q)
    ### BEGIN SOLUTION
    place = q / 100 * (len(values) - 1)
    below = math.floor(place)
    above = min(below + 1, len(values) - 1)
    return float(values[below] + (place - below) * (values[above] - values[below]))
    ### END SOLUTION


def bootstrap_interval(samples: Samples, statistic: Callable[..., Array] = np.median,
                       confidence: float = 0.95, resamples: int = 2000,
                       seed: int = 0) -> tuple[float, float]:  # fmt: skip
    """Return an interval for the true value of a statistic: the middle of its resampled values.

    It is called as statistic(rows, axis=1), rows of shape (resamples, n). So made, the interval
    covers the true value in about `confidence` of all experiments, fewer if n is small.
    """
    values = given.checked_samples(samples)
    given.checked_confidence(confidence)
    ### BEGIN SOLUTION
    chosen = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    found = statistic(values[chosen], axis=1)  # (resamples,)
    tail = 100 * (1 - confidence) / 2
    return percentile(found, tail), percentile(found, 100 - tail)
    ### END SOLUTION


def summarise(samples: Samples) -> dict[str, float]:
    """Return count, mean, minimum, median with its interval (low, high), and p90, p99."""
    values = given.checked_samples(samples)
    low, high = bootstrap_interval(values)
    figures = {"count": len(values), "mean": float(values.mean()), "min": float(values.min())}
    tail = {f"p{q}": percentile(values, q) for q in (90, 99)}
    return figures | {"median": percentile(values, 50), "low": low, "high": high} | tail


# %%
print(round(percentile([40, 10, 20], 90), 3))
rng = np.random.default_rng(0)
samples = 1 + rng.exponential(0.2, 30)
samples[7] = 100.0
found = summarise(samples)
print(f"mean {found['mean']:.2f}, median {found['median']:.2f} from {found['low']:.2f}", end=" ")
print(f"to {found['high']:.2f}, p99 {found['p99']:.2f}")
# Expected output:
# 36.0
# mean 4.53, median 1.16 from 1.09 to 1.31, p99 71.64


# %%
#| test
def test_percentiles_and_intervals():
    samples = np.random.default_rng(0).random(17)
    for q in (0, 3, 50, 100):
        np.testing.assert_allclose(percentile(samples, q), np.percentile(samples, q))
    rows = np.random.default_rng(0).normal(3, 1, (100, 40))
    found = np.array([bootstrap_interval(row, np.mean, resamples=400) for row in rows])
    assert 87 <= ((found[:, 0] <= 3) & (found[:, 1] >= 3)).sum() <= 99


if __name__ == "__main__":
    test_percentiles_and_intervals()

# %% [markdown]
# ## Step 3: Is b faster than a?
#
# The machine drifts: it warms up, another job begins. Measure all of a and then all of b, and you
# compare two moments. So measure in **pairs**, one of a and one of b next to each other, and take
# turns in who goes first (ab, ba, ab, …). What disturbs a pair disturbs both, and their ratio is
# nearly the same. A ratio of 2 and one of ½ should cancel; so take logarithms,
#
# $$d_i = \log a_i - \log b_i, \qquad \text{speedup} = e^{\operatorname{median}(d)}$$
#
# **The sign-flip test.** Suppose there is no difference. Then in each pair a and b could have been
# swapped: every $d_i$ could as well have been $-d_i$. Of all $2^n$ choices of signs, how many give
# a mean at least as far from 0 as ours? That share is the *p-value*.
#
# *Worked:* d = [1, 2, 3], mean 2. Of the 8 choices only + + + and − − − reach |mean| ≥ 2: p = 0.25.
# Three pairs can never do better; six can: 2/64 = 0.03. Above 12 pairs there are too many choices,
# so draw 10,000 at random and count ours as one more: p = (1 + hits) / (1 + 10,000), never 0.
#
# The test asks about the mean of d, the speedup is from its median. So `Comparison.verdict` (given)
# wants both before it calls one faster: p < 0.05, and an interval of the speedup without 1.


# %%
#| export
def sign_flip_p(differences: Samples, draws: int = 10_000, seed: int = 0) -> float:
    """Return how often random signs give a mean as far from 0 as that of the differences.

    Means that differ by rounding alone (a 1e-12th part) count as equal.
    """
    d = given.checked_samples(differences)
    ### BEGIN SOLUTION
    exact = len(d) <= 12
    if exact:
        signs = np.array(list(itertools.product((-1, 1), repeat=len(d))))
    else:
        signs = np.random.default_rng(seed).choice((-1, 1), (draws, len(d)))
    means = np.abs(signs @ d)  # times n, as is the one it is compared with
    hits = int((means >= abs(d.sum()) * (1 - 1e-12)).sum())
    return hits / len(signs) if exact else (1 + hits) / (1 + draws)
    ### END SOLUTION


def measure_pairs(
    a: Callable[[], Any], b: Callable[[], Any], repeats: int, calls: int, clock: Clock
) -> tuple[Array, Array]:
    """Time a and b in turns, a first in the pairs 0, 2, 4 …: seconds of a and of b, (repeats,)."""
    ### BEGIN SOLUTION
    seconds = np.empty((repeats, 2))
    for i in range(repeats):
        for which in (0, 1) if i % 2 == 0 else (1, 0):
            seconds[i, which] = time_call((a, b)[which], calls, clock)
    return seconds[:, 0], seconds[:, 1]
    ### END SOLUTION


def compare_samples(a: Samples, b: Samples) -> Comparison:
    """Compare paired times in seconds: the i-th of a was measured beside the i-th of b.

    Returns:
        Comparison(speedup, low, high, p_value, seconds_a, seconds_b): the interval is the bootstrap
        interval of the median of d, taken out of logarithms; the last two are medians.
    """
    a, b = given.checked_pairs(a, b)
    ### BEGIN SOLUTION
    d = np.log(a) - np.log(b)
    low, high = bootstrap_interval(d)
    speedup = math.exp(percentile(d, 50))
    medians = percentile(a, 50), percentile(b, 50)
    return Comparison(speedup, math.exp(low), math.exp(high), sign_flip_p(d), *medians)
    ### END SOLUTION


def compare(a: Callable[[], Any], b: Callable[[], Any], warmup: int = 3, repeats: int = 30,
            calls: int = 1, clock: Clock = time.perf_counter) -> Comparison:  # fmt: skip
    """Say how many times as fast b is as a; both are functions without arguments."""
    given.checked_counts(warmup, repeats=repeats, calls=calls)
    for _ in range(warmup):
        a(), b()
    with given.quiet():
        return compare_samples(*measure_pairs(a, b, repeats, calls, clock))


# %%
print(sign_flip_p([1, 2, 3]), sign_flip_p([1, 2, 3, 4, 5, 6]))
drift = np.linspace(1, 3, 20)  # the machine becomes three times as slow
noise = np.random.default_rng(1).normal(1, 0.02, (2, 20))
found = compare_samples(1.1 * drift * noise[0], drift * noise[1])
print(f"{found.speedup:.2f} ({found.low:.2f} to {found.high:.2f}), {found.verdict}")
# Expected output:
# 0.25 0.03125
# 1.10 (1.09 to 1.12), b is faster


# %%
#| test
def test_pairs_take_turns():
    assert (sign_flip_p([-1, 1]), sign_flip_p([1.0] * 40)) == (1, 1 / 10_001)
    clock, order = ManualClock(), []

    def system(name, seconds):
        def run():
            order.append(name)
            clock.now += seconds

        return run

    found = compare(system("a", 3), system("b", 2), warmup=0, repeats=8, clock=clock)
    assert "".join(order) == "abba" * 4
    assert (round(found.speedup, 9), found.verdict) == (1.5, "b is faster")


if __name__ == "__main__":
    test_pairs_take_turns()

# %% [markdown]
# ## Step 4: A queue
#
# Users do not wait for each other before they ask. At λ queries a second that know nothing of each
# other, the gaps between arrivals are exponentially distributed with mean 1/λ (a *Poisson
# process*): some come close together, and the second of them waits.
#
# One server answers in the order of arrival. It begins a query when it has come *and* the one
# before is finished, and the user's latency runs from arrival to finish:
#
#     arrival  0  1  2        service  3  1  1
#     begin    0  3  4        max(arrival, finish of the one before)
#     finish   3  4  5        begin + service
#     latency  3  3  3        finish - arrival: the second took 1 s of work and 2 s of waiting
#
# So measure how long each answer takes, and compute the waiting (Lindley 1952). That is exact as
# long as an answer takes as long under load as alone.


# %%
#| export
def arrival_times(rate: float, count: int, seed: int = 0) -> Array:
    """Return when `count` queries arrive, in seconds, at `rate` queries a second.

    The first comes after the first gap; gaps are `np.random.default_rng(seed).exponential`.
    """
    given.checked_positive("rate", rate)
    ### BEGIN SOLUTION
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count))
    ### END SOLUTION


def queue_latencies(arrivals: Array, service: Array) -> Array:
    """Return seconds from arrival (ascending) to finish, for one server that answers in order."""
    ### BEGIN SOLUTION
    latencies, finish = np.empty(len(arrivals)), 0.0
    for i, (arrival, seconds) in enumerate(zip(arrivals, service, strict=True)):
        finish = max(arrival, finish) + seconds
        latencies[i] = finish - arrival
    return latencies
    ### END SOLUTION


# %%
print(queue_latencies(np.array([0.0, 1.0, 2.0, 9.0]), np.array([3.0, 1.0, 1.0, 1.0])))
for load in (0.5, 0.8, 0.95):
    arrivals = arrival_times(load, 20_000)  # each query takes one second
    waits = queue_latencies(arrivals, np.ones(20_000))
    print(f"load {load}: median {percentile(waits, 50):.1f}, p99 {percentile(waits, 99):.1f}")
# Expected output:
# [3. 3. 3. 1.]
# load 0.5: median 1.0, p99 4.5
# load 0.8: median 2.3, p99 11.7
# load 0.95: median 7.8, p99 44.7


# %%
#| test
def test_queries_wait_for_each_other():
    gaps = np.diff(arrival_times(4.0, 5000, seed=1), prepend=0.0)
    np.testing.assert_allclose((gaps.mean(), gaps.std()), 0.25, atol=0.02)
    latencies = queue_latencies(np.array([0.0, 0.0, 10.0]), np.array([2.0, 2.0, 2.0]))
    np.testing.assert_allclose(latencies, [2, 4, 2])


if __name__ == "__main__":
    test_queries_wait_for_each_other()

# %% [markdown]
# ## Step 5: Three ways to be fast
#
# The same system can be good at one thing and bad at another. MLPerf (Reddi et al. 2020) asks:
#
# | scenario | how queries come | what counts |
# |---|---|---|
# | SingleStream (a phone) | the next when the last is answered | 90th percentile of latency |
# | Offline (a photo archive) | all at once | samples a second |
# | Server (a web service) | Poisson, at a rate | 99th percentile within a bound |
#
# A *system* is a function of a batch: `system(inputs[i : i + 1])` for one query. When queries
# outnumber the inputs, begin anew: query k gets input k modulo their number. Each scenario warms up
# with the first query (Offline: the first batch). `recorded`, given, makes the record.


# %%
#| export
def recorded(scenario: Any, metric: str, value: float, valid: bool, seconds: Array) -> Result:
    """Record a run, with all settings of the scenario but its clock."""
    settings = {name: v for name, v in vars(scenario).items() if name != "clock"}
    kind, samples = type(scenario).__name__, [float(s) for s in seconds]
    return Result(
        "", kind, metric, float(value), bool(valid), samples, summarise(seconds), settings
    )


class SingleStream:
    """One query after the other; what counts is the 90th percentile of latency."""

    def __init__(self, queries: int = 100, warmup: int = 3, clock: Clock = time.perf_counter):
        given.checked_counts(warmup, queries=queries)
        self.queries, self.warmup, self.clock = queries, warmup, clock

    def latencies(self, system: System, inputs: Any) -> Array:
        """Return the seconds of each query, shape (queries,)."""
        given.checked_inputs(inputs)
        ### BEGIN SOLUTION
        for _ in range(self.warmup):
            system(inputs[0:1])
        seconds = np.empty(self.queries)
        with given.quiet():
            for k in range(self.queries):
                query = inputs[k % len(inputs) :][:1]
                seconds[k] = time_call(lambda: system(query), 1, self.clock)  # noqa: B023
        return seconds
        ### END SOLUTION

    def run(self, system: System, inputs: Any) -> Result:
        """Measure a system; always valid."""
        seconds = self.latencies(system, inputs)
        return recorded(self, "latency_p90_s", percentile(seconds, 90), True, seconds)


class Server(SingleStream):
    """Queries come at random, `rate` a second; the p99 of latency must be within `bound`."""

    def __init__(self, rate: float, bound: float, queries: int = 200, warmup: int = 3,
                 seed: int = 0, clock: Clock = time.perf_counter):  # fmt: skip
        super().__init__(queries, warmup, clock)
        given.checked_positive("rate", rate)
        given.checked_positive("bound", bound)
        self.rate, self.bound, self.seed = rate, bound, seed

    def run(self, system: System, inputs: Any) -> Result:
        """Measure the service of each query and compute its wait; the samples are latencies.

        The metric is "latency_p99_s"; the run is valid if that is at most the bound.
        """
        ### BEGIN SOLUTION
        service = self.latencies(system, inputs)
        arrivals = arrival_times(self.rate, self.queries, self.seed)
        seconds = queue_latencies(arrivals, service)
        tail = percentile(seconds, 99)
        return recorded(self, "latency_p99_s", tail, tail <= self.bound, seconds)
        ### END SOLUTION


class Offline:
    """Everything at once, in batches; what counts is samples a second."""

    def __init__(self, batch_size: int = 32, repeats: int = 5, warmup: int = 1,
                 clock: Clock = time.perf_counter):  # fmt: skip
        given.checked_counts(warmup, repeats=repeats, batch_size=batch_size)
        self.batch_size, self.repeats, self.warmup = batch_size, repeats, warmup
        self.clock = clock

    def run(self, system: System, inputs: Any) -> Result:
        """Go through all inputs `repeats` times; the samples are the seconds of each time.

        The last batch may be smaller. The metric is "throughput_per_s": inputs over the median.
        """
        given.checked_inputs(inputs)
        ### BEGIN SOLUTION
        batches = range(0, len(inputs), self.batch_size)

        def answer_all() -> None:
            for start in batches:
                system(inputs[start : start + self.batch_size])

        for _ in range(self.warmup):
            system(inputs[: self.batch_size])
        seconds = measure(answer_all, 0, self.repeats, clock=self.clock)
        throughput = len(inputs) / percentile(seconds, 50)
        return recorded(self, "throughput_per_s", throughput, True, seconds)
        ### END SOLUTION


# %%
clock = ManualClock()


def system(batch):
    clock.now += 0.010 + 0.001 * len(batch)  # 10 ms for a call, 1 ms for each input


inputs = np.zeros((100, 4))
for scenario in (
    SingleStream(clock=clock),
    Offline(batch_size=50, clock=clock),
    Server(rate=20, bound=0.05, clock=clock),
    Server(rate=80, bound=0.05, clock=clock),
):
    result = scenario.run(system, inputs)
    print(f"{result.scenario}: {result.metric} {result.value:.4g}, valid {result.valid}")
# Expected output:
# SingleStream: latency_p90_s 0.011, valid True
# Offline: throughput_per_s 833.3, valid True
# Server: latency_p99_s 0.02196, valid True
# Server: latency_p99_s 0.07725, valid False


# %%
#| test
def test_scenarios_by_a_clock_of_our_own():
    clock, seen = ManualClock(), []

    def system(batch):
        seen.append(list(batch))
        clock.now += float(sum(batch))

    result = SingleStream(queries=4, warmup=1, clock=clock).run(system, [1, 2, 3])
    assert (seen, result.seconds) == ([[1], [1], [2], [3], [1]], [1, 2, 3, 1])
    result = Offline(2, repeats=2, warmup=0, clock=clock).run(system, [1, 2, 3])
    assert (seen[5:], result.value) == ([[1, 2], [3]] * 2, 0.5)
    result = Server(1e6, bound=9, queries=4, warmup=0, clock=clock).run(system, [1, 2, 3])
    np.testing.assert_allclose(result.seconds, [1, 3, 6, 7], atol=1e-4)


if __name__ == "__main__":
    test_scenarios_by_a_clock_of_our_own()

# %% [markdown]
# ## Step 6: A result that a machine can read
#
# A table in a message is lost; a file can be compared with next month's. It holds **all samples**,
# so that a question you did not ask today can be answered; the settings; the machine; a version.
#
# JSON has no NaN. Python writes one all the same, which other languages then refuse:
# `allow_nan=False` turns it into an error here. NumPy's numbers are unknown to `json`;
# `default=given.plain` converts them. A float is written with enough digits to come back exactly.
#
# `benchmark` measures time and memory, in **two** runs: tracing memory slows everything down
# (module 14), so a call under trace must not be timed.


# %%
#| export
def to_json(result: Result) -> str:
    """Write a result as strict JSON: sorted keys, two spaces of indentation, no NaN."""
    ### BEGIN SOLUTION
    return json.dumps(
        asdict(result), allow_nan=False, default=given.plain, indent=2, sort_keys=True
    )
    ### END SOLUTION


def from_json(text: str) -> Result:
    """Read what `to_json` wrote; `given.checked_record` refuses what is no such result."""
    ### BEGIN SOLUTION
    return Result(**given.checked_record(json.loads(text)))
    ### END SOLUTION


def benchmark(name: str, function: Callable[[], Any], warmup: int = 3, repeats: int = 30,
              calls: int = 1, clock: Clock = time.perf_counter) -> Result:  # fmt: skip
    """Measure the time of a function, and after that the memory of one more call.

    Scenario "Function", metric "median_s", settings {"warmup", "repeats", "calls"}.
    """
    ### BEGIN SOLUTION
    seconds = measure(function, warmup, repeats, calls, clock)
    memory = MemoryProfiler()
    with memory.measure(name):
        function()
    figures, settings = summarise(seconds), {"warmup": warmup, "repeats": repeats, "calls": calls}
    return Result(name, "Function", "median_s", figures["median"], True, seconds.tolist(), figures,
                  settings, memory.peak_memory_mb)  # fmt: skip
    ### END SOLUTION


# %%
result = benchmark("ones", lambda: np.ones(250_000), repeats=5)
again = from_json(to_json(result))
print(again == result, f"{again.peak_memory_mb:.1f} MB", list(again.summary))
# Expected output:
# True 2.0 MB ['count', 'high', 'low', 'mean', 'median', 'min', 'p90', 'p99']


# %%
#| test
def test_a_result_comes_back():
    clock = ManualClock()

    def work():
        clock.now += np.ones(125_000)[0] / 10

    result = benchmark("work", work, repeats=4, clock=clock)
    assert (result.scenario, round(result.value, 9)) == ("Function", 0.1)
    assert abs(result.peak_memory_mb - 1) < 0.05
    assert from_json(to_json(result)) == result


if __name__ == "__main__":
    test_a_result_comes_back()

# %% [markdown]
# ## Systems: how often are you fooled?
#
# Take two *equal* systems, on a machine that drifts. Measured once each, one of them always "wins".
# Measured a then b, thirty times each, the drift decides. In pairs the test should be fooled in
# at most 5 % of the experiments, as its level says. Simulated times, so that the truth is known:

# %%
rng, fooled = np.random.default_rng(0), {"a, then b": 0, "in pairs": 0}
for _ in range(100):
    drift = np.exp(np.cumsum(rng.normal(0, 0.02, 60)))
    times = 1e-3 * drift * (1 + rng.exponential(0.1, 60))
    for way, a, b in (("a, then b", times[:30], times[30:]), ("in pairs", times[::2], times[1::2])):
        fooled[way] += compare_samples(a, b).verdict != "no difference shown"
print({way: f"{count}%" for way, count in fooled.items()})
# Expected output:
# {'a, then b': '53%', 'in pairs': '2%'}

# %% [markdown]
# And a true difference, on this machine: batches against single examples, in three scenarios.

# %%
from tinytorch.core.autograd import no_grad
from tinytorch.core.layers import MLP
from tinytorch.core.tensor import Tensor

images = np.random.default_rng(0).random((256, 64), np.float32)
model = MLP(64, [32], 10)


def answer(batch):
    with no_grad():
        return model(Tensor(batch)).numpy().argmax(axis=1)


found = compare(lambda: [answer(images[i : i + 1]) for i in range(32)], lambda: answer(images[:32]))
print(f"batch of 32: {found.speedup:.1f} times, {found.low:.1f} to {found.high:.1f}")
single = SingleStream(queries=200).run(answer, images)
print(f"SingleStream p90 {single.value * 1e6:.0f} microseconds")
print(f"Offline, batches of 32: {Offline(32).run(answer, images).value:.0f} a second")
capacity = 1 / single.summary["mean"]
for load in (0.3, 0.6, 0.9):
    result = Server(load * capacity, bound=1e-3, queries=1000).run(answer, images)
    print(f"Server at {load:.0%} of {capacity:.0f} a second:", end=" ")
    print(f"median {result.summary['median'] * 1e6:.0f} microseconds")
# Expected output:
# batch of 32: ... times, ... to ...
# SingleStream p90 ... microseconds
# Offline, batches of 32: ... a second
# Server at 30% of ... a second: median ... microseconds
# Server at 60% of ... a second: median ... microseconds
# Server at 90% of ... a second: median ... microseconds

# %% [markdown]
# On a busy machine with two cores: the batch of 32 was 24 times as fast (23 to 25), since a call
# costs about 20 microseconds whatever is in it. The server's median rose, in one run, from 26
# microseconds at 30 % to 10 ms at 90 %: one pause of the machine, and all who come meanwhile wait,
# the longer the less room is left to catch up. So servers run far below what they could do, or
# answer in batches what came while they were busy (module 20).
#
# ## Pitfalls
#
# - **The best of many runs** of the new code against one run of the old. Same care for both.
# - **Looking until it is significant.** Fix the number of repeats before you look.
# - **The mean of the 99th percentiles** of ten machines is no percentile. Put the samples together.
# - **Coordinated omission**: a client that waits for each answer before it asks again never sees a
#   queue. SingleStream is such a client; Server is not.
#
# ## What PyTorch does differently, and why
#
# - `torch.utils.benchmark.Timer` warms up, chooses the number of calls by itself
#   (`blocked_autorange`), sets one thread unless told otherwise, and waits for the GPU.
# - MLPerf's own load generator plays queries out in real time, and reports for Server the highest
#   *rate* that keeps the bound. For a 99th percentile it asks 270,336 queries: tails need many.
#
# ## Sources
#
# Efron 1979 (bootstrap) · Fisher 1935, *The Design of Experiments* (sign-flip test) · Lindley 1952
# (queues) · Georges, Buytaert and Eeckhout 2007, "Statistically rigorous Java performance
# evaluation" · Reddi et al. 2020, "MLPerf inference benchmark" · Dean and Barroso 2013 (tails).
#
# ## Reflect (150–300 words)
#
# A vendor writes: "our library is up to 5 times as fast". List what you need to know before this
# sentence says anything about your program: what was compared, on which machine, how often, which
# figure of which samples, in which of the three scenarios. Then take two versions of something you
# built in this course, compare them, and write the sentence that you could defend, with its
# interval. What would have to be true for it to be wrong all the same? Write the answer to
# `reflection.md` beside this file.
#
# Then run the checkpoint: `tito checkpoint run 19`
