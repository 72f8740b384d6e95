"""A Git server on localhost that wants a token, as `git http-backend` serves it."""

import base64
import http.server
import os
import subprocess
import threading
from pathlib import Path


class GitServer:
    """Serves the bare repository `folder` at the address that entering it gives.

    `seen` has the Authorization header of every request.
    """

    def __init__(self, repository: Path, token: str, may_push: bool = True):
        self.wanted = "basic " + base64.b64encode(f"x-access-token:{token}".encode()).decode()
        self.seen: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                scheme, _, words = (self.headers["Authorization"] or "").partition(" ")
                outer.seen.append(f"{scheme.lower()} {words}".strip())
                if outer.seen[-1] != outer.wanted:
                    return self.answer(401, {"WWW-Authenticate": "Basic"}, b"")
                if "git-receive-pack" in self.path and not may_push:
                    return self.answer(403, {}, b"Permission to ada/tree denied to github-actions")
                path, _, query = self.path.partition("?")
                variables = os.environ | {
                    "GIT_PROJECT_ROOT": str(repository), "GIT_HTTP_EXPORT_ALL": "1",
                    "PATH_INFO": path.removeprefix("/ada/tree"), "QUERY_STRING": query,
                    "REQUEST_METHOD": self.command, "REMOTE_USER": "ada",
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                }  # fmt: skip
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer = subprocess.check_output(["git", "http-backend"], input=body, env=variables)
                head, _, rest = answer.partition(b"\r\n\r\n")
                fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
                return self.answer(int(fields.pop("Status", "200").split()[0]), fields, rest)

            do_POST = do_GET

            def answer(self, status: int, fields: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in (fields | {"Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                """Keep the test's output quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_address[1]}/ada/tree"

    def __exit__(self, *problem: object) -> None:
        self.server.shutdown()
        self.server.server_close()
