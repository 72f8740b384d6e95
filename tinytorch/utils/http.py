"""The sockets of the inference server: HTTP/1.1 on localhost around one pure function.

`HttpFront` reads whole requests, asks `admit` how long the body may be and `handle` for the answer,
and writes it. It owns what has to do with clients that are slow, many, broken or gone: one deadline
for each request, a cap on connections, lines and headers, an orderly end.
"""

import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

Response = tuple[int, dict[str, str], bytes]
JSON = {"Content-Type": "application/json"}


class Refusal(Exception):
    """A request that cannot be served: its HTTP status, the reason, headers to send along."""

    def __init__(self, status: int, reason: str, **headers: str):
        super().__init__(reason)
        self.status, self.reason = status, reason
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def json_response(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Make a response of a JSON value. NaN, which JSON does not know, is a ValueError."""
    body = json.dumps(content, allow_nan=False).encode() + b"\n"
    return status, {**JSON, **(headers or {})}, body


def refused(refusal: Refusal) -> Response:
    """Make the response that says why a request is not served."""
    return json_response(refusal.status, {"error": refusal.reason}, refusal.headers)


class DeadlineReader(io.RawIOBase):
    """Bytes of a socket that must all have come by one moment: `expires`, on the monotonic clock.

    A timeout of each single read would be renewed by a client that sends a byte now and then.
    """

    def __init__(self, connection: socket.socket):
        self.connection, self.expires, self.late = connection, 0.0, False

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there, or wait for it as long as the deadline allows."""
        left = self.expires - time.monotonic()
        try:
            self.connection.settimeout(max(left, 1e-6))
            return self.connection.recv_into(buffer)
        except TimeoutError:
            self.late = True
            raise


class Handler(BaseHTTPRequestHandler):
    """One connection: requests one after the other, until one side ends it."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "tinytorch", ""
    server: "HttpFront"

    def setup(self) -> None:
        """Put the deadline below the buffered reader; send without waiting for more to send."""
        self.connection = self.request
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.raw = DeadlineReader(self.connection)
        self.rfile = io.BufferedReader(self.raw)
        self.wfile = io.BytesIO()  # a response leaves in one piece, in `send`

    def finish(self) -> None:
        """Close the reader; the server closes the socket."""
        self.rfile.close()

    def handle(self) -> None:
        """Answer until the connection is to close; a client that is gone or slow is no error."""
        with contextlib.suppress(OSError):
            super().handle()

    def handle_one_request(self) -> None:
        """Wait for a request, read it whole before the deadline, answer it."""
        self.raw.expires = time.monotonic() + self.server.timeout_seconds
        self.requestline, self.command, self.request_version = "", "", "HTTP/1.1"
        self.close_connection = True
        with contextlib.suppress(TimeoutError):
            if not self.rfile.peek(1):
                return
            self.server.mark(self.connection, busy=True)
            super().handle_one_request()  # calls do_… or send_error
            if self.raw.late:
                self.send_error(408, "the request took too long")
            self.server.mark(self.connection, busy=False)
        self.close_connection |= self.server.ending

    def serve(self) -> None:
        """Read the body and send the answer of the application."""
        try:
            headers = self.single_headers()
            length = self.server.admit(self.command, headers)
        except Refusal as refusal:
            self.send(refused(refusal), close=True)  # the body, if any, was not read
            self.drain()
            return
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        self.send(self.server.application(self.command, self.path, headers, body))

    do_GET = do_POST = do_HEAD = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = serve

    def single_headers(self) -> dict[str, str]:
        """Return the headers in lower case; two lengths are two opinions where a request ends."""
        if len(self.headers.get_all("content-length", [])) > 1:
            raise Refusal(400, "more than one Content-Length; send one")
        return {name.lower(): value for name, value in self.headers.items()}

    def send(self, response: Response, close: bool = False) -> None:
        """Write status, headers and body in one piece."""
        status, headers, body = response
        self.close_connection |= close or self.server.ending
        self.send_response_only(status)
        self.send_header("Date", self.date_time_string())
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        whole = self.wfile.getvalue() + (b"" if self.command == "HEAD" else body)
        self.wfile = io.BytesIO()
        self.connection.settimeout(self.server.timeout_seconds)
        self.connection.sendall(whole)

    def send_error(self, code: int, message: str | None = None, explain: Any = None) -> None:
        """Refuse what `http.server` could not read as a request."""
        self.request_version = "HTTP/1.1"
        self.send(refused(Refusal(code, message or HTTPStatus(code).phrase)), close=True)

    def drain(self, most: int = 1 << 24, seconds: float = 1.0) -> None:
        """Read a little of what is not wanted, so that the client sees the answer, not a reset."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.raw.expires = time.monotonic() + seconds
            while most > 0 and (piece := self.rfile.read1(1 << 16)):
                most -= len(piece)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Keep quiet: what happens is in the metrics."""


class HttpFront(HTTPServer):
    """Listen, one thread a connection, and end in order.

    Args:
        application: `application(method, path, headers, body)` gives (status, headers, body) and
            never raises; header names are in lower case.
        admit: `admit(method, headers)` gives the length of the body to read, or raises a `Refusal`.
        address: Host and port; port 0 is any that is free.
        timeout: Seconds in which a request must have come whole, from when it could have begun.
        max_connections: More than these get a 503 and are closed.
    """

    request_queue_size = 128
    allow_reuse_address = True

    def __init__(
        self,
        application: Callable[[str, str, Mapping[str, str], bytes], Response],
        admit: Callable[[str, Mapping[str, str]], int],
        address: tuple[str, int] = ("127.0.0.1", 0),
        timeout: float = 10.0,
        max_connections: int = 256,
    ):
        self.application, self.admit = application, admit
        self.timeout_seconds, self.max_connections = timeout, max_connections
        self.ending = False
        self.connections: dict[socket.socket, bool] = {}  # whether it is in a request
        self.threads: set[threading.Thread] = set()
        self.lock = threading.Lock()
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        """Bind without asking a name server what this machine is called."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]

    def start(self) -> None:
        """Accept connections in a thread of its own."""
        self.acceptor = threading.Thread(
            target=self.serve_forever, args=(0.05,), name="tinytorch-accept", daemon=True
        )
        self.acceptor.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection a thread, or turn it away."""
        with self.lock:
            full = len(self.threads) >= self.max_connections
            if not full:
                self.connections[request] = False
                thread = threading.Thread(
                    target=self.converse, args=(request, client_address), daemon=True
                )
                self.threads.add(thread)
        if not full:
            thread.start()
            return
        with contextlib.suppress(OSError):
            request.settimeout(0.1)
            request.sendall(
                b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
                b"Connection: close\r\n\r\n"
            )
        self.shutdown_request(request)

    def converse(self, connection: socket.socket, client_address: Any) -> None:
        """Serve one connection to its end, in its own thread."""
        try:
            self.finish_request(connection, client_address)
        finally:
            self.shutdown_request(connection)
            with self.lock:
                self.connections.pop(connection, None)
                self.threads.discard(threading.current_thread())

    def mark(self, connection: socket.socket, *, busy: bool) -> None:
        """Note whether a connection is in a request."""
        with self.lock:
            if connection in self.connections:
                self.connections[connection] = busy

    def close(self, grace: float = 5.0) -> None:
        """Stop listening, let requests that have begun finish, then end every connection.

        Args:
            grace: Seconds to wait for requests that have begun.
        """
        if self.ending:
            return
        self.ending = True
        if hasattr(self, "acceptor"):
            self.shutdown()
            self.acceptor.join()
        self.server_close()
        self.end_connections(idle_only=True)
        if self.join_threads(grace):
            self.end_connections(idle_only=False)
            self.join_threads(1.0)

    def end_connections(self, *, idle_only: bool) -> None:
        """Let no more come in; what has come is still read and answered."""
        how = socket.SHUT_RD if idle_only else socket.SHUT_RDWR
        with self.lock:
            for connection, busy in self.connections.items():
                if not (idle_only and busy):
                    with contextlib.suppress(OSError):
                        connection.shutdown(how)

    def join_threads(self, seconds: float) -> int:
        """Wait for the threads of the connections; return how many are left."""
        until = time.monotonic() + seconds
        with self.lock:
            threads = list(self.threads)
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        return sum(thread.is_alive() for thread in threads)
