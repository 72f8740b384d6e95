"""Take the package under test out of a tree, once, as text: nothing can change it afterwards."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tito.export import Exported, export_one, faces
from tito.files import FileProblem, read_text
from tito.ladder import Ladder


@dataclass(frozen=True)
class Part:
    """One module of the package: its text under the name of the file the student sees.

    A `problem` stands for a text that cannot be used; it is raised when the part is imported.
    """

    text: str
    filename: str
    is_package: bool = False
    problem: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """The faces of tinytorch and the exported modules; `problems` are those of the export.

    `digests` has, by rung, that of each source that could be read.
    """

    package: dict[str, Part]
    problems: tuple[FileProblem, ...]
    missing: tuple[str, ...]
    digests: dict[str, str]


def _faces(root: Path, ladder: Ladder, pristine: Mapping[str, bytes]) -> dict[str, Part]:
    """The hand-written part of the package, with the released text of what was changed."""
    parts = {}
    lost = {p for p in pristine if p.startswith("tinytorch/") and p.endswith(".py")}
    for file in sorted({*faces(root, ladder), *lost}):
        *folders, name = file.removesuffix(".py").split("/")
        is_package = name == "__init__"
        dotted = ".".join(folders if is_package else [*folders, name])
        # A forged manifest may name what is no text: that is found when it is imported.
        own = pristine.get(file)
        text = read_text(root, file) if own is None else own.decode("utf-8", "replace")
        parts[dotted] = Part(text, file, is_package=is_package)
    return parts


def _source_of(result: Exported) -> Part:
    """An exported module under the name of the file the student wrote, or its problem."""
    if result.text is None:
        return Part("", result.rung.source, problem=str(result.problem))
    return Part(result.text, result.rung.source)


def take(root: Path, ladder: Ladder, pristine: Mapping[str, bytes] | None = None) -> Snapshot:
    """Read the tree at `root`: only regular files, no links followed, sizes capped.

    Raises:
        FileProblem: If a hand-written file of the package itself cannot be read.
    """
    package = _faces(root, ladder, pristine or {})
    problems, missing, digests = [], [], {}
    for rung in ladder.checkpoints:
        if not (root / rung.file).is_file() and not (root / "modules" / rung.folder).exists():
            continue
        result = export_one(root, rung)
        package[result.module] = _source_of(result)
        if result.digest is not None:
            digests[rung.id] = result.digest
        if result.problem is not None:
            problems.append(result.problem)
            if not (root / rung.source).exists():
                missing.append(rung.id)
    return Snapshot(package, tuple(problems), tuple(missing), digests)
