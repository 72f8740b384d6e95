"""The download code against a server that misbehaves in every way we know of.

The cases on real files run where TINYTORCH_TEST_DATA names a directory that holds them.
"""

import gzip
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tinytorch.utils import download, sources
from tinytorch.utils.archive import unpack
from tinytorch.utils.download import DownloadError, Meter, Remote, data_directory, fetch

ROOT = Path(__file__).resolve().parents[2]
BODY = np.random.default_rng(7).bytes(300_000)
MD5 = hashlib.md5(BODY).hexdigest()
TEST_DATA = os.environ.get("TINYTORCH_TEST_DATA", "")


def has(name: str) -> pytest.MarkDecorator:
    """Skip unless TINYTORCH_TEST_DATA holds this file."""
    found = TEST_DATA and (Path(TEST_DATA) / name).is_file()
    return pytest.mark.skipif(not found, reason=f"TINYTORCH_TEST_DATA names no {name}")


class Server(ThreadingHTTPServer):
    """Serves each path by a script: the n-th request gets the n-th behaviour, then the last."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scripts: dict[str, list[str]] = {}
        self.bodies: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.guard = threading.Lock()

    def url(self, path: str, *script: str, body: bytes = BODY) -> str:
        """Put a body under a path and say how its requests are answered."""
        self.scripts[path], self.bodies[path] = list(script) or ["right"], body
        return f"http://127.0.0.1:{self.server_port}{path}"

    def handle_error(self, request, client_address) -> None:
        """Broken pipes are what these tests are about."""


class Handler(BaseHTTPRequestHandler):
    """One request, answered as the script says."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *arguments) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        with self.server.guard:
            self.server.requests.append((self.path, self.headers.get("Range", "")))
            script = self.server.scripts.get(self.path, ["404"])
            how = script.pop(0) if len(script) > 1 else script[0]
        self.close_connection = True
        getattr(self, f"serve_{how}" if not how.isdigit() else "serve_status")(how)

    def body(self) -> bytes:
        return self.server.bodies[self.path]

    def send(self, status: int, body: bytes, promised: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if promised is None:
            promised = len(body)
        if promised >= 0:
            self.send_header("Content-Length", str(promised))
        self.end_headers()
        self.wfile.write(body)

    def ranged(self) -> tuple[int, bytes]:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(match[1]) if match else 0
        return start, self.body()[start:]

    def answer(self, body: bytes, start: int, promised: int) -> None:
        whole = len(self.body())
        if start:
            self.send(206, body, promised, Content_Range=f"bytes {start}-{whole - 1}/{whole}")
        else:
            self.send(200, body, promised)

    def serve_status(self, how: str) -> None:
        self.send(int(how), b"<html>an error page</html>")

    def serve_right(self, how: str) -> None:
        start, rest = self.ranged()
        if start >= len(self.body()):
            self.send(416, b"")
        else:
            self.answer(rest, start, len(rest))

    def serve_drop(self, how: str) -> None:
        """Half of what was asked for, then a closed connection."""
        start, rest = self.ranged()
        self.answer(rest[: len(rest) // 2], start, len(rest))

    def serve_reset(self, how: str) -> None:
        """No answer at all."""
        self.connection.close()

    def serve_truncated(self, how: str) -> None:
        """Half the body, as if it were all."""
        self.send(200, self.body()[: len(self.body()) // 2])

    def serve_unsized(self, how: str) -> None:
        """The right body without a length."""
        self.send(200, self.body(), promised=-1)

    def serve_corrupt(self, how: str) -> None:
        wrong = bytearray(self.body())
        wrong[1000] ^= 1
        start, _ = self.ranged()
        self.answer(bytes(wrong[start:]), start, len(wrong) - start)

    def serve_norange(self, how: str) -> None:
        """Ignores ranges: always the whole body."""
        self.send(200, self.body())

    def serve_otherrange(self, how: str) -> None:
        """Answers a range that nobody asked for."""
        body = self.body()
        self.send(206, body[10:], Content_Range=f"bytes 10-{len(body) - 1}/{len(body)}")

    def serve_endless(self, how: str) -> None:
        self.send(200, b"", promised=-1)
        while True:
            self.wfile.write(bytes(1 << 16))

    def serve_huge(self, how: str) -> None:
        self.send(200, b"some", promised=10**12)

    def serve_stall(self, how: str) -> None:
        """A few bytes, then silence."""
        self.send(200, self.body()[:5000], promised=len(self.body()))
        self.wfile.flush()
        threading.Event().wait(3)

    def serve_away(self, how: str) -> None:
        self.send(302, b"", Location=f"http://127.0.0.1:{self.server.server_port}/right")

    def serve_tofile(self, how: str) -> None:
        self.send(302, b"", Location="file:///etc/hostname")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()


def remote(*urls: str, **changes) -> Remote:
    return Remote("file.bin", urls, **{"md5": MD5, "most": 1_000_000, **changes})


def quick(wanted: Remote, folder: Path, **changes) -> Path:
    return fetch(wanted, folder, pause=0, progress=lambda done, total: None, **changes)


def leftovers(folder: Path) -> list[str]:
    """What lies in a cache beside its lock files."""
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


@pytest.mark.parametrize(
    "script",
    [
        ["right"],
        ["unsized"],
        ["drop", "right"],
        ["drop", "drop", "drop", "drop", "drop", "right"],
        ["reset", "reset", "right"],
        ["drop", "norange"],
        ["drop", "otherrange", "right"],
        ["drop", "corrupt", "right"],
        ["503", "429", "right"],
    ],
    ids="-".join,
)
def test_a_file_arrives_whole_whatever_breaks_on_the_way(server, tmp_path, script):
    path = quick(remote(server.url("/f", *script)), tmp_path)
    assert path.read_bytes() == BODY
    assert leftovers(tmp_path) == ["file.bin"]


def test_a_dropped_transfer_resumes_where_it_stopped(server, tmp_path):
    quick(remote(server.url("/f", "drop", "drop", "right")), tmp_path)
    assert [r for _, r in server.requests] == ["", "bytes=150000-", "bytes=225000-"]


def test_a_later_process_resumes_an_earlier_ones_part(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(BODY[:123_456])
    assert quick(remote(server.url("/f")), tmp_path).read_bytes() == BODY
    assert server.requests == [("/f", "bytes=123456-")]


def test_a_part_that_was_complete_needs_no_request(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(BODY)
    assert quick(remote(server.url("/f")), tmp_path).read_bytes() == BODY
    assert server.requests == []


@pytest.mark.parametrize("part", [BODY + b"more", bytes(100_000)], ids=["too-long", "other-bytes"])
def test_a_part_of_something_else_is_thrown_away(server, tmp_path, part):
    (tmp_path / "file.bin.part").write_bytes(part)
    assert quick(remote(server.url("/f")), tmp_path).read_bytes() == BODY


@pytest.mark.parametrize(
    "first", ["404", "403", "reset", "truncated", "corrupt", "endless", "huge"]
)
def test_the_next_mirror_takes_over(server, tmp_path, first):
    urls = server.url("/first", first), server.url("/second")
    assert quick(remote(*urls), tmp_path).read_bytes() == BODY
    assert leftovers(tmp_path) == ["file.bin"]


def test_the_second_mirror_goes_on_where_the_first_died(server, tmp_path):
    urls = server.url("/first", "drop", "404"), server.url("/second")
    assert quick(remote(*urls), tmp_path).read_bytes() == BODY
    assert server.requests[-1] == ("/second", "bytes=150000-")


def test_mirrors_are_tried_in_order_and_not_after_success(server, tmp_path):
    quick(remote(server.url("/first"), server.url("/second")), tmp_path)
    assert [path for path, _ in server.requests] == ["/first"]


def test_a_nearby_mirror_comes_first(server, tmp_path, monkeypatch):
    nearby = server.url("/near/file.bin").removesuffix("/file.bin")
    monkeypatch.setenv("TINYTORCH_MIRROR", nearby + "/")
    quick(remote(server.url("/first")), tmp_path)
    assert [path for path, _ in server.requests] == ["/near/file.bin"]


@pytest.mark.parametrize("how", ["404", "500", "truncated", "corrupt", "endless", "huge", "tofile"])
def test_a_failure_leaves_no_file_and_says_what_to_do(server, tmp_path, how):
    url = server.url("/f", how)
    with pytest.raises(DownloadError) as caught:
        quick(remote(url), tmp_path)
    message = str(caught.value)
    assert url in message
    assert f"copy it to {tmp_path / 'file.bin'}" in message
    assert MD5 in message
    assert "file.bin" not in leftovers(tmp_path)


def test_offline_is_a_clear_error(tmp_path):
    with pytest.raises(DownloadError, match=r"cannot be reached.*save http://127\.0\.0\.1:9/f"):
        quick(remote("http://127.0.0.1:9/f"), tmp_path)


def test_a_silent_server_counts_as_broken(server, tmp_path):
    path = quick(remote(server.url("/f", "stall", "right")), tmp_path, timeout=0.3)
    assert path.read_bytes() == BODY


def test_redirects_are_followed_to_http_only(server, tmp_path):
    server.url("/right")
    assert quick(remote(server.url("/f", "away")), tmp_path).read_bytes() == BODY


def test_a_cached_file_needs_no_network(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(BODY)
    tmp_path.chmod(0o555)
    try:
        assert quick(remote(server.url("/f")), tmp_path).read_bytes() == BODY
    finally:
        tmp_path.chmod(0o755)
    assert server.requests == []


def test_a_wrong_file_placed_by_hand_is_refused_and_kept(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(BODY[:-1])
    with pytest.raises(ValueError, match=f"is not the published file.*{MD5}.*remove it"):
        quick(remote(server.url("/f")), tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == BODY[:-1]


def test_a_stronger_checksum_is_checked_where_it_is_known(server, tmp_path):
    with pytest.raises(DownloadError, match="SHA-256"):
        quick(remote(server.url("/f"), sha256="0" * 64), tmp_path)


def test_many_at_once_download_once(server, tmp_path):
    wanted = remote(server.url("/f", "drop", "right"))
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(quick(wanted, tmp_path))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert {p.read_bytes() for p in found} == {BODY}
    assert len(server.requests) == 2
    assert leftovers(tmp_path) == ["file.bin"]


def test_without_locks_nothing_is_shared(server, tmp_path, monkeypatch):
    def refuse(file) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(download, "_lock", refuse)
    (tmp_path / "file.bin.part").write_bytes(b"of another process")
    assert quick(remote(server.url("/f", "drop", "right")), tmp_path).read_bytes() == BODY
    assert leftovers(tmp_path) == ["file.bin", "file.bin.part"]


KILLED = """
import sys, os
from pathlib import Path
from tinytorch.utils.download import Remote, fetch
def progress(done, total):
    if done > 100_000:
        os._exit(9)
fetch(Remote("file.bin", (sys.argv[1],), md5=sys.argv[2]), Path(sys.argv[3]), progress=progress)
"""


def test_a_killed_download_leaves_no_file_and_is_taken_up_again(server, tmp_path):
    url = server.url("/f")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, url, MD5, str(tmp_path)], cwd=ROOT, timeout=60, check=False
    )
    assert done.returncode == 9
    assert "file.bin" not in leftovers(tmp_path)
    assert quick(remote(url), tmp_path).read_bytes() == BODY


def test_an_unwritable_cache_names_the_variable(tmp_path):
    blocker = tmp_path / "a-file"
    blocker.write_text("")
    with pytest.raises(OSError, match="set TINYTORCH_DATA"):
        quick(remote("http://127.0.0.1:9/f"), blocker / "below")


def test_the_data_directory_follows_the_platform(monkeypatch, tmp_path):
    monkeypatch.setenv("TINYTORCH_DATA", str(tmp_path))
    assert data_directory() == tmp_path
    monkeypatch.delenv("TINYTORCH_DATA")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ada"))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert data_directory() == Path("/home/ada/.cache/tinytorch")
    monkeypatch.setenv("XDG_CACHE_HOME", "/fast")
    assert data_directory() == Path("/fast/tinytorch")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert data_directory() == Path("/home/ada/Library/Caches/tinytorch")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert data_directory() == Path("/local/tinytorch")


def test_progress_rewrites_one_line_on_a_terminal_and_stays_short_in_a_log():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    seconds = iter(range(100))
    live, log = Terminal(), io.StringIO()
    for stream in (live, log):
        meter = Meter("f", stream, clock=lambda: next(seconds))
        for done in (0, 1 << 20, 2 << 20, 4 << 20):
            meter(done, 4 << 20)
    assert live.getvalue().count("\n") == 1
    assert live.getvalue().endswith("\rf: 4.0 of 4.0 MiB, 100%\n")
    assert log.getvalue().splitlines() == ["f: 0.0 of 4.0 MiB, 0%", "f: 4.0 of 4.0 MiB, 100%"]


# Archives


def tar_of(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


WANTED = {"batches/one.bin": 4, "batches/two.bin": 2}


def test_unpack_takes_what_is_expected_and_nothing_else(tmp_path):
    archive = tar_of(
        tmp_path / "a.tar.gz",
        special("batches", tarfile.DIRTYPE),
        ("batches/readme.html", b"hi"),
        ("./batches/one.bin", b"abcd"),
        ("batches/two.bin", b"ef"),
    )
    target = unpack(archive, WANTED, tmp_path / "batches", sums="SHA256SUMS")
    assert {p.name for p in target.iterdir()} == {"one.bin", "two.bin", "SHA256SUMS"}
    assert (target / "one.bin").read_bytes() == b"abcd"
    assert hashlib.sha256(b"ef").hexdigest() in (target / "SHA256SUMS").read_text()


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("../evil.bin", b"abcd")], "leaves its directory"),
        ([("/tmp/evil.bin", b"abcd")], "leaves its directory"),
        ([("batches/../../evil.bin", b"abcd")], "leaves its directory"),
        ([("..\\evil.bin", b"abcd")], "leaves its directory"),
        ([("C:evil.bin", b"abcd")], "leaves its directory"),
        ([special("batches/one.bin", tarfile.SYMTYPE, "/etc/passwd")], "no file or directory"),
        ([special("batches/one.bin", tarfile.LNKTYPE, "/etc/passwd")], "no file or directory"),
        ([special("batches/one.bin", tarfile.FIFOTYPE)], "no file or directory"),
        ([special("batches", tarfile.SYMTYPE, "/tmp")], "no file or directory"),
        ([("batches/one.bin", b"abc")], "expected it once with 4"),
        ([("batches/one.bin", b"abcd"), ("batches/one.bin", b"abcd")], "expected it once"),
        ([("batches/bomb", bytes(10_000))], "unpacks to more than 12 bytes"),
        ([("batches/one.bin", b"abcd")], r"does not hold batches/two\.bin"),
    ],
)
def test_unpack_refuses_what_is_unsafe_and_leaves_nothing(tmp_path, members, words):
    archive = tar_of(tmp_path / "a.tar.gz", *members)
    with pytest.raises(ValueError, match=words):
        unpack(archive, WANTED, tmp_path / "batches")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar.gz"]
    assert not (tmp_path.parent / "evil.bin").exists()


def test_unpack_refuses_a_broken_archive(tmp_path):
    whole = tar_of(tmp_path / "a.tar.gz", ("batches/one.bin", b"abcd"), ("batches/two.bin", b"ef"))
    damaged = bytearray(whole.read_bytes())
    for data in (damaged[: len(damaged) // 2], b"not a tar", b""):
        whole.write_bytes(data)
        with pytest.raises(ValueError, match="not a whole tar archive"):
            unpack(whole, WANTED, tmp_path / "batches")
        assert not (tmp_path / "batches").exists()


def test_unpack_sweeps_up_after_a_killed_one(tmp_path):
    (tmp_path / ".batches.dead").mkdir()
    archive = tar_of(
        tmp_path / "a.tar.gz", ("batches/one.bin", b"abcd"), ("batches/two.bin", b"ef")
    )
    unpack(archive, WANTED, tmp_path / "batches")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar.gz", "batches"]


# The course's data sets, with a CIFAR-10 of three images a batch


def batch(label: int = 3) -> bytes:
    record = bytes([label]) + bytes(range(256)) * 12
    return record * 3


@pytest.fixture
def small_cifar(monkeypatch, server, tmp_path) -> tuple[Server, Path]:
    members = [(f"cifar-10-batches-bin/{name}", batch()) for name in sources.CIFAR10_BATCHES]
    body = tar_of(tmp_path / "small.tar.gz", *members).read_bytes()
    url = server.url("/cifar", body=body)
    small = Remote("cifar-10-binary.tar.gz", (url,), hashlib.md5(body).hexdigest())
    monkeypatch.setattr(sources, "CIFAR10", small)
    monkeypatch.setattr(sources, "CIFAR10_BATCH_BYTES", len(batch()))
    sources._note.cache_clear()
    return server, tmp_path / "cache"


def test_cifar_is_downloaded_unpacked_and_then_found(small_cifar):
    server, folder = small_cifar
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            found = sources.cifar10_batches(folder, download=True)
    assert found.published
    assert [p.name for p in (*found.train, found.test)] == list(sources.CIFAR10_BATCHES)
    assert len(server.requests) == 1
    assert leftovers(folder) == ["cifar-10-batches-bin"]


def test_cifar_archive_placed_by_hand_is_used_without_download(small_cifar, tmp_path):
    _, folder = small_cifar
    folder.mkdir()
    (folder / "cifar-10-binary.tar.gz").write_bytes((tmp_path / "small.tar.gz").read_bytes())
    assert sources.cifar10_batches(folder).published


def test_cifar_missing_says_every_way_to_get_it(small_cifar):
    _, folder = small_cifar
    with pytest.raises(FileNotFoundError, match=r"download=True.*copy it to.*six unpacked batches"):
        sources.cifar10_batches(folder)


def test_cifar_batches_placed_by_hand_are_used_with_a_note(small_cifar):
    _, folder = small_cifar
    (folder / "cifar-10-batches-bin").mkdir(parents=True)
    for name in sources.CIFAR10_BATCHES:
        (folder / "cifar-10-batches-bin" / name).write_bytes(batch())
    with pytest.warns(UserWarning, match="not known to be the published bytes"):
        assert not sources.cifar10_batches(folder).published


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: path.write_bytes(batch()[:-1]), "has 9218 bytes, a batch has 9219"),
        (lambda path: path.write_bytes(batch(label=11)), "has label 11"),
        (lambda path: path.write_bytes(batch(label=4)), "has changed since it was unpacked"),
        (lambda path: path.unlink(), "is missing from"),
    ],
)
def test_cifar_batches_that_changed_are_refused(small_cifar, change, words):
    _, folder = small_cifar
    found = sources.cifar10_batches(folder, download=True)
    change(found.test)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        sources.cifar10_batches(folder)


def test_mnist_missing_names_the_file_and_the_place(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte\.gz.*download=True"):
        sources.mnist_files(tmp_path)


def test_checksums_of_the_table_are_well_formed():
    for wanted in (*sources.MNIST.values(), sources.CIFAR10):
        assert re.fullmatch(r"[0-9a-f]{32}", wanted.md5)
        assert re.fullmatch(r"([0-9a-f]{64})?", wanted.sha256)
        assert all(url.startswith("https://") and url.endswith(wanted.name) for url in wanted.urls)


def test_shipped_files_are_the_ones_described():
    readme = (ROOT / "milestones" / "data" / "README.md").read_text(encoding="utf-8")
    for name in ("digits.csv.gz", "tinyshakespeare.txt.gz"):
        assert download.sha256_of(sources.shipped(name)) in readme
    assert len(sources.tiny_shakespeare()) == 1_115_394
    with pytest.raises(FileNotFoundError, match=r"nothing\.gz is in none of"):
        sources.shipped("nothing.gz")


def test_another_text_is_not_tiny_shakespeare(tmp_path):
    (tmp_path / "t.txt.gz").write_bytes(gzip.compress(b"To be"))
    with pytest.raises(ValueError, match="has MD5"):
        sources.tiny_shakespeare(tmp_path / "t.txt.gz")


@has("train-images-idx3-ubyte.gz")
def test_real_mnist_comes_through_a_broken_connection(server, tmp_path, monkeypatch):
    for wanted in sources.MNIST.values():
        body = (Path(TEST_DATA) / wanted.name).read_bytes()
        base = server.url(f"/mnist/{wanted.name}", "drop", "drop", "right", body=body)
    monkeypatch.setenv("TINYTORCH_MIRROR", base.rpartition("/")[0])
    found = sources.mnist_files(tmp_path, download=True, progress=lambda done, total: None)
    with gzip.open(found["train_images"]) as file:
        assert file.read(4) == b"\x00\x00\x08\x03"
    assert leftovers(tmp_path) == sorted(wanted.name for wanted in sources.MNIST.values())
