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
# # Module 20: Capstone
#
# A trained model helps nobody until others can load it, ask it, trust it and compare it. You take
# one from your process to a service, and defend it with figures.
#
# - **You build** `ModelBundle`, a file that is data and never code; `InferenceServer`, with
#   batching, refusals and metrics; `DriftMonitor`; `Rollout`; `Submission` and `Leaderboard`.
# - **You need** 03 (layers), 05 (`no_grad`), 15 and 16 (what makes a model small) and 19 (fair
#   timing). Given: `bundles.py`, `serving.py`, `http.py`, `leaderboards.py` in `tinytorch/utils/`.
# - **Time**: about six hours.

# %%
#| default_exp core.capstone

# %%
#| export
import hashlib
import json
import math
import time
from bisect import bisect_left
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np

from tinytorch.core.autograd import no_grad
from tinytorch.core.benchmarking import measure
from tinytorch.core.layers import Sequential
from tinytorch.core.tensor import Tensor
from tinytorch.utils import bundles
from tinytorch.utils.http import Refusal, Response, refused
from tinytorch.utils.leaderboards import Entry, LeaderboardFile
from tinytorch.utils.monitoring import Stages, Window, ks_p_value
from tinytorch.utils.serving import Distribution, Samples, Service, Waiting, WaitingRoom

Array = np.ndarray

# %% [markdown]
# ## Step 1: `ModelBundle`, a file that is data
#
# Pickle notes which functions to call to make an object again, and loading calls them: such a file
# is *run*. A bundle names layers from a **closed** list (`bundles.LAYERS`), and holds numbers:
#
#     tinytorch-bundle 1 9f86d081…(64 digits) 412 8192     format, SHA-256 of the rest, two lengths
#     {"name": …, "architecture": {"type": "Sequential", "layers": {    412 bytes of JSON, a header
#       "0": {"type": "Linear", "in_features": 2, "out_features": 3, "bias": true}, …}}}
#     …                                                                 8,192 bytes, the arrays
#
# Each damage has its own word: **no bundle** or **cut off** (`bundles.first_line`, given), a
# **newer** format, a **changed** byte. Only then is anything read. The checksum is no signature:
# who changes a file on purpose computes it anew; against that stands the closed list.


# %%
#| export
FORMAT = 1


def build(description: Mapping[str, Any]) -> Any:
    """Make the network that a description names, its weights still random.

    Pass the name of each layer of a Sequential through `bundles.checked_name(name, Sequential)`,
    settings through `bundles.checked_settings(type, settings)`: they refuse what is harmful.
    `bundles.layer_class(type)` is the class of a listed type; refuse any other by a ValueError.
    """
    ### BEGIN SOLUTION
    settings = dict(description)
    kind = settings.pop("type", None)
    if kind == "Sequential":
        layers = settings["layers"].items()
        return Sequential({bundles.checked_name(n, Sequential): build(d) for n, d in layers})
    if kind not in bundles.LAYERS:
        known = ", ".join(bundles.LAYERS)
        raise ValueError(f"unknown layer type {kind!r}; use one of Sequential, {known}")
    return bundles.layer_class(kind)(**bundles.checked_settings(kind, settings))
    ### END SOLUTION


def unseal(data: bytes, source: Any = None) -> tuple[dict[str, Any], bytes]:
    """Return header and payload of a file that came from `source`, a path.

    Refuse with `bundles.broken(source, fact, mend)`, which raises a ValueError, a format above
    `FORMAT` (name both), and a wrong SHA-256 (name the first 12 digits of both).
    """
    version, digest, header_size, content = bundles.first_line(data, source, FORMAT)
    ### BEGIN SOLUTION
    if version > FORMAT:
        fact = f"its format is {version}, this TinyTorch reads up to {FORMAT}"
        bundles.broken(source, fact, "update TinyTorch, or save it with this one")
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        bundles.broken(source, f"its SHA-256 is {found[:12]}…, its first line says {digest[:12]}…")
    return json.loads(content[:header_size]), content[header_size:]
    ### END SOLUTION


class ModelBundle(bundles.BundleFile):
    """`ModelBundle(model, name, input_shape, version, metadata)`; `save(path)`, `load(path)`."""

    format, build, unseal = FORMAT, staticmethod(build), staticmethod(unseal)

    def predict(self, x: Any) -> Array:
        """Answer a batch (N, *input_shape), float32, in evaluation mode, recording no graph."""
        ### BEGIN SOLUTION
        with no_grad():
            return self.model.eval()(Tensor(np.asarray(x, np.float32))).numpy()
        ### END SOLUTION


# %%
import tempfile
from pathlib import Path

from tinytorch.core.activations import ReLU
from tinytorch.core.layers import Linear

bundle = ModelBundle(Sequential(Linear(2, 3), ReLU()), "small", (2,))
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "small.bundle"
    bundle.save(path)
    print((ModelBundle.load(path).predict([[1, -1]]) == bundle.predict([[1, -1]])).all())
# Expected output:
# True


# %%
#| test
def test_each_damage_has_its_word():
    data = bundles.seal({"name": "x"}, bytes(8), FORMAT)
    assert unseal(data) == ({"name": "x"}, bytes(8))
    for bad, word in ((data[:-1] + b"!", "SHA-256"), (data.replace(b" 1 ", b" 7 ", 1), "7")):
        with np.testing.assert_raises_regex(ValueError, f"m.bundle.*{word}"):
            unseal(bad, "m.bundle")
    np.testing.assert_raises(ValueError, build, {"type": "os.system"})


if __name__ == "__main__":
    test_each_damage_has_its_word()

# %% [markdown]
# ## Step 2: Batching on the fly
#
# A network reads its weights once per call, for one example or for 64 (module 03). So let requests
# wait a moment, and answer those that are there together:
#
#     arrivals (ms)   0.0   0.4   0.9               a batch goes when it is full (max_batch), or
#     max_wait 2 ms   └── one batch of 3 ──┘ 2.0    when its oldest request waited max_wait
#
# A waiting request is a `Future`: its thread sleeps in `future.result()` until the one batching
# thread fills it. The queue is **bounded**: what waits too long is answered when its client has
# gone. And an error belongs to its batch: it goes into those futures, and the thread lives on.


# %%
#| export
class Overloaded(Exception):
    """There is no room for another request."""


class Batcher(WaitingRoom):
    """One thread that answers in batches: `Batcher(predict, max_batch, max_wait, max_queue)`.

    `waiting`, `changed`, `closed` and `observe` are explained in its base, `WaitingRoom`.
    """

    def submit(self, row: Array) -> Future:
        """Queue one example; raise Overloaded if `max_queue` wait already, or once closed."""
        ### BEGIN SOLUTION
        with self.changed:
            if self.closed or len(self.waiting) >= self.max_queue:
                raise Overloaded("closing" if self.closed else f"{self.max_queue} requests wait")
            future: Future = Future()
            self.waiting.append((row, future, time.monotonic()))
            self.changed.notify()
            return future
        ### END SOLUTION

    def collect(self) -> list[Waiting]:
        """Wait for a batch and take it off the queue, oldest first; empty only once closed.

        `self.changed.wait_for(condition, timeout)` sleeps until the condition, a function, holds.
        """
        ### BEGIN SOLUTION
        with self.changed:
            self.changed.wait_for(lambda: self.waiting or self.closed)
            if self.waiting:
                left = self.waiting[0][2] + self.max_wait - time.monotonic()
                full = lambda: len(self.waiting) >= self.max_batch or self.closed  # noqa: E731
                self.changed.wait_for(full, max(0.0, left))
            return [self.waiting.popleft() for _ in range(min(len(self.waiting), self.max_batch))]
        ### END SOLUTION

    def answer(self, batch: list[Waiting]) -> None:
        """Call `observe(rows)`, predict all at once; give each future its output, or all the error.

        A future whose client gave up says False to `set_running_or_notify_cancel()`: leave it out.
        `observe` gets the number of rows that are left; if there are none, do nothing.
        """
        ### BEGIN SOLUTION
        alive = [(row, f) for row, f, _ in batch if f.set_running_or_notify_cancel()]
        if not alive:
            return
        self.observe(len(alive))
        try:
            outputs = self.predict(np.stack([row for row, _ in alive]))
            for (_, future), output in zip(alive, outputs, strict=True):
                future.set_result(output)
        except Exception as error:
            for _, future in alive:
                if not future.done():
                    future.set_exception(error)
        ### END SOLUTION


# %%
batcher = Batcher(lambda rows: rows.sum(axis=1), max_batch=4, max_wait=0.01)
batcher.observe = lambda rows: print("a batch of", rows)
futures = [batcher.submit(np.array([i, i])) for i in range(6)]
batcher.start()
batcher.close()
print([int(future.result()) for future in futures])
# Expected output:
# a batch of 4
# a batch of 2
# [0, 2, 4, 6, 8, 10]


# %%
#| test
def test_batches():
    batcher = Batcher(lambda rows: [1 // int(row) for row in rows], 2, 0.02, max_queue=3)
    futures = [batcher.submit(np.array(i)) for i in (1, 2, 0)]
    np.testing.assert_raises(Overloaded, batcher.submit, np.array(9))
    futures[1].cancel()
    for size in (2, 1):
        batch = batcher.collect()
        assert len(batch) == size
        batcher.answer(batch)
    assert futures[0].result(0) == 1
    assert isinstance(futures[2].exception(0), ZeroDivisionError)


if __name__ == "__main__":
    test_batches()

# %% [markdown]
# ## Step 3: `InferenceServer`, an answer to every request
#
# Sockets (`tinytorch/utils/http.py`, given) yield a method, a path, headers, a body. The rest is a
# function: `handle(…)` returns (status, headers, body), and **never raises**. Nonsense gets a 4xx
# that says what to send instead. Before a body is read, `Service.admit` (given) has judged its
# length: "-1", "²" and 5,000 digits are no lengths, though `int` or `isdigit` may take them.
#
# | status | when | | status | when |
# |---|---|---|---|---|
# | 400 | no JSON, wrong shape, NaN | | 413 | body above `max_body` |
# | 404 | unknown path | | 415 | Content-Type is not application/json |
# | 405 | wrong method; `Allow` names the right one | | 500 | the model failed |
# | 411 | a body without Content-Length | | 503 | overloaded; `Retry-After` in seconds |
#
# A mean hides slow requests, and a list of all latencies fills the memory. A **histogram** counts
# how many lay in each of a few buckets; Prometheus reads it *cumulatively*. For 0.02, 0.1, 0.5 and
# bounds 0.05, 0.1: `le="0.05"` 1, `le="0.1"` 2, `le="+Inf"` 3, sum 0.62, count 3.


# %%
#| export
class Histogram(Distribution):
    """How many values lay in each bucket: `Histogram(name, text, bounds)`.

    `counts` has one number for each of `bounds`, and a last one for what is above them all; `total`
    is the sum of the values. Requests come in threads: hold `self.lock`.
    """

    def observe(self, value: float) -> None:
        """Count a value; one that equals a bound is in that bound's bucket."""
        ### BEGIN SOLUTION
        with self.lock:
            self.counts[bisect_left(self.bounds, value)] += 1
            self.total += value
        ### END SOLUTION

    def samples(self) -> Samples:
        """Return ("_bucket", {"le": bound}, count so far) up to +Inf, then "_sum" and "_count".

        A bound is a text here, its `repr`; the last two have no labels, {}.
        """
        ### BEGIN SOLUTION
        with self.lock:
            running, total = np.cumsum(self.counts).tolist(), self.total
        labels = [{"le": text} for text in (*map(repr, self.bounds), "+Inf")]
        buckets = [("_bucket", label, n) for label, n in zip(labels, running, strict=True)]
        return [*buckets, ("_sum", {}, total), ("_count", {}, running[-1])]
        ### END SOLUTION


class InferenceServer(Service):
    """Serve a bundle on localhost: POST /predict, GET /health, GET /metrics.

    `with InferenceServer(bundle) as server: … server.url …`; the settings are those of `Service`.
    """

    parts = Batcher, Histogram

    def predict(self, rows: Array) -> Array:
        """Submit every row to `self.batcher`, wait up to `self.timeout` seconds for all outputs.

        On Overloaded or TimeoutError cancel the futures that are left, and refuse with 503:
        raise `Refusal(503, why, Retry_After="1")`.
        """
        futures: list[Future] = []
        ### BEGIN SOLUTION
        until = time.monotonic() + self.timeout
        try:
            futures.extend(map(self.batcher.submit, rows))
            return np.stack([f.result(max(0.0, until - time.monotonic())) for f in futures])
        except (Overloaded, TimeoutError) as error:
            for future in futures:
                future.cancel()
            raise Refusal(503, f"overloaded ({error}); try later", Retry_After="1") from None
        ### END SOLUTION

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Answer one request, whatever it is, and `count(path, status, seconds)` it.

        Refuse with 404 a path that `self.routes` does not have, with 405 and `Allow=` the right
        method a wrong one; leave the rest to `self.respond(path, headers, body)`. What it raises,
        if it is no Refusal, is a 500. `refused(refusal)` makes a response.
        """
        start, path = time.perf_counter(), path.partition("?")[0]
        ### BEGIN SOLUTION
        try:
            if path not in self.routes:
                raise Refusal(404, f"there is no {path[:60]}; use {', '.join(self.routes)}")
            if method != self.routes[path]:
                raise Refusal(405, f"use {self.routes[path]} {path}", Allow=self.routes[path])
            response = self.respond(path, headers, body)
        except Refusal as refusal:
            response = refused(refusal)
        except Exception as error:
            response = refused(Refusal(500, f"the model failed: {type(error).__name__}"))
        self.count(path, response[0], time.perf_counter() - start)
        return response
        ### END SOLUTION


# %%
server = InferenceServer(bundle, max_queue=1)
for body in (b'{"inputs": [[1]]}', b"[1", b'{"inputs": [[1, 2], [3, 4]]}'):
    kind = {"content-type": "application/json"}
    print(json.loads(server.handle("POST", "/predict", kind, body)[2])["error"])
# Expected output:
# the inputs are int64 of shape (1, 1); send numbers of shape (N, 2)
# send JSON: {"inputs": numbers of shape (N, 2)}
# overloaded (1 requests wait); try later


# %%
#| test
def test_every_request_has_an_answer():
    from tinytorch.core.layers import Linear

    server = InferenceServer(ModelBundle(Sequential(Linear(2, 1)), "m", (2,)))
    asked = [("GET", "/"), ("PUT", "/health"), ("GET", "/health?x")]
    assert [server.handle(*one, {}, b"")[0] for one in asked] == [404, 405, 200]


if __name__ == "__main__":
    test_every_request_has_an_answer()

# %% [markdown]
# ## Step 4: `DriftMonitor`, have the inputs changed?
#
# Labels come late or never; inputs come with every request. Compare a window of them with a
# reference, feature by feature, and ask two questions.
#
# **How large is the change?** Cut the reference at its deciles. With $e_i$, $a_i$ the shares of the
# two samples in bin i, half a count added to each bin, the *population stability index* is
# $\sum_i (a_i - e_i) \ln (a_i / e_i)$. *Worked:* 2 bins, counts (2, 2) and (1, 3): e = (0.5, 0.5),
# a = (0.3, 0.7), PSI = −0.2 ln 0.6 + 0.2 ln 1.4 = 0.169. Below 0.1 it is small, above 0.25 large.
#
# **Is it more than chance?** The *Kolmogorov–Smirnov* distance D is the largest between the two
# empirical distribution functions, the shares of values ≤ x. Its p-value is given.
#
# Ask only the first, and a small window alarms by noise; only the second, and a large one alarms
# about trifles. So drift is **both**; each of F features gets α / F false alarms (Bonferroni).


# %%
#| export
def psi(expected: Array, actual: Array, bins: int = 10) -> float:
    """Return the population stability index of two samples, shape (N,) and (M,).

    Bins are cut at the quantiles i / bins of `expected`, equal cuts once; what equals a cut is to
    its right. A share is (count + 0.5) / (size of the sample + 0.5 * number of bins).
    """
    ### BEGIN SOLUTION
    cuts = np.unique(np.quantile(expected, np.arange(1, bins) / bins))
    shares = []
    for values in (expected, actual):
        counts = np.bincount(np.searchsorted(cuts, values, side="right"), minlength=len(cuts) + 1)
        shares.append((counts + 0.5) / (len(values) + 0.5 * len(counts)))
    e, a = shares
    return float(((a - e) * np.log(a / e)).sum())
    ### END SOLUTION


def ks_test(a: Array, b: Array) -> tuple[float, float]:
    """Return D and its p-value, `ks_p_value(D, N, M)`, of samples (N,), (M,), maybe with ties."""
    ### BEGIN SOLUTION
    a, b = np.sort(a), np.sort(b)
    every = np.concatenate([a, b])
    below = [np.searchsorted(s, every, side="right") / len(s) for s in (a, b)]
    distance = float(np.abs(below[0] - below[1]).max())
    return distance, ks_p_value(distance, len(a), len(b))
    ### END SOLUTION


class DriftMonitor(Window):
    """Compare the newest inputs with a reference; the settings are those of `Window`."""

    def report(self) -> dict[str, Any]:
        """Return "rows" seen, and per feature "psi" and "p"; "drifted" lists those that did.

        A feature drifted if p is below `self.alpha` / F and its psi above `self.limit`. With fewer
        than `min_rows` rows the three lists are empty.
        """
        now = self.newest()
        report: dict[str, Any] = {"rows": len(now), "psi": [], "p": [], "drifted": []}
        ### BEGIN SOLUTION
        if len(now) < self.min_rows:
            return report
        pairs = list(zip(self.reference.T, now.T, strict=True))
        report["psi"] = [psi(before, after) for before, after in pairs]
        report["p"] = [ks_test(before, after)[1] for before, after in pairs]
        for i, (size, p) in enumerate(zip(report["psi"], report["p"], strict=True)):
            if p < self.alpha / len(pairs) and size > self.limit:
                report["drifted"].append(i)
        return report
        ### END SOLUTION


# %%
rng = np.random.default_rng(0)
monitor, alarms = DriftMonitor(rng.normal(size=(2000, 5)), window=200), np.zeros(3)
for _ in range(200):
    monitor.observe(rng.normal(size=(200, 5)))  # fresh, from the same distribution
    fresh = monitor.report()
    alarms += [max(fresh["psi"]) > 0.1, min(fresh["p"]) < 0.01, bool(fresh["drifted"])]
print("false alarms of PSI > 0.1, p < 0.01, the monitor:", alarms / 200)
monitor.observe(rng.normal([0, 0, 0.5, 0, 0], size=(200, 5)))
print("after a shift of feature 2 by half a deviation:", monitor.report()["drifted"])
# Expected output:
# false alarms of PSI > 0.1, p < 0.01, the monitor: [0.115 0.06  0.005]
# after a shift of feature 2 by half a deviation: [2]


# %%
#| test
def test_drift():
    np.testing.assert_allclose(psi(np.arange(4.0), np.array([1, 2, 3, 3.0]), 2), 0.1695, atol=1e-4)
    distance, p = ks_test(np.arange(10.0), np.arange(10.0) + 5)
    assert (distance, round(p, 2)) == (0.5, 0.11)
    monitor = DriftMonitor(np.random.default_rng(0).random((500, 2)), min_rows=50)
    for rows, drifted in ((49, []), (1, [0, 1])):
        monitor.observe(np.ones((rows, 2)))
        assert monitor.report()["drifted"] == drifted


if __name__ == "__main__":
    test_drift()

# %% [markdown]
# ## Step 5: `Rollout`, a new model a few users at a time
#
# Give the candidate 5% of the users, then 25%, then all. A **hash** of a salt and the user's key,
# read as a number in [0, 1), decides: each user gets the same answer on every server, nothing is
# stored, and who had the candidate at 5% keeps it at 25%. The next experiment has another salt.
#
# A stage ends when both models gave `min_samples` answers. Then test, once (looking all the time
# finds chance differences), if the candidate fails more often: with $p_c, p$ the shares of errors
# of candidate and control, $\bar p$ that of all,
#
# $$z = (p_c - p) \,/ \sqrt{\bar p (1 - \bar p)(1/n_c + 1/n)}$$
#
# If z > 2.33, which chance exceeds once in a hundred, go back to 0%, for good. *Worked:* 30 of 200
# against 10 of 200: 0.1 / √(0.1 · 0.9 · 0.01) = 3.33.


# %%
#| export
def bucket(key: str, salt: str) -> float:
    """Return the first 52 bits of the SHA-256 of "salt:key" (UTF-8), as a number in [0, 1)."""
    ### BEGIN SOLUTION
    digest = hashlib.sha256(f"{salt}:{key}".encode()).hexdigest()
    return int(digest[:13], 16) / 2**52
    ### END SOLUTION


class Rollout(Stages):
    """Move users from "control" to "candidate" in stages; the settings are those of `Stages`."""

    def route(self, key: str) -> str:
        """Return which model answers this user."""
        ### BEGIN SOLUTION
        share = 0.0 if self.stage is None else self.shares[self.stage]
        return "candidate" if bucket(key, self.salt) < share else "control"
        ### END SOLUTION

    def decide(self) -> str:
        """Return "wait", "rollback", "advance", or "done" on the last stage or after a rollback.

        `self.begin(stage)` enters a stage with new counts. Without any error, z is 0.
        """
        ### BEGIN SOLUTION
        if self.stage is None or self.stage == len(self.shares) - 1:
            return "done"
        (bad, n), (bad_c, n_c) = self.counts["control"], self.counts["candidate"]
        if min(n, n_c) < self.min_samples:
            return "wait"
        pooled = (bad + bad_c) / (n + n_c)
        spread = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / n_c))
        if spread and (bad_c / n_c - bad / n) / spread > self.z_limit:
            self.begin(None)
            return "rollback"
        self.begin(self.stage + 1)
        return "advance"
        ### END SOLUTION


# %%
users = [f"user-{i}" for i in range(10_000)]
print([sum(bucket(user, "bundle-2") < share for user in users) for share in (0.05, 0.25, 1.0)])
# Expected output:
# [524, 2544, 10000]


# %%
#| test
def test_a_stage_ends_once():
    rollout = Rollout("s", (0.2, 1.0))
    for i in range(200):
        rollout.record("control", i >= 10)
        rollout.record("candidate", i >= 30)
    assert [rollout.decide(), rollout.decide()] == ["rollback", "done"]
    assert rollout.route("u") == "control"


if __name__ == "__main__":
    test_a_stage_ends_once()

# %% [markdown]
# ## Step 6: One score, and a leaderboard
#
# A race needs one number. Who loses more than **one point** of accuracy against the baseline has
# solved another problem: score 0. Otherwise, with ratios to the baseline,
#
# $$\text{score} = \frac{\text{accuracy}}{\text{accuracy}_0}
# \sqrt{\frac{\text{size}_0}{\text{size}} \cdot \frac{\text{latency}_0}{\text{latency}}}$$
#
# *Worked:* 4× smaller, 1.44× faster, equal accuracy: √5.76 = 2.4. A *geometric* mean: one model 4×
# smaller and one 4× faster both score 2, whatever the baseline. By the arithmetic mean of ratios
# each of them would win if the *other* were the baseline.


# %%
#| export
class Submission(Entry):
    """A model in the race: `Submission(name, accuracy, size_bytes, latency_seconds)`.

    `Submission.measure(name, bundle, x, labels)` measures all three, time by module 19.
    """

    timer = staticmethod(measure)

    def score(self, baseline: "Submission") -> float:
        """Return how much better than the baseline this is: 1.0 is as good, 0.0 disqualified."""
        ### BEGIN SOLUTION
        if self.accuracy < baseline.accuracy - 0.01 - 1e-9:
            return 0.0
        smaller = baseline.size_bytes / self.size_bytes
        faster = baseline.latency_seconds / self.latency_seconds
        return self.accuracy / baseline.accuracy * math.sqrt(smaller * faster)
        ### END SOLUTION


class Leaderboard(LeaderboardFile):
    """A JSON file: `Leaderboard(path, baseline)` begins one; `add(submission)` writes it."""

    kind = Submission

    def ranked(self) -> list[tuple[int, Submission, float]]:
        """Return (rank, submission, score), the best first.

        Equal scores share a rank and stand by name; the next one counts all before it: 1, 2, 2, 4.
        """
        ### BEGIN SOLUTION
        scored = [(entry.score(self.baseline), entry) for entry in self.entries.values()]
        scored.sort(key=lambda pair: (-pair[0], pair[1].name))
        scores = [score for score, _ in scored]
        return [(scores.index(score) + 1, entry, score) for score, entry in scored]
        ### END SOLUTION


# %%
base = Submission("float32", 0.96, 40_000, 0.0010)
print([Submission("int8", accuracy, 10_000, 0.0008).score(base) for accuracy in (0.96, 0.94)])
# Expected output:
# [2.23606797749979, 0.0]


# %%
#| test
def test_the_baseline_does_not_decide_who_wins():
    a, b = Submission("a", 0.9, 100, 4.0), Submission("b", 0.9, 400, 1.0)
    assert math.isclose(a.score(b), 1)
    assert math.isclose(b.score(a), 1)
    assert Submission("d", 0.88, 1, 1.0).score(b) == 0


if __name__ == "__main__":
    test_the_baseline_does_not_decide_who_wins()

# %% [markdown]
# ## Systems: what batching buys, and what it costs
#
# A batch of 64 images, and each of them alone; then the network with int8 weights (module 15) on a
# leaderboard. The labels are what the float32 network says.

# %%
from tinytorch.core.quantization import quantize_model

net = ModelBundle(Sequential(Linear(784, 1024), ReLU(), Linear(1024, 10)), "float32", (784,))
x = rng.normal(size=(64, 784)).astype(np.float32)
together = net.predict(x)
alone = np.concatenate([net.predict(row) for row in x[:, None]])
gain = 64 * measure(lambda: net.predict(x[:1])).min() / measure(lambda: net.predict(x)).min()
gap = np.abs(alone - together).max()
print(f"an example is {gain:.0f} times cheaper; answers differ by {gap:.0e}")
small = ModelBundle(quantize_model(net.model, [Tensor(x)]), "int8", (784,))
with tempfile.TemporaryDirectory() as folder:
    entries = [Submission.measure(b.name, b, x, together.argmax(axis=1)) for b in (net, small)]
    board = Leaderboard(Path(folder) / "board.json", entries[0])
    board.add(entries[1])
    for rank, entry, score in board.ranked():
        print(f"{rank} {entry.name}: {entry.size_bytes} bytes, {entry.accuracy:.2f}, {score:.2f}")
# Expected output:
# an example is ... times cheaper; answers differ by ...
# 1 ...: ... bytes, ...
# 2 ...: ... bytes, ...

# %% [markdown]
# On two busy cores: 39 times cheaper, and answers that differ by 4e−7, since another batch size
# adds in another order. The int8 bundle is 3.94 times smaller, as accurate, and scores 0.07: NumPy
# multiplies int8 far more slowly. A score belongs to the machine it was measured on. In step 4, of
# 200 reports on fresh samples, PSI alone raised 11.5% false alarms, uncorrected p-values 6%, the
# monitor 0.5%.
#
# ## Pitfalls
#
# - A metric labelled with the raw path: a scanner that tries a million paths fills your memory.
# - `hash(key)` differs from process to process: a user would change sides.
# - Drift of the inputs is no proof of worse answers, and answers can get worse without it.
#
# ## What PyTorch does differently, and why
#
# - `torch.save` pickles; since 2.6 `torch.load` takes only tensors and plain data, unless told
#   otherwise. *safetensors* is a JSON header and raw numbers, as here. `torch.export` writes the
#   graph itself, so any class fits.
# - Triton batches as here, in many processes, with binary inputs: JSON can cost more than a model.
#
# ## Sources
#
# Crankshaw et al. 2017, "Clipper" (batching) · Prometheus, "Exposition formats", 0.0.4 · Siddiqi
# 2006, *Credit Risk Scorecards* (PSI) · Smirnov 1939 (the test) · Fleming and Wallace 1986, "How
# not to lie with statistics" (the geometric mean) · Kohavi, Tang and Xu, *Trustworthy Online
# Controlled Experiments* (2020), chapters 4 and 15.
#
# ## Reflect (150–300 words)
#
# Your model decides something about people, and its service has run for a month. `/metrics` shows
# no error; the monitor reports drift in one of twenty inputs; the candidate at 5% answers faster.
# What do you look at before you advance, roll back or retrain; what would each mistake cost, and
# whom? Which of your figures would you not defend in front of them? Write the answer to
# `reflection.md` beside this file.
#
# Then run the checkpoint: `tito checkpoint run 20`
