"""The inference server under real clients: many, slow, rude and gone; and bundles across processes.

What the checkpoint cannot see, since it opens no socket. Loopback only, ports chosen by the kernel.
"""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
from oracle import ROOT, Sources, forgotten_imports
from test_modules import package

from tito.source import parse

M, C, L = SimpleNamespace(), SimpleNamespace(), SimpleNamespace()  # filled in by `course`
JSON = {"Content-Type": "application/json"}
GOOD = json.dumps({"inputs": [[1, 2, 3, 4]]}).encode()


@pytest.fixture(scope="module", autouse=True)
def course():
    """The modules as they stand in the tree, without an export."""
    finder = Sources(last="20")
    with forgotten_imports("tinytorch.core"):
        sys.meta_path.insert(0, finder)
        for name in ("activations", "layers", "quantization", "spatial", "tensor", "capstone"):
            setattr(M, name, import_module(f"tinytorch.core.{name}"))
        vars(C).update(vars(M.capstone))
        vars(L).update(vars(M.layers))
        yield
        sys.meta_path.remove(finder)


class Slow:
    """A bundle that doubles its input, after a while."""

    name, version, input_shape, checksum = "slow", "1", (4,), ""

    def __init__(self, seconds=0.0):
        self.seconds = seconds

    def predict(self, rows):
        """Return twice the rows."""
        time.sleep(self.seconds)
        return 2 * rows


def our_threads():
    """The threads that a server started and that still run."""
    names = ("tinytorch-", "Thread-")
    return [t for t in threading.enumerate() if t.name.startswith(names) and t.is_alive()]


@contextlib.contextmanager
def serving(seconds=0.0, **settings):
    """A server that is running; afterwards none of its threads may be left."""
    with C.InferenceServer(Slow(seconds), **settings) as server:
        yield server
    assert not our_threads()


def ask(server, method="POST", path="/predict", body=GOOD, headers=None):
    """Send one request on a connection of its own; return status, headers, body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request(method, path, body, JSON if headers is None else headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def raw(server, data, timeout=10.0):
    """Send bytes as they are; return all that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(1 << 16):
                received += piece
        return received


def test_a_bundle_predicts_the_same_bits_in_another_process(tmp_path):
    """Float and quantized networks, saved here, loaded in a fresh Python: equal bytes."""
    package(tmp_path, lambda rung: "\n".join(parse_of(rung).lines))
    x = np.random.default_rng(0).normal(size=(7, 1, 6, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    net = L.Sequential(
        M.spatial.Conv2d(1, 4, 3, padding=1), M.spatial.BatchNorm2d(4), M.activations.ReLU(),
        M.spatial.MaxPool2d(2), L.Flatten(), L.Linear(36, 16), M.activations.GELU(),
        L.Dropout(0.3), L.Linear(16, 3), M.activations.Softmax(-1),
    )  # fmt: skip
    net(M.tensor.Tensor(x))
    quantized = M.quantization.quantize_model(net.eval(), [M.tensor.Tensor(x)])
    for name, model in (("float", net), ("int8", quantized)):
        bundle = C.ModelBundle(model, name, (1, 6, 6))
        bundle.save(tmp_path / f"{name}.bundle")
        np.save(tmp_path / f"{name}.npy", bundle.predict(x))
    program = """
import numpy as np
from tinytorch.core.capstone import ModelBundle
for name in ("float", "int8"):
    got = ModelBundle.load(f"{name}.bundle").predict(np.load("x.npy"))
    wanted = np.load(f"{name}.npy")
    assert got.tobytes() == wanted.tobytes() and got.dtype == wanted.dtype, name
"""
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr


def parse_of(rung):
    """The parsed source of a rung."""
    return parse((ROOT / rung.source).read_text(encoding="utf-8"), rung.source)


def test_any_changed_byte_is_refused(tmp_path):
    """Change, cut and lengthen a bundle everywhere: always a ValueError that names the file."""
    path = tmp_path / "model.bundle"
    C.ModelBundle(L.Sequential(L.Linear(2, 2)), "m", (2,)).save(path)
    whole = path.read_bytes()
    variants = [whole[:i] + bytes([whole[i] ^ 5]) + whole[i + 1 :] for i in range(len(whole))]
    variants += [whole[:i] for i in range(len(whole))] + [whole + b"\0", whole * 2]
    for data in variants:
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"cannot load .*model\.bundle: .*; "):
            C.ModelBundle.load(path)


def test_a_forged_bundle_is_refused(tmp_path):
    """With a right checksum, what is not in the format is still refused, and nothing is run."""
    bundles = sys.modules[C.ModelBundle.__mro__[1].__module__]
    linear = {"type": "Linear", "in_features": 2, "out_features": 2, "bias": False}
    good = {"name": "m", "version": "1", "input_shape": [2], "metadata": {}, "architecture": linear}
    good["arrays"] = [["weight", "float32", [2, 2]]]
    path = tmp_path / "forged.bundle"
    path.write_bytes(bundles.seal(good, bytes(16), 1))
    assert C.ModelBundle.load(path).predict(np.ones((1, 2))).tolist() == [[0, 0]]
    deep = linear
    for _ in range(400):
        deep = {"type": "Sequential", "layers": {"0": deep}}
    for change in (
        {"architecture": {"type": "eval", "code": "1"}}, {"architecture": None},
        {"architecture": 3},
        {"architecture": {**linear, "in_features": 10**9, "out_features": 10**9}},
        {"architecture": {**linear, "in_features": -2}},
        {"architecture": {**linear, "bias": [[1]]}},
        {"architecture": {**linear, "in_features": "2"}}, {"architecture": {"type": "ReLU"}},
        {"architecture": {"type": "Sequential", "layers": {"__class__": linear}}},
        {"architecture": {"type": "Sequential", "layers": [linear]}}, {"architecture": deep},
        {"arrays": []}, {"arrays": [["weight", "object", [2, 2]]]}, {"arrays": [["weight"]]},
        {"arrays": [["weight", "float32", [4]]]}, {"arrays": [["weight", "float32", [-2, -2]]]},
        {"arrays": [["weight", "float32", [2, 3]]]}, {"arrays": [["bias", "float32", [2, 2]]]},
        {"name": 3}, {"input_shape": "2"}, {"input_shape": [0]}, {"input_shape": None},
    ):  # fmt: skip
        path.write_bytes(bundles.seal(good | change, bytes(16), 1))
        with pytest.raises(ValueError, match=r"forged\.bundle"):
            C.ModelBundle.load(path)


def test_a_failed_save_leaves_the_old_bundle(tmp_path):
    """What cannot be bundled leaves the file as it was, and no other beside it."""
    path = tmp_path / "m.bundle"
    C.ModelBundle(L.Sequential(L.Linear(2, 2)), "m", (2,)).save(path)
    before = path.read_bytes()
    for bad in (
        C.ModelBundle(L.Sequential(lambda x: x), "m", (2,)),
        C.ModelBundle(L.Sequential(L.Linear(2, 2)), "m", (2,), metadata={"x": object()}),
    ):
        with pytest.raises(TypeError):
            bad.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.bundle"]


def test_many_clients_are_answered_in_batches():
    """32 clients with 10 requests each on one connection: right answers, fewer batches."""
    wrong, batches = [], []
    with serving(0.002, max_wait=0.01) as server:
        observe = server.batcher.observe
        server.batcher.observe = lambda rows: (batches.append(rows), observe(rows))

        def client(number):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            for turn in range(10):
                question = [[number, turn, 1, 2]]
                connection.request("POST", "/predict", json.dumps({"inputs": question}), JSON)
                answer = json.loads(connection.getresponse().read())
                if answer.get("outputs") != [[2 * number, 2 * turn, 2, 4]]:
                    wrong.append((question, answer))
            connection.close()

        clients = [threading.Thread(target=client, args=(n,), name=f"c{n}") for n in range(32)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        text = ask(server, "GET", "/metrics")[2].decode()
    assert not wrong
    assert sum(batches) == 320
    assert max(batches) <= 32
    assert len(batches) < 160
    assert 'tinytorch_requests_total{path="/predict",status="200"} 320\n' in text


def test_health_and_metrics():
    """The one is JSON, the other Prometheus' text format, which a small parser reads."""
    with serving() as server:
        ask(server)
        status, _, body = ask(server, "GET", "/health")
        assert (status, json.loads(body)["status"]) == (200, "ok")
        _, headers, body = ask(server, "GET", "/metrics")
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    kinds, samples = {}, {}
    for line in body.decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kinds[name] = line.split()
        elif not line.startswith("# HELP "):
            name, value = line.rsplit(" ", 1)
            samples[name] = float(value)
    assert set(kinds.values()) == {"counter", "gauge", "histogram"}
    buckets = [v for name, v in samples.items() if name.startswith("tinytorch_request_seconds_b")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == samples["tinytorch_request_seconds_count"] == 2


REFUSED = [
    ("not JSON", ("POST", "/predict", b"{", JSON), 400),
    ("another path", ("GET", "/admin", None, {}), 404),
    ("another method", ("DELETE", "/predict", None, {}), 405),
    ("another type", ("POST", "/predict", GOOD, {"Content-Type": "text/plain"}), 415),
    ("a body too large", ("POST", "/predict", b" " * 2_000_000, JSON), 413),
]


@pytest.mark.parametrize(("name", "request_", "status"), REFUSED, ids=[r[0] for r in REFUSED])
def test_bad_requests_are_refused_and_the_server_stays(name, request_, status):
    """Each gets its 4xx as JSON with a reason, and the next request is answered."""
    with serving() as server:
        got, _, body = ask(server, *request_)
        assert got == status, body
        assert json.loads(body)["error"]
        assert ask(server)[0] == 200


RAW = [
    ("no length", b"POST /predict HTTP/1.1\r\nHost: x\r\n\r\n", b" 411 "),
    ("chunked", b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b" 411 "),
    ("negative length", b"POST /predict HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b" 400 "),
    ("raised digit", b"POST /predict HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n", b" 400 "),
    ("two lengths", b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b" 400 "),
    ("huge length", b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", b" 413 "),
    ("long line", b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b" 414 "),
    ("many headers", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b" 431 "),
    ("unknown verb", b"BREW /pot HTTP/1.1\r\n\r\n", b" 501 "),
    ("future version", b"GET / HTTP/9.0\r\n\r\n", b" 505 "),
    ("garbage", bytes(range(256)) * 8 + b"\r\n\r\n", b" 400 "),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\n\n", b" 400 "),
    ("half a body", b"POST /predict HTTP/1.1\r\nContent-Length: 50\r\n\r\n{}", b""),
    ("half a head", b"POST /predict HTTP/1.1\r\nContent-Le", b""),
    ("nothing", b"", b""),
]


def test_whatever_bytes_come_the_server_stays():
    """Broken heads, lengths and bodies: a 4xx or a closed connection, then a good answer."""
    with serving() as server:
        for name, data, status in RAW:
            answer = raw(server, data)
            first = answer.split(b"\r\n")[0]
            assert status in first, (name, first)
            assert ask(server)[0] == 200, name


def test_requests_in_a_row_stay_in_order():
    """Two requests sent at once on one connection get their answers in that order."""
    head = b"POST /predict HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    bodies = [json.dumps({"inputs": [[n, 0, 0, 0]]}).encode() for n in (1, 2)]
    with serving() as server:
        answer = raw(server, b"".join(head % len(body) + body for body in bodies))
    assert answer.index(b"[[2.0, 0.0") < answer.index(b"[[4.0, 0.0")


def test_a_slow_client_is_cut_off_and_holds_nobody_up():
    """A byte now and then renews no deadline; meanwhile others are answered."""
    with serving(timeout=0.6) as server:
        start = time.monotonic()
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            received = b""
            with contextlib.suppress(OSError):
                for byte in b"POST /predict HTTP/1.1\r\nHost: slow\r\n" * 20:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.05)
                    if byte == ord(" "):
                        assert ask(server)[0] == 200
            with contextlib.suppress(OSError):
                received = connection.recv(100)
        assert time.monotonic() - start < 5
        assert received == b"" or b" 408 " in received


def test_too_many_connections_are_turned_away():
    """With 4 allowed, the fifth gets a 503; when one has gone there is room again."""
    with serving(max_connections=4) as server, contextlib.ExitStack() as held:
        address = ("127.0.0.1", server.port)
        idle = [held.enter_context(socket.create_connection(address, 10)) for _ in range(4)]
        until = time.monotonic() + 5
        while len(server.front.threads) < 4 and time.monotonic() < until:
            time.sleep(0.01)
        assert ask(server, "GET", "/health", None)[0] == 503
        idle[0].close()
        while len(server.front.threads) == 4 and time.monotonic() < until:
            time.sleep(0.01)
        assert ask(server)[0] == 200


def test_overload_is_refused_at_once():
    """With room for 2, most of 12 clients get a 503 with Retry-After, and quickly."""
    results = []
    with serving(0.3, max_queue=2, max_batch=1, max_wait=0) as server:
        clients = [threading.Thread(target=lambda: results.append(ask(server)), name=f"c{n}")
                   for n in range(12)]  # fmt: skip
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        assert ask(server)[0] == 200
    statuses = [status for status, _, _ in results]
    assert set(statuses) == {200, 503}
    assert statuses.count(503) >= 6
    assert all(headers["Retry-After"] == "1" for status, headers, _ in results if status == 503)


def test_shutdown_under_load_answers_what_has_begun():
    """Close while 8 clients wait: all are answered, the port is free, no thread is left."""
    results = []
    server = C.InferenceServer(Slow(0.3)).start()
    port = server.port
    clients = [threading.Thread(target=lambda: results.append(ask(server)[0]), name=f"c{n}")
               for n in range(8)]  # fmt: skip
    for thread in clients:
        thread.start()
    until = time.monotonic() + 5
    while server.seconds.total == 0 and not server.batcher.waiting and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.1)  # all of them have arrived, none is answered
    start = time.monotonic()
    server.close()
    took = time.monotonic() - start
    for thread in clients:
        thread.join()
    assert results == [200] * 8
    assert took < 3
    assert not our_threads()
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", port), timeout=2)
    with C.InferenceServer(Slow(), port=port) as again:
        assert ask(again)[0] == 200


def test_shutdown_does_not_wait_for_idle_or_slow_clients():
    """Kept-alive connections end at once, a half-sent request after the grace."""
    server = C.InferenceServer(Slow(), timeout=30).start()
    address = ("127.0.0.1", server.port)
    idle, half = socket.create_connection(address, 10), socket.create_connection(address, 10)
    half.sendall(b"POST /predict HT")
    time.sleep(0.1)
    start = time.monotonic()
    server.close(grace=0.3)
    assert time.monotonic() - start < 2
    assert idle.recv(10) == b""
    with contextlib.suppress(ConnectionError):
        half.recv(10)
    idle.close()
    half.close()
    assert not our_threads()
    server.close()  # twice does no harm


def test_a_client_that_leaves_is_no_error():
    """Clients that hang up before their answer leave the server as it was."""
    with serving(0.05) as server:
        for _ in range(10):
            head = b"POST /predict HTTP/1.1\r\nContent-Type: application/json\r\n"
            with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
                connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD)
        assert ask(server)[0] == 200


def test_the_monitor_sees_what_is_asked():
    """Inputs of requests reach the drift monitor."""
    rng = np.random.default_rng(0)
    monitor = C.DriftMonitor(rng.normal(size=(500, 4)), min_rows=100)
    with serving(monitor=monitor) as server:
        for shift in (0, 3):
            rows = rng.normal(shift, size=(200, 4)).tolist()
            assert ask(server, body=json.dumps({"inputs": rows}).encode())[0] == 200
            found = monitor.report()["drifted"]
            assert found == ([0, 1, 2, 3] if shift else [])
