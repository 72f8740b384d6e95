"""Load the inference server on localhost: requests a second, p50 and p99 at 1, 8 and 64 clients.

    python scripts/bench/bench_server.py [--runs 5]

Server and clients are processes of their own. The server has a multi-layer perceptron of
784-4096-4096-10, once with batches of up to 64 and once without (max_batch 1). The clients send
one image each time, on a connection that is kept, for a fixed number of requests; both servers
take turns. The ratio is time with batching over time without: the limit of 0.5 at 64 clients is
twice the requests a second. Batching saves arithmetic, not HTTP: with half the width, where a
request costs more than its row, the ratio was 0.68 (0.66-0.71).
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from _ratio import compare, finish, start

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 0.5
CLIENTS = (1, 8, 64)
REQUESTS = {1: 50, 8: 160, 64: 512}  # of all clients together, each round
SIDES = ("batching", "one by one")

SERVER = """
import sys
import numpy as np
from tinytorch.core.activations import ReLU
from tinytorch.core.capstone import InferenceServer, ModelBundle
from tinytorch.core.layers import Linear, Sequential
from tinytorch.core.tensor import manual_seed
manual_seed(0)
net = Sequential(Linear(784, 4096), ReLU(), Linear(4096, 4096), ReLU(), Linear(4096, 10))
batch = int(sys.argv[1])
settings = {"max_batch": batch, "max_wait": 0.002 if batch > 1 else 0.0, "max_queue": 256}
with InferenceServer(ModelBundle(net, "mlp", (784,)), **settings) as server:
    print(server.port, flush=True)
    sys.stdin.read()
"""

LOAD = '''
import asyncio
import json
import random
import sys
import time

pixels = [random.Random(0).randrange(256) for _ in range(784)]
BODY = json.dumps({"inputs": [pixels]}).encode()
HEAD = "POST /predict HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Type: application/json\\r\\n"
REQUEST = f"{HEAD}Content-Length: {len(BODY)}\\r\\n\\r\\n".encode() + BODY


async def client(port, requests, seconds):
    """Send requests one after the other on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(requests):
        start = time.perf_counter()
        writer.write(REQUEST)
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise SystemExit(f"the server answered {head[:60]!r}")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\\r")[0])
        await reader.readexactly(length)
        seconds.append(time.perf_counter() - start)
    writer.close()


async def main(port, clients, requests):
    seconds = []
    start = time.perf_counter()
    work = [client(port, requests // clients, seconds) for _ in range(clients)]
    await asyncio.wait_for(asyncio.gather(*work), 60)
    return {"wall": time.perf_counter() - start, "seconds": seconds}


for line in sys.stdin:
    print(json.dumps(asyncio.run(main(*map(int, line.split())))), flush=True)
'''


def percentile(values: list[float], q: float) -> float:
    """Return the smallest value that at least a share q does not exceed."""
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


class Server:
    """A server process, and what its clients measured by their number."""

    def __init__(self, folder: str, max_batch: int, load: subprocess.Popen):
        command = [sys.executable, "-P", "-c", SERVER, str(max_batch)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=folder, **pipes)
        self.port, self.load = int(self.process.stdout.readline()), load
        self.walls: dict[int, list[float]] = {n: [] for n in CLIENTS}
        self.seconds: dict[int, list[float]] = {n: [] for n in CLIENTS}

    def ask(self, clients: int) -> None:
        """Let this many clients send their requests."""
        print(self.port, clients, REQUESTS[clients], file=self.load.stdin, flush=True)
        result = json.loads(self.load.stdout.readline())
        self.walls[clients].append(result["wall"])
        self.seconds[clients] += result["seconds"]

    def figures(self, clients: int) -> dict[str, float]:
        """Return requests a second, and the percentiles of latency in milliseconds."""
        rates = [REQUESTS[clients] / wall for wall in self.walls[clients][1:]]
        seconds = self.seconds[clients]
        found = {"rate": median(rates), "slowest": min(rates), "fastest": max(rates)}
        return found | {
            "p50_ms": percentile(seconds, 0.5) * 1e3,
            "p99_ms": percentile(seconds, 0.99) * 1e3,
        }

    def close(self) -> None:
        """End the process, and wait for it."""
        self.process.stdin.close()
        self.process.wait(20)


def report(servers: list[Server]) -> dict[str, dict[str, float]]:
    """Print one line for each server and number of clients; return the figures."""
    record = {}
    print(f"{'server':<12}{'clients':>8}{'requests/s':>12}  {'(spread)':<14}{'p50':>9}{'p99':>10}")
    for clients in CLIENTS:
        for side, server in zip(SIDES, servers, strict=True):
            figures = record[f"{side}, {clients}"] = server.figures(clients)
            spread = f"({figures['slowest']:.0f}-{figures['fastest']:.0f})"
            print(f"{side:<12}{clients:>8}{figures['rate']:>12.0f}  {spread:<14}", end="")
            print(f"{figures['p50_ms']:>6.1f} ms{figures['p99_ms']:>7.1f} ms")
    return record


def main() -> int:
    """Run the comparison at each number of clients and print it."""
    options = start(__doc__)
    rows, begin = [], time.perf_counter()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    load = subprocess.Popen([sys.executable, "-P", "-c", LOAD], **pipes)
    with tempfile.TemporaryDirectory() as folder:
        servers = [Server(folder, max_batch, load) for max_batch in (64, 1)]
        try:
            for clients in CLIENTS:
                limit = LIMIT if clients == CLIENTS[-1] else None
                ours, theirs = (lambda s=s, n=clients: lambda: s.ask(n) for s in servers)
                name = f"{clients} client{'s' * (clients > 1)}"
                rows.append(compare(name, ours, theirs, runs=options.runs, limit=limit))
            record = report(servers)
        finally:
            for server in servers:
                server.close()
            load.stdin.close()
            load.wait(20)
    print(f"the whole took {time.perf_counter() - begin:.0f} s")
    return finish(rows, options, sides=SIDES, figures=record)


if __name__ == "__main__":
    raise SystemExit(main())
