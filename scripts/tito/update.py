"""Merge a newer release of the course into a student's tree: one commit, whole or not at all.

What a student must not change becomes the release's. A module that was not touched is replaced; one
that was is merged, and where that is not possible it stays as it is, with the merged text beside
it. The release is a second parent of the commit, so that its stubs stay in the history: they are
what the next merge starts from, and what `tito module reset` brings back.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tito.aside import keep_aside
from tito.files import FileProblem, read_bytes, write_atomic
from tito.manifest import (
    LARGEST,
    MANIFEST_FILE,
    Manifest,
    ManifestError,
    find_pristine,
    is_module,
    load_manifest,
    parse_manifest,
    same,
)
from tito.repository import Entry, Repository, RepositoryError, some
from tito.threeway import Merged, merge_module, merge_text
from tito.upstream import TRAILER, Release, plain_address, read_release

MERGES = ".tito/merge"  # base, new and merged text of what could not be merged
ORDINARY = "100644"

Kind = Literal[
    "replaced", "added", "removed", "restored", "aside", "merged", "conflict", "kept", "moved"
]


@dataclass(frozen=True)
class Change:
    """What becomes of one file, and why; `origin` is its path before where that is another."""

    kind: Kind
    path: str
    why: str = ""
    origin: str = ""
    merged: Merged | None = None
    base: str = ""


@dataclass
class Plan:
    """All that an update does. `contents` has the files to write, None for those that go, and
    `aside` what is kept beside the tree."""

    release: Release
    before: Manifest
    note: str = ""
    changes: list[Change] = field(default_factory=list)
    contents: dict[str, bytes | None] = field(default_factory=dict)
    aside: dict[str, bytes] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=dict)

    def of(self, *kinds: Kind) -> list[Change]:
        """The changes of some kinds."""
        return [change for change in self.changes if change.kind in kinds]


@dataclass(frozen=True)
class Updated:
    """What an update left: the commit, where things were kept, what is to be merged by hand."""

    commit: str
    kept: Mapping[str, str]


# What is here


def own_manifest(repository: Repository) -> tuple[Manifest, str]:
    """The manifest of the tree; where it was lost or edited, the last good one in its history.

    Returns:
        The manifest, and a note when it is not the one that stands in the tree.

    Raises:
        RepositoryError: If there is none, or the tree is the course itself.
    """
    root = repository.root
    try:
        if (manifest := load_manifest(root)) is not None:
            return manifest, ""
        if (root / "scripts" / "tito" / "release.py").is_file():
            raise RepositoryError(
                "this is the course itself, with solutions: nothing is released to it; take in "
                "its changes with git pull, or make a student's tree of it with: tito start"
            )
        trouble = f"{MANIFEST_FILE} is missing"
    except ManifestError as problem:
        if "newer tito" in problem.message:
            raise RepositoryError(
                f"{MANIFEST_FILE} {problem.message}, but the tool here is older: they belong to "
                f"one release; bring both back with: git checkout HEAD -- scripts"
            ) from None
        trouble = f"{MANIFEST_FILE} {problem.message}"
    for blob in _past_manifests(repository):
        try:
            text = repository.contents([blob])[blob].decode("utf-8", "replace")
            return parse_manifest(text), f"{trouble}; the last good one of the history serves"
        except ManifestError:
            continue
    raise RepositoryError(
        f"{trouble}, and no earlier commit has a usable one, so that nothing says which release "
        f"this tree has; fetch the whole history (git fetch --unshallow), or begin from a new copy "
        f"of the template and bring your modules/ there"
    )


def _past_manifests(repository: Repository) -> list[str]:
    """The manifests that this branch ever had, newest first."""
    log = repository.git(
        "log", "--full-history", "-m", "--root", "--raw", "--no-abbrev", "--no-renames",
        "--format=", "-z", "HEAD", "--", MANIFEST_FILE,
    )  # fmt: skip
    rows = (row.split() for row in log.split("\0") if row.lstrip("\n").startswith(":"))
    return list(dict.fromkeys(row[3] for row in rows if set(row[3]) != {"0"}))


def _order(version: str) -> tuple[int, ...]:
    """A version as numbers, which can be compared."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[-+]", version)[0]))


def check_newer(repository: Repository, before: Manifest, release: Release) -> None:
    """Refuse a release that is older than the one this tree has."""
    ours, theirs = before.course_version, release.manifest.course_version
    if _order(theirs) < _order(ours):
        raise RepositoryError(
            f"{release.source} has release {theirs}, and this tree already has {ours}; nothing "
            f"was changed"
        )
    blob = repository.store(release.files[MANIFEST_FILE])
    if release.manifest != before and blob in _past_manifests(repository):
        raise RepositoryError(
            f"this tree has gone past the release in {release.source} before; nothing was changed"
        )


# What is to be done


def folders_moved(before: Manifest, after: Manifest) -> dict[str, str]:
    """Modules' folders of the release before that have another name now.

    A module is known by its name, else by its number.
    """
    old = {path.split("/")[1] for path in before.modules}
    new = {path.split("/")[1] for path in after.modules}
    moved: dict[str, str] = {}
    for at in (slice(2, None), slice(0, 2)):
        free = {folder[at]: folder for folder in new - old - set(moved.values())}
        for folder in sorted(old - new - set(moved)):
            if folder[at] in free:
                moved[folder] = free[folder[at]]
    return moved


def _moves(before: Manifest, after: Manifest) -> dict[str, str]:
    """Where the files of renamed modules came from: the path before by the path now."""
    found = {}
    for old, new in folders_moved(before, after).items():
        for path in before.everything:
            if path.startswith(f"modules/{old}/"):
                rest = path.removeprefix(f"modules/{old}/")
                rest = f"{new[3:]}.py" if rest == f"{old[3:]}.py" else rest
                if f"modules/{new}/{rest}" in after.everything:
                    found[f"modules/{new}/{rest}"] = path
    return found


class _Planner:
    """Decides file by file; nothing is written."""

    def __init__(self, repository: Repository, before: Manifest, release: Release, note: str):
        self.repository, self.before, self.after = repository, before, release.manifest
        self.release = release
        self.plan = Plan(release, before, note)
        self.head = repository.files(repository.head)
        named = {*before.everything, *self.after.everything, MANIFEST_FILE} & set(self.head)
        blobs = repository.contents(self.head[p].blob for p in named if self.head[p].ordinary)
        self.here = {p: blobs[self.head[p].blob] for p in named if self.head[p].ordinary}
        self.moves = _moves(before, self.after)
        self.bases: dict[str, bytes] | None = None

    def run(self) -> Plan:
        """The plan for the whole tree."""
        for path in self.after.everything:
            table = "files" if path in self.after.files else "others"
            if path.startswith("badges/"):
                if path not in self.head and path not in self.before.everything:
                    self._write("added", path)
            elif path in self.after.modules:
                self._shared(path, module=True)
            elif table == "files":
                self._protected(path)
            else:
                self._shared(path, module=False)
        for path in set(self.before.everything) - set(self.after.everything):
            if path in self.head and path not in self.moves.values():
                self._gone(path)
        if self.here.get(MANIFEST_FILE) != self.release.files[MANIFEST_FILE]:
            self.plan.contents[MANIFEST_FILE] = self.release.files[MANIFEST_FILE]
        self.plan.changes.sort(key=lambda change: change.path)
        return self.plan

    def _untouched(self, path: str) -> bool:
        """Whether a file is as it was released to the student."""
        wanted = self.before.everything.get(path)
        return path in self.here and wanted is not None and same(self.here[path], wanted)

    def _write(self, kind: Kind, path: str, data: bytes | None = None, **more: object) -> None:
        """Plan to write the release's content, or another one."""
        self.plan.contents[path] = self.release.files[path] if data is None else data
        origin = str(more.get("origin") or "")
        entry = self.head.get(path) or self.head.get(origin)
        self.plan.modes[path] = entry.mode if entry and entry.ordinary else ORDINARY
        if origin and origin not in self.after.everything:
            self.plan.contents[origin] = None
        self.plan.changes.append(Change(kind, path, **more))  # type: ignore[arg-type]

    def _raw(self, path: str) -> bytes:
        """A committed content, also that of a link: what it points to."""
        entry = self.head[path]
        if path in self.here or entry.mode == "160000":
            return self.here.get(path, b"")
        return self.repository.contents([entry.blob])[entry.blob]

    def _protected(self, path: str) -> None:
        """A file of the course: it becomes the release's; a changed one is kept aside."""
        if path not in self.head:
            self._write("restored" if path in self.before.everything else "added", path)
        elif path in self.here and same(self.here[path], self.after.files[path]):
            return
        elif self._untouched(path):
            self._write("replaced", path)
        else:
            self.plan.aside[path] = self._raw(path)
            self._write("aside", path)

    def _shared(self, path: str, *, module: bool) -> None:
        """A file that the student may change: replaced, merged or kept."""
        origin = self.moves.get(path, path)
        origin = origin if origin in self.head else path
        moved = {"origin": origin} if origin != path else {}
        wanted = self.after.everything[path]
        if origin not in self.head:
            if origin not in self.before.everything and path not in self.moves:
                self._write("added", path)
            elif module:
                self._write("restored", path, why="was deleted, and is here again as a stub")
            return
        if self._untouched(origin):
            if not same(self.here[origin], wanted):
                self._write("moved" if moved else "replaced", path, **moved)
            elif moved:
                self._write("moved", path, **moved)
            return
        if origin not in self.here:
            self.plan.changes.append(Change("kept", origin, "is not an ordinary file"))
            return
        data = self.here[origin]
        theirs_changed = self.before.everything.get(origin) != wanted
        if same(data, wanted) or not theirs_changed or path.endswith("/reflection.md"):
            if moved:
                self._write("moved", path, data, why="with what you wrote", **moved)
            return
        self._merge(path, origin, data, module, moved)

    def _base(self, path: str) -> str | None:
        """The text that was released to the student, if the history still has it."""
        if self.bases is None:
            touched = {
                p: sha
                for p, sha in {**self.before.modules, **self.before.others}.items()
                if p in self.here and not same(self.here[p], sha) and not p.startswith("badges/")
            }
            self.bases = find_pristine(self.repository.root, touched)
        data = self.bases.get(path)
        return None if data is None else data.decode("utf-8", "replace")

    def _merge(self, path: str, origin: str, data: bytes, module: bool, moved: dict) -> None:
        """Merge the release into a file that the student has changed."""
        release = self.after.course_version
        windows = b"\r\n" in data
        try:
            ours = data.decode("utf-8-sig").replace("\r\n", "\n")
            theirs = self.release.files[path].decode("utf-8")
        except UnicodeDecodeError:
            self._keep(path, data, "is not UTF-8 text", moved)
            return
        base = self._base(origin)
        if base is None:
            text, _ = merge_text("", ours, theirs, release)
            why = "the text that was released to you is not in this repository's history"
            merged = Merged(text, (), why)
        elif module:
            merged = merge_module(path, base, ours, theirs, release)
        else:
            text, clean = merge_text(base, ours, theirs, release)
            merged = Merged(text, why="" if clean else "you and the release changed the same lines")
        if merged.clean:
            text = merged.text.replace("\n", "\r\n") if windows else merged.text
            if text.encode() != data or moved:
                self._write("merged", path, text.encode(), merged=merged, **moved)
        elif module:
            change = Change("conflict", path, merged.why, merged=merged, base=base or "", **moved)
            if moved:
                self._write("moved", path, data, why="with what you wrote", **moved)
            self.plan.changes.append(change)
        else:
            self._keep(path, data, merged.why, moved)

    def _keep(self, path: str, data: bytes, why: str, moved: dict) -> None:
        """Leave a file of the student's as it is, at its new place if that has changed."""
        if moved:
            self._write("moved", path, data, why=why, **moved)
        else:
            self.plan.changes.append(Change("kept", path, why))

    def _gone(self, path: str) -> None:
        """A file that the release no longer has."""
        if path.startswith("badges/"):
            return
        if not self._untouched(path):
            if path not in self.before.files:
                why = "the release no longer has it; it is yours now"
                self.plan.changes.append(Change("kept", path, why))
                return
            self.plan.aside[path] = self._raw(path)
        self.plan.contents[path] = None
        self.plan.changes.append(Change("removed", path))


def make_plan(repository: Repository, source: str | None, branch: str | None) -> Plan:
    """Read the release and decide what becomes of every file; the tree is not changed.

    Raises:
        RepositoryError, FileProblem: If it cannot be merged; the text says why and what to do.
    """
    before, note = own_manifest(repository)
    release = read_release(repository, source, branch)
    check_newer(repository, before, release)
    plan = _Planner(repository, before, release, note).run()
    head = repository.files(repository.head)
    fresh = [p for p, data in plan.contents.items() if data is not None and p not in head]
    going = {path for path, data in plan.contents.items() if data is None}
    if in_the_way := [path for path in repository.in_the_way(fresh) if path not in going]:
        raise RepositoryError(
            f"the release brings {some(in_the_way)}, and something of yours is there that it would "
            f"overwrite; move it away, then run this again"
        )
    return plan


# Doing it


def apply_plan(repository: Repository, plan: Plan) -> Updated:
    """Commit a plan and bring the files to it; until the branch moves nothing counts.

    Raises:
        RepositoryError: If that fails; the tree is as it was.
    """
    changes: dict[str, Entry | None] = {}
    for path, data in plan.contents.items():
        if data is None:
            changes[path] = None
        else:
            mode = plan.modes.get(path, ORDINARY)
            changes[path] = Entry(mode, repository.store(data))
    parents = [repository.head]
    release = plan.release.commit or _as_commit(repository, plan.release)
    if not _is_ancestor(repository, release):
        parents.append(release)
    commit = repository.commit(repository.head, changes, parents, _message(plan))
    kept = {p: keep_aside(repository.root, p, data) for p, data in plan.aside.items()}
    for change in plan.of("conflict"):
        _keep_merge(repository.root, plan, change)
    repository.swap(commit, f"tito update: {plan.release.manifest.course_version}")
    return Updated(commit, kept)


def _as_commit(repository: Repository, release: Release) -> str:
    """The release of a folder as a commit of its own, so that its stubs are in the history."""
    entries = {p: Entry(ORDINARY, repository.store(data)) for p, data in release.files.items()}
    text = f"Release {release.manifest.course_version} of the course\n"
    return repository.commit(None, dict(entries), [], text)


def _is_ancestor(repository: Repository, commit: str) -> bool:
    try:
        repository.git("merge-base", "--is-ancestor", commit, repository.head)
    except RepositoryError:
        return False
    return True


def _message(plan: Plan) -> str:
    """The commit's message: what happened to the student's own files, and where to fetch next."""
    rows = [f"Update the course to {plan.release.manifest.course_version}", ""]
    for kind, word in (
        ("merged", "Merged with my work"), ("conflict", "Not merged yet, left as it was"),
        ("moved", "Moved"), ("aside", "Replaced, though changed here"),
    ):  # fmt: skip
        rows += [f"{word}: {change.path}" for change in plan.of(kind)]  # type: ignore[arg-type]
    address = plain_address(plan.release.source)
    if plan.release.branch and not re.search(r"\s", address) and "://" in address:
        rows += ["", f"{TRAILER}: {address} {plan.release.branch}"]
    return "\n".join(rows).rstrip() + "\n"


def merge_folder(path: str) -> str:
    """Where the texts of a module that could not be merged lie."""
    return f"{MERGES}/{path.split('/')[1]}"


def _keep_merge(root: Path, plan: Plan, change: Change) -> None:
    """Write base, release and merged text beside the tree."""
    assert change.merged is not None
    folder = root / merge_folder(change.path)
    name = Path(change.path).stem
    write_atomic(folder / f"{name}.before.py", change.base)
    write_atomic(folder / f"{name}.release.py", plan.release.files[change.path])
    write_atomic(folder / f"{name}.merged.py", change.merged.text)
    write_atomic(folder / "version", plan.release.manifest.course_version + "\n")


def waiting(root: Path) -> list[str]:
    """The folders of modules whose merge was left to the student and has not been brought in."""
    return sorted(path.parent.name for path in (root / MERGES).glob("*/version"))


def bring_in(root: Path, path: str) -> tuple[Merged, str]:
    """Merge what is waiting for a module into its file, with marks where both sides differ.

    Returns:
        The merge, and where the student's version is kept.

    Raises:
        FileProblem: If nothing is waiting, or the file still has marks of an earlier merge.
    """
    name, folder = Path(path).stem, merge_folder(path)
    if not is_module(path) or not (root / folder / "version").is_file():
        raise FileProblem(path, "has nothing waiting to be merged", "see: tito update --dry-run")
    version = read_bytes(root, f"{folder}/version").decode("utf-8", "replace").strip()
    before, release = (
        read_bytes(root, f"{folder}/{name}.{word}.py").decode("utf-8", "replace")
        for word in ("before", "release")
    )
    data = read_bytes(root, path, LARGEST)
    ours = data.decode("utf-8-sig", "replace").replace("\r\n", "\n")
    merged = merge_module(path, before, ours, release, version)
    if merged.text == ours and not merged.clean:
        raise FileProblem(path, merged.why, "settle it, then run this again")
    kept = keep_aside(root, path, data)
    write_atomic(root / path, merged.text)
    for place in (root / folder).iterdir():
        place.unlink()
    (root / folder).rmdir()
    return merged, kept
