"""The given part of the inference server: the waiting room, counters and gauges, the service.

`tinytorch.core.capstone` builds on this. How requests become batches, what is refused and how a
histogram counts is there; here is what they stand on.
"""

import json
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, ClassVar

import numpy as np

from tinytorch.utils.http import HttpFront, Refusal, Response, json_response

Waiting = tuple[Any, Future, float]
Samples = list[tuple[str, Mapping[str, str], float]]


class WaitingRoom:
    """Requests that wait for the one thread that answers them.

    Attributes:
        waiting: (row, future, moment of arrival on time.monotonic) of each, the oldest first.
        changed: A Condition that guards `waiting` and `closed`, notified when either changes.
        observe: Called with the number of rows of each batch.
    """

    def __init__(
        self,
        predict: Callable[[np.ndarray], np.ndarray],
        max_batch: int = 32,
        max_wait: float = 0.002,
        max_queue: int = 256,
    ):
        sizes = (max_batch, max_queue)
        if any(type(n) is not int or n < 1 for n in sizes) or not 0 <= max_wait < math.inf:
            raise ValueError(
                f"max_batch is {max_batch}, max_queue {max_queue}, max_wait {max_wait}; give whole "
                "numbers of at least 1, and seconds of at least 0"
            )
        self.predict, self.max_batch = predict, max_batch
        self.max_wait, self.max_queue = max_wait, max_queue
        self.waiting: deque[Waiting] = deque()
        self.changed, self.closed = threading.Condition(), False
        self.observe: Callable[[int], Any] = lambda rows: None
        self.thread = threading.Thread(target=self.run, name="tinytorch-batcher", daemon=True)

    def start(self) -> Any:
        """Start the thread; return self."""
        self.thread.start()
        return self

    def run(self) -> None:
        """Answer batch after batch, until closed and empty."""
        while batch := self.collect():
            self.answer(batch)

    def close(self) -> None:
        """Take no more requests, answer those that wait, end the thread."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        if self.thread.ident is None:
            self.run()
        else:
            self.thread.join()


class Metric:
    """What has a name, a help text, and samples: (suffix of the name, labels, value)."""

    kind = "untyped"

    def __init__(self, name: str, text: str):
        self.name, self.text, self.lock = name, text, threading.Lock()

    def samples(self) -> Samples:
        """Return the samples; each kind has its own."""
        raise TypeError(f"{type(self).__name__} has no samples(); define it")


class Gauge(Metric):
    """A value that is asked for when somebody reads it."""

    kind = "gauge"

    def __init__(self, name: str, text: str, value: Callable[[], float]):
        super().__init__(name, text)
        self.value = value

    def samples(self) -> Samples:
        """Return the value of now."""
        return [("", {}, self.value())]


class Counter(Metric):
    """How often something happened, for each combination of labels."""

    kind = "counter"

    def __init__(self, name: str, text: str):
        super().__init__(name, text)
        self.counts: dict[tuple[tuple[str, str], ...], int] = {}

    def inc(self, **labels: str) -> None:
        """Count one more."""
        with self.lock:
            key = tuple(labels.items())
            self.counts[key] = self.counts.get(key, 0) + 1

    def samples(self) -> Samples:
        """Return one sample for each combination seen."""
        with self.lock:
            return [("", dict(key), count) for key, count in self.counts.items()]


ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def sample(name: str, labels: Mapping[str, str], value: float) -> str:
    """Write `name{a="x",b="y"} value`; an unescaped label could end its line and begin another."""
    listed = ",".join(f'{key}="{text.translate(ESCAPES)}"' for key, text in labels.items())
    number = str(int(value)) if float(value).is_integer() else repr(float(value))
    return f"{name}{{{listed}}} {number}" if listed else f"{name} {number}"


def exposition(metrics: Iterable[Metric]) -> str:
    """Write metrics in Prometheus' text format 0.0.4."""
    lines = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {metric.text}", f"# TYPE {metric.name} {metric.kind}"]
        lines += [sample(metric.name + end, labels, n) for end, labels, n in metric.samples()]
    return "\n".join(lines) + "\n"


class Distribution(Metric):
    """What a histogram holds.

    Attributes:
        bounds: The upper ends of the buckets, ascending.
        counts: One for each bound, and one for what is above all; not cumulative.
        total: The sum of the values.
    """

    kind = "histogram"

    def __init__(self, name: str, text: str, bounds: Iterable[float]):
        super().__init__(name, text)
        self.bounds = sorted(map(float, bounds))
        if not self.bounds or not all(map(math.isfinite, self.bounds)):
            raise ValueError(f"the bounds of {name} are {self.bounds}; give finite numbers")
        self.counts, self.total = [0] * (len(self.bounds) + 1), 0.0


class Service:
    """What `InferenceServer` is apart from its answers: its parts, their start and their end.

    Args:
        bundle: A ModelBundle.
        port: 0 is any that is free.
        max_body, timeout: Bytes of a body; seconds for a request to come, and for its answer.
        monitor: A DriftMonitor that observes the inputs.
        max_connections: More at once get a 503.
        batching: max_batch, max_wait, max_queue of the Batcher.
    """

    parts: tuple[Any, Any]  # the classes of the batcher and of histograms
    routes: ClassVar = {"/predict": "POST", "/health": "GET", "/metrics": "GET"}

    def __init__(
        self,
        bundle: Any,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        max_body: int = 1 << 20,
        timeout: float = 10.0,
        monitor: Any = None,
        max_connections: int = 256,
        **batching: Any,
    ):
        batcher, histogram = self.parts
        self.bundle, self.max_body, self.timeout = bundle, max_body, timeout
        self.monitor, self.batcher = monitor, batcher(bundle.predict, **batching)
        self.requests = Counter("tinytorch_requests_total", "requests by path and status")
        bounds = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
        self.seconds = histogram("tinytorch_request_seconds", "time to answer", bounds)
        self.batches = histogram("tinytorch_batch_rows", "rows", (1, 2, 4, 8, 16, 32, 64))
        self.batcher.observe = self.batches.observe
        waiting = Gauge("tinytorch_waiting", "rows that wait", lambda: len(self.batcher.waiting))
        self.metrics = [self.requests, self.seconds, self.batches, waiting]
        self.front = None
        self.address = host, port, timeout, max_connections

    def count(self, path: str, status: int, seconds: float) -> None:
        """Count an answer, under a path that is known or under "other"."""
        known = path if path in self.routes else "other"
        self.requests.inc(path=known, status=str(status))
        self.seconds.observe(seconds)

    def admit(self, method: str, headers: Mapping[str, str]) -> int:
        """Return the length of the body to read, from headers in lower case.

        Raises:
            Refusal: 411 for a Transfer-Encoding, and for a POST, PUT or PATCH without
                Content-Length; 400 if it is not all digits; 413 above `max_body`.
        """
        text = headers.get("content-length")
        if "transfer-encoding" in headers or (text is None and method in ("POST", "PUT", "PATCH")):
            raise Refusal(411, "send the body whole, with its Content-Length")
        text = "0" if text is None else text
        if not (text.isascii() and text.isdigit()):
            raise Refusal(400, f"Content-Length is {text[:20]!r}; send a number of bytes")
        if len(text) > 15 or int(text) > self.max_body:
            raise Refusal(413, f"the body has {text[:20]} bytes; send at most {self.max_body}")
        return int(text)

    def respond(self, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Answer a request whose path and method are right."""
        if path == "/metrics":
            text = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
            return 200, text, exposition(self.metrics).encode()
        about = {"model": self.bundle.name, "version": self.bundle.version}
        if path == "/health":
            return json_response(200, {"status": "ok", **about, "checksum": self.bundle.checksum})
        rows = self.read_inputs(headers, body)
        if self.monitor is not None:
            self.monitor.observe(rows.reshape(len(rows), -1))
        return json_response(200, {"outputs": self.predict(rows).tolist(), **about})

    def read_inputs(self, headers: Mapping[str, str], body: bytes) -> np.ndarray:
        """Return the rows of `{"inputs": [[…], …]}`, float32 (N, *input_shape), all finite.

        Raises:
            Refusal: 415, or 400: the reason names what was sent and what to send.
        """
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refusal(415, f"Content-Type is {kind[:40]!r}; send application/json")
        wanted = f"shape ({', '.join(map(str, ('N', *self.bundle.input_shape)))})"
        try:
            rows = np.asarray(json.loads(body)["inputs"])
        except (ValueError, TypeError, LookupError, RecursionError):
            raise Refusal(400, f'send JSON: {{"inputs": numbers of {wanted}}}') from None
        fits = rows.ndim and len(rows) and rows.shape[1:] == self.bundle.input_shape
        if rows.dtype.kind not in "iuf" or not fits:
            found = f"{rows.dtype} of shape {rows.shape}"
            raise Refusal(400, f"the inputs are {found}; send numbers of {wanted}")
        with np.errstate(over="ignore"):
            rows = rows.astype(np.float32)
        if not np.isfinite(rows).all():
            raise Refusal(400, "an input is not finite in float32; send finite numbers")
        return rows

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.front.server_port

    @property
    def url(self) -> str:
        """Where it listens: http://127.0.0.1:port."""
        return f"http://{self.front.server_address[0]}:{self.port}"

    def start(self) -> Any:
        """Bind the port, start the batcher, accept connections; return self."""
        host, port, timeout, most = self.address
        self.front = HttpFront(self.handle, self.admit, (host, port), timeout, most)
        self.batcher.start()
        self.front.start()
        return self

    def close(self, grace: float = 5.0) -> None:
        """End in order: no new connections, answers to what has begun, then the batcher.

        Args:
            grace: Seconds to wait for requests that have begun.
        """
        if self.front is not None:
            self.front.close(grace)
        self.batcher.close()

    def __enter__(self) -> Any:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.close()
