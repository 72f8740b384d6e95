"""Merge a later release into a module that its student has worked on.

The merge itself is Git's. Before it, what the student wrote between the marks of a step is put into
the same step of both releases, so that a solution never stands against the stub of a solution.
"""

import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from tito.files import FileProblem
from tito.source import ModuleSource, Region, parse

YOURS = "yours"
_MARK = re.compile(r"^(<{7}|\|{7}|={7}|>{7})(?: |$)")
_STEP = re.compile(r"^# ## Step (\d+)\b")

Key = tuple[str, int]  # the function a solution stands in, and which of its solutions it is


@dataclass(frozen=True)
class Conflict:
    """Lines that both sides changed: where in the merged text, and the three versions."""

    step: int | None
    line: int
    yours: tuple[str, ...]
    before: tuple[str, ...]
    theirs: tuple[str, ...]


@dataclass(frozen=True)
class Merged:
    """What came of a merge. `text` has conflict marks unless it is `clean`; `why` says in words
    what stands in the way beside the conflicts; `steps` are those that the release changed, None
    for what stands outside them."""

    text: str
    conflicts: tuple[Conflict, ...] = ()
    why: str = ""
    steps: tuple[int | None, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether the text can be used as it is."""
        return not self.conflicts and not self.why


def has_marks(text: str) -> int:
    """The line of the first conflict mark that is still in a text; 0 for none."""
    kinds = [(n, m[1][0]) for n, row in enumerate(text.split("\n"), 1) if (m := _MARK.match(row))]
    return kinds[0][0] if {"<", ">"} <= {kind for _, kind in kinds} else 0


def merge_text(base: str, ours: str, theirs: str, release: str) -> tuple[str, bool]:
    """Merge three texts with `git merge-file`; returns the text, and whether it has no conflict."""
    with tempfile.TemporaryDirectory(prefix="tito-merge-") as folder:
        names = ("ours", "base", "theirs")
        for name, text in zip(names, (ours, base, theirs), strict=True):
            (Path(folder) / name).write_text(text, encoding="utf-8", newline="\n")
        labels = (YOURS, "as it was released to you", f"release {release}")
        words = [word for label in labels for word in ("-L", label)]
        done = subprocess.run(
            ["git", "merge-file", "-p", "--diff3", *words, *names],
            cwd=folder, capture_output=True, check=False,
        )  # fmt: skip
    if done.returncode > 127 or done.returncode < 0:
        raise FileProblem("", "cannot be merged", done.stderr.decode("utf-8", "replace").strip())
    return done.stdout.decode("utf-8"), done.returncode == 0


def conflicts_of(text: str) -> tuple[Conflict, ...]:
    """The conflicts in a merged text, in order."""
    found: list[Conflict] = []
    step: int | None = None
    side, at = "", 0
    parts: dict[str, list[str]] = {}
    for number, row in enumerate(text.split("\n"), 1):
        if match := _MARK.match(row):
            side = match[1][0]
            if side == "<":
                at, parts = number, {"<": [], "|": [], "=": []}
            elif side == ">":
                sides = (tuple(parts[kind]) for kind in "<|=")
                found.append(Conflict(step, at, *sides))
                side = ""
        elif side:
            parts[side].append(row)
        if not side and (heading := _STEP.match(row)):
            step = int(heading[1])
    return tuple(found)


def _understood(text: str, file: str) -> ModuleSource | None:
    """A module whose marks and syntax are whole, else None."""
    try:
        module = parse(text, file)
        return module if module.regions is not None else None
    except FileProblem:
        return None


def _bodies(module: ModuleSource) -> dict[Key, tuple[Region, list[str]]]:
    """The lines between the marks of each solution."""
    seen: Counter[str] = Counter()
    found = {}
    for region in module.regions:
        lines = list(module.lines[region.begin : region.end - 1])
        found[region.name, seen[region.name]] = region, lines
        seen[region.name] += 1
    return found


def _indent(module: ModuleSource, region: Region) -> str:
    line = module.lines[region.begin - 1]
    return line[: len(line) - len(line.lstrip())]


def _filled(module: ModuleSource, bodies: dict[Key, list[str]]) -> str:
    """A module's text with other lines between the marks of some solutions."""
    lines = list(module.lines)
    for key, (region, _) in reversed(_bodies(module).items()):
        if key in bodies:
            lines[region.begin : region.end - 1] = bodies[key]
    return "\n".join(lines) + "\n"


def written(base: ModuleSource, ours: ModuleSource) -> dict[Key, list[str]]:
    """What the student wrote: the solutions that are no longer the stubs of the release."""
    stubs = _bodies(base)
    own = _bodies(ours)
    return {k: lines for k, (_, lines) in own.items() if k in stubs and lines != stubs[k][1]}


def _changed_steps(base: str, theirs: str, module: ModuleSource) -> tuple[int | None, ...]:
    """The steps in which a release differs from the one before, solutions left aside."""
    before, after = base.split("\n"), theirs.split("\n")
    found: set[int | None] = set()
    for tag, _, _, begin, end in SequenceMatcher(None, before, after, False).get_opcodes():
        if tag != "equal":
            found |= {module.step_of(n + 1) for n in range(begin, max(end, begin + 1))}
    return tuple(sorted(found, key=lambda step: (step is None, step)))


def merge_module(file: str, base: str, ours: str, theirs: str, release: str) -> Merged:
    """Merge a module: what the student wrote between the marks of a step always stays.

    Args:
        file: Its path, for messages.
        base: The stub that was released to the student.
        ours: The student's text.
        theirs: The stub of the new release.
        release: The version of the new release.
    """
    if line := has_marks(ours):
        return Merged(ours, why=f"line {line} still has a conflict mark of an earlier merge")
    modules = [_understood(text, file) for text in (base, ours, theirs)]
    if any(module is None for module in modules):
        text, _ = merge_text(base, ours, theirs, release)
        why = "" if conflicts_of(text) else "your file cannot be parsed as it is; mend it first"
        return Merged(text, conflicts_of(text), why)
    old, mine, new = modules
    own, there = written(old, mine), _bodies(new)
    begun = {key: region for key, (region, _) in _bodies(old).items()}
    fits = {
        key: lines
        for key, lines in own.items()
        if key in there and _indent(old, begun[key]) == _indent(new, there[key][0])
    }
    before, after = _filled(old, fits), _filled(new, fits)
    steps = _changed_steps(before, after, _understood(after, file) or new)
    text, clean = merge_text(before, ours, after, release)
    if not clean:
        dropped = [key[0] for key in own if key not in there]
        word = ", ".join(dropped)
        why = f"the release no longer has {word}, which you have written" if dropped else ""
        return Merged(text, conflicts_of(text), why, steps)
    whole = _understood(text, file)
    kept = {} if whole is None else {key: lines for key, (_, lines) in _bodies(whole).items()}
    lost = [key[0] for key, lines in own.items() if kept.get(key) != lines]
    why = f"the release has no place for your {', '.join(lost)}" if lost else ""
    return Merged(text, why=why, steps=steps)
