"""Bring a published file into the user's cache: whole and checked, or not at all.

    path = fetch(Remote("name.gz", ("https://first.example/name.gz", "https://second…"), md5="…"))

A transfer that breaks off is resumed where it stopped, from the same mirror or the next. The bytes
become the cached file by one rename, after their checksum has been found right; a process that dies
on the way leaves a `.part` file for the next one to go on with. One process downloads at a time.
"""

import contextlib
import hashlib
import http.client
import os
import re
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

Progress = Callable[[int, int | None], None]

CHUNK = 1 << 16  # bytes
IDLE_LIMIT = 3  # attempts on a mirror without one new byte
ATTEMPT_LIMIT = 60  # attempts on a mirror in all
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Remote:
    """A file as its publisher describes it.

    Attributes:
        name: The file's name in the cache.
        urls: Mirrors, the first one preferred.
        md5: The published checksum, in hexadecimal. MD5 is what these publishers give.
        sha256: A stronger checksum where one is known.
        most: The largest size to accept, in bytes.
    """

    name: str
    urls: tuple[str, ...]
    md5: str
    sha256: str = ""
    most: int = 512 * MEBIBYTE


class DownloadError(OSError):
    """No mirror gave the right bytes; the message lists what each said and the way by hand."""


class _Failed(Exception):
    """One attempt failed: `again` says whether this mirror deserves another."""

    def __init__(self, reason: str, *, again: bool = True, code: int = 0):
        super().__init__(reason)
        self.again = again
        self.code = code


def data_directory() -> Path:
    """Return where data sets are cached: $TINYTORCH_DATA, or the platform's cache directory."""
    if chosen := os.environ.get("TINYTORCH_DATA"):
        return Path(chosen).expanduser()
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "tinytorch"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "tinytorch"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "tinytorch"


def writable(folder: Path) -> Path:
    """Make the directory if it is missing.

    Raises:
        OSError: If it cannot be made; the message names the variable to set.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"cannot make the data directory {folder}: {error.strerror};"
            " set TINYTORCH_DATA to a directory you can write to"
        ) from None
    return folder


def mismatch(path: Path, remote: Remote) -> str:
    """Say how a file differs from what its publisher describes; "" when it does not."""
    size = path.stat().st_size
    if size > remote.most:
        return f"has {size} bytes, more than the {remote.most} that it may have"
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    if md5 != remote.md5:
        return f"has {size} bytes with MD5 {md5}, the published one is {remote.md5}"
    if remote.sha256 and (sha256 := sha256_of(path)) != remote.sha256:
        return f"has SHA-256 {sha256}, it must be {remote.sha256}"
    return ""


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold an exclusive lock on `path`, across processes and threads; it is left in place.

    Yields:
        True, or False where the file system has no locks: then nothing may be shared.
    """
    with path.open("a+b") as file:
        try:
            _lock(file)
            alone = True
        except OSError:
            alone = False
        yield alone  # closing the file releases the lock, and so does the death of the process


def _lock(file: BinaryIO) -> None:
    """Wait for the lock of an open file."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
        return
    import msvcrt

    while True:
        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)  # gives up after ten seconds
            return
        except OSError as error:
            if error.errno != 36:  # EDEADLOCK: still held by another process
                raise


def _opener() -> urllib.request.OpenerDirector:
    """An opener of http and https, with redirects and proxies, but of no file or ftp address."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _request(url: str, have: int, timeout: float) -> Any:
    """Ask for a file from byte `have` on; what goes wrong becomes a `_Failed`."""
    headers = {"User-Agent": "tinytorch", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        return _opener().open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        again = error.code in (408, 416, 425, 429) or error.code >= 500
        error.close()
        raise _Failed(
            f"answered {error.code} {error.reason}", again=again, code=error.code
        ) from None
    except urllib.error.URLError as error:
        raise _Failed(f"cannot be reached ({error.reason})") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Failed(f"broke off ({_words(error)})") from None


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _extent(response: Any, have: int) -> tuple[int, int | None]:
    """Where the body begins in the file, and the file's whole size if the server says it."""
    length = response.headers.get("Content-Length", "")
    if response.status == 206:
        found = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip()
        )
        if not found or int(found[1]) != have:
            raise _Failed("answered another range than the one asked for")
        return have, None if found[2] == "*" else int(found[2])
    return 0, int(length) if length.isdigit() else None


def _chunks(response: Any) -> Iterator[bytes]:
    """The body piece by piece; a broken connection becomes a `_Failed`."""
    while True:
        try:
            chunk = response.read(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _Failed(f"broke off ({_words(error)})") from None
        if not chunk:
            return
        yield chunk


def _attempt(url: str, part: Path, remote: Remote, timeout: float, progress: Progress) -> None:
    """Ask once for what is missing of `part` and append what comes."""
    have = part.stat().st_size if part.exists() else 0
    try:
        response = _request(url, have, timeout)
    except _Failed as failed:
        if failed.code == 416:  # nothing comes after what we have: it is not this file's start
            part.unlink(missing_ok=True)
        raise
    with response:
        done, total = _extent(response, have)
        if total is not None and total > remote.most:
            raise _Failed(
                f"offers {total} bytes, more than the {remote.most} expected", again=False
            )
        with part.open("ab" if done else "wb") as file:
            for chunk in _chunks(response):
                done += len(chunk)
                if done > remote.most:
                    raise _Failed(f"sends more than the {remote.most} bytes expected", again=False)
                file.write(chunk)
                progress(done, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise _Failed(f"broke off after {done} of {total} bytes")


def _from_mirror(
    url: str, part: Path, remote: Remote, timeout: float, pause: float, progress: Progress
) -> str:
    """Try one mirror until the file is whole and right; return "" or why it was given up."""
    reason, idle, wrong = "", 0, 0
    for _ in range(ATTEMPT_LIMIT):
        before = part.stat().st_size if part.exists() else 0
        try:
            _attempt(url, part, remote, timeout, progress)
        except _Failed as failed:
            reason = str(failed)
            grown = part.exists() and part.stat().st_size > before
            idle = 0 if grown else idle + 1
            if not failed.again or idle >= IDLE_LIMIT:
                break
            time.sleep(pause * 2**idle)
            continue
        reason = mismatch(part, remote)
        if not reason:
            return ""
        part.unlink()
        wrong += 1
        if not before or wrong > 1:  # a whole body from this mirror was wrong: so will the next be
            break
    if part.exists() and part.stat().st_size > remote.most:
        part.unlink()
    return reason


def by_hand(remote: Remote, target: Path) -> str:
    """How to place a file that cannot be downloaded here."""
    return (
        f"on any machine with a network, save {remote.urls[0]} and copy it to {target}"
        f" (MD5 {remote.md5}), then run this again"
    )


def fetch(
    remote: Remote,
    folder: Path | None = None,
    *,
    timeout: float = 30.0,
    pause: float = 0.5,
    progress: Progress | None = None,
) -> Path:
    """Return the path of a published file in the cache, downloading it if it is not there.

    Args:
        remote: The file.
        folder: The cache; `data_directory()` by default.
        timeout: Seconds without a byte after which a connection counts as broken.
        pause: Seconds before a second attempt; doubled for each further one without success.
        progress: Called with the bytes so far and the whole size or None; by default a line on
            the standard error stream.

    Raises:
        DownloadError: If no mirror gave the right bytes.
        ValueError: If the cached file is not the published one.
    """
    folder = folder or data_directory()
    target = folder / remote.name
    if target.exists():  # the rename below is all that ever puts it there; needs no lock
        return require_published(target, remote)
    with locked(writable(folder) / f".{remote.name}.lock") as alone:
        if target.exists():
            return require_published(target, remote)
        if alone:
            part = folder / f"{remote.name}.part"
        else:
            handle, name = tempfile.mkstemp(dir=folder, prefix=f".{remote.name}.")
            os.close(handle)
            part = Path(name)
        try:
            _download(remote, target, part, timeout, pause, progress or Meter(remote.name))
        finally:
            if not alone:
                part.unlink(missing_ok=True)
    return target


def _download(
    remote: Remote, target: Path, part: Path, timeout: float, pause: float, progress: Progress
) -> None:
    """Fill `part` from the mirrors in order, then make it `target`."""
    if part.exists() and part.stat().st_size and not mismatch(part, remote):
        part.replace(target)  # the last run ended between the last byte and the rename
        return
    reasons = []
    for url in mirrors(remote):
        reason = _from_mirror(url, part, remote, timeout, pause, progress)
        if not reason:
            part.replace(target)
            return
        reasons.append(f"{url} {reason}")
    raise DownloadError(
        f"cannot download {remote.name}: {'; '.join(reasons)}. {by_hand(remote, target)}"
    )


def mirrors(remote: Remote) -> tuple[str, ...]:
    """The addresses to try: below $TINYTORCH_MIRROR first, if it is set, then the publisher's."""
    nearby = os.environ.get("TINYTORCH_MIRROR", "").rstrip("/")
    return ((f"{nearby}/{remote.name}",) if nearby else ()) + remote.urls


def require_published(path: Path, remote: Remote) -> Path:
    """Return the path of a file that has the published checksum.

    Raises:
        ValueError: If it has another; it is neither used nor removed.
    """
    if problem := mismatch(path, remote):
        raise ValueError(
            f"{path} is not the published file: it {problem};"
            " remove it to download it again, or place the published one there"
        )
    return path


class Meter:
    """Progress on the standard error stream: a line that is rewritten, or two lines in a log."""

    def __init__(self, name: str, stream: Any = None, clock: Callable[[], float] = time.monotonic):
        self.name = name
        self.stream = stream or sys.stderr
        self.clock = clock
        self.shown = -1.0
        self.begun = False

    def __call__(self, done: int, total: int | None) -> None:
        """Show how far it is: twice a second on a terminal, at the two ends otherwise."""
        finished = done == total
        live = getattr(self.stream, "isatty", bool)()
        now = self.clock()
        if not finished and ((self.begun and not live) or now - self.shown < 0.5):
            return
        self.shown, self.begun = now, True
        whole = f" of {total / MEBIBYTE:.1f}" if total else ""
        share = f", {100 * done / total:.0f}%" if total else ""
        end = "\n" if finished or not live else ""
        text = f"{self.name}: {done / MEBIBYTE:.1f}{whole} MiB{share}"
        self.stream.write(("\r" if live else "") + text + end)
        self.stream.flush()
