"""From a tree to its report: snapshot, run, score, and the facts around them."""

import os
import platform
import re
import secrets
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from tito import __version__
from tito.custom import customs
from tito.files import FileProblem
from tito.grading.pristine import integrity, judge
from tito.grading.run import Begin, LadderOutcome, Progress, begin_session, run_ladder
from tito.grading.score import score_ladder
from tito.grading.snapshot import Snapshot, take
from tito.ladder import AnyRung, Custom, Ladder, load_ladder
from tito.manifest import inspect
from tito.milestones import recorded_runs
from tito.progress import find_stubs, needs_digest
from tito.reflection import reflections
from tito.report import (
    SCHEMA_VERSION,
    Course,
    Environment,
    Isolation,
    Layer,
    NextStep,
    Problem,
    Report,
)


def new_seed() -> int:
    """A seed that nobody could know before the run."""
    return secrets.randbits(32)


def _isolation(facts: dict[str, Any]) -> Isolation:
    """What kept the graded code apart, as the session told."""
    layers = tuple(
        Layer(str(layer["name"])[:120], bool(layer["active"]), str(layer["detail"])[:400])
        for layer in facts.get("layers", ())
    )
    return Isolation(facts.get("start", "none"), layers)


def _environment(outcome: LadderOutcome) -> Environment:
    """The machine that graded."""
    return Environment(
        python=platform.python_version(),
        numpy=outcome.machine.get("numpy", "unknown"),
        blas=outcome.machine.get("blas", "unknown"),
        platform=platform.platform(terse=True)[:120],
        cores=os.cpu_count() or 1,
        ci=os.environ.get("CI", "").lower() in ("true", "1"),
    )


def _git(root: Path, *arguments: str) -> str | None:
    """One line that git says about the tree, or None."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            check=False,
            capture_output=True,
            encoding="utf-8",  # whatever the code page is
            errors="replace",
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _shaped(pattern: str, text: str | None) -> str | None:
    """A fact from outside, or None if it does not look like one."""
    return text if text and re.fullmatch(pattern, text) else None


def revision(root: Path) -> dict[str, str | None]:
    """Repository, commit and branch: from the environment of a push, else from git."""
    commit = os.environ.get("GITHUB_SHA") or _git(root, "rev-parse", "HEAD")
    branch = os.environ.get("GITHUB_REF_NAME") or _git(root, "rev-parse", "--abbrev-ref", "HEAD")
    name = r"[A-Za-z0-9_.-]{1,100}"
    return {
        "repository": _shaped(f"{name}/{name}", os.environ.get("GITHUB_REPOSITORY")),
        "commit": _shaped(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", commit),
        "branch": (branch or "")[:250] or None,
    }


def _customs(root: Path, ladder: Ladder) -> tuple[tuple[Custom, ...], list[FileProblem]]:
    """The custom checkpoints; where a student's own cannot be read, the course's and why."""
    try:
        return customs(root, ladder), []
    except FileProblem as problem:
        return ladder.custom, [problem]


def _in_order(step: NextStep | None, snapshot: Snapshot) -> NextStep | None:
    """The next step; where a stub is to be written, the first one left and not one that a test
    happened to meet."""
    if step is None:
        return None
    own = (part for part in snapshot.package.values() if part.filename == step.file)
    lines = [stub.line for part in own for stub in find_stubs(part.text)]
    return replace(step, line=min(lines)) if step.line in lines else step


def grade(
    root: Path,
    ladder: Ladder,
    rungs: list[AnyRung],
    *,
    seed: int,
    progress: Progress = lambda message: None,
    start: str | None = None,
    begin: Begin = begin_session,
) -> Report:
    """Grade the tree at `root` and report it, whatever its code does.

    Args:
        root: A TinyTorch tree; it is read once, at the beginning, and nothing is written to it.
        ladder: The tree's ladder; a changed one gives way to the released one where that is known.
        rungs: The checkpoints to run; the others count as not started, and block none.
        seed: Makes every test's random inputs.
        progress: Called after each test.
        start: How workers start: None for the best at hand, "fork" or "spawn".
        begin: Starts the process of a session; it may have one ready.

    Raises:
        FileProblem: If a hand-written file of the package cannot be read.
    """
    started = time.perf_counter()
    found = inspect(root)
    with judge(root, found) as judging:
        if judging != root:
            ladder = load_ladder(judging)
        custom, trouble = _customs(judging, ladder)
        if judging != root:
            known = {rung.file: rung for rung in (*ladder.checkpoints, *custom)}
            rungs = [known[rung.file] for rung in rungs if rung.file in known]
        snapshot = take(root, ladder, found.pristine)
        outcome = run_ladder(
            judging, ladder, snapshot, rungs, seed=seed, progress=progress, start=start,
            installed=judging == root, begin=begin,
        )  # fmt: skip
    asked_for = {rung.id for rung in rungs}
    left_out = [rung.id for rung in ladder.checkpoints if rung.id not in asked_for]
    standing = score_ladder(ladder, outcome.runs, recorded_runs(root, ladder), left_out, custom)
    digests = snapshot.digests
    checkpoints = tuple(
        replace(
            result,
            source_digest=digests.get(result.id),
            needs_digest=needs_digest(ladder, result.id, digests),
        )
        if result.id in outcome.runs
        else result
        for result in standing.checkpoints
    )
    problems = tuple(
        Problem(p.file, p.line, p.message[:400], p.mend[:400])
        for p in (*snapshot.problems, *trouble)
    )
    return Report(
        schema_version=SCHEMA_VERSION,
        course=Course("TinyTorch", __version__),
        ladder_version=ladder.version,
        generated_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        seed=seed,
        duration=time.perf_counter() - started,
        environment=_environment(outcome),
        isolation=_isolation(outcome.isolation),
        problems=problems,
        integrity=integrity(found),
        reflections=reflections(root, ladder),
        **revision(root),
        **{name: getattr(standing, name) for name in standing.__slots__}
        | {"checkpoints": checkpoints, "next": _in_order(standing.next, snapshot)},
    )
