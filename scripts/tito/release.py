"""The student's tree: made from the course in memory, then written whole or not at all.

Only what Git tracks is taken, with the content that stands in the folder. Solutions become stubs,
course-only files and parts go, the badges start at zero, and a manifest says what was released.
The same source gives the same bytes.
"""

import gzip
import io
import os
import re
import shutil
import subprocess
import tempfile
import tokenize
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tito import __version__
from tito.files import FileProblem, read_bytes, read_text, write_atomic
from tito.grading.score import Run, score_ladder
from tito.ladder import LADDER_FILE, AnyRung, Ladder, parse_ladder
from tito.manifest import (
    LARGEST,
    MANIFEST_FILE,
    ManifestError,
    dump_manifest,
    is_module,
    load_manifest,
    make_manifest,
    same,
)
from tito.render import render_all
from tito.report import (
    SCHEMA_VERSION,
    Course,
    Environment,
    Integrity,
    Isolation,
    Outcome,
    Report,
)
from tito.source import ModuleSource, parse
from tito.strip import strip

# What only the course needs: a file, or a folder with a closing slash.
COURSE_ONLY = (
    ".ci/",
    ".github/ISSUE_TEMPLATE/bug.yml",
    ".github/ISSUE_TEMPLATE/unclear.yml",
    ".github/dependabot.yml",
    ".github/pull_request_template.md",
    ".github/workflows/course.yml",
    ".github/workflows/release.yml",
    "badges/",  # rendered anew, at zero
    "scripts/bench/",
    "scripts/requirements/dev.txt",
    "scripts/requirements/lock.py",
    "scripts/screenshots.py",
    "scripts/tests/",
    "scripts/tito/classroom/",
    "scripts/tito/cli/classroom.py",
    "scripts/tito/cli/dev.py",
    "scripts/tito/cli/release.py",
    "scripts/tito/cli/start.py",
    "scripts/tito/devcheck.py",
    "scripts/tito/release.py",
    "scripts/tito/start.py",
    "scripts/tito/template.py",
)
STUDENTS_TOO = ("scripts/tests/student/",)
GENERATED = ("report.json", "summary.md", "grade.json", "classroom.json")
TELLING = 20  # characters of a line of code, white space left out, that could give it away
# The usual words for a file written whole or not at all, and for taking the time: in any program.
IDIOMS = (
    "file.flush()",
    "os.fsync(file.fileno())",
    "os.replace(temporary,path)",
    "temporary.unlink(missing_ok=True)",
    "start=time.perf_counter()",
    "times.append(time.perf_counter()-start)",
)
RUN = 3  # lines of a solution in a row that are no coincidence in code
SHOWN = 8  # paths that a refusal names

_HASH = (".cfg", ".ini", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml")
_HASH_NAMES = (".editorconfig", ".gitattributes", ".gitignore", "Dockerfile", "run")
_NEAR = re.compile(r"^\s*(#+|<!--)?\s*/?\s*(course|student)[\s_-]*only\s*(-->)?\s*$", re.IGNORECASE)
_MARKS = {
    "md": {
        "<!-- course-only -->": ("course", True),
        "<!-- /course-only -->": ("course", False),
        "<!-- student-only": ("student", True),
        "student-only -->": ("student", False),
    },
    "hash": {"# course-only": ("course", True), "# /course-only": ("course", False)},
}


class ReleaseError(Exception):
    """No release was made; the text says why and what to do."""


@dataclass(frozen=True)
class Leak:
    """A line of a solution that a student could read in the release."""

    file: str
    line: int
    text: str
    solution: str  # FILE:LINE of the course


# Which files


def is_course_only(path: str) -> bool:
    """Whether a file of the course does not go to students."""
    if path.startswith(STUDENTS_TOO):
        return False
    return any(path == name or (name[-1] == "/" and path.startswith(name)) for name in COURSE_ONLY)


def _git(root: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """What Git prints, or a `ReleaseError` with its complaint."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            check=False, capture_output=True, text=True, env={**os.environ, **(environment or {})},
        )  # fmt: skip
    except FileNotFoundError:
        raise ReleaseError(
            "git is not installed, and it knows which files belong to the course; on Debian and "
            "Ubuntu: sudo apt install git"
        ) from None
    if done.returncode != 0:
        raise ReleaseError(f"git {arguments[0]}: {done.stderr.strip() or 'failed'}")
    return done.stdout


def is_repository(root: Path) -> bool:
    """Whether the tree is the top of a Git repository, not a folder inside another one."""
    return (root / ".git").exists()


def source_files(root: Path) -> list[str]:
    """The course's files: what Git tracks here; without a repository (an unpacked archive), every
    file that .gitignore does not name."""
    if is_repository(root):
        listed = _git(root, "ls-files", "-z", "--cached")
    else:
        with tempfile.TemporaryDirectory(prefix="tito-release-") as folder:
            _git(root, "init", "--quiet", "--bare", "--template=", folder)
            place = {"GIT_DIR": folder, "GIT_WORK_TREE": str(root)}
            select = ("ls-files", "-z", "--others", "--exclude-standard")
            listed = _git(root, *select, environment=place)
    names = sorted({name for name in listed.split("\0") if name})
    return [n for n in names if n not in GENERATED and (root / n).exists()]


def changes(root: Path) -> list[str]:
    """Tracked files that differ from the last commit; empty without a repository."""
    if not is_repository(root):
        return []
    rows = _git(root, "status", "--porcelain", "--untracked-files=no", "-z").split("\0")
    return [row[3:] for row in rows if row[2:3] == " "]


def source_commit(root: Path) -> str | None:
    """The full hash of the course's commit, or None without a repository or a commit."""
    if not is_repository(root):
        return None
    try:
        return _git(root, "rev-parse", "HEAD").strip()
    except ReleaseError:
        return None


# What becomes of a file


def _marks_of(path: str) -> dict[str, tuple[str, bool]]:
    """The markers that a kind of file may hold; none for data."""
    name = PurePosixPath(path)
    if name.suffix == ".md":
        return _MARKS["md"]
    return _MARKS["hash"] if name.suffix in _HASH or name.name in _HASH_NAMES else {}


def select_parts(text: str, path: str) -> str:
    """Leave out the course-only parts of a file, and show its student-only ones.

    Raises:
        FileProblem: For a nested, stray, unclosed or misspelt marker, with its line.
    """
    marks = _marks_of(path)
    if not marks or "only" not in text:
        return text
    kept: list[str] = []
    opened, at = "", 0
    skip_blanks = 0
    for number, line in enumerate(text.split("\n"), 1):
        word = line.strip()
        if word not in marks:
            if _NEAR.match(line) and word not in ("course-only", "student-only"):
                known = ", ".join(f"`{mark}`" for mark in marks)
                raise FileProblem(path, f"malformed marker {word!r}", f"use {known}", number)
            if skip_blanks and not word:
                skip_blanks -= 1
            elif opened != "course":
                skip_blanks = 0
                kept.append(line)
            continue
        kind, begins = marks[word]
        if begins and opened:
            fact = f"a {kind}-only part begins inside the {opened}-only part of line {at}"
            raise FileProblem(path, fact, "close that one first", number)
        if not begins and opened != kind:
            raise FileProblem(
                path, f"a {kind}-only part ends that never began", "remove it", number
            )
        opened, at = (kind, number) if begins else ("", 0)
        # What is cut out leaves the blank lines before it, and not those after it as well.
        if not begins:
            blanks = [n for n, row in enumerate(reversed(kept)) if row.strip()]
            skip_blanks = blanks[0] if blanks else len(kept) + 1
    if opened:
        raise FileProblem(path, f"a {opened}-only part is never closed", "close it", at)
    return "\n".join(kept)


NEVER = "2000-01-01"


def zero_report(ladder: Ladder, modules: Mapping[str, ModuleSource], present: set[str]) -> Report:
    """The report of a tree in which nothing has been written yet; for its badges alone.

    `present` has the paths of the release, and `modules` its stubs by path.
    """
    runs = {}
    for rung in ladder.checkpoints:
        if rung.file in present:
            module = modules.get(rung.source)
            line = module.regions[0].begin + 2 if module and module.regions else None
            run = Outcome("test", None, "not_started", file=rung.source, line=line)
            runs[rung.id] = Run((run,))
    standing = score_ladder(ladder, runs)
    return Report(
        schema_version=SCHEMA_VERSION,
        course=Course("TinyTorch", __version__),
        ladder_version=ladder.version,
        generated_at=f"{NEVER}T00:00:00Z",
        repository=None,
        commit=None,
        branch=None,
        seed=0,
        duration=0.0,
        environment=Environment("", "", "", "", 0, False),
        isolation=Isolation("none", ()),
        problems=(),
        integrity=Integrity(None, (), (), ()),
        **{name: getattr(standing, name) for name in standing.__slots__},
    )


def _released(root: Path, path: str) -> tuple[bytes, ModuleSource | None]:
    """The bytes of a file as students get it, and the module it was if it is one."""
    data = read_bytes(root, path, LARGEST)
    if b"\0" in data or (not _marks_of(path) and not is_module(path)):
        return data, None
    try:
        text = data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise FileProblem(path, "is not UTF-8 text", "save it as UTF-8") from None
    if not is_module(path):
        return select_parts(text, path).encode(), None
    module = parse(text, path)
    return select_parts(strip(path.split("/")[1][:2], module), path).encode(), module


def left_out(ladder: Ladder, released: Container[str]) -> list[AnyRung]:
    """The checkpoints of a ladder whose file is not among those of a release."""
    return [rung for rung in (*ladder.checkpoints, *ladder.custom) if rung.file not in released]


def why_left_out(root: Path, rung: AnyRung) -> tuple[str, str]:
    """What is wrong with a checkpoint's file that a release would not have, and the mend."""
    if (root / rung.file).exists():
        return "is not tracked, so it would not be released", f"git add {rung.file}"
    return "is missing", f"write it, or take {rung.name} out of {LADDER_FILE.as_posix()}"


def build(root: Path) -> dict[str, bytes]:
    """Make the student's tree in memory: content by path, the manifest included.

    Raises:
        ReleaseError: If the tree at `root` is not a course.
        FileProblem: If a file cannot be used; it names the line.
    """
    if load_manifest(root) is not None:
        raise ReleaseError(f"{root} is a student's tree; a release is made from the course")
    tree: dict[str, bytes] = {}
    modules: list[ModuleSource] = []
    for path in source_files(root):
        if is_course_only(path):
            continue
        if (root / path).is_symlink():
            raise FileProblem(path, "is a symbolic link", "a release holds regular files only")
        tree[path], module = _released(root, path)
        if module is not None:
            modules.append(module)
    ladder_file = LADDER_FILE.as_posix()
    if ladder_file not in tree or not modules:
        raise ReleaseError(f"{root} is not a course: it tracks no {ladder_file} or no module")
    if not any(module.regions for module in modules):
        raise ReleaseError("no module has a solution: this is a student's tree, not the course")
    ladder = parse_ladder(tree[ladder_file].decode())
    for rung in left_out(ladder, tree):
        fact, mend = why_left_out(root, rung)
        raise ReleaseError(f"{ladder_file} names {rung.name}, but {rung.file} {fact}; {mend}")
    stubs = {module.file: parse(tree[module.file].decode(), module.file) for module in modules}
    for path, text in render_all(zero_report(ladder, stubs, set(tree))).items():
        if path.startswith("badges/"):
            tree[path] = re.sub(rf"<text[^>]*>graded {NEVER}</text>", "", text).encode()
    tree[MANIFEST_FILE] = dump_manifest(make_manifest(__version__, tree)).encode()
    return dict(sorted(tree.items()))


# What must not be in it


def _squeeze(line: str) -> str:
    """A line without white space and without a comment behind its code."""
    return "".join(re.sub(r"(?<=\S)\s+#\s.*$", "", line).split())


def _tells(row: str) -> bool:
    """Whether a squeezed line of a solution could give it away."""
    return len(row) >= TELLING and row not in IDIOMS


def _unpacked(path: str, data: bytes) -> str:
    """The text of a file, compressed or not, whatever its encoding."""
    if path.endswith(".gz"):
        data = gzip.decompress(data)
    return data.decode("utf-8", "replace")


def _prose(path: str, text: str) -> set[int]:
    """The lines that a person reads: all of them but the code of a Python file,
    to which the probes of a checkpoint belong."""
    lines = range(1, text.count("\n") + 2)
    if not path.endswith(".py"):
        return set(lines)
    found: set[int] = set()
    layout = (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT)
    begins = True  # a statement, which is where a docstring stands
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            comment = token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip()
            if comment or (begins and token.type == tokenize.STRING):
                found.update(range(token.start[0], token.end[0] + 1))
            begins = token.type == tokenize.NEWLINE or (begins and token.type in layout)
    except (tokenize.TokenError, SyntaxError):
        return set(lines)
    return found


def refuse_leaks(root: Path, tree: Mapping[str, bytes]) -> None:
    """Raise a `ReleaseError` that names the lines of solutions in a release, if there are any."""
    if found := leaks(root, tree):
        rows = [f"{leak.file}:{leak.line}: {leak.text!r} is in {leak.solution}" for leak in found]
        more = f"\n  and {len(rows) - 20} more" if len(rows) > 20 else ""
        raise ReleaseError("solutions would leak:\n  " + "\n  ".join(rows[:20]) + more)


def leaks(root: Path, tree: Mapping[str, bytes]) -> list[Leak]:
    """Lines of the solutions at `root` that can be read in a release; there must be none.

    White space and comments behind code do not count. A line under `TELLING` characters tells
    nothing (`return out`, `while waiting:`), nor does one of `IDIOMS`. In prose (Markdown,
    comments, docstrings, data) any other line of a solution is a leak, alone or inside a longer
    line. In code the same line may come about by itself, as `optimizer.zero_grad()` does: there
    `RUN` of them in a row are a leak, or a whole solution that is shorter.
    """
    names = [path for path in source_files(root) if is_module(path)]
    modules = [parse(read_text(root, path), path) for path in names]
    bodies = [
        (f"{module.file}:{region.begin + 1}", rows)
        for module in modules
        for region in module.regions
        if (rows := tuple(filter(None, map(_squeeze, module.lines[region.begin : region.end - 1]))))
    ]
    telling = {row: place for place, rows in bodies for row in rows if _tells(row)}
    runs = {
        rows[i : i + RUN]: place
        for place, rows in bodies
        for i in range(max(1, len(rows) - RUN + 1))
        if any(map(_tells, rows[i : i + RUN]))
    }
    found = []
    for path, data in tree.items():
        text = _unpacked(path, data)
        lines = text.split("\n")
        prose = _prose(path, text)
        read = {n: "".join(line.split()) for n, line in enumerate(lines, 1) if n in prose}
        whole = "\n".join(read.values())
        for row, place in telling.items():
            if row in whole:
                at = next(n for n, line in read.items() if row in line)
                found.append(Leak(path, at, lines[at - 1].strip(), place))
        code = [
            (n, row)
            for n, line in enumerate(lines, 1)
            if n not in prose and (row := _squeeze(line))
        ]
        found += [
            Leak(path, n, lines[n - 1].strip(), runs[run])
            for i, (n, _) in enumerate(code)
            for length in range(1, RUN + 1)
            if (run := tuple(row for _, row in code[i : i + length])) in runs
        ]
    return found


# Where it goes


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(paths[:SHOWN]) + more


def _walk(folder: Path) -> Iterator[str]:
    """Every file of a folder by its path from there; the repository's own are one, `.git`."""
    for place, folders, names in os.walk(folder):
        here = Path(place)
        links = [name for name in folders if (here / name).is_symlink()]
        for name in (*names, *links):
            yield (here / name).relative_to(folder).as_posix()
        if ".git" in folders:
            folders.remove(".git")
            yield (here / ".git").relative_to(folder).as_posix()


def _before(out: Path, tree: Mapping[str, bytes]) -> set[str]:
    """The paths of the earlier release in `out`; refuses whatever a release would destroy."""
    present = list(_walk(out))
    if not present:
        return set()
    at_risk = sorted(path for path in present if path in tree)
    try:
        earlier = load_manifest(out)
    except ManifestError as error:
        raise ReleaseError(f"{out}: {error}; nothing was overwritten") from None
    if earlier is None:
        what = f"would overwrite {_some(at_risk)}" if at_risk else f"it holds {_some(present)}"
        raise ReleaseError(
            f"{out} is no earlier release (it has no {MANIFEST_FILE}), and {what}; choose an empty "
            f"folder or a new name"
        )
    known = earlier.everything
    changed = []
    for path in sorted({*known, *at_risk} - {MANIFEST_FILE}):
        if not (out / path).exists() and not (out / path).is_symlink():
            continue
        try:
            data = read_bytes(out, path, LARGEST)
        except FileProblem:
            data = b""
        unchanged = path in known and same(data, known[path])
        if not unchanged and not (path in tree and data == tree[path]):
            changed.append(path)
    if changed:
        raise ReleaseError(
            f"{out} was changed after it was released, and this would overwrite {_some(changed)}; "
            f"choose another folder, or undo those changes"
        )
    return {*known, MANIFEST_FILE}


def _write_new(folder: Path, tree: Mapping[str, bytes]) -> None:
    """Write a tree into a new folder."""
    for path, data in tree.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "xb") as file:
            file.write(data)


def _sync(out: Path, tree: Mapping[str, bytes], before: set[str]) -> None:
    """Bring a folder that holds more than a release up to date, each file whole, the manifest
    last: a run that is killed here is completed by the next one."""
    for path, data in tree.items():
        if path != MANIFEST_FILE:
            write_atomic(out / path, data)
    for path in sorted(before - set(tree)):
        (out / path).unlink(missing_ok=True)
        for folder in (out / path).parents:
            if folder == out or (folder.is_dir() and any(folder.iterdir())):
                break
            if folder.is_dir():
                folder.rmdir()
    write_atomic(out / MANIFEST_FILE, tree[MANIFEST_FILE])


def write(tree: Mapping[str, bytes], out: Path, root: Path) -> None:
    """Write a release to a folder: new, empty, or one that holds an earlier release.

    A new tree is built beside the folder and then takes its place, so that a run that is killed
    leaves the last good state. Where the folder also holds other things (a repository, an
    environment), these stay, and the files are replaced one by one.

    Raises:
        ReleaseError: If something there is not from an earlier release; nothing is written.
    """
    out = out.resolve()
    if out == root.resolve() or root.resolve().is_relative_to(out):
        raise ReleaseError(f"{out} holds the course itself; choose a folder beside it")
    if out.is_relative_to(root.resolve()):
        raise ReleaseError(f"{out} lies inside the course; choose a folder beside it")
    if out.exists() and not out.is_dir():
        raise ReleaseError(f"{out} is a file; choose another name")
    beside, aside = (out.with_name(f".{out.name}.release-{word}") for word in ("new", "old"))
    if aside.is_dir() and not out.exists():
        os.replace(aside, out)  # an earlier run was killed between its two renames
    before = _before(out, tree) if out.exists() else set()
    if before and set(_walk(out)) - before:
        _sync(out, tree, before)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    for leftover in (beside, aside):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        _write_new(beside, tree)
        if out.exists():
            os.replace(out, aside)
        os.replace(beside, out)
    finally:
        if not out.exists() and aside.exists():
            os.replace(aside, out)
        for leftover in (beside, aside):
            shutil.rmtree(leftover, ignore_errors=True)


def counts(tree: Mapping[str, bytes]) -> tuple[int, int, int]:
    """How many files, modules and stubs a release holds."""
    sources = [data.decode() for path, data in tree.items() if is_module(path)]
    stubs = sum(text.count('raise NotImplementedError("module ') for text in sources)
    return len(tree), len(sources), stubs
