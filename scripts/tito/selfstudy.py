"""Begin a module anew, and read its solution where there is one.

`tito start` (tito/start.py) leaves the solutions in the history of a fork of the course; a
repository made from the template never had them.
"""

import re
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Literal

from tito.aside import keep_aside
from tito.files import FileProblem, read_bytes, read_text, write_atomic
from tito.ladder import Checkpoint
from tito.manifest import LARGEST, ManifestError, find_pristine, load_manifest, same
from tito.progress import find_stubs
from tito.repository import Repository, RepositoryError
from tito.source import ModuleSource, Region, parse
from tito.strip import stub_text

TRAILER = "Course-commit"


# Begin anew


@dataclass(frozen=True)
class Reset:
    """A module that was brought back to its stub.

    `made` says from what: the released text, or the student's own file with its solutions taken
    out; None if it was the stub already. `kept` is where the student's version is, "" if there was
    none.
    """

    file: str
    made: Literal["released", "stripped"] | None
    kept: str = ""


def reset(root: Path, rung: Checkpoint) -> Reset:
    """Bring a module back to the stub it began as; the student's version is kept aside first.

    Raises:
        FileProblem: If there is no way to the stub; nothing is changed.
    """
    file = rung.source
    try:
        manifest = load_manifest(root)
        if manifest is None and (root / "scripts" / "tito" / "release.py").is_file():
            raise FileProblem(
                file, "is the course's own, with solutions", f"go back with: git checkout {file}"
            )
    except ManifestError:
        manifest = None
    wanted = manifest.modules.get(file) if manifest else None
    data = _bytes_of(root, file)
    if data is not None and wanted is not None and same(data, wanted):
        return Reset(file, None)
    stub = find_pristine(root, {file: wanted}).get(file) if wanted else None
    made: Literal["released", "stripped"] = "released"
    if stub is None:
        made, stub = "stripped", _stripped(root, rung).encode()
        if stub == data:
            return Reset(file, None)
    kept = keep_aside(root, file, data) if data is not None else ""
    write_atomic(root / file, stub)
    return Reset(file, made, kept)


def _bytes_of(root: Path, file: str) -> bytes | None:
    """The file's content; None where it is missing."""
    if not (root / file).exists() and not (root / file).is_symlink():
        return None
    return read_bytes(root, file, LARGEST)


def _stripped(root: Path, rung: Checkpoint) -> str:
    """The student's own file with stubs for its solutions, if its marks are whole."""
    try:
        module = parse(read_text(root, rung.source), rung.source)
        if not module.regions:
            raise FileProblem(rung.source, "has lost the marks of its solutions", "")
        return _emptied(rung, module)
    except FileProblem as problem:
        raise FileProblem(
            rung.source,
            f"cannot be made a stub of ({problem.message}), and its released text is not in this "
            f"repository's history",
            "fetch the history with git fetch --unshallow, or the release with tito update, then "
            "run this again",
            problem.line,
        ) from None


def _emptied(rung: Checkpoint, module: ModuleSource) -> str:
    """A module's text with a stub wherever there is none. How long the course's solution is
    cannot be told from the student's, so a new stub does not say."""
    lines, at = [], 0
    for region in module.regions:
        body = module.lines[region.begin : region.end - 1]
        lines += module.lines[at : region.begin]
        if find_stubs("\n".join(body)):
            lines += body
        else:
            lines.append(stub_text(rung.id, module, region)[2])
        at = region.end - 1
    return "\n".join((*lines, *module.lines[at:])) + "\n"


# Solutions


class NoSolution(Exception):
    """There is no solution to show here, or not yet; the text says why and what to do."""


@dataclass(frozen=True)
class Solution:
    """The solution of one place in a module, and what stands there in the student's file.

    `line` is where the student's begins, None if that place is gone.
    """

    step: int | None
    name: str
    text: str
    yours: str | None
    line: int | None

    @property
    def diff(self) -> str:
        """What would have to change for the student's to become the solution."""
        yours, text = (self.yours or "").splitlines(True), self.text.splitlines(True)
        return "".join(unified_diff(yours, text, "yours", "solution", n=2))


def course_commit(repository: Repository) -> str:
    """The commit that has the solutions, as `tito start` noted it.

    Raises:
        NoSolution: If this repository was never the course, or lacks that part of its history.
    """
    said = repository.git("log", "-1", f"--grep=^{TRAILER}: ", "--format=%B", "HEAD")
    found = re.search(rf"(?m)^{TRAILER}: ([0-9a-f]{{40,64}})$", said)
    if found is None:
        raise NoSolution(
            "there are no solutions in this repository: it was made from the template, which has "
            "none; tito checkpoint hint goes a step at a time"
        )
    try:
        return repository.git("rev-parse", "--verify", "--quiet", f"{found[1]}^{{commit}}").strip()
    except RepositoryError:
        raise NoSolution(
            "the solutions are in an earlier commit that this clone does not have; fetch it with: "
            "git fetch --unshallow"
        ) from None


def _reference(root: Path, file: str) -> str:
    """The module as the course has it, with solutions."""
    if load_manifest(root) is None and (root / "scripts" / "tito" / "release.py").is_file():
        return read_text(root, file)
    try:
        repository = Repository(root)
        commit = course_commit(repository)
        return repository.git("show", f"{commit}:{file}").replace("\r\n", "\n")
    except RepositoryError as problem:
        raise NoSolution(f"no solution of {file} can be read: {problem}") from None


def _body(module: ModuleSource, region: Region) -> str:
    return "\n".join(module.lines[region.begin : region.end - 1]) + "\n"


def solutions(root: Path, rung: Checkpoint) -> list[Solution]:
    """The solutions of a module, in order.

    Raises:
        NoSolution: If this tree and its history have none.
    """
    course = parse(_reference(root, rung.source), rung.source)
    try:
        own = parse(read_text(root, rung.source), rung.source)
        here = {region.name: region for region in own.regions}
    except FileProblem:
        own, here = course, {}
    found = []
    for region in course.regions:
        mine = here.get(region.name)
        yours = _body(own, mine) if mine else None
        line = mine.begin if mine else None
        found.append(Solution(region.step, region.name, _body(course, region), yours, line))
    return found
