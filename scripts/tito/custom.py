"""Custom checkpoints: read those of a tree, and make a new one.

The course's own are named in checkpoints/ladder.toml, which a release protects. A student's own
are named in checkpoints/custom.toml: if they had to edit the ladder, every push would report it as
changed and be graded with the released one, and every update of the course would conflict with it.
Both files hold the same tables.
"""

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tito.files import FileProblem, read_text, write_atomic
from tito.ladder import (
    CUSTOM_NAME,
    LADDER_FILE,
    AnyRung,
    Custom,
    Ladder,
    LadderError,
    build_custom,
    check_custom,
    parse_ladder,
)
from tito.manifest import MANIFEST_FILE
from tito.selection import select
from tito.source import parse

OWN_FILE = "checkpoints/custom.toml"
OWN_MOST = 20  # checkpoints of a student's own
QUESTION_MOST = 400  # characters
_TABLE = re.compile(r"\s*\[\[\s*custom\s*\]\]")
_LIKE_AN_ID = re.compile(r"c\d+")
OWN_HEAD = """\
# Checkpoints of your own, beyond the ladder; make one with: tito checkpoint new NAME
# They run on every push and are reported beside the ladder's. They are feedback for you: a
# grade of record runs the course's checkpoints only.
"""


def parse_own(text: str, ladder: Ladder) -> tuple[Custom, ...]:
    """The checkpoints that the text of custom.toml names, numbered after the course's.

    Raises:
        FileProblem: If it cannot be used.
    """
    before = len(ladder.custom)
    try:
        data = tomllib.loads(text)
        for key in data:
            if key != "custom":
                raise LadderError(f"unknown table {key!r}; begin each checkpoint with [[custom]]")
        found = build_custom(data.get("custom", []), "", first=before + 1, own=True)
        check_custom(ladder, (*ladder.custom, *found), "")
        _check_size(found, before)
    except (ValueError, TypeError, RecursionError) as error:  # what hostile TOML makes of a parser
        message = " ".join(str(error).removeprefix(": ").split())[:300]
        line = _line_of(error, text, before)
        raise FileProblem(OWN_FILE, message, "mend it, or remove the file", line) from None
    return found


def _line_of(error: Exception, text: str, before: int) -> int:
    """The line of a text that an error is about, of which `before` tables stand elsewhere; else 1.

    It is the one that a parser names, or that of a table's key, or that of the table.
    """
    if isinstance(error, LadderError) and error.table is not None:
        return _line_of_key(text, error.table - before, error.key)
    if not isinstance(error, tomllib.TOMLDecodeError):
        return 1
    at = re.search(r"\(at line (\d+), column \d+\)", str(error))
    return int(at[1]) if at else text.count("\n") + 1  # else: at end of document


def _line_of_key(text: str, table: int, key: str) -> int:
    """The line of a key in a [[custom]] table, that of the table without one, else 1."""
    lines = text.split("\n")
    heads = [n for n, line in enumerate(lines) if _TABLE.match(line)]
    if not 0 <= table < len(heads):
        return 1
    end = heads[table + 1] if table + 1 < len(heads) else len(lines)
    own = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*=""")
    within = (n for n in range(heads[table] + 1, end) if own.match(lines[n]))
    return next(within, heads[table]) + 1


def _check_size(found: tuple[Custom, ...], before: int) -> None:
    """Refuse what no report could hold."""
    if len(found) > OWN_MOST:
        raise LadderError(f"has {len(found)} checkpoints; keep to {OWN_MOST}")
    for n, c in enumerate(found, before):
        if len(c.question) > QUESTION_MOST:
            fact = f"the question is over {QUESTION_MOST} characters"
            raise LadderError(f"custom {c.name!r}: {fact}", n, "question")


def read_own(root: Path, ladder: Ladder) -> tuple[Custom, ...]:
    """The student's own checkpoints.

    Raises:
        FileProblem: If checkpoints/custom.toml is there and cannot be used.
    """
    path = root / OWN_FILE
    if not path.exists() and not path.is_symlink():
        return ()
    return parse_own(read_text(root, OWN_FILE), ladder)


def customs(root: Path, ladder: Ladder) -> tuple[Custom, ...]:
    """All custom checkpoints of a tree, the course's first.

    Raises:
        FileProblem: If checkpoints/custom.toml is there and cannot be used.
    """
    return (*ladder.custom, *read_own(root, ladder))


def usable(root: Path, ladder: Ladder) -> tuple[Custom, ...]:
    """The custom checkpoints that can be run; a student's own file that is broken costs them
    those, and a report of the run names the problem."""
    try:
        return customs(root, ladder)
    except FileProblem:
        return ladder.custom


def named(root: Path, ladder: Ladder, words: Sequence[str]) -> list[AnyRung]:
    """The checkpoints that words name.

    Raises:
        LadderError: If a word names nothing.
        FileProblem: If it may name one of checkpoints/custom.toml, and that cannot be used.
    """
    try:
        return select(ladder, words, customs(root, ladder))
    except FileProblem as problem:
        try:
            return select(ladder, words, ladder.custom)
        except LadderError:
            raise problem from None


def module_of(rung: AnyRung) -> str:
    """The id of the module that a test is about unless it says otherwise."""
    return rung.needs[-1] if isinstance(rung, Custom) else rung.id


def rung_of_file(name: str, ladder: Ladder, custom: tuple[Custom, ...]) -> AnyRung:
    """The rung of a checkpoint's file, by the file's name."""
    found = next((c for c in custom if Path(c.file).name == name), None)
    return found or ladder.find(Path(name).stem.split("_")[1])


# A new one


class Made(NamedTuple):
    """What was written: the checkpoint, and the file that names it."""

    custom: Custom
    registered: str


def is_course(root: Path) -> bool:
    """Whether a tree is the course, or a student's tree made from it."""
    released = (root / MANIFEST_FILE).exists()
    return not released and (root / "scripts" / "tito" / "release.py").is_file()


def clean_name(ladder: Ladder, custom: tuple[Custom, ...], wanted: str) -> str:
    """A name as files and tables have it.

    Raises:
        LadderError: If it cannot be a name, or another checkpoint has it.
    """
    name = "_".join(wanted.strip().lower().replace("-", " ").split()).removeprefix("custom_")
    if not CUSTOM_NAME.fullmatch(name):
        fact = "a name is 2 to 40 of a-z, 0-9 and _, and begins with a letter"
        raise LadderError(f"{wanted!r} cannot be the name of a checkpoint: {fact}")
    if _LIKE_AN_ID.fullmatch(name):
        fact = "C1, C2 … are the ids of custom checkpoints"
        raise LadderError(f"{wanted!r} cannot be the name of a checkpoint: {fact}; choose a word")
    if any(c.name == name for c in custom):
        raise LadderError(f"there is a custom checkpoint {name!r} already; choose another name")
    try:
        rung = ladder.find(name)
    except LadderError:
        return name
    raise LadderError(f"{name!r} is rung {rung.id} of the ladder; choose another name")


def table(name: str, question: str, needs: tuple[str, ...], points: int) -> str:
    """A checkpoint's entry; JSON's strings and lists are TOML's as well."""
    lines = ["[[custom]]", f"name = {json.dumps(name)}", f"question = {_basic(question)}"]
    lines += [f"points = {points}"] if points else []
    return "\n".join([*lines, f"needs = {json.dumps(list(needs))}"]) + "\n"


def _basic(text: str) -> str:
    """A TOML string of a text, in which only what must be is escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def create(
    root: Path, ladder: Ladder, name: str, question: str, needs: tuple[str, ...], points: int
) -> Made:
    """Write a checkpoint with a worked example, and name it in the right file: both or neither.

    Raises:
        LadderError, FileProblem: If there is one of that name, or a file stands in the way.
    """
    own = not is_course(root)
    if own and len(read_own(root, ladder)) >= OWN_MOST:
        fact = f"{OWN_FILE} has {OWN_MOST} checkpoints already, as many as there may be"
        raise LadderError(f"{fact}; remove one from it first")
    place = OWN_FILE if own else LADDER_FILE.as_posix()
    old = read_text(root, place) if (root / place).exists() else OWN_HEAD
    new = f"{old.rstrip()}\n\n{table(name, question, needs, points)}"
    found = parse_own(new, ladder) if own else parse_ladder(new).custom
    made = found[-1]
    if (made.name, made.question, made.needs, made.points) != (name, question, needs, points):
        raise LadderError(f"{place} would not say what was asked for; write the table by hand")
    path = root / made.file
    if path.exists() or path.is_symlink():
        raise FileProblem(made.file, "is there already", "choose another name, or remove it")
    try:
        write_atomic(path, example(root, ladder, made))
        write_atomic(root / place, new)
        if read_text(root, place) != new:
            raise FileProblem(place, "is not what was written", "see whether it is being edited")
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Made(made, place)


def example(root: Path, ladder: Ladder, custom: Custom) -> str:
    """The text of a new checkpoint: a test worked by hand, and one on random input."""
    step = _step(root, ladder, "01", "mean")
    words = custom.name.replace("_", " ")
    title = custom.question.replace("\\", "").replace('"""', "")
    return _EXAMPLE.format(title=title, words=words, step=step, name=custom.name)


def _step(root: Path, ladder: Ladder, rung: str, name: str) -> int:
    """The step of a module in which a name stands; 1 where that cannot be said."""
    source = ladder.by_id[rung].source
    try:
        module = parse(read_text(root, source), source)
        return module.step_of(module.locate(name) or 1) or 1
    except FileProblem:
        return 1


_EXAMPLE = '''\
"""{title}

A custom checkpoint: an ordinary pytest file, run like the ladder's, in a process apart from the
code it tests. The two tests are a worked example; replace them by your own.

Run it with: tito checkpoint run {name}
"""

import numpy as np

from checkpoints.feedback import asks, expect
from tinytorch.core.tensor import Tensor


def centred(rows: np.ndarray) -> np.ndarray:
    """The slow, obvious reference: every row without its own mean."""
    return np.stack([row - row.sum() / len(row) for row in rows])


# kind: imports, functionality, integration or performance. `of` is what to open when it fails and
# `step` where that stands, in the module given by its number. The docstring is what is asked.
@asks(
    "functionality",
    module="01",
    step={step},
    of="mean",
    hint="the mean of a row keeps its axis, so that it can be taken away from the row",
)
def test_centring_by_hand():
    """Take from each row of [[1, 2, 3], [10, 20, 30]] its mean."""
    x = Tensor([[1, 2, 3], [10, 20, 30]])
    got = x - x.mean(axis=1, keepdims=True)
    expect(got, [[-1, 0, 1], [-10, 0, 10]], call="x - x.mean(axis=1, keepdims=True)")


# `rng` gives numbers that nobody knows before the run. What comes out of the tested code is only
# ever compared, with expect(): a test judges values, against what NumPy computes here.
@asks(
    "integration",
    module="01",
    step={step},
    of="mean",
    hint="try a row on paper: what is its mean, and what is left of the row without it?",
)
def test_centring_random_rows(rng):
    """Take from each row of a random (4, 5) array its mean."""
    rows = rng.normal(size=(4, 5)).astype(np.float32)
    x = Tensor(rows)
    got = x - x.mean(axis=1, keepdims=True)
    expect(got, centred(rows), call="x - x.mean(axis=1, keepdims=True)", atol=1e-5)
'''
