"""Checkpoint 20: can I deploy, monitor and defend an optimised model?

Passing proves that a bundle is read as data and refused when it is damaged, that requests are
answered in batches and every one of them gets an answer, that drift is told from noise, that a
rollout turns back when it must, and that models are ranked by one score. No socket is opened: the
server's answers are a function.
"""

import contextlib
import hashlib
import json
import math

import numpy as np
import pytest

from checkpoints.feedback import (
    asks,
    expect,
    expect_at_most,
    expect_equal,
    expect_raises,
    expect_true,
    probe,
    timed,
)
from tinytorch.core.capstone import (
    DriftMonitor,
    Leaderboard,
    ModelBundle,
    Rollout,
    Submission,
    bucket,
    build,
    ks_test,
    psi,
    unseal,
)

WORK = probe('''
import json
import threading
import time

import numpy as np
from tinytorch.core.activations import ReLU
from tinytorch.core.capstone import Batcher, Histogram, InferenceServer, ModelBundle, Overloaded
from tinytorch.core.capstone import DriftMonitor, Rollout, build
from tinytorch.core.layers import Dropout, Flatten, Linear, Module, Sequential
from tinytorch.core.quantization import quantize_model
from tinytorch.core.spatial import BatchNorm2d, Conv2d, MaxPool2d
from tinytorch.core.tensor import Tensor, grad_mode

KIND = {"content-type": "application/json; charset=utf-8"}


class Spy(Module):
    """Answers with what it finds when it is called: training mode, recording, dtype."""

    def forward(self, x):
        single = float(x.dtype == np.float32)
        return Tensor([[float(self.training), float(grad_mode.enabled), single]])


def spied():
    return ModelBundle(Spy(), "spy", (1,)).predict([[1.0]])


def drawn(description):
    return repr(build(description))


def there_and_back():
    """Bundle a small convolutional network, as it is and quantized; return both predictions."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 1, 6, 6)).astype(np.float32)
    net = Sequential(Conv2d(1, 4, 3, padding=1), BatchNorm2d(4), ReLU(), MaxPool2d(2), Flatten(),
                     Dropout(0.5), Linear(36, 3))
    net(Tensor(x))  # the norm takes up its averages
    answers = []
    for model in (net, quantize_model(net.eval(), [Tensor(x)])):
        bundle = ModelBundle(model, "net", (1, 6, 6), "2", {"accuracy": 0.5})
        bundle.save("net.bundle")
        again = ModelBundle.load("net.bundle")
        facts = again.name, again.version, list(again.input_shape), again.metadata
        answers.append((bundle.predict(x), again.predict(x), facts))
    return answers


def queue(**settings):
    """A Batcher that is not started, and doubles its rows."""
    return Batcher(lambda rows: 2 * rows, **settings)


def put(batcher, numbers):
    """Submit numbers; return how many found room."""
    taken = 0
    for number in numbers:
        try:
            batcher.submit(np.array([number], np.float32))
            taken += 1
        except Overloaded:
            pass
    return taken


def take(batcher):
    """Collect a batch; return its numbers, and the seconds that took."""
    start = time.monotonic()
    batch = batcher.collect()
    return [float(row[0]) for row, _, _ in batch], time.monotonic() - start


def waited(seconds, max_wait):
    """Collect a request that has waited already."""
    batcher = queue(max_wait=max_wait)
    put(batcher, [1])
    time.sleep(seconds)
    return take(batcher)


def answered(numbers, cancelled=()):
    """Answer one batch; return what each future holds, and the sizes seen by the model."""
    seen, observed = [], []

    def predict(rows):
        seen.append(len(rows))
        if (rows == 0).any():
            raise ZeroDivisionError("a zero")
        return 2 * rows

    batcher = Batcher(predict)
    batcher.observe = observed.append
    futures = [batcher.submit(np.array([n], np.float32)) for n in numbers]
    for i in cancelled:
        futures[i].cancel()
    batcher.answer(batcher.collect())
    results = []
    for future in futures:
        if future.cancelled():
            results.append("cancelled")
        elif not future.done():
            results.append("nothing")
        else:
            error = future.exception(0)
            results.append(type(error).__name__ if error else float(future.result(0)[0]))
    return results, seen, observed


def lives():
    """A thread that answers a bad batch, then good ones, and those that wait when it closes."""
    batcher = Batcher(lambda rows: [1 // int(row) for row in rows], max_batch=1, max_wait=0)
    futures = [batcher.submit(np.array(n)) for n in (0, 1, 1)]
    batcher.start()
    batcher.close()
    results = ["error" if f.exception(2) else int(f.result(2)) for f in futures]
    try:
        batcher.submit(np.array(1))
        return results, batcher.thread.is_alive(), "taken"
    except Overloaded:
        return results, batcher.thread.is_alive(), "refused"


def doubling(broken=False, **settings):
    """A server, its batcher started, whose model doubles two numbers, or fails."""
    class Double(Module):
        def forward(self, x):
            return Tensor(2 * x.data)

    bundle = ModelBundle(Double(), "double", (2,), "7")
    if broken:
        bundle.predict = lambda x: {}["weights"]
    server = InferenceServer(bundle, **settings)
    server.batcher.start()
    return server


def ask(requests, **settings):
    """Send requests (method, path, body) one after the other; return (status, headers, body)."""
    server = doubling(**settings)
    try:
        return [server.handle(m, p, KIND, body.encode()) for m, p, body in requests]
    except KeyError as error:  # what a broken model raises, and nothing else
        return [(f"{error!r} was raised", {}, b"")]
    finally:
        server.close()


def crowded(rows):
    """Ask for more rows than there is room for, with nobody to answer; what waits afterwards?"""
    server = InferenceServer(ModelBundle(Spy(), "s", (2,)), max_queue=2, timeout=0.05)
    response = server.handle("POST", "/predict", KIND, json.dumps({"inputs": rows}).encode())
    cancelled = all(future.cancelled() for _, future, _ in server.batcher.waiting)
    return response[0], response[1].get("Retry-After"), cancelled


def together(clients, rounds):
    """Ask from several threads at once; return every (question, answer)."""
    server, answers = doubling(max_batch=8, max_wait=0.002), []
    server.handle("GET", "/health", {}, b"")

    def client(number):
        for turn in range(rounds):
            question = [[number, turn], [turn, number]]
            body = json.dumps({"inputs": question}).encode()
            answers.append((question, json.loads(server.handle("POST", "/predict", KIND, body)[2])))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.close()
    return [(question, answer.get("outputs")) for question, answer in answers]


def observed(bounds, values):
    histogram = Histogram("seconds", "time", bounds)
    for value in values:
        histogram.observe(value)
    return [(end, dict(labels), value) for end, labels, value in histogram.samples()]


def stream(max_batch, requests=64, depth=20):
    """Prepare a function that answers many requests to a deep, thin network through a Batcher."""
    net = Sequential(*(part for _ in range(depth) for part in (Linear(8, 8), ReLU())))
    bundle = ModelBundle(net, "net", (8,))
    rows = np.random.default_rng(0).random((requests, 8), np.float32)

    def run():
        batcher = Batcher(bundle.predict, max_batch=max_batch, max_wait=1.0)
        futures = [batcher.submit(row) for row in rows]
        for _ in range(requests // max_batch):
            batcher.answer(batcher.collect())
        return sum(float(future.result(0)[0]) for future in futures)

    return run


def decisions(bad, bad_candidate):
    """Record 200 answers of each model, the errors first; decide before the last, and twice."""
    rollout, decided = Rollout("s", (0.2, 0.5, 1.0), min_samples=200), []
    for i in range(200):
        if i == 199:
            decided.append(rollout.decide())
        rollout.record("control", i >= bad)
        rollout.record("candidate", i >= bad_candidate)
    return [*decided, rollout.decide(), rollout.decide()]


def alarms(reports, features, rows, **settings):
    """Report on fresh samples of one distribution; return how many reports name a feature."""
    rng = np.random.default_rng(1)
    monitor = DriftMonitor(rng.normal(size=(1000, features)), window=rows, **settings)
    count = 0
    for _ in range(reports):
        monitor.observe(rng.normal(size=(rows, features)))
        count += bool(monitor.report()["drifted"])
    return count
''')


def sealed(header, payload, version=1):
    """A bundle's bytes, written by the format's own words."""
    text = json.dumps(header).encode()
    digest = hashlib.sha256(text + payload).hexdigest()
    return (
        f"tinytorch-bundle {version} {digest} {len(text)} {len(payload)}\n".encode()
        + text
        + payload
    )


def linear(inputs, outputs):
    """The description of a Linear layer."""
    return {"type": "Linear", "in_features": inputs, "out_features": outputs, "bias": True}


def psi_by_loops(expected, actual, bins=10):
    """Count every value in its bin, one by one."""
    cuts = sorted(set(np.quantile(expected, [i / bins for i in range(1, bins)]).tolist()))
    shares = []
    for values in (expected, actual):
        counts = [0.5] * (len(cuts) + 1)
        for value in values:
            counts[sum(value >= cut for cut in cuts)] += 1
        shares.append(np.array(counts) / sum(counts))
    return float(sum((a - e) * math.log(a / e) for e, a in zip(*shares, strict=True)))


def distance_by_loops(a, b):
    """The largest gap between the shares of values <= x, over all x."""
    return max(abs(np.mean(a <= x) - np.mean(b <= x)) for x in (*a, *b))


@pytest.fixture(autouse=True)
def folder_of_its_own(tmp_path):
    """What a test writes goes to a folder of its own; a worker has one already."""
    with contextlib.chdir(tmp_path):
        yield


@asks("imports", step=1, of="build", hint="each name comes from one step; run tito test 20")
def test_everything_is_there():
    """Call something of each name of the module once."""
    expect_equal(WORK.drawn({"type": "ReLU"})[:4], "ReLU", call='repr(build({"type": "ReLU"}))[:4]')
    expect_equal(unseal(sealed({}, b"x"))[1], b"x", call="unseal(…)[1]")
    expect_equal(WORK.lives()[2], "refused", call="Batcher.submit after close")
    expect_equal(WORK.ask([("GET", "/health", "")])[0][0], 200, call="handle(GET /health)[0]")
    expect_equal(DriftMonitor(np.ones((9, 1))).report()["drifted"], [], call="report()['drifted']")
    expect_equal(Rollout("salt").decide(), "wait", call='Rollout("salt").decide()')
    board = Leaderboard("b.json", Submission("first", 0.5, 10, 1.0))
    expect_equal(len(board.ranked()), 1, call="len(ranked())")
    x = np.arange(9.0)
    expect([psi(x, x), ks_test(x, x)[0]], [0, 0], call="psi(x, x), D of ks_test(x, x)")
    expect_equal(bucket("a", "b") < 1, True, call='bucket("a", "b") < 1')


@asks("functionality", step=1, of="build", hint="a type that is not in bundles.LAYERS is refused")
def test_the_list_is_closed():
    """Build types that exist in Python or the course, but not in the list."""
    for kind in ("os.system", "Module", "ModelBundle", "__class__"):
        call = f'build({{"type": "{kind}"}})'
        expect_raises(ValueError, build, {"type": kind}, call=call, mentions=[kind])
    expect_raises(ValueError, build, {}, call="build({})")


@asks("functionality", step=1, of="build", hint="names and settings go through bundles.checked_…")
def test_names_and_settings_are_checked():
    """Build a chain in a chain; one with a layer named "forward"; settings that do not exist."""
    inner = {"type": "Sequential", "layers": {"act": {"type": "LeakyReLU", "negative_slope": 0.5}}}
    text = WORK.drawn({"type": "Sequential", "layers": {"0": linear(2, 3), "1": inner}})
    words = "(act): LeakyReLU(negative_slope=0.5"
    expect_true(words in text, call="repr(build(description))", expected=words, got=text)
    chain = {"type": "Sequential", "layers": {"forward": {"type": "ReLU"}}}
    extra, huge = {"type": "ReLU", "command": "rm"}, linear(10**9, 10**9)
    for bad, word in ((chain, "forward"), (extra, "command"), (huge, "large")):
        expect_raises(ValueError, build, bad, call=f"build({word})", mentions=[word])


@asks("functionality", step=1, of="unseal", hint="compare the version first, then the SHA-256")
def test_damage_is_named(rng):
    """Read a file as it was written; newer, changed in one byte, cut off, or no bundle at all."""
    header, payload = {"name": "café", "deep": [1, {"a": None}]}, b"\n{}\n" + rng.bytes(200)
    data = sealed(header, payload)
    expect_equal(unseal(data, "m.bundle"), (header, payload), call="unseal(data)")
    stated = data.split(b" ")[2].decode()
    for place in (len(data) - 1, data.index(b"\n") + 3):
        bad = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        found = hashlib.sha256(bad.partition(b"\n")[2]).hexdigest()
        words = ["m.bundle", stated[:12], found[:12]]
        expect_raises(ValueError, unseal, bad, "m.bundle", call="unseal(changed)", mentions=words)
    newer = sealed(header, payload, version=23)
    words = ["m.bundle", "23", "1"]
    expect_raises(ValueError, unseal, newer, "m.bundle", call="unseal(newer)", mentions=words)
    for bad in (data[:-1], data + b"x", b"PK\x03\x04", b""):
        call = f"unseal({bad[:8]!r}…)"
        expect_raises(ValueError, unseal, bad, "m.bundle", call=call, mentions=["m.bundle"])


@asks("functionality", step=1, of="ModelBundle.predict", hint="eval(), no_grad(), float32")
def test_predict_leaves_no_trace():
    """Predict with a layer that looks: in evaluation mode, recording nothing, in float32."""
    wanted = [[0, 0, 1]]
    expect(WORK.spied(), wanted, call="[training, recording, float32] during predict")


@asks("functionality", step=1, of="ModelBundle", hint="what the file says is what the network has")
def test_a_file_written_by_hand_predicts(rng):
    """Load a bundle that was written without the course, and predict with it."""
    weight, bias = rng.normal(size=(3, 4)).astype("<f4"), rng.normal(size=3).astype("<f4")
    layers = {"0": linear(4, 3), "1": {"type": "ReLU"}, "2": {"type": "Dropout", "p": 0.5}}
    header = {"name": "m", "version": "1", "input_shape": [4], "metadata": {"by": "hand"}}
    header["architecture"] = {"type": "Sequential", "layers": layers}
    header["arrays"] = [["0.weight", "float32", [3, 4]], ["0.bias", "float32", [3]]]
    bundle = ModelBundle.unpack(sealed(header, weight.tobytes() + bias.tobytes()), "m.bundle")
    x = rng.normal(size=(6, 4)).astype(np.float32)
    wanted = np.maximum(x @ weight.T + bias, 0)
    expect(bundle.predict(x), wanted, call="bundle.predict(x)", dtype=np.float32, atol=1e-5)


@asks("functionality", step=2, of="Batcher.collect", hint="oldest first, at most max_batch of them")
def test_batches_are_taken_in_order():
    """Submit 7 rows where 5 have room, and collect batches of at most 3."""
    batcher = WORK.queue(max_batch=3, max_wait=0.01, max_queue=5)
    expect_equal(WORK.put(batcher, list(range(7))), 5, call="rows taken with max_queue=5")
    expect_equal(WORK.take(batcher)[0], [0, 1, 2], call="collect()")
    expect_equal(WORK.take(batcher)[0], [3, 4], call="collect() again")


@asks("functionality", step=2, of="Batcher.collect", hint="full, or the oldest's time is up: go")
def test_a_batch_waits_as_long_as_it_may():
    """Collect a full batch, a lone request, and one that has waited its time already."""
    batcher = WORK.queue(max_batch=2, max_wait=4.0)
    WORK.put(batcher, [1, 2])
    expect_at_most(WORK.take(batcher)[1], 2, call="collect() of a full batch", what="seconds")
    took = WORK.waited(0, 0.05)[1]
    expect_true(took > 0.04, call="collect() of a lone request", expected="0.05 s", got=took)
    took = WORK.waited(0.25, 0.25)[1]
    expect_at_most(took, 0.2, call="collect() of one that waited max_wait", what="seconds")


@asks("functionality", step=2, of="Batcher.answer", hint="one call for all rows; each gets its own")
def test_answers_go_to_their_requests():
    """Answer 3 rows, then 3 of which one was cancelled, then 2 of which one fails."""
    expect_equal(WORK.answered([1, 2, 3]), ([2, 4, 6], [3], [3]), call="answer of 1, 2, 3")
    got = WORK.answered([1, 2, 3], cancelled=[1])
    expect_equal(got, ([2, "cancelled", 6], [2], [2]), call="answer of 1, 2 (cancelled), 3")
    errors = ["ZeroDivisionError"] * 2
    expect_equal(WORK.answered([1, 0])[0], errors, call="answer when the model fails")


@asks("functionality", step=2, of="Batcher.answer", hint="an error belongs to its batch alone")
def test_the_thread_lives_on():
    """Let the first of three batches fail, and close: the others are answered, then no more."""
    wanted = (["error", 1, 1], False, "refused")
    expect_equal(WORK.lives(), wanted, call="(results, thread alive, a request after close)")


@asks("functionality", step=3, of="Histogram.samples", hint="cumulative, the bound included")
def test_histogram():
    """Observe 0.02, 0.1, 0.5 and 7 with the bounds 0.05, 0.1 and 1."""
    got = WORK.observed([0.05, 0.1, 1], [0.02, 0.1, 0.5, 7])
    buckets = [("0.05", 1), ("0.1", 2), ("1.0", 3), ("+Inf", 4)]
    wanted = [("_bucket", {"le": bound}, count) for bound, count in buckets]
    expect_equal(got[:-2], wanted, call="Histogram.samples()[:-2]")
    expect([value for _, _, value in got[-2:]], [7.62, 4], call="sum and count")
    ends = [end for end, _, _ in got[-2:]]
    expect_equal(ends, ["_sum", "_count"], call="suffixes of the last two samples")


@asks("functionality", step=3, of="InferenceServer.handle", hint="404, 405, else respond(…)")
def test_every_request_has_an_answer():
    """Send good and bad requests; after each of them the server still answers. A model may fail."""
    good, bad = '{"inputs": [[1, 2], [3, 4]]}', ("", "[1", "[" * 100_000, '{"inputs": [[1, NaN]]}')
    cases = [("POST", "/predict", good, 200), ("GET", "/predict", "", 405), ("GET", "/", "", 404)]
    cases += [("GET", "/health?probe=1", "", 200), ("BREW", "/metrics", "", 405)]
    cases += [("POST", "/predict", body, 400) for body in bad]
    cases += [("POST", "/predict", good, 200), ("GET", "/metrics", "", 200)]
    responses = WORK.ask([case[:3] for case in cases])
    for (method, path, body, status), response in zip(cases, responses, strict=True):
        call = f"handle({method!r}, {path!r}, …, {body[:20]!r})[0]"
        expect_equal(response[0], status, call=call)
    expect_equal(json.loads(responses[0][2])["outputs"], [[2, 4], [6, 8]], call="the outputs")
    expect_equal(responses[1][1].get("Allow"), "POST", call="Allow of GET /predict")
    text = responses[-1][2].decode().splitlines()
    lines = [f"tinytorch_request_seconds_count {len(cases) - 1}"]
    for path, status, count in (("/predict", 200, 2), ("/predict", 400, 4), ("other", 404, 1)):
        lines.append(f'tinytorch_requests_total{{path="{path}",status="{status}"}} {count}')
    for line in lines:
        expect_true(line in text, call="GET /metrics", expected=line, got=text)
    failed = WORK.ask([("POST", "/predict", good), ("GET", "/health", "")], broken=True)
    hint = "what is raised, and is no Refusal, becomes a 500"
    statuses = [response[0] for response in failed]
    expect_equal(statuses, [500, 200], call="statuses of handle(…), a model that fails", hint=hint)


@asks("functionality", step=3, of="InferenceServer.predict", hint="503, and cancel the rest")
def test_overload_is_a_503():
    """Ask for 1 row that nobody answers, and for 3 rows where 2 have room."""
    for rows in ([[1, 2]], [[1, 2]] * 3):
        call = f"{len(rows)} rows: (status, Retry-After, all cancelled)"
        expect_equal(WORK.crowded(rows), (503, "1", True), call=call)


@asks("functionality", step=4, of="psi", hint="cut at the reference's quantiles, half a count more")
def test_psi(rng):
    """Compare with counting by loops: the worked example, shifted samples, and one with ties."""
    call = "psi([0, 1, 2, 3], [1, 2, 3, 3], bins=2)"
    expect(psi(np.arange(4.0), np.array([1.0, 2, 3, 3]), 2), 0.169460, call=call)
    before, after = rng.normal(size=400), rng.normal(0.5, 1.5, size=150)
    expect(psi(before, after), psi_by_loops(before, after), call="psi(normal, shifted)")
    before, after = rng.integers(0, 3, 200) * 1.0, rng.integers(1, 5, 90) * 1.0
    expect(psi(before, after, 5), psi_by_loops(before, after, 5), call="psi(ties, ties, bins=5)")


@asks("functionality", step=4, of="ks_test", hint="shares of values <= x, at every x of both")
def test_ks_distance(rng):
    """Compare the distance with loops, for samples of different sizes, with and without ties."""
    for a, b in (
        (rng.normal(size=60), rng.normal(0.4, size=45)),
        (rng.integers(0, 4, 50) * 1.0, rng.integers(0, 5, 30) * 1.0),
        (np.zeros(5), np.ones(7)),
        (np.ones(7), np.zeros(5)),
    ):
        expect(ks_test(a, b)[0], distance_by_loops(a, b), call="ks_test(a, b)[0]")
    same = rng.normal(size=500)
    expect(ks_test(same, same + 10)[1], 0, call="p of samples far apart")
    got = ks_test(np.arange(50.0), np.arange(50.0) + 13.6)
    root = math.sqrt(50 * 50 / (50 + 50))
    wanted = 2 * math.exp(-2 * ((root + 0.12 + 0.11 / root) * 0.28) ** 2)
    expect(got, [0.28, wanted], call="ks_test(0 to 49, the same + 13.6)", rtol=1e-4)


@asks("functionality", step=4, of="DriftMonitor.report", hint="p < alpha / F and PSI > limit")
def test_drift_is_told_from_noise(rng):
    """Report on 3 features of which one moved; on too few rows; on large samples hardly moved."""
    monitor = DriftMonitor(rng.normal(size=(2000, 3)), window=500, min_rows=100)
    monitor.observe(rng.normal(size=(99, 3)) + 9)
    expect_equal(monitor.report()["drifted"], [], call="drifted after 99 of 100 rows")
    monitor.observe(rng.normal([0, 1, 0], size=(500, 3)))
    report = monitor.report()
    expect_equal(report["drifted"], [1], call="drifted after feature 1 moved by a deviation")
    expect_equal(len(report["psi"]), 3, call="len(report()['psi'])")
    trifle = DriftMonitor(rng.normal(size=(20_000, 1)), window=20_000)
    trifle.observe(rng.normal(0.1, size=(20_000, 1)))
    call = "drifted after a move by a tenth, in 20,000 rows"
    expect_equal(trifle.report()["drifted"], [], call=call)


@asks("functionality", step=4, of="DriftMonitor.report", hint="each of F features gets alpha / F")
def test_fresh_samples_raise_no_alarm():
    """Report 25 times on 12 fresh features, judged by p alone: hardly ever an alarm."""
    count = WORK.alarms(25, 12, 100, alpha=0.05, limit=0.0)
    expect_at_most(count, 6, call="25 reports on fresh samples", what="false alarms")


@asks("functionality", step=5, of="bucket", hint='SHA-256 of "salt:key", its first 52 bits')
def test_buckets(rng):
    """Compare with the definition; the share of the candidate grows and keeps its users."""
    for key in ("ann", "bob", "日本", ""):
        digits = hashlib.sha256(f"salt:{key}".encode()).hexdigest()[:13]
        expect(bucket(key, "salt"), int(digits, 16) / 16**13, call=f"bucket({key!r}, 'salt')")
    shares = [0.1, 0.6, 1.0]
    rollout, keys = Rollout("x", shares, min_samples=1), [str(n) for n in rng.integers(0, 1e9, 60)]
    for share in shares:
        got = [rollout.route(key) for key in keys]
        lots = [int(hashlib.sha256(f"x:{k}".encode()).hexdigest()[:13], 16) / 16**13 for k in keys]
        wanted = ["candidate" if lot < share else "control" for lot in lots]
        expect_equal(got, wanted, call=f"routes at a share of {share}")
        rollout.record("control", True)
        rollout.record("candidate", True)
        rollout.decide()


@asks(
    "functionality",
    step=5,
    of="Rollout.decide",
    hint="worse by more than chance? one side; errors are pooled",
)
def test_decisions():
    """Decide with few answers, equal errors, more errors (z = 2.2 and 3.3), and fewer."""
    cases = [(10, 10, "advance"), (10, 22, "advance"), (10, 30, "rollback"), (40, 10, "advance")]
    for bad, bad_c, wanted in (*cases, (0, 0, "advance"), (200, 200, "advance")):
        after = "done" if wanted == "rollback" else "wait"
        call = f"decide() at 199, 200, 200 answers, {bad} and {bad_c} errors"
        expect_equal(WORK.decisions(bad, bad_c), ["wait", wanted, after], call=call)


@asks(
    "functionality",
    step=6,
    of="Submission.score",
    hint="first the gate; and ratios multiply: what is their mean?",
)
def test_score():
    """Score the worked example, one that is exactly a point worse, and one that is too bad."""
    base = Submission("base", 0.96, 4000, 0.0144)
    small = Submission("small", 0.96, 1000, 0.01)
    expect(small.score(base), 2.4, call="score of 4 × smaller, 1.44 × faster")
    expect(
        Submission("less", 0.95, 4000, 0.0144).score(base),
        0.95 / 0.96,
        call="score of 1 point worse",
    )
    expect(Submission("bad", 0.949, 1, 1e-6).score(base), 0, call="score of 1.1 points worse")
    expect(Submission("better", 0.98, 8000, 0.0144).score(base), 0.98 / 0.96 / math.sqrt(2),
           call="score of 2 × larger, 2 points better")  # fmt: skip


@asks("functionality", step=6, of="Leaderboard.ranked", hint="equal scores share a rank")
def test_leaderboard():
    """Enter five models, two of them equal, replace one, and read the file again."""
    base = Submission("base", 0.9, 1000, 1.0)
    board = Leaderboard("board.json", base)
    for name, size in (("tie-b", 250), ("tie-a", 250), ("late", 500), ("best", 10), ("late", 2000)):
        board.add(Submission(name, 0.9, size, 1.0))
    for which, place in ((board, "ranked()"), (Leaderboard("board.json"), "ranked() of the file")):
        got = [(rank, entry.name) for rank, entry, _ in which.ranked()]
        wanted = [(1, "best"), (2, "tie-a"), (2, "tie-b"), (4, "base"), (5, "late")]
        expect_equal(got, wanted, call=place)


@asks("integration", step=1, of="ModelBundle", hint="the same bits come back, int8 layers too")
def test_networks_come_back_bit_by_bit():
    """Save and load a convolutional network, as it is and quantized, and predict with both."""
    for name, (before, after, facts) in zip(
        ("float32", "int8"), WORK.there_and_back(), strict=True
    ):
        call = f"predictions of the {name} network, loaded"
        expect(after, before, call=call, rtol=0, atol=0, dtype=before.dtype)
        wanted = ("net", "2", [1, 6, 6], {"accuracy": 0.5})
        expect_equal(facts, wanted, call="name, version, input_shape, metadata")


@asks("integration", step=3, of="InferenceServer.predict", hint="each waits for its own rows")
def test_many_clients_get_their_own_answers():
    """Ask from 6 threads at once, 5 times each, 2 rows each time."""
    answers = WORK.together(6, 5)
    expect_equal(len(answers), 30, call="number of answers")
    for question, answer in answers:
        wanted = [[2 * n for n in row] for row in question]
        expect_equal(answer, wanted, call=f"outputs of {question}")


@asks("performance", step=2, of="Batcher.answer", hint="one call of the model for each batch")
def test_batching_pays():
    """Answer 64 requests in batches of 32, against one by one."""
    share = timed(WORK.stream(32), repeat=5) / timed(WORK.stream(1), repeat=5)
    expect_at_most(share, 0.4, call="64 requests in batches of 32", what="time against one by one")


@asks("performance", step=4, of="ks_test", hint="sort once, then searchsorted; no pairs of values")
def test_drift_is_quick():
    """Compare samples of 2,000 and of 16,000 numbers."""
    rng = np.random.default_rng(0)
    small, large = rng.normal(size=(2, 2000)), rng.normal(size=(2, 16_000))
    for name, function in (("ks_test", ks_test), ("psi", psi)):
        growth = timed(function, *large) / timed(function, *small)
        expect_at_most(growth, 30, call=f"{name} of 8 times as many", what="growth of the time")
