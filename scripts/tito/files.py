"""Read what a student pushed as plain data, and write results so that a kill loses nothing."""

import os
import stat
import time
from pathlib import Path, PurePath

try:  # OpenSSL's own, which hashlib would load, takes longer than all our modules take to hash
    from _sha2 import sha256
except ImportError:
    try:
        from _sha256 import sha256
    except ImportError:
        from hashlib import sha256

MISSING = "is missing"
EMPTY = "is empty"
# Windows gives no file the place of one that is open elsewhere: an editor reads it, or a scanner.
TRIES = 40 if os.name == "nt" else 1
PAUSE = 0.05  # seconds between two of them
SOURCE_LIMIT = 1 << 20  # bytes; the longest module of the course is under 64 KiB


class FileProblem(ValueError):
    """A file cannot be used: `message` says why, `mend` what to do."""

    def __init__(self, file: str, message: str, mend: str, line: int = 1):
        super().__init__(f"{file}:{line}: {message}; {mend}")
        self.file, self.line, self.message, self.mend = file, line, message, mend


ASIDE = "rename it, or remove it"  # a directory where a file is to be written


def empty(file: str) -> FileProblem:
    """The problem of a file in which nothing is left."""
    return FileProblem(file, EMPTY, f"bring it back with: git checkout HEAD -- {file}")


def read_bytes(root: Path, relative: str, limit: int = SOURCE_LIMIT) -> bytes:
    """Read a regular file below `root` without following any link.

    Raises:
        FileProblem: If it is missing, a link, a directory, a device or larger than `limit` bytes.
    """
    path = str(root)
    for part in PurePath(relative).parts:
        path = os.path.join(path, part)  # a Path takes six times as long, for 60 of them at a start
        if os.path.islink(path):
            raise FileProblem(
                relative,
                "is a symbolic link",
                "replace the link by the file itself and push again",
            )
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | _NONBLOCK | _BINARY)
    except FileNotFoundError:
        raise FileProblem(
            relative,
            MISSING,
            f"bring it back with: git checkout HEAD -- {relative}",
        ) from None
    except OSError as error:
        raise FileProblem(
            relative, f"cannot be read ({error.strerror})", "make it a readable file"
        ) from None
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            kind = "a directory" if stat.S_ISDIR(facts.st_mode) else "not a regular file"
            raise FileProblem(relative, f"is {kind}", "put the module's source file in its place")
        if facts.st_size > limit:
            raise FileProblem(
                relative,
                f"has {facts.st_size:,} bytes, more than the {limit:,} allowed",
                "remove data and outputs from the source file",
            )
        with os.fdopen(os.dup(descriptor), "rb") as file:
            return file.read(limit)
    finally:
        os.close(descriptor)


def read_text(root: Path, relative: str, limit: int = SOURCE_LIMIT) -> str:
    """Read a UTF-8 text below `root`: a byte-order mark is dropped, line ends become `\\n`."""
    data = read_bytes(root, relative, limit)
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise FileProblem(relative, "holds a NUL byte", "save it as UTF-8 text", line)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        value = data[error.start]
        raise FileProblem(
            relative,
            f"is not UTF-8 text (byte 0x{value:02x})",
            "save it as UTF-8",
            line,
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def text_digest(text: str) -> str:
    """The SHA-256 of a text as `read_text` gives it: the same whatever its line ends were."""
    return sha256(text.encode("utf-8")).hexdigest()


def replace(source: Path, target: Path) -> None:
    """Give a file the place of another in one step."""
    for left in reversed(range(TRIES)):
        try:
            os.replace(source, target)
            break
        except PermissionError:
            if not left:
                raise
            time.sleep(PAUSE)


def write_atomic(path: Path, data: bytes | str) -> bool:
    """Write a file whole or not at all; a file that already holds `data` is left alone.

    Returns:
        Whether the file changed.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    try:
        if path.is_file() and not path.is_symlink() and path.read_bytes() == content:
            return False
    except OSError:
        pass  # unreadable: the replacement below settles it, or says why not
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        replace(temporary, path)
    except OSError as error:
        if error.errno is not None:  # a system's error: what was to be written, not its first half
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return True


_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # opening a named pipe must not wait for a writer
_BINARY = getattr(os, "O_BINARY", 0)
