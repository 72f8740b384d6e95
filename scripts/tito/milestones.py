"""Milestones: discover, gate, plan, and read their records.

The scripts under milestones/ write a record each; this reads them back as data that the student's
code made, strictly and up to a size: a record shows a flag, it is worth no points.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from tito.files import FileProblem, read_bytes, sha256
from tito.frozen import Frozen, frozen
from tito.ladder import Ladder, LadderError, Milestone
from tito.record import Choice, Items, Match, Number, Record, RecordError, Text, Whole, record
from tito.report import MilestoneRun, Moment, Report

RECORD = "results/record.json"
RECORD_LIMIT = 1 << 18  # bytes; a record holds a few curves of at most 400 points

Word = Annotated[str, Text(120)]
Figure = Annotated[float, Number(1e9)]


@record
class Named(Record):
    """A figure beside the judged one; null where it was not finite."""

    name: Word
    value: Figure | None


@record
class Versions(Record):
    """What the run ran on."""

    python: Word
    numpy: Word
    platform: Word


@record
class Curve(Record):
    """A figure as it changed over the run."""

    name: Word
    steps: Annotated[tuple[Figure, ...], Items(400)]
    values: Annotated[tuple[Figure, ...], Items(400)]


@record
class MilestoneRecord(Record):
    """What a run of a milestone leaves behind, as `tinytorch.utils.milestone` writes it.

    `code` is what `code_digest` says, or in a run without tito a SHA-256 over the modules that were
    used; `seconds` counts all processes of a resumed run.
    """

    schema_version: Annotated[int, Whole(1, 1)]
    id: Word
    year: Annotated[int, Whole(1900, 2100)]
    dataset: Word
    quick: bool
    passed: bool
    summary: Annotated[str, Text(400)]
    figure: Word
    value: Figure | None
    target: Figure
    better: Annotated[str, Choice(("higher", "lower"))]
    figures: Annotated[tuple[Named, ...], Items(30)]
    seconds: Annotated[float, Number(1e6)]
    seed: Annotated[int, Whole(0, 2**31 - 1)]
    finished_at: Moment
    code: Annotated[str, Match("[0-9a-f]{64}", "a SHA-256")]
    versions: Versions
    curves: Annotated[tuple[Curve, ...], Items(10)]

    def check(self, path: str) -> None:
        higher = self.better == "higher"
        short = self.value is None or (
            self.value < self.target if higher else self.value > self.target
        )
        if self.passed and short:
            fact = f"{self.value} does not reach the target {self.target}"
            raise RecordError(f"{path}.passed", fact, "run the milestone again")

    @property
    def run(self) -> MilestoneRun:
        """What the report keeps of it."""
        return MilestoneRun(self.passed, self.quick, self.summary, self.seconds)


@frozen
class Found(Frozen):
    """A milestone of the ladder as this tree has it; `missing` are the rungs still to pass.

    `script` is None when the tree has no folder for it; `missing` is None without a report.
    """

    milestone: Milestone
    script: Path | None
    missing: tuple[str, ...] | None
    record: MilestoneRecord | None
    problem: str = ""

    @property
    def unlocked(self) -> bool:
        """Whether the last report says that all it requires has passed."""
        return self.missing == ()


@frozen
class Planned(Frozen):
    """Whether a milestone is to be run now, and why or why not; `code` is its digest."""

    milestone: Milestone
    code: str
    wanted: bool
    why: str


def find(ladder: Ladder, name: str) -> Milestone:
    """Find a milestone by number, id, year or name.

    Raises:
        LadderError: If nothing matches; it names the nearest match.
    """
    key = name.strip().lower()
    names: dict[str, Milestone] = {}
    for m in ladder.milestones:
        number, year, word = m.id.split("_", 2)
        for known_name in (m.id, number, str(int(number)), year, word, m.title.lower()):
            names.setdefault(known_name, m)
    if key in names:
        return names[key]
    from difflib import get_close_matches

    near = get_close_matches(key, names, n=1, cutoff=0.6)
    if near and len(key) > 2:
        guess = f"did you mean {near[0]} ({names[near[0]].id})?"
        raise LadderError(f"no milestone called {name!r}; {guess}")
    known = ", ".join(m.id for m in ladder.milestones)
    raise LadderError(f"no milestone called {name!r}; use one of {known}")


def script_of(root: Path, milestone: Milestone) -> Path | None:
    """The only script in the milestone's folder."""
    scripts = sorted((root / "milestones" / milestone.id).glob("*.py"))
    return scripts[0] if len(scripts) == 1 else None


def parse_record(text: str, milestone: Milestone) -> MilestoneRecord:
    """Make a record from JSON text, strictly.

    Raises:
        ValueError: If it is not as `MilestoneRecord` says, or of another milestone.
    """
    try:
        found = MilestoneRecord.from_json(json.loads(text))
    except RecursionError:
        raise ValueError("nested too deeply; run the milestone again") from None
    if (found.id, found.year) != (milestone.id, milestone.year):
        raise ValueError(f"is a record of {found.id}, {found.year}; run the milestone again")
    return found


def read_record(root: Path, milestone: Milestone) -> MilestoneRecord | None:
    """The last record of a milestone in the tree, or None where there is none.

    Raises:
        ValueError: If there is one that cannot be used.
    """
    place = f"milestones/{milestone.id}/{RECORD}"
    if not os.path.lexists(root / place):
        return None
    return read_record_at(root, place, milestone)


def read_record_at(folder: Path, place: str, milestone: Milestone) -> MilestoneRecord:
    """The record of a milestone in a file below `folder`.

    Raises:
        ValueError: If it cannot be used.
    """
    try:
        return parse_record(read_bytes(folder, place, RECORD_LIMIT).decode("utf-8"), milestone)
    except FileProblem as problem:
        raise ValueError(f"{place} {problem.message}; run the milestone again") from None
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def recorded_runs(root: Path, ladder: Ladder) -> dict[str, MilestoneRun]:
    """By id, the recorded runs that can be used; an unusable record counts as none."""
    runs = {}
    for milestone in ladder.milestones:
        with contextlib.suppress(ValueError):
            found = read_record(root, milestone)
            if found is not None:
                runs[milestone.id] = found.run
    return runs


def missing_rungs(milestone: Milestone, report: Report | None) -> tuple[str, ...] | None:
    """The rungs that a milestone requires and the report does not show as passed."""
    if report is None:
        return None
    passed = {c.id for c in report.checkpoints if c.status == "passed"}
    return tuple(need for need in milestone.requires if need not in passed)


def discover(root: Path, ladder: Ladder, report: Report | None) -> list[Found]:
    """All milestones of the ladder, as the tree and its last report show them."""
    found = []
    for milestone in ladder.milestones:
        kept, problem = None, ""
        try:
            kept = read_record(root, milestone)
        except ValueError as error:
            problem = str(error)
        missing = missing_rungs(milestone, report)
        found.append(Found(milestone, script_of(root, milestone), missing, kept, problem))
    return found


def code_digest(root: Path, ladder: Ladder, milestone: Milestone) -> str:
    """SHA-256 over all that a milestone's result depends on: its script, the modules it requires.

    Only exported lines count, so that prose, tests and blank lines can change without a new run.
    """
    from tito.export import export_one

    script = script_of(root, milestone)
    texts = [script.read_bytes() if script else b""]
    for need in milestone.requires:
        exported = export_one(root, ladder.by_id[need])
        lines = (exported.text or str(exported.problem)).splitlines()
        texts.append("\n".join(line for line in lines if line.strip()).encode())
    digests = b"".join(sha256(text).digest() for text in texts)
    return sha256(digests).hexdigest()


def make_plan(
    root: Path,
    ladder: Ladder,
    report: Report | None,
    records: Mapping[str, MilestoneRecord],
    *,
    quick: bool = False,
    fresh: bool = False,
) -> list[Planned]:
    """Say of every milestone whether to run it: unlocked, and not recorded with this very code.

    Args:
        records: By id, the last recorded results.
        quick: The quick run is asked for; a recorded full run serves for it too.
        fresh: Run also what has not changed.
    """
    plans = []
    for found in discover(root, ladder, report):
        milestone = found.milestone
        code = code_digest(root, ladder, milestone)
        old = records.get(milestone.id) or found.record
        if found.script is None:
            why, wanted = "not in this tree", False
        elif found.missing is None:
            why, wanted = "no report yet shows that it is unlocked", False
        elif found.missing:
            why, wanted = f"locked, still requires {' '.join(found.missing)}", False
        elif old is None:
            why, wanted = "not recorded yet", True
        elif old.code != code:
            why, wanted = "the code has changed since the last result", True
        elif old.quick and not quick:
            why, wanted = "only its quick run is recorded", True
        else:
            why, wanted = f"nothing has changed since the result of {old.finished_at[:10]}", fresh
        plans.append(Planned(milestone, code, wanted, why))
    return plans
