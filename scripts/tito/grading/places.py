"""Where names and lines stand in the files that a student wrote: the place to open."""

from contextlib import suppress
from heapq import nlargest
from itertools import islice
from pathlib import Path
from typing import Any

from tito.files import FileProblem, read_text
from tito.ladder import Checkpoint, Ladder
from tito.loops import Loop, loops_in
from tito.source import ModuleSource, parse

ALIKE = 0.6  # two names that may be meant for one another
# The student's code chooses both the name that is missing and those that are there, and comparing
# two takes up to the cube of their length: in this process, outside every deadline.
NAME_MOST = 100  # characters of a name that is compared
NAMES_MOST = 500  # definitions of a module among which the nearest is looked for
NEAREST = 10  # names that share the most letters, to be compared in full
CALL_MOST = 400  # characters of a call, as a report keeps it


class Places:
    """Where names stand in the student's files; each file is parsed once."""

    def __init__(self, root: Path, ladder: Ladder):
        self.root, self.ladder = root, ladder
        self.parsed: dict[str, ModuleSource | None] = {}
        self.looped: dict[str, dict[int, Loop]] = {}

    def source(self, rung: Checkpoint) -> ModuleSource | None:
        """The parsed module of a rung, or None if it has a problem."""
        if rung.id not in self.parsed:
            try:
                self.parsed[rung.id] = parse(read_text(self.root, rung.source), rung.source)
            except FileProblem:
                self.parsed[rung.id] = None
        return self.parsed[rung.id]

    def rung(self, module: str, file: str) -> Checkpoint | None:
        """The rung of a module's name, else of a file."""
        rungs = self.ladder.checkpoints
        named = next((r for r in rungs if module and r.module == module), None)
        return named or next((r for r in rungs if r.source == file), None)

    def line(self, rung: Checkpoint, verdict: dict[str, Any]) -> int | None:
        """The line to open in a rung's file: of what was called, else of what was asked for."""
        module = self.source(rung)
        call = str((verdict["failure"] or {}).get("call") or "")[:CALL_MOST]
        try:
            return module.place(verdict["of"], verdict["step"], call) if module else None
        except FileProblem:
            return None

    def named(self, file: str, call: str, kind: str) -> int | None:
        """The line where what a call names is defined, such as that of sum for `Tensor.sum`."""
        rung = self.rung("", file)
        module = self.source(rung) if rung else None
        try:
            return module.named(call[:CALL_MOST], kind) if module else None
        except FileProblem:
            return None

    def defined(self, file: str, name: str) -> int | None:
        """The line where a file defines a function or class, by its whole name."""
        rung = self.rung("", file)
        module = self.source(rung) if rung else None
        try:
            return module.definitions.get(name) if module else None
        except FileProblem:
            return None

    def missing(self, name: str, rung: Checkpoint) -> tuple[int | None, str]:
        """The line to open for a name that is not in a rung's file, and the nearest that is.

        Without a nearest one it is the class that lacks the name, or else no line.
        """
        module = self.source(rung)
        try:
            lines = module.definitions if module else {}
        except FileProblem:
            lines = {}
        holder, dot, last = name.rpartition(".")
        names = list(islice(lines, NAMES_MOST))
        inside = [n for n in names if n.rpartition(".")[0] == holder]
        if dot and holder not in lines:  # the class of a test: a base of it is here
            inside = [n for n in names if "." in n]
        near = nearest(last, inside)
        return (lines[near], near.rpartition(".")[2]) if near else (lines.get(holder), "")

    def loops(self, file: str) -> dict[int, Loop]:
        """The loops in a student's file, by line."""
        if file not in self.looped:
            rung = next((r for r in self.ladder.checkpoints if r.source == file), None)
            module = self.source(rung) if rung else None
            self.looped[file] = {}
            with suppress(FileProblem):
                self.looped[file] = loops_in(module.tree) if module else {}
        return self.looped[file]

    def step(self, file: str, line: int) -> int | None:
        """The step that a line of a student's file belongs to."""
        rung = next((r for r in self.ladder.checkpoints if r.source == file), None)
        module = self.source(rung) if rung else None
        return module.step_of(line) if module else None


def nearest(name: str, others: list[str]) -> str:
    """The one whose last part is most like a name, capitals or not; "" where none is alike.

    Among equals it is one that begins the same.
    """
    from difflib import SequenceMatcher

    if len(name) > NAME_MOST:
        return ""
    matcher = SequenceMatcher(None, b=name.lower())
    close: list[tuple[float, int, str]] = []  # by what their likeness is at most
    for number, other in enumerate(others):
        last = other.rpartition(".")[2]
        matcher.set_seq1(last.lower())
        if len(last) <= NAME_MOST and (most := matcher.quick_ratio()) >= ALIKE:
            close.append((most, -number, other))
    near, best = "", (ALIKE, False)
    for _, _, other in nlargest(NEAREST, close):
        last = other.rpartition(".")[2]
        matcher.set_seq1(last.lower())
        likeness = matcher.ratio(), name[:1] == last[:1]
        if likeness > best or (not near and likeness == best):
            near, best = other, likeness
    return near
