"""Unpack an archive that someone else made, without trusting the names inside it."""

import lzma
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from tinytorch.utils.download import CHUNK, sha256_of


def unpack(archive: Path, members: Mapping[str, int], target: Path, *, sums: str = "") -> Path:
    """Extract the named members of a tar archive into the directory `target`, all or nothing.

    Names inside the archive never become paths: a member is written under the last part of its
    expected name, and only if it is a regular file of exactly the expected size.

    Args:
        archive: A tar file, compressed or not.
        members: The expected names, such as "folder/file.bin", and their sizes in bytes.
        target: The directory to make; it must not exist.
        sums: The name of a file to write beside the members, with the SHA-256 of each.

    Raises:
        ValueError: If a member is missing, doubled, of another kind or size, or if any member of
            the archive would leave the directory, or is no file or directory.
    """
    for stale in target.parent.glob(f".{target.name}.*"):
        if stale.is_dir():
            shutil.rmtree(stale, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        _extract(archive, members, partial)
        if sums:
            lines = [f"{sha256_of(path)}  {path.name}\n" for path in sorted(partial.iterdir())]
            (partial / sums).write_text("".join(lines))
        partial.chmod(0o755)
        partial.rename(target)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{archive} is not a whole tar archive: {error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _extract(archive: Path, members: Mapping[str, int], folder: Path) -> None:
    """Write the expected members of an archive to a directory, refusing what is unexpected."""
    missing, most = dict(members), 2 * sum(members.values())
    total = 0
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            total += member.size
            if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or ":" in name:
                raise ValueError(f"{archive} holds {member.name!r}, which leaves its directory")
            if not (member.isreg() or member.isdir()):
                raise ValueError(f"{archive} holds {member.name!r}, which is no file or directory")
            if total > most:
                raise ValueError(f"{archive} unpacks to more than {most} bytes")
            if name not in members:
                continue
            if name not in missing or member.size != missing.pop(name):
                raise ValueError(
                    f"{archive} holds {name!r} with {member.size} bytes,"
                    f" expected it once with {members[name]}"
                )
            source = tar.extractfile(member)
            with (folder / name.rpartition("/")[2]).open("xb") as file:
                shutil.copyfileobj(source, file, CHUNK)
                os.fsync(file.fileno())
    if missing:
        raise ValueError(f"{archive} does not hold {', '.join(sorted(missing))}")
