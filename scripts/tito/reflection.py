"""Reflections: what a student wrote beside a module, and how long it is. Never scored.

The file holds a heading, the module's question as a block quote and a comment; everything else
is the student's answer, and its words are counted.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tito.files import FileProblem, read_text
from tito.ladder import Checkpoint, Ladder
from tito.render.words import word_count
from tito.report import ReflectionText

LEAST, MOST = 150, 300  # words
LIMIT = 1 << 16  # bytes

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_COURSE = re.compile(r" {0,3}(>|#{1,6}(\s|$))")  # the question and the headings


@dataclass(frozen=True)
class Reflection:
    """One module's answer: `problem` says what is wrong with a file that cannot be read."""

    file: str
    text: str
    words: int
    state: Literal["missing", "empty", "short", "fits", "long"]
    problem: str = ""

    @property
    def summary(self) -> str:
        """The state in a few words, for a line of its own."""
        if self.problem:
            return f"{self.problem}; make it a text file of your own"
        count = word_count(self.words)
        return {
            "missing": "no file",
            "empty": "not written yet",
            "short": f"{count}, {LEAST} to {MOST} are asked",
            "fits": count,
            "long": f"{count}, {LEAST} to {MOST} are asked",
        }[self.state]


def file_of(rung: Checkpoint) -> str:
    """The reflection's file from the root of the tree."""
    return f"modules/{rung.folder}/reflection.md"


def answer(text: str) -> str:
    """What the student wrote: the text without comments, block quotes and headings."""
    lines = _COMMENT.sub("", text).splitlines()
    return "\n".join(line for line in lines if not _COURSE.match(line)).strip()


def count_words(text: str) -> int:
    """Words by white space; a lone dash or bullet is none."""
    return sum(any(c.isalnum() for c in word) for word in text.split())


def read_reflection(root: Path, rung: Checkpoint) -> Reflection:
    """Read the reflection of one module; a file that cannot be used counts as missing."""
    file = file_of(rung)
    try:
        text = answer(read_text(root, file, LIMIT))
    except FileProblem as problem:
        told = "" if problem.message == "is missing" else problem.message
        return Reflection(file, "", 0, "missing", told)
    words = count_words(text)
    state = "empty" if not words else "short" if words < LEAST else "long" if words > MOST else None
    return Reflection(file, text, words, state or "fits")


def reflections(root: Path, ladder: Ladder) -> tuple[ReflectionText, ...]:
    """What a report keeps of the tree: the reflections that have been begun."""
    found = ((rung, read_reflection(root, rung)) for rung in ladder.checkpoints)
    return tuple(
        ReflectionText(r.id, r.module, own.words, own.text) for r, own in found if own.words
    )
