"""A tree as a Git repository: what is committed, and one commit taken to the files whole.

A swap from one commit to the next leaves a note of what it is about to do and works on a copy of
the index. Whatever ends it before the branch moves, the next call of `undo` brings the files back.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tito.files import replace, write_atomic

# Rewritten by every grade, so that they tell nothing about a tree's being clean.
GRADED = ("badges/", "report.json", "summary.md", "grade.json", "classroom.json")
SHOWN = 8  # paths that a message names
NETWORK_SECONDS = 600
_PLACES = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_DIR", "GIT_INDEX_FILE",
    "GIT_NAMESPACE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_WORK_TREE",
)  # fmt: skip
_SETTINGS = ("core.fsmonitor=false", f"core.hooksPath={os.devnull}", "gc.auto=0")


class RepositoryError(Exception):
    """Nothing was done; the text says why and what to do."""


@dataclass(frozen=True)
class Entry:
    """A file of a commit: its mode, 100644 for an ordinary one, and its blob."""

    mode: str
    blob: str

    @property
    def ordinary(self) -> bool:
        """Whether it is a file, not a link or a repository of its own."""
        return self.mode.startswith("100")


def some(paths: Iterable[str]) -> str:
    """The first few paths, and how many more there are."""
    paths = list(paths)
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(paths[:SHOWN]) + more


class Repository:
    """Git in the tree at `root`.

    Raises:
        RepositoryError: If the tree cannot take a commit now; nothing is changed.
    """

    def __init__(self, root: Path):
        self.root = root
        if shutil.which("git") is None:
            raise RepositoryError("git is not installed; install it: https://git-scm.com/downloads")
        try:
            prefix = self.git("rev-parse", "--show-prefix").strip()
        except RepositoryError as problem:
            if "not a git repository" not in str(problem):
                raise
            raise RepositoryError(
                f"{root} is not a Git repository, and without one nothing could be undone; begin "
                f"one with: git init && git add --all && git commit -m Begin"
            ) from None
        if prefix:
            raise RepositoryError(
                f"{root} lies inside another Git repository; the tree must be the top of its own"
            )
        try:
            self.head = self.git("rev-parse", "--verify", "--quiet", "HEAD^{commit}").strip()
        except RepositoryError:
            raise RepositoryError(
                "nothing is committed yet; begin with: git add --all && git commit -m Begin"
            ) from None

    def git(self, *arguments: str, data: bytes | None = None, index: Path | None = None) -> str:
        """What Git prints, as text."""
        return self.run(*arguments, data=data, index=index).decode("utf-8", "surrogateescape")

    def run(self, *arguments: str, data: bytes | None = None, index: Path | None = None) -> bytes:
        """What Git prints; its complaint becomes a `RepositoryError`."""
        environment = {n: v for n, v in os.environ.items() if n not in _PLACES} | {"LC_ALL": "C"}
        if index is not None:
            environment["GIT_INDEX_FILE"] = str(index)
        if not sys.stdin or not sys.stdin.isatty():
            environment["GIT_TERMINAL_PROMPT"] = "0"
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        try:
            done = subprocess.run(
                ["git", "-C", str(self.root), "--no-pager", *settings, *arguments],
                input=data, stdin=subprocess.DEVNULL if data is None else None,
                capture_output=True, env=environment, timeout=NETWORK_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise RepositoryError(
                f"git {arguments[0]}: no answer in {NETWORK_SECONDS} s; try again later"
            ) from None
        if done.returncode != 0:
            story = " ".join(done.stderr.decode("utf-8", "replace").split())
            raise RepositoryError(f"git {arguments[0]}: {story[-600:] or 'failed'}")
        return done.stdout

    def path(self, name: str) -> Path:
        """Where Git keeps a file of its own, also in a linked work tree."""
        found = Path(self.git("rev-parse", "--git-path", name).strip())
        return found if found.is_absolute() else self.root / found

    # What is there

    def files(self, commit: str) -> dict[str, Entry]:
        """The files of a commit by path."""
        found = {}
        for row in self.git("ls-tree", "-r", "-z", "--full-tree", commit).split("\0"):
            if row:
                facts, _, path = row.partition("\t")
                mode, _, blob = facts.split(" ")
                found[path] = Entry(mode, blob)
        return found

    def contents(self, blobs: Iterable[str]) -> dict[str, bytes]:
        """The content of blobs by their ids."""
        wanted = sorted(set(blobs))
        answer = self.run("cat-file", "--batch", data="".join(f"{b}\n" for b in wanted).encode())
        found, at = {}, 0
        for blob in wanted:
            end = answer.index(b"\n", at)
            size = int(answer[at:end].split()[2])
            found[blob] = answer[end + 1 : end + 1 + size]
            at = end + size + 2
        return found

    def changes(self) -> list[str]:
        """Tracked files that differ from the last commit, those that grading writes left out."""
        rows = self.git("status", "--porcelain", "--untracked-files=no", "-z").split("\0")
        names = [row[3:] for row in rows if row[2:3] == " "]
        return [name for name in names if not name.startswith(GRADED)]

    def in_the_way(self, paths: Iterable[str]) -> list[str]:
        """Files on disk, untracked ones, where new paths are to be written."""
        found = set()
        for path in paths:
            places = [self.root.joinpath(*path.split("/"))]
            places += [p for p in places[0].parents if p.is_relative_to(self.root)]
            for place in places:
                standing = place.is_symlink() or place.exists()
                if standing and (place == places[0] or place.is_symlink() or not place.is_dir()):
                    found.add(place.relative_to(self.root).as_posix())
        return sorted(found)

    def check_ready(self, purpose: str) -> None:
        """Refuse a tree that is not as it was committed, or in the middle of something."""
        for name, word in (
            ("MERGE_HEAD", "merge"), ("rebase-merge", "rebase"), ("rebase-apply", "rebase"),
            ("CHERRY_PICK_HEAD", "cherry-pick"), ("REVERT_HEAD", "revert"),
        ):  # fmt: skip
            if self.path(name).exists():
                raise RepositoryError(
                    f"a {word} is under way here; end it with: git {word} --continue, or "
                    f"git {word} --abort"
                )
        if self.path("index.lock").exists():
            raise RepositoryError(
                f"another git is at work here; wait for it, or, if it was killed, remove "
                f"{self.path('index.lock')}"
            )
        if changed := self.changes():
            raise RepositoryError(
                f"not committed yet: {some(changed)}; save your work first, so that {purpose} can "
                f"be undone: git commit -a -m 'My work'"
            )
        try:
            self.git("var", "GIT_COMMITTER_IDENT")
        except RepositoryError:
            raise RepositoryError(
                "git does not know who you are; tell it with: git config --global user.name 'Your "
                "Name' && git config --global user.email you@example.org"
            ) from None

    # One commit

    def store(self, data: bytes) -> str:
        """Put a content into the repository; returns its blob."""
        return self.git("hash-object", "-w", "--stdin", data=data).strip()

    def commit(
        self, base: str | None, changes: Mapping[str, Entry | None], parents: list[str], text: str
    ) -> str:
        """Store a commit: the files of `base` with changes, None for a file that goes."""
        scratch = self.path("tito-index")
        scratch.unlink(missing_ok=True)
        self.git("read-tree", *([base] if base else ["--empty"]), index=scratch)
        gone = [path for path, entry in changes.items() if entry is None]
        rows = [f"0 {'0' * 40}\t{path}\0" for path in gone]
        rows += [f"{e.mode} {e.blob}\t{path}\0" for path, e in changes.items() if e is not None]
        stream = "".join(rows).encode("utf-8", "surrogateescape")
        self.git("update-index", "-z", "--index-info", data=stream, index=scratch)
        tree = self.git("write-tree", index=scratch).strip()
        scratch.unlink(missing_ok=True)
        before = [word for parent in parents for word in ("-p", parent)]
        return self.git("commit-tree", tree, *before, data=text.encode()).strip()

    # From one commit to the next

    def swap(self, new: str, reason: str) -> None:
        """Bring a clean tree, its index and its branch from the last commit to `new`.

        Raises:
            RepositoryError: If that fails; everything is as it was.
        """
        note, index, scratch = (self.path(n) for n in ("tito-swap", "index", "tito-index"))
        shutil.copyfile(index, scratch)
        write_atomic(note, f"{self.head} {new}\n")
        try:
            self.git("read-tree", "-m", "-u", self.head, new, index=scratch)
            replace(scratch, index)
            self.git("update-ref", "-m", reason, "HEAD", new, self.head)
        except RepositoryError as problem:
            self.undo()
            raise RepositoryError(
                f"{problem}; the tree is as it was before: mend that, then run this again"
            ) from None
        except BaseException:
            self.undo()
            raise
        self.head = new
        note.unlink(missing_ok=True)

    @property
    def interrupted(self) -> bool:
        """Whether a swap was ended half-way and has not been undone."""
        return self.path("tito-swap").exists()

    def undo(self) -> bool:
        """Bring the files back to the last commit where a swap was ended half-way.

        Returns:
            Whether there was one.

        Raises:
            RepositoryError: If a file was edited since; it is named, and nothing is changed.
        """
        note = self.path("tito-swap")
        if not note.exists():
            return False
        old, _, new = note.read_text(encoding="utf-8").strip().partition(" ")
        if self.git("rev-parse", "HEAD").strip() != old:
            note.unlink()
            return False
        before, after = self.files(old), self.files(new)
        differ = sorted(p for p in {*before, *after} if before.get(p) != after.get(p))
        if edited := [p for p in differ if not self._is_one_of(p, before.get(p), after.get(p))]:
            raise RepositoryError(
                f"a change of the whole tree was interrupted here, and {some(edited)} was edited "
                f"since; keep a copy, bring the files back with: git checkout HEAD -- "
                f"{some(edited)}, then run this again"
            )
        for path in differ:
            if path not in before:
                place = self.root.joinpath(*path.split("/"))
                if place.is_symlink() or place.is_file():
                    place.unlink()
                self._prune(place.parent)
        scratch = self.path("tito-index")
        for leftover in (scratch, scratch.with_name(f"{scratch.name}.lock")):
            leftover.unlink(missing_ok=True)
        self.git("read-tree", old, index=scratch)
        back = [p for p in differ if p in before and not self._is_at(p, before[p])]
        paths = "".join(f"{path}\0" for path in back)
        data = paths.encode("utf-8", "surrogateescape")
        self.git("checkout-index", "--force", "-z", "--stdin", data=data, index=scratch)
        replace(scratch, self.path("index"))
        self.run("status", "--porcelain")  # looks at every file once, so that later calls need not
        note.unlink()
        return True

    def _prune(self, folder: Path) -> None:
        """Remove a folder and those above it as far as they are empty."""
        while folder != self.root and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent

    def _is_at(self, path: str, entry: Entry | None) -> bool:
        """Whether a file on disk is that of a commit."""
        place = self.root.joinpath(*path.split("/"))
        if entry is None or place.is_symlink() or not place.is_file():
            return False
        return self.git("hash-object", "--", path).strip() == entry.blob

    def _is_one_of(self, path: str, *entries: Entry | None) -> bool:
        """Whether a file is that of a commit, missing, or the beginning of one being written."""
        place = self.root.joinpath(*path.split("/"))
        if place.is_symlink() or not place.exists() or place.is_dir():
            return True
        if any(self._is_at(path, entry) for entry in entries):
            return True
        known = [entry.blob for entry in entries if entry is not None]
        data = place.read_bytes()
        return any(c.startswith(data) for c in self.contents(known).values())
