"""Read checkpoints/ladder.toml, the one list of stages, rungs, tiers and milestones."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

from tito.frozen import Frozen, frozen

LADDER_FILE = Path("checkpoints") / "ladder.toml"
CUSTOM_NAME = re.compile("[a-z][a-z0-9_]{1,39}")
LONGEST = 50  # minutes of one scheduled run; its job ends at 60


class LadderError(ValueError):
    """The ladder file, or a name looked up in it, is wrong; the message says how to mend it.

    `table` counts from 0 the table it is about, among those of its kind, and `key` is a key in it.
    """

    def __init__(self, message: str, table: int | None = None, key: str = ""):
        super().__init__(message)
        self.table, self.key = table, key


@frozen
class Checkpoint(Frozen):
    """One rung: a module, the question its checkpoint answers, and what it is worth.

    `aliases` are older course names; `free` names tests that may pass on a stripped module.
    `seconds` is the budget of the whole checkpoint, `test_seconds` that of one test.
    """

    id: str
    module: str
    name: str
    question: str
    stage: str
    points: int
    needs: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    seconds: float = 120.0
    test_seconds: float = 20.0

    @property
    def folder(self) -> str:
        """The module's folder under modules/, such as `05_autograd`."""
        return f"{self.id}_{self.module}"

    @property
    def source(self) -> str:
        """The module's file from the root of the tree, with forward slashes."""
        return f"modules/{self.folder}/{self.module}.py"

    @property
    def file(self) -> str:
        """The checkpoint's pytest file from the root of the tree."""
        return f"checkpoints/checkpoint_{self.id}_{self.name}.py"


@frozen
class Custom(Frozen):
    """A checkpoint beyond the ladder: an instructor's or a student's own.

    It needs rungs and none needs it; it has no part in stages, milestones or the level. Its
    points stand beside the ladder's 100 unless it `counts`: then they are part of the 100. `own`
    tells those of `checkpoints/custom.toml` from those of the ladder's file. The id is its place.
    """

    id: str
    name: str
    question: str
    needs: tuple[str, ...]
    points: int = 0
    counts: bool = False
    free: tuple[str, ...] = ()
    seconds: float = 60.0
    test_seconds: float = 20.0
    own: bool = False

    @property
    def file(self) -> str:
        """The checkpoint's pytest file from the root of the tree."""
        return f"checkpoints/custom_{self.name}.py"


AnyRung = Checkpoint | Custom


@frozen
class Stage(Frozen):
    """A part of the journey; its capability is shown when all of its rungs have passed."""

    name: str
    short: str
    capability: str


@frozen
class Tier(Frozen):
    """A run of modules taught together."""

    name: str
    first: str
    last: str


@frozen
class Milestone(Frozen):
    """A historical result to reproduce, and the modules that unlock it.

    `must` says in words what a run has to reach; `minutes` is how long one scheduled run may take.
    """

    id: str
    year: int
    title: str
    requires: tuple[str, ...]
    must: str = ""
    minutes: int = 30


@frozen
class Ladder(Frozen):
    """The whole ladder, checked: ids in order, needs that exist, points that sum to 100.

    `custom` are the checkpoints beyond it that its own file names.
    """

    version: int
    checkpoints: tuple[Checkpoint, ...]
    stages: tuple[Stage, ...]
    tiers: tuple[Tier, ...]
    milestones: tuple[Milestone, ...]
    custom: tuple[Custom, ...] = ()

    @cached_property
    def by_id(self) -> dict[str, Checkpoint]:
        """The checkpoints by their two-digit id."""
        return {c.id: c for c in self.checkpoints}

    @property
    def points(self) -> int:
        """What the whole ladder is worth, with the custom checkpoints that count."""
        return sum(c.points for c in (*self.checkpoints, *self.custom) if getattr(c, "counts", 1))

    def tier_of(self, checkpoint_id: str) -> str:
        """The tier a checkpoint belongs to, or "" for the setup."""
        return next((t.name for t in self.tiers if t.first <= checkpoint_id <= t.last), "")

    def transitive_needs(self, checkpoint_id: str) -> tuple[str, ...]:
        """All prerequisites of a checkpoint, direct and indirect, in order."""
        found: set[str] = set()
        waiting = list(self.by_id[checkpoint_id].needs)
        while waiting:
            need = waiting.pop()
            if need not in found:
                found.add(need)
                waiting += self.by_id[need].needs
        return tuple(sorted(found))

    def find(self, name: str) -> Checkpoint:
        """Find a rung by number, module, folder, checkpoint name or older course name.

        Raises:
            LadderError: If nothing matches; it names the nearest match.
        """
        key = name.strip().lower().replace("-", "_")
        if key.isdigit():
            key = key.zfill(2)
        names: dict[str, Checkpoint] = {}
        for c in self.checkpoints:
            for known in (
                c.id,
                c.module,
                c.folder,
                c.name,
                f"{c.id}_{c.name}",
                *c.aliases,
            ):
                names.setdefault(known, c)
        if key in names:
            return names[key]
        from difflib import get_close_matches

        a_word = any(character.isalpha() for character in key)  # no number is near another
        near = get_close_matches(key, names, n=1, cutoff=0.5) if a_word else []
        guess = f"; did you mean {near[0]} ({names[near[0]].folder})?" if near else ""
        first, last = self.checkpoints[0].id, self.checkpoints[-1].id
        mend = guess or f"; use a number {first}–{last} or a name from: tito module list"
        raise LadderError(f"no module or checkpoint called {name!r}{mend}")


def _build(kind: type, row: dict[str, Any], where: str, n: int, **given: Any) -> Any:
    """Make a dataclass from the table that `n` counts, naming unknown and missing keys."""
    known = {f.name: f for f in fields(kind)}
    for key in row:
        if kind is Custom and key in ("id", "own"):
            fact = f"{key} is not given: it follows from the table's place"
            raise LadderError(f"{where}: {fact}", n, key)
        if key not in known:
            from difflib import get_close_matches

            near = get_close_matches(key, known, n=1)
            fact = f"unknown key {key!r}; did you mean {near[0] if near else list(known)}?"
            raise LadderError(f"{where}: {fact}", n, key)
    frozen = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
    try:
        return kind(**frozen, **given)
    except TypeError as error:
        raise LadderError(f"{where}: {error}", n) from None


def _check(ladder: Ladder, where: str) -> None:
    """Refuse a ladder whose parts contradict each other."""
    ids = [c.id for c in ladder.checkpoints]
    if ids != [f"{i:02}" for i in range(len(ids))]:
        raise LadderError(f"{where}: the ids must run 00, 01, 02 … without a gap, got {ids}")
    stages = {s.name for s in ladder.stages}
    for c in ladder.checkpoints:
        if c.stage not in stages:
            raise LadderError(f"{where}: checkpoint {c.id}: no stage is called {c.stage!r}")
        for need in c.needs:
            if need >= c.id or need not in ids:
                raise LadderError(f"{where}: checkpoint {c.id} needs {need!r}, not an earlier rung")
    for m in ladder.milestones:
        for need in m.requires:
            if need not in ids:
                raise LadderError(f"{where}: milestone {m.id} requires {need!r}, no such rung")
        if type(m.minutes) is not int or not 1 <= m.minutes <= LONGEST:
            fact = f"minutes must be a whole number from 1 to {LONGEST}, not {m.minutes!r}"
            raise LadderError(f"{where}: milestone {m.id}: {fact}")
    check_custom(ladder, ladder.custom, where)
    if ladder.points != 100:
        counted = [c.name for c in ladder.custom if c.counts]
        also = f", with what counts of the custom ones ({', '.join(counted)})" if counted else ""
        raise LadderError(f"{where}: the points must sum to 100{also}, not {ladder.points}")


def check_custom(ladder: Ladder, custom: tuple[Custom, ...], where: str) -> None:
    """Refuse custom checkpoints whose name, needs or figures cannot be used."""
    for n, c in enumerate(custom):
        taken = {other.name for other in custom[:n]}
        for key, fact in _faults(ladder, c, taken):
            raise LadderError(f"{where}: custom {c.name!r}{fact}", n, key)


def _faults(ladder: Ladder, c: Custom, taken: set[str]) -> Iterator[tuple[str, str]]:
    """What is wrong with a custom checkpoint: the key, and what to say of it."""
    if not isinstance(c.name, str) or not CUSTOM_NAME.fullmatch(c.name):
        yield "name", ": a name is 2 to 40 of a-z, 0-9 and _, and begins with a letter"
    if c.name in taken:
        yield "name", ": the name is taken; give each its own"
    if not isinstance(c.question, str) or not c.question.strip():
        yield "question", ": the question is empty; say what passing shows"
    if not isinstance(c.needs, tuple) or not c.needs:
        yield "needs", ': needs is empty; name a rung, such as needs = ["01"]'
    for need in c.needs:
        if need not in ladder.by_id:
            yield "needs", f" needs {need!r}, no such rung; write two digits"
    if type(c.points) is not int or not 0 <= c.points <= 100:
        yield "points", ": points must be a whole number from 0 to 100"
    if type(c.counts) is not bool or (c.counts and c.own):
        yield "counts", ": only the course's ladder can make a checkpoint count"
    for key in ("seconds", "test_seconds"):
        seconds = getattr(c, key)
        if type(seconds) not in (int, float) or not 0 < seconds <= 600:
            yield key, f": {key} must be a number from 0 to 600, not {seconds!r}"


def _called(row: dict[str, Any], n: int) -> str:
    """A custom checkpoint by its name, or by its place from 1 where that is none."""
    name = row.get("name")
    return f"custom {name!r}" if isinstance(name, str) else f"custom table {n + 1}"


def build_custom(rows: list[dict[str, Any]], where: str, *, first: int, own: bool) -> tuple:
    """The custom checkpoints of a file's tables, numbered from `first`."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise LadderError(f"{where}: begin each custom checkpoint with [[custom]]")
    return tuple(
        _build(
            Custom, row, f"{where}: {_called(row, n)}", first - 1 + n, id=f"C{first + n}", own=own
        )
        for n, row in enumerate(rows)
    )


def parse_ladder(text: str, where: str = str(LADDER_FILE)) -> Ladder:
    """Build the ladder from the text of its file; errors name the file and the key."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LadderError(f"{where}: not valid TOML: {error}") from None
    parts = {
        "checkpoint": Checkpoint,
        "stage": Stage,
        "tier": Tier,
        "milestone": Milestone,
    }
    known = ("version", *parts, "custom")
    for key in data:
        if key not in known:
            raise LadderError(f"{where}: unknown table {key!r}; known: {', '.join(known)}")
    rows = {
        key: tuple(
            _build(kind, row, f"{where}: {key} {n}", n) for n, row in enumerate(data.get(key, []))
        )
        for key, kind in parts.items()
    }
    ladder = Ladder(
        data.get("version", 1),
        rows["checkpoint"],
        rows["stage"],
        rows["tier"],
        rows["milestone"],
        build_custom(data.get("custom", []), where, first=1, own=False),
    )
    _check(ladder, where)
    return ladder


def load_ladder(root: Path) -> Ladder:
    """Read the ladder of the tree at `root`."""
    path = root / LADDER_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise LadderError(
            f"cannot read {LADDER_FILE}: {error.strerror}; is {root} a TinyTorch tree?"
        ) from None
    return parse_ladder(text)
