"""Keep a version of a file aside, where neither Git, grading nor the manifest looks.

Everything kept lies under `.tito/kept/`, at its own path with a number, and is never overwritten.
Git ignores the folder: what is kept is a convenience beside the history, not part of a hand-in.
"""

import os
from pathlib import Path, PurePosixPath

from tito.files import replace

KEPT = ".tito/kept"


def keep_aside(root: Path, path: str, data: bytes) -> str:
    """Write `data` under the first free number of a path; returns the file that has it now.

    A content that was kept before is not kept twice.
    """
    name = PurePosixPath(path)
    folder = root.joinpath(*KEPT.split("/"), *name.parent.parts)
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        target = folder / f"{name.stem}-{number}{name.suffix}"
        try:
            if target.read_bytes() == data:
                break
        except FileNotFoundError:
            if _write_new(target, data):
                break
        number += 1
    return target.relative_to(root).as_posix()


def bring_back(kept: str, file: str, system: str = os.name) -> str:
    """The command that puts what was kept back into its place."""
    if system == "nt":  # for either of its shells
        return f"copy {kept} {file}".replace("/", "\\")
    return f"cp {kept} {file}"


def _write_new(target: Path, data: bytes) -> bool:
    """Write a new file whole; False if somebody else made it in the meantime."""
    temporary = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            return False
        replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return True
